{{/* Labels of the test pod: another component, so that the Service does not select it. */}}
{{- define "modelarts-exporter.testSelector" -}}
app.kubernetes.io/name: {{ include "modelarts-exporter.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: test
{{- end -}}
