{{/* "true" when a target of the settings has credentials of this type; takes a dict of `root` and `type`. */}}
{{- define "modelarts-exporter.hasCredentials" -}}
{{- if not .root.Values.demo.enabled -}}
{{- range .root.Values.config.targets -}}
{{- if eq (dig "credentials" "type" "" .) $.type -}}true{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Path of the state file; empty without one. */}}
{{- define "modelarts-exporter.stateFile" -}}
{{- if not .Values.demo.enabled -}}
{{- $state := .Values.config.state | default dict -}}
{{- if hasKey $state "file" -}}{{- $state.file -}}{{- else -}}{{- .Values.persistence.mountPath }}/state.json{{- end -}}
{{- end -}}
{{- end -}}

{{/* "true" if the state file is in the volume of the chart. */}}
{{- define "modelarts-exporter.hasStateVolume" -}}
{{- if hasPrefix (printf "%s/" .Values.persistence.mountPath) (include "modelarts-exporter.stateFile" .) -}}true{{- end -}}
{{- end -}}

{{/* The settings file: `config`, and the state file. JSON is YAML with all strings quoted: YAML writers
and readers can differ in which strings need quotes (12e34567). */}}
{{- define "modelarts-exporter.config" -}}
{{- $state := dict "state" (dict "file" (include "modelarts-exporter.stateFile" .)) -}}
{{- mergeOverwrite (deepCopy .Values.config) $state | toPrettyJson -}}
{{- end -}}

{{/*
Fails with one sentence for mistakes that the schema cannot detect: conflicting values, and secrets in the wrong place. Renders
nothing. `helm lint` skips it, because the defaults of the chart have no targets.
*/}}
{{- define "modelarts-exporter.check" -}}
{{- with .Values -}}
{{- if and .demo.enabled .config.targets -}}
{{- fail "demo.enabled and config.targets contradict each other: the demo uses a simulated cloud and reads no settings. Unset one of them." -}}
{{- end -}}
{{- if not (or .demo.enabled .config.targets) -}}
{{- fail "Nothing to monitor: set config.targets to the projects to monitor, as docs/configuration.md describes them, or demo.enabled=true to try the exporter without an account." -}}
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
{{- include "modelarts-exporter.checkState" . -}}
{{- include "modelarts-exporter.checkWeb" .Values -}}
{{- end -}}

{{- define "modelarts-exporter.checkState" -}}
{{- $file := include "modelarts-exporter.stateFile" . -}}
{{- $here := include "modelarts-exporter.hasStateVolume" . -}}
{{- with .Values.persistence -}}
{{- if and .existingClaim (not .enabled) -}}
{{- fail "persistence.existingClaim is not used without persistence.enabled=true. Set that too, or unset the claim." -}}
{{- end -}}
{{- if and .enabled (not $here) -}}
{{- fail (printf "persistence.enabled would make a volume that stays empty: %s. Unset one of them." (ternary (printf "config.state.file is %q, not below persistence.mountPath" $file) "the demo keeps no state" (not $.Values.demo.enabled))) -}}
{{- end -}}
{{- if and .enabled (gt (int $.Values.replicas) 1) -}}
{{- fail "persistence.enabled with several replicas: each would overwrite what the others counted. Use one replica, or the volumes that each pod has of its own." -}}
{{- end -}}
{{- if and $file (not $here) (not $.Values.extraVolumeMounts) (not (contains "${" $file)) -}}
{{- fail (printf "config.state.file is %q, where no volume is and nothing can be written. Leave it out, put it below %s, or mount a volume there with extraVolumes and extraVolumeMounts." $file .mountPath) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Takes the values. */}}
{{- define "modelarts-exporter.checkWeb" -}}
{{- $tls := .web.tls -}}
{{- $auth := .web.basicAuth -}}
{{- if and .demo.enabled (or .web.configSecret $tls.existingSecret $auth.users) -}}
{{- fail "The demo serves plain HTTP to anybody: web.configSecret, web.tls and web.basicAuth are for a real exporter. Unset them, or demo.enabled." -}}
{{- end -}}
{{- if and .web.configSecret $auth.users -}}
{{- fail "web.configSecret and web.basicAuth.users contradict each other: the Secret is the whole web configuration, its users included. Unset one of them." -}}
{{- end -}}
{{- if and $auth.users (not $auth.clientSecret) -}}
{{- fail "web.basicAuth.users would lock out Prometheus and the probes: set web.basicAuth.clientSecret to a Secret with the username and the password of one of them." -}}
{{- end -}}
{{- if and $auth.clientSecret (not (or $auth.users .web.configSecret)) -}}
{{- fail "web.basicAuth.clientSecret logs in where nobody is asked to: set web.basicAuth.users, or web.configSecret." -}}
{{- end -}}
{{- if and (not $tls.existingSecret) (or $tls.clientSecret (ne $tls.clientAuthType "NoClientCert")) -}}
{{- fail "web.tls.clientAuthType and web.tls.clientSecret mean nothing without TLS: set web.tls.existingSecret to a Secret with a certificate." -}}
{{- end -}}
{{- if and (eq $tls.clientAuthType "RequireAndVerifyClientCert") (not $tls.clientSecret) -}}
{{- fail "web.tls.clientAuthType RequireAndVerifyClientCert would lock out Prometheus and the probes: set web.tls.clientSecret to a Secret with a client's certificate." -}}
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
