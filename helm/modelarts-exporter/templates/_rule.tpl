{{/*
A text with the token of a threshold replaced; takes a dict of `text`, `old` and `new`.
The token is a whole number or the length of a window (1800 and 1800s); 1800.5, 18000 and x1800 do not match. Go's regular
expressions have no lookaround, so the neighbouring characters are matched and written back. The second pass finds tokens
whose neighbour the first pass has consumed.
*/}}
{{- define "modelarts-exporter.replaceThreshold" -}}
{{- $pattern := printf "(^|[^\\w.])%s(s?)(\\.?(?:$|[^\\w.]))" (regexQuoteMeta .old) -}}
{{- $new := printf "${1}%s${2}${3}" .new -}}
{{- regexReplaceAll $pattern (regexReplaceAll $pattern .text $new) $new -}}
{{- end -}}

{{/* An alert with the changes from the values; takes a dict of `rule`, its `values`, and `labels` for every alert. */}}
{{- define "modelarts-exporter.rule" -}}
{{- $rule := deepCopy .rule -}}
{{- if hasKey .values "threshold" -}}
{{- $old := .rule.annotations.threshold -}}
{{- $new := kindIs "string" .values.threshold | ternary .values.threshold (toJson .values.threshold) -}}
{{- range $key := list "expr" "for" -}}
{{- if hasKey $rule $key -}}
{{- $_ := set $rule $key (include "modelarts-exporter.replaceThreshold" (dict "text" (get $rule $key) "old" $old "new" $new)) -}}
{{- end -}}
{{- end -}}
{{- range $key, $text := .rule.annotations -}}
{{- $_ := set $rule.annotations $key (include "modelarts-exporter.replaceThreshold" (dict "text" $text "old" $old "new" $new)) -}}
{{- end -}}
{{- end -}}
{{- with .values.for -}}
{{- $_ := set $rule "for" . -}}
{{- end -}}
{{- with .values.keepFiringFor -}}
{{- $_ := set $rule "keep_firing_for" . -}}
{{- end -}}
{{- $severity := dict -}}
{{- with .values.severity -}}
{{- $severity = dict "severity" . -}}
{{- end -}}
{{- $_ := set $rule "labels" (mergeOverwrite (dict) $rule.labels .labels $severity (.values.labels | default dict)) -}}
{{- $_ := set $rule "annotations" (mergeOverwrite (dict) $rule.annotations (.values.annotations | default dict)) -}}
{{- toYaml $rule -}}
{{- end -}}

{{/* The groups of rules with the changes from the values, and the additional groups; empty if all are disabled. */}}
{{- define "modelarts-exporter.ruleGroups" -}}
{{- $values := .Values.prometheusRule -}}
{{- $groups := list -}}
{{- range $path, $_ := .Files.Glob "files/alerts/*.yaml" -}}
{{- range $group := (fromYaml ($.Files.Get $path)).groups -}}
{{- if (get $values.groups $group.name | default (dict "enabled" true)).enabled -}}
{{- $rules := list -}}
{{- range $rule := $group.rules -}}
{{- if hasKey $rule "alert" -}}
{{- $own := mergeOverwrite (dict "enabled" true) (get $values.alerts $rule.alert | default dict) -}}
{{- if $own.enabled -}}
{{- $rules = include "modelarts-exporter.rule" (dict "rule" $rule "values" $own "labels" $values.ruleLabels) | fromYaml | append $rules -}}
{{- end -}}
{{- else -}}
{{- $rules = append $rules $rule -}}
{{- end -}}
{{- end -}}
{{- if $rules -}}
{{- $group = mergeOverwrite (dict) $group (dict "rules" $rules) -}}
{{- if and $values.interval (not (hasKey $group "interval")) -}}
{{- $_ := set $group "interval" $values.interval -}}
{{- end -}}
{{- $groups = append $groups $group -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with concat $groups $values.extraGroups -}}
{{- toYaml (dict "groups" .) -}}
{{- end -}}
{{- end -}}
