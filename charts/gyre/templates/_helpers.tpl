{{- define "gyre.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{- else -}}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{- end -}}
{{- end -}}

{{- define "gyre.labels" -}}
app.kubernetes.io/part-of: gyre
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "gyre.selector" -}}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/name: {{ .name }}
{{- end -}}

{{- define "gyre.image" -}}
{{ .root.Values.image.registry }}/{{ .name }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end -}}

{{/* What Pod Security `restricted` asks of a pod and of a container. */}}
{{- define "gyre.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end -}}
{{- define "gyre.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "gyre.embeddedStore" -}}{{ if not .Values.store.external.uri }}true{{ end }}{{- end -}}
{{- define "gyre.storeRoot" -}}{{ .Values.store.external.uri | default "s3://gyre" | trimSuffix "/" }}{{- end -}}
{{- define "gyre.storeEndpoint" -}}
{{- if include "gyre.embeddedStore" . -}}http://{{ include "gyre.fullname" . }}-s3.{{ .Release.Namespace }}.svc:7070{{- else -}}{{ .Values.store.external.endpoint }}{{- end -}}
{{- end -}}
{{- define "gyre.storeRegion" -}}{{ if include "gyre.embeddedStore" . }}us-east-1{{ else }}{{ .Values.store.external.region }}{{ end }}{{- end -}}
{{- define "gyre.mlflowUrl" -}}
{{- .Values.mlflow.externalUrl | default (printf "http://%s-mlflow.%s.svc:5000" (include "gyre.fullname" .) .Release.Namespace) -}}
{{- end -}}

{{/* The store's credential as a dict: taken over from the live Secret, so that an upgrade never changes it. */}}
{{- define "gyre.storeCredential" -}}
{{- $name := printf "%s-store" (include "gyre.fullname" .) -}}
{{- if .Values.store.external.existingSecret -}}{{- $name = .Values.store.external.existingSecret -}}{{- end -}}
{{- $live := lookup "v1" "Secret" .Release.Namespace $name -}}
{{- if $live -}}
{{- dict "id" (index $live.data "access_key_id" | b64dec) "key" (index $live.data "secret_access_key" | b64dec) | toJson -}}
{{- else -}}
{{- if not (hasKey .Release "gyreStore") -}}{{- $_ := set .Release "gyreStore" (dict "id" (printf "gyre%s" (randAlphaNum 12 | lower)) "key" (randAlphaNum 40)) -}}{{- end -}}
{{- .Release.gyreStore | toJson -}}
{{- end -}}
{{- end -}}

{{- define "gyre.storeSecretData" -}}
{{- $credential := include "gyre.storeCredential" .root | fromJson -}}
uri: {{ .uri | quote }}
endpoint: {{ include "gyre.storeEndpoint" .root | quote }}
region: {{ include "gyre.storeRegion" .root | quote }}
access_key_id: {{ $credential.id | quote }}
secret_access_key: {{ $credential.key | quote }}
{{- end -}}
