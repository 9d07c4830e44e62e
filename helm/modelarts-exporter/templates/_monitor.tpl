{{/* The endpoint of a ServiceMonitor or PodMonitor; takes a dict of `root` and `monitor`. */}}
{{- define "modelarts-exporter.endpoint" -}}
port: http
path: {{ include "modelarts-exporter.telemetryPath" .root }}
{{- if .root.Values.web.tls.existingSecret }}
scheme: https
tlsConfig:
  {{- if .monitor.tlsConfig }}
  {{- toYaml .monitor.tlsConfig | nindent 2 }}
  {{- else }}
  serverName: {{ include "modelarts-exporter.serverName" .root }}
  {{- with .root.Values.web.tls }}
  {{- if .caKey }}
  ca:
    secret:
      name: {{ .existingSecret }}
      key: {{ .caKey }}
  {{- end }}
  {{- with .clientSecret }}
  cert:
    secret:
      name: {{ . }}
      key: tls.crt
  keySecret:
    name: {{ . }}
    key: tls.key
  {{- end }}
  {{- end }}
  {{- end }}
{{- end }}
{{- with .root.Values.web.basicAuth.clientSecret }}
basicAuth:
  username:
    name: {{ . }}
    key: username
  password:
    name: {{ . }}
    key: password
{{- end }}
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
