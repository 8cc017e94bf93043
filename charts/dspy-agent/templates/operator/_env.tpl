{{/* The operator's settings: the only way that values reach it. */}}
{{- define "dspy-agent.operatorEnv" -}}
- name: DSPY_OPERATOR_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: DSPY_OPERATOR_AGENT_IMAGE
  value: {{ include "dspy-agent.image" (list $ "agent") | quote }}
- name: DSPY_OPERATOR_ENV_RUNNER_IMAGE
  value: {{ include "dspy-agent.image" (list $ "env-runner") | quote }}
- name: DSPY_OPERATOR_RUNNER_IMAGE
  value: {{ include "dspy-agent.runnerImage" . | quote }}
- name: DSPY_OPERATOR_IMAGE_PULL_POLICY
  value: {{ .Values.image.pullPolicy | quote }}
- name: DSPY_OPERATOR_IMAGE_PULL_SECRETS
  value: {{ join "," .Values.imagePullSecrets | quote }}
- name: DSPY_OPERATOR_REDDB_URL
  value: {{ include "dspy-agent.url.reddbResp" . | quote }}
- name: DSPY_OPERATOR_REDDB_HTTP_URL
  value: {{ include "dspy-agent.url.reddbHttp" . | quote }}
- name: DSPY_OPERATOR_REDDB_TOKEN_FILE
  value: /dspy/reddb-token/token
- name: DSPY_OPERATOR_TRAINER_IMAGE
  value: {{ .Values.training.image | quote }}
{{- if .Values.orchestrator.slurm.api }}
- name: DSPY_OPERATOR_ORCHESTRATOR_URL
  value: {{ include "dspy-agent.url.orchestrator" . | quote }}
- name: DSPY_OPERATOR_ORCHESTRATOR_TOKEN_FILE
  value: /dspy/orchestrator-token/token
{{- end }}
- name: DSPY_OPERATOR_WATCH_NAMESPACES
  value: {{ join "," .Values.operator.watchNamespaces | quote }}
- name: DSPY_OPERATOR_LISTEN
  value: "0.0.0.0:8081"
- name: DSPY_OPERATOR_LOG_LEVEL
  value: {{ .Values.operator.logLevel | upper | quote }}
- name: DSPY_OPERATOR_RETENTION_DAYS
  value: {{ .Values.sessions.retentionDays | quote }}
- name: DSPY_OPERATOR_WORKERS
  value: {{ .Values.operator.workers | quote }}
- name: DSPY_OPERATOR_LEASE_NAME
  value: {{ include "dspy-agent.name.lease" . | quote }}
{{- end -}}
