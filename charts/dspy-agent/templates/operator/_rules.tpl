{{/* What the operator may do where it serves sessions. The least that works: no wildcard, no write to a spec. */}}
{{- define "dspy-agent.operatorRules" -}}
- apiGroups: [dspyagent.io]
  resources: [agentsessions, agentpools, envtasks, trainingjobs]
  verbs: [get, list, watch]
# Time to live after the end.
- apiGroups: [dspyagent.io]
  resources: [agentsessions, envtasks]
  verbs: [delete]
- apiGroups: [dspyagent.io]
  resources: [agentsessions/status, agentpools/status, envtasks/status, trainingjobs/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, create, delete]
# Whether what a spec refers to exists, and has the key: asked for by name; never listed, watched or kept.
- apiGroups: [""]
  resources: [configmaps, secrets]
  verbs: [get]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- end -}}
