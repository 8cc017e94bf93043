{{/* Every name that the chart gives is made here, and nowhere else. Each takes the root context. */}}

{{- define "dspy-agent.name.base" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "dspy-agent.name.operator" -}}{{ include "dspy-agent.name.base" . }}-operator{{- end -}}

{{/* ClusterRoles share one name space: two releases must not meet in it. */}}
{{- define "dspy-agent.name.operatorClusterRole" -}}
{{ .Release.Namespace }}-{{ include "dspy-agent.name.operator" . }}
{{- end -}}

{{/* Cluster-wide, too. */}}
{{- define "dspy-agent.name.admissionPolicy" -}}
{{ .Release.Namespace }}-{{ include "dspy-agent.name.base" . }}
{{- end -}}

{{- define "dspy-agent.name.lease" -}}{{ include "dspy-agent.name.operator" . }}{{- end -}}

{{- define "dspy-agent.name.orchestrator" -}}{{ include "dspy-agent.name.base" . }}-orchestrator{{- end -}}

{{- define "dspy-agent.name.orchestratorClusterRole" -}}
{{ .Release.Namespace }}-{{ include "dspy-agent.name.orchestrator" . }}
{{- end -}}

{{/* In namespaces of sessions, which two releases may share. */}}
{{- define "dspy-agent.name.sessionsNetworkPolicy" -}}
{{ .Release.Namespace }}-{{ include "dspy-agent.name.base" . }}-sessions
{{- end -}}

{{- define "dspy-agent.name.runners" -}}{{ include "dspy-agent.name.base" . }}-runners{{- end -}}

{{/* Takes (list $ file-name). */}}
{{- define "dspy-agent.name.dashboard" -}}
{{ include "dspy-agent.name.base" (index . 0) }}-dashboard-{{ index . 1 | trimSuffix ".json" }}
{{- end -}}

{{/* Fixed: sessions in other namespaces find the store under this name. One release per namespace follows from it. */}}
{{- define "dspy-agent.name.reddb" -}}reddb{{- end -}}

{{- define "dspy-agent.name.reddbHeadless" -}}{{ include "dspy-agent.name.reddb" . }}-headless{{- end -}}

{{- define "dspy-agent.name.reddbToken" -}}
{{- .Values.tokens.reddb.existingSecret | default (printf "%s-token" (include "dspy-agent.name.reddb" .)) -}}
{{- end -}}

{{- define "dspy-agent.name.orchestratorToken" -}}
{{- .Values.tokens.orchestrator.existingSecret | default (printf "%s-token" (include "dspy-agent.name.orchestrator" .)) -}}
{{- end -}}

{{- define "dspy-agent.name.runnersToken" -}}
{{- .Values.tokens.runners.existingSecret | default (printf "%s-token" (include "dspy-agent.name.runners" .)) -}}
{{- end -}}

{{/* Addresses inside the cluster. */}}
{{- define "dspy-agent.url.reddbResp" -}}
redis://{{ include "dspy-agent.name.reddb" . }}.{{ .Release.Namespace }}.svc:6380
{{- end -}}

{{- define "dspy-agent.url.orchestrator" -}}
http://{{ include "dspy-agent.name.orchestrator" . }}.{{ .Release.Namespace }}.svc:9097
{{- end -}}

{{- define "dspy-agent.url.reddbHttp" -}}
http://{{ include "dspy-agent.name.reddb" . }}.{{ .Release.Namespace }}.svc:8082
{{- end -}}

{{/* In the orchestrator's notation: every endpoint of the runners' Service that is ready. */}}
{{- define "dspy-agent.url.runners" -}}
endpointslices+http://{{ .Release.Namespace }}?service={{ include "dspy-agent.name.runners" . }}&port=http
{{- end -}}
