package rules

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
)

var serviceExternalNameFormat = policy.Rule[*corev1.Service]{
	ID:      "service-external-name-format",
	Levels:  policy.Same(policy.Deny),
	Unfixed: policy.Deny,
	Doc: policy.Doc{
		Summary: "A Service must have a bare DNS name as its externalName.",
		Why: "The name becomes a CNAME record, which has no scheme, port, path, user or wildcard; host names have no " +
			"underscore, and Kubernetes writes them in lower case. Scheme, port and path belong to the Ingress: the port is " +
			"the number of its backend, TLS follows from port 443 or the annotation backend-protocol, a path goes into " +
			"rewrite-target. The API server refuses most of these too, with a regular expression for an explanation.",
		Bad: `apiVersion: v1
kind: Service
metadata:
  name: api
  namespace: team-a
spec:
  type: ExternalName
  externalName: https://api.example.com:8443/v1
`,
		Good: `apiVersion: v1
kind: Service
metadata:
  name: api
  namespace: team-a
spec:
  type: ExternalName
  externalName: api.example.com
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: api
  namespace: team-a
  annotations:
    ingress.kubernetes.io/preserve-host: "false"
    ingress.kubernetes.io/backend-protocol: HTTPS
    ingress.kubernetes.io/rewrite-target: /v1
spec:
  ingressClassName: drawbridge
  rules:
  - host: api.team-a.example
    http:
      paths:
      - path: /
        pathType: Prefix
        backend:
          service:
            name: api
            port:
              number: 8443
`,
		Since:  "0.1.0",
		Source: "https://www.rfc-editor.org/rfc/rfc1123#section-2.1",
	},
	Check: func(p *policy.Pass[*corev1.Service]) {
		svc := p.Object
		if !isExternalName(svc) || isName(svc.Spec.ExternalName) {
			return
		}
		l := locate(svc.Spec.ExternalName)
		if isIP(l.host) {
			return
		}
		p.Report(field.Invalid(externalNamePath, shown(svc.Spec.ExternalName), formatAdvice(l)), nil)
	},
}

// formatAdvice says what to write instead of a name that is none.
func formatAdvice(l location) string {
	name := strings.ToLower(strings.TrimRight(l.host, "."))
	if isName(name) && !isIP(name) {
		advice := fmt.Sprintf("must be a bare DNS name; write '%s'", quoted(name))
		switch {
		case l.port != "" && l.path != "" && l.path != "/":
			advice += fmt.Sprintf(", with port %s and the path in the Ingress", l.port)
		case l.port != "":
			advice += fmt.Sprintf(", with port %s in the Ingress backend", l.port)
		case l.scheme == "https":
			advice += ", with port 443 in the Ingress backend"
		case l.path != "" && l.path != "/":
			advice += ", with the path in the Ingress"
		}
		return advice
	}
	switch {
	case strings.Contains(name, "*"):
		return "must be one DNS name, without '*'; write a Service for each name"
	case strings.Contains(name, "_"):
		return "must be the DNS name of a host, which has no '_'; ask for a name that has none"
	case len(name) > 253:
		return "must be a DNS name of at most 253 characters"
	}
	return "must be a DNS name such as 'api.example.com': letters, digits and '-', in labels of at most 63 characters"
}

// quoted is text of an object as it may stand in a message: not longer than a name that one can read.
func quoted(s string) string {
	const limit = 80
	r := []rune(s)
	if len(r) <= limit {
		return s
	}
	return string(r[:limit-1]) + "…"
}
