{{/* Labels by which a component's pods are selected. Takes (list $ "component"). */}}
{{- define "dspy-agent.selectorLabels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ $root.Chart.Name }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* All labels of an object. Takes (list $ "component"). */}}
{{- define "dspy-agent.labels" -}}
{{- $root := index . 0 -}}
{{ include "dspy-agent.selectorLabels" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/part-of: dspy-agent
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Full name of a component's image. Takes (list $ "component"). */}}
{{- define "dspy-agent.image" -}}
{{- $root := index . 0 -}}
{{ $root.Values.image.registry }}/{{ index . 1 }}:{{ $root.Values.image.tag | default $root.Chart.AppVersion }}
{{- end -}}

{{- define "dspy-agent.runnerImage" -}}
{{- .Values.defaults.runnerImage | default (include "dspy-agent.image" (list . "sandbox-python")) -}}
{{- end -}}

{{/* The pod's half of the restricted Pod Security Standard. Takes (list uid); all images can run as 1000. */}}
{{- define "dspy-agent.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: {{ index . 0 }}
runAsGroup: 1000
fsGroup: 1000
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* The container's half. */}}
{{- define "dspy-agent.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* What all pods have in common, up to their containers. Takes (list $ "component" service-account-name [uid]). */}}
{{- define "dspy-agent.podCommon" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $values := index $root.Values $component | default dict -}}
serviceAccountName: {{ index . 2 }}
enableServiceLinks: false
securityContext:
  {{- include "dspy-agent.podSecurityContext" (list (index (append . 1000) 3)) | nindent 2 }}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- $own := dict "matchLabels" (include "dspy-agent.selectorLabels" (list $root $component) | fromYaml) }}
  {{- $entries := list }}
  {{- range . }}
  {{- $entries = append $entries (set (deepCopy .) "labelSelector" (.labelSelector | default $own)) }}
  {{- end }}
  {{- toYaml $entries | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Probes of a service with /healthz and /readyz. Takes the name of its port. */}}
{{- define "dspy-agent.probes" -}}
startupProbe:
  httpGet:
    path: /healthz
    port: {{ . }}
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet:
    path: /healthz
    port: {{ . }}
  periodSeconds: 10
  timeoutSeconds: 3
readinessProbe:
  httpGet:
    path: /readyz
    port: {{ . }}
  periodSeconds: 2
  timeoutSeconds: 2
{{- end -}}

{{/* Annotations that let Prometheus find /metrics without further objects; the user's win. Takes (list values port). */}}
{{- define "dspy-agent.podAnnotations" -}}
{{- $own := dict "prometheus.io/scrape" "true" "prometheus.io/path" "/metrics" "prometheus.io/port" (index . 1 | toString) -}}
{{- merge (dict) (index . 0).podAnnotations $own | toYaml -}}
{{- end -}}

{{/* What the containers of `helm test` have in common. */}}
{{- define "dspy-agent.testContainer" -}}
resources:
  requests:
    cpu: 50m
    memory: 64Mi
  limits:
    memory: 256Mi
securityContext:
  {{- include "dspy-agent.containerSecurityContext" . | nindent 2 }}
{{- end -}}

{{/*
How many of a component's pods may be away at once while nodes are drained; nothing where there is one pod.
Takes (list $ "component" name most).
*/}}
{{- define "dspy-agent.podDisruptionBudget" -}}
{{- $root := index . 0 -}}
{{- if gt (int (index $root.Values (index . 1)).replicas) 1 -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ index . 2 }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "dspy-agent.labels" (list $root (index . 1)) | nindent 4 }}
spec:
  maxUnavailable: {{ index . 3 }}
  # A pod that is not ready serves nobody: it does not hold up the drain.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "dspy-agent.selectorLabels" (list $root (index . 1)) | nindent 6 }}
{{- end -}}
{{- end -}}

{{/*
A Secret with a random token, made once: an upgrade finds it in the cluster and keeps it.
Takes (list $ "component" secret-name existing-secret).
*/}}
{{- define "dspy-agent.tokenSecret" -}}
{{- $root := index . 0 -}}
{{- $name := index . 2 -}}
{{- if not (index . 3) -}}
{{- $found := lookup "v1" "Secret" $root.Release.Namespace $name -}}
{{- $token := randAlphaNum 48 | b64enc -}}
{{- if $found }}{{ $token = index $found.data "token" }}{{ end -}}
apiVersion: v1
kind: Secret
metadata:
  name: {{ $name }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "dspy-agent.labels" (list $root (index . 1)) | nindent 4 }}
type: Opaque
data:
  token: {{ $token }}
{{- end -}}
{{- end -}}

{{/* A ServiceAccount without a mounted token. Takes (list $ "component" name). */}}
{{- define "dspy-agent.serviceAccount" -}}
{{- $root := index . 0 -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ index . 2 }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "dspy-agent.labels" (list $root (index . 1)) | nindent 4 }}
automountServiceAccountToken: false
{{- end -}}
