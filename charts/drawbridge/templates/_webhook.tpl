{{/*
One webhook of a configuration. It says what webhook.Configurations of the program says, and a test holds them equal;
the reasons for each field stand there.
*/}}
{{- define "drawbridge.webhook" -}}
- name: {{ .kind }}.{{ .path }}.drawbridge.dev
  admissionReviewVersions: [v1]
  clientConfig:
    service:
      name: drawbridge-webhook
      namespace: {{ .root.Release.Namespace }}
      port: 443
      path: /{{ .path }}/{{ trimSuffix "status" .kind }}
  rules:
    - apiGroups: [{{ get (dict "endpointslice" "discovery.k8s.io" "ingress" "networking.k8s.io" "ingressstatus" "networking.k8s.io") .kind | quote }}]
      apiVersions: [v1]
      resources: [{{ get (dict "service" "services" "servicestatus" "services/status" "endpoints" "endpoints" "endpointslice" "endpointslices" "ingress" "ingresses" "ingressstatus" "ingresses/status") .kind }}]
      operations: [{{ if not (hasSuffix "status" .kind) }}CREATE, {{ end }}UPDATE]
      scope: Namespaced
  failurePolicy: {{ .failure }}
  matchPolicy: Equivalent
  sideEffects: None
  timeoutSeconds: {{ .root.Values.webhook.timeoutSeconds }}
  namespaceSelector:
    matchExpressions:
      - key: kubernetes.io/metadata.name
        operator: NotIn
        values:
          {{- range concat (list "kube-system" .root.Release.Namespace) .root.Values.webhook.exemptNamespaces | uniq }}
          - {{ . | quote }}
          {{- end }}
  objectSelector: {}
  matchConditions:
    - name: not-the-control-plane
      expression: {{ include "drawbridge.notExempt" .root | quote }}
    {{- if eq .kind "ingressstatus" }}
    - name: new-annotations
      expression: "has(object.metadata.annotations) && (!has(oldObject.metadata.annotations) || object.metadata.annotations != oldObject.metadata.annotations)"
    {{- else if ne .kind "ingress" }}
    - name: not-the-api-server
      expression: "!(request.namespace == 'default' && request.name == 'kubernetes')"
    {{- end }}
    {{- if eq .kind "endpoints" }}
    - name: not-a-leader-election
      expression: "!(has(object.metadata.annotations) && 'control-plane.alpha.kubernetes.io/leader' in object.metadata.annotations && (!has(object.subsets) || object.subsets.size() == 0))"
    {{- end }}
{{- end }}

{{/*
The webhook that judges the ConfigMap of the policy and no other. It fails open whatever the values say: a manager that
does not answer must not keep anybody from mending its policy.
*/}}
{{- define "drawbridge.policyWebhook" -}}
- name: configmap.validate.drawbridge.dev
  admissionReviewVersions: [v1]
  clientConfig:
    service:
      name: drawbridge-webhook
      namespace: {{ .Release.Namespace }}
      port: 443
      path: /validate/configmap
  rules:
    - apiGroups: [""]
      apiVersions: [v1]
      resources: [configmaps]
      operations: [CREATE, UPDATE]
      scope: Namespaced
  failurePolicy: Ignore
  matchPolicy: Equivalent
  sideEffects: None
  timeoutSeconds: {{ .Values.webhook.timeoutSeconds }}
  namespaceSelector:
    matchExpressions:
      - key: kubernetes.io/metadata.name
        operator: In
        values: [{{ .Release.Namespace | quote }}]
  objectSelector: {}
  matchConditions:
    - name: only-the-policy
      expression: "request.name == 'drawbridge-policy'"
{{- end }}

{{/*
The CEL expression that is false for users who are neither checked nor mended. The schema of the values lets in
printable ASCII alone; quotes and backslashes are escaped here.
*/}}
{{- define "drawbridge.notExempt" -}}
{{- $users := list "system:apiserver" "system:kube-controller-manager" "system:cloud-controller-manager" "system:serviceaccount:kube-system:*" -}}
{{- $users = append $users (printf "system:serviceaccount:%s:drawbridge-manager" .Release.Namespace) -}}
{{- $exact := list -}}
{{- $prefixes := list -}}
{{- range concat $users .Values.webhook.exemptUsers -}}
{{- $text := . | trimSuffix "*" | replace `\` `\\` | replace `'` `\'` | printf "'%s'" -}}
{{- if hasSuffix "*" . -}}
{{- $prefixes = append $prefixes (printf "!request.userInfo.username.startsWith(%s)" $text) -}}
{{- else -}}
{{- $exact = append $exact $text -}}
{{- end -}}
{{- end -}}
{{- printf "!(request.userInfo.username in [%s])" (join ", " $exact) | prepend $prefixes | join " && " -}}
{{- end }}
