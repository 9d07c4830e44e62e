{{/* What the test pod is known by: another component, or the Service would send scrapes to it. */}}
{{- define "modelarts-exporter.testSelector" -}}
app.kubernetes.io/name: {{ include "modelarts-exporter.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: test
{{- end -}}
