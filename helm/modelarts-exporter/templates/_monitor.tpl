{{/* The endpoint of a ServiceMonitor or PodMonitor; takes a dict of `root` and `monitor`. */}}
{{- define "modelarts-exporter.endpoint" -}}
port: http
path: {{ include "modelarts-exporter.telemetryPath" .root }}
{{- with .monitor.interval }}
interval: {{ . }}
{{- end }}
{{- with .monitor.scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
honorLabels: {{ .monitor.honorLabels }}
{{- with .monitor.relabelings }}
relabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .monitor.metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
