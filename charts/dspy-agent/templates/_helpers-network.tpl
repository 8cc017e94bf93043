{{/* Who connects to whom. All peers are written as entries of a NetworkPolicy's `from`. */}}

{{/* Metadata of a component's policy, and whom it is for. Takes (list $ "component" name). */}}
{{- define "dspy-agent.networkPolicy" -}}
{{- $root := index . 0 -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ index . 2 }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "dspy-agent.labels" (list $root (index . 1)) | nindent 4 }}
spec:
  podSelector:
    matchLabels:
      {{- include "dspy-agent.selectorLabels" (list $root (index . 1)) | nindent 6 }}
{{- end -}}

{{/* Pods of this release. Takes (list $ "component" …). */}}
{{- define "dspy-agent.peers.components" -}}
{{- $root := index . 0 -}}
- podSelector:
    matchLabels:
      app.kubernetes.io/name: {{ $root.Chart.Name }}
      app.kubernetes.io/instance: {{ $root.Release.Name }}
    matchExpressions:
      - key: app.kubernetes.io/component
        operator: In
        values:
          {{- range rest . }}
          - {{ . }}
          {{- end }}
{{- end -}}

{{/* Pods of sessions and tasks, in the namespaces that the operator serves. */}}
{{- define "dspy-agent.peers.sessions" -}}
- podSelector:
    matchLabels:
      app.kubernetes.io/managed-by: dspy-operator
  {{- with .Values.operator.watchNamespaces }}
  namespaceSelector:
    matchExpressions:
      - key: kubernetes.io/metadata.name
        operator: In
        values:
          {{- toYaml . | nindent 10 }}
  {{- else }}
  namespaceSelector: {}
  {{- end }}
{{- end -}}
