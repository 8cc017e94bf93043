"""The operator: AgentSession, EnvTask, AgentPool and TrainingJob become pods and jobs."""
