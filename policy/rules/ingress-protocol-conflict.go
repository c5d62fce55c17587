package rules

import (
	"fmt"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/intent"
)

var ingressProtocolConflict = policy.Rule[*networkingv1.Ingress]{
	ID:      "ingress-protocol-conflict",
	Levels:  policy.Same(policy.Deny),
	Unfixed: policy.Deny,
	Doc: policy.Doc{
		Summary: "An Ingress must not say two things about the protocol of its backends.",
		Why: "secure-backends \"true\" asks for TLS and backend-protocol HTTP asks for none: which one counts is an accident, and " +
			"the loser is what somebody believes. A protocol that contradicts the port of an external backend is a warning: " +
			"plain HTTP to port 443 gets an error page or nothing, TLS to port 80 fails with \"wrong version number\". Ports of " +
			"pods are not judged.",
		Bad: exampleAlias + `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: api
  namespace: team-a
  annotations:
    ingress.kubernetes.io/preserve-host: "false"
    ingress.kubernetes.io/backend-protocol: HTTP
    ingress.kubernetes.io/secure-backends: "true"
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
              number: 8080
`,
		Good: exampleAlias + `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: api
  namespace: team-a
  annotations:
    ingress.kubernetes.io/preserve-host: "false"
    ingress.kubernetes.io/backend-protocol: HTTPS
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
		Since:  "0.2.0",
		Source: "https://github.com/kubernetes/ingress-nginx/issues/4641, https://haproxy-ingress.github.io/docs/configuration/keys/#backend-protocol",
	},
	Check: func(p *policy.Pass[*networkingv1.Ingress]) {
		if spared(p.Object) {
			return
		}
		d, served := dialectOf(p)
		targets := targetsOf(p)
		reportConflicts(p, d, targets, intent.WishProtocol, protocolConflict, func(v intent.Voice) string { return "says " + strings.ToUpper(v.Value) })
		if served && !d.PassesTLS(p.Object.Annotations) {
			warnOfPorts(p, d, targets)
		}
	},
}

// protocolConflict tells whether two wishes for the protocol exclude each other. Only backend-protocol and
// secure-backends say it all by themselves; other dialects say TLS and HTTP/2 in two annotations.
func protocolConflict(a, b intent.Voice) bool {
	name, other := keyName(a.Annotation), keyName(b.Annotation)
	whole := func(name string) bool { return name == "backend-protocol" || name == "secure-backends" }
	switch {
	case !whole(name) || !whole(other):
		return false
	case name == other:
		return a.Value != b.Value
	}
	return intent.Protocol(a.Value).TLS() != intent.Protocol(b.Value).TLS()
}

// keyName is an annotation without its prefix.
func keyName(annotation string) string { return annotation[strings.LastIndexByte(annotation, '/')+1:] }

// warnOfPorts warns where the protocol that is asked for is not the one of an external backend's port.
func warnOfPorts(p *policy.Pass[*networkingv1.Ingress], d *intent.Dialect, targets []targetAt) {
	ing := p.Object
	mixed := isMixed(d, targets, p.Config.ClusterDomain)
	findings := limited{report: p.Warn}
	seen := map[string]bool{}
	for _, t := range targets {
		b, _, err := d.BackendOf(t.svc, t.Service.Port, p.Config.ClusterDomain)
		if err != nil || !b.External() {
			continue
		}
		w := intent.ReadBackend(d, ing.Annotations, t.svc, t.Service.Port)
		value, annotation := w.Get(intent.WishProtocol)
		// Beside pods the annotation may be theirs, and ingress-mixed-backends tells how to part them.
		if value == "" || mixed && w.Place(intent.WishProtocol) == intent.OnIngress {
			continue
		}
		detail := ""
		switch tls := intent.Protocol(value).TLS(); {
		case tls && speaksPlain(b):
			detail = fmt.Sprintf("must suit port %d of Service '%s', which speaks plain HTTP; write another port, or another protocol", b.Port, quoted(t.svc.Name))
		case !tls && speaksTLS(b):
			detail = fmt.Sprintf("must suit port %d of Service '%s', which speaks TLS; write HTTPS, or another port", b.Port, quoted(t.svc.Name))
		default:
			continue
		}
		path, bad := annotationPath(annotation), ing.Annotations[annotation]
		if w.Place(intent.WishProtocol) == intent.OnService {
			path, bad = t.field().Child("service", "name"), annotation
		}
		if key := path.String() + detail; !seen[key] {
			seen[key] = true
			findings.add(func() *field.Error { return field.Invalid(path, bad, detail) })
		}
	}
	findings.done(field.NewPath("spec"), "backends must speak the protocol that is asked for")
}

// speaksPlain tells that a port is declared as one without TLS, or is port 80 and says nothing else.
func speaksPlain(b intent.Backend) bool {
	switch strings.ToLower(b.AppProtocol) {
	case "http", "kubernetes.io/h2c", "kubernetes.io/ws":
		return true
	case "":
		return b.PortName == "http" || b.Port == 80 && !strings.HasPrefix(b.PortName, "https")
	}
	return false
}

// speaksTLS tells that everybody speaks TLS to a port.
func speaksTLS(b intent.Backend) bool { return b.Secure() && !speaksPlain(b) }
