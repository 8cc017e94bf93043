{{/* What the operator may do where it serves sessions. The least that works: no wildcard. Of what users own, only statuses and a finalizer. */}}
{{- define "dspy-agent.operatorRules" -}}
- apiGroups: [dspyagent.io]
  resources: [agentsessions, agentpools, envtasks, trainingjobs]
  verbs: [get, list, watch]
# Time to live after the end.
- apiGroups: [dspyagent.io]
  resources: [agentsessions, envtasks, trainingjobs]
  verbs: [delete]
# The finalizer that waits for a job on Slurm to be cancelled.
- apiGroups: [dspyagent.io]
  resources: [trainingjobs]
  verbs: [patch]
- apiGroups: [ray.io]
  resources: [rayjobs]
  verbs: [get, create, delete]
- apiGroups: [dspyagent.io]
  resources: [agentsessions/status, agentpools/status, envtasks/status, trainingjobs/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, create, patch, delete]
# Whether what a spec refers to exists, and has the key: asked for by name; never listed, watched or kept.
- apiGroups: [""]
  resources: [configmaps, secrets]
  verbs: [get]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- end -}}
