{{/*
The default policy as it stands, or merged with the value `policy`.

YAML 1.1, which Helm reads, takes an unquoted off for the boolean false; where a level or a scope is meant, it is
written as the word again.
*/}}
{{- define "drawbridge.policy" -}}
{{- $default := .Files.Get "files/policy.yaml" | trim -}}
{{- if not .Values.policy -}}
{{ $default }}
{{- else -}}
{{- $policy := mergeOverwrite (fromYaml $default) (deepCopy .Values.policy) -}}
{{- range $id, $level := $policy.rules -}}
{{- if and (kindIs "bool" $level) (not $level) -}}
{{- $_ := set $policy.rules $id "off" -}}
{{- end -}}
{{- end -}}
{{- if kindIs "map" $policy.slices -}}
{{- if and (kindIs "bool" $policy.slices.scope) (not $policy.slices.scope) -}}
{{- $_ := set $policy.slices "scope" "off" -}}
{{- end -}}
{{- end -}}
{{ toYaml $policy }}
{{- end -}}
{{- end }}
