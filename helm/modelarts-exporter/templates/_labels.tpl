{{/* Selector labels of the exporter's pods. They must not change, because the selector of a Deployment is immutable. */}}
{{- define "modelarts-exporter.selector" -}}
app.kubernetes.io/name: {{ include "modelarts-exporter.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: exporter
{{- end -}}

{{/* Labels of an object; takes a dict of `root`, and `labels` to add. */}}
{{- define "modelarts-exporter.labels" -}}
{{- $own := include "modelarts-exporter.selector" .root | fromYaml -}}
{{- $rest := dict
  "app.kubernetes.io/part-of" "modelarts-exporter"
  "app.kubernetes.io/version" .root.Chart.AppVersion
  "app.kubernetes.io/managed-by" .root.Release.Service
  "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") -}}
{{- mergeOverwrite (dict) $rest (.labels | default dict) .root.Values.commonLabels $own | toYaml -}}
{{- end -}}

{{/* Name, namespace, labels and annotations of an object; takes a dict of `root`, and `suffix`, `namespace`, `labels`, `annotations`. */}}
{{- define "modelarts-exporter.metadata" -}}
name: {{ include "modelarts-exporter.fullname" .root }}{{ .suffix | default "" }}
namespace: {{ .namespace | default .root.Release.Namespace }}
labels:
  {{- include "modelarts-exporter.labels" . | nindent 2 }}
{{- with .annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
