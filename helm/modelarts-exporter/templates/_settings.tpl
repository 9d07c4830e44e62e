{{/* "true" when a target of the settings has credentials of this type; takes a dict of `root` and `type`. */}}
{{- define "modelarts-exporter.hasCredentials" -}}
{{- if not .root.Values.demo.enabled -}}
{{- range .root.Values.config.targets -}}
{{- if eq (dig "credentials" "type" "" .) $.type -}}true{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
One sentence for what the schema cannot see: values that contradict each other, and secrets in the wrong place.
Nothing is rendered. `helm lint` passes over it, so that the chart's defaults, which watch nothing, are clean.
*/}}
{{- define "modelarts-exporter.check" -}}
{{- with .Values -}}
{{- if and .demo.enabled .config.targets -}}
{{- fail "demo.enabled and config.targets contradict each other: the demo watches a simulated cloud and reads no settings. Unset one of them." -}}
{{- end -}}
{{- if not (or .demo.enabled .config.targets) -}}
{{- fail "Nothing to watch: set config.targets to the projects to watch, as docs/configuration.md describes them, or demo.enabled=true to try the exporter without an account." -}}
{{- end -}}
{{- if and .credentials.existingSecret .credentials.data -}}
{{- fail "credentials.existingSecret and credentials.data contradict each other: the credentials come from one Secret. Unset one of them." -}}
{{- end -}}
{{- if and .credentials.env (not (or .credentials.existingSecret .credentials.data)) -}}
{{- fail "credentials.env takes variables from a Secret, but there is none: set credentials.existingSecret or credentials.data." -}}
{{- end -}}
{{- if and .serviceMonitor.enabled .podMonitor.enabled -}}
{{- fail "serviceMonitor.enabled and podMonitor.enabled would scrape everything twice. Unset one of them." -}}
{{- end -}}
{{- if and .podDisruptionBudget.enabled (lt (int .replicas) 2) -}}
{{- fail "podDisruptionBudget.enabled needs replicas of 2 or more: for a single pod a budget does nothing or blocks every drain." -}}
{{- end -}}
{{- if not .demo.enabled -}}
{{- include "modelarts-exporter.checkSecrets" . -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Takes the values. */}}
{{- define "modelarts-exporter.checkSecrets" -}}
{{- range $number, $target := .config.targets -}}
{{- range $key := list "secret_key" "security_token" "password" -}}
{{- $secret := dig "credentials" $key "" $target | toString -}}
{{- if and $secret (not (regexMatch "\\$\\{(env|file):" $secret)) -}}
{{- fail (printf "config.targets[%d].credentials.%s would stand in a ConfigMap for everybody to read. Put it into a Secret (credentials.existingSecret) and write ${file:%s/<key>} here." $number $key $.credentials.mountPath) -}}
{{- end -}}
{{- end -}}
{{- if regexMatch "://[^/@:]*:[^$/@][^/@]*@" (dig "proxy" "" $target | toString) -}}
{{- fail (printf "config.targets[%d].proxy holds a password that would stand in a ConfigMap for everybody to read. Put it into a Secret (credentials.existingSecret) and write ${file:%s/<key>} in its place." $number $.credentials.mountPath) -}}
{{- end -}}
{{- end -}}
{{- if not (or .credentials.existingSecret .extraVolumeMounts) -}}
{{- $pattern := printf "\\$\\{file:%s/([^}]*)\\}" (regexQuoteMeta .credentials.mountPath) -}}
{{- range $reference := regexFindAll $pattern (toYaml .config) -1 | uniq -}}
{{- $key := regexReplaceAll $pattern $reference "${1}" -}}
{{- if not (hasKey $.credentials.data $key) -}}
{{- fail (printf "config refers to %s, but no Secret has a key %q: set credentials.existingSecret, or credentials.data with that key." $reference $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
