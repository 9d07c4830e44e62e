{{/*
A text with a threshold's token replaced; takes a dict of `text`, `old` and `new`.
The token stands alone or as the length of a window (1800 and 1800s); 1800.5, 18000 and x1800 are others. Go's expressions
cannot look around, so what stands beside is matched too and put back; the second turn finds what the first one used up so.
*/}}
{{- define "modelarts-exporter.retuned" -}}
{{- $pattern := printf "(^|[^\\w.])%s(s?)(\\.?(?:$|[^\\w.]))" (regexQuoteMeta .old) -}}
{{- $new := printf "${1}%s${2}${3}" .new -}}
{{- regexReplaceAll $pattern (regexReplaceAll $pattern .text $new) $new -}}
{{- end -}}

{{/* An alert as the values want it; takes a dict of `rule`, its own `values`, and `labels` for every alert. */}}
{{- define "modelarts-exporter.rule" -}}
{{- $rule := deepCopy .rule -}}
{{- if hasKey .values "threshold" -}}
{{- $old := .rule.annotations.threshold -}}
{{- $new := kindIs "string" .values.threshold | ternary .values.threshold (toJson .values.threshold) -}}
{{- range $key := list "expr" "for" -}}
{{- if hasKey $rule $key -}}
{{- $_ := set $rule $key (include "modelarts-exporter.retuned" (dict "text" (get $rule $key) "old" $old "new" $new)) -}}
{{- end -}}
{{- end -}}
{{- range $key, $text := .rule.annotations -}}
{{- $_ := set $rule.annotations $key (include "modelarts-exporter.retuned" (dict "text" $text "old" $old "new" $new)) -}}
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

{{/* The shipped groups of rules as the values want them, and those of one's own; nothing where none is left. */}}
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
