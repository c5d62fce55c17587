package rules

import (
	"fmt"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/intent"
)

var ingressSharedBackend = policy.Rule[*networkingv1.Ingress]{
	ID:     "ingress-shared-backend",
	Levels: policy.Same(policy.Warn),
	Doc: policy.Doc{
		Summary: "An Ingress under HAProxy Technologies' controller must say the same of an external Service as other Ingresses to it.",
		Why: "That controller makes one backend of a Service port, whichever Ingress leads there, and writes it anew for each of " +
			"them: which Ingress's TLS annotations count changes from one reload to the next. standalone-backend \"true\" gives an " +
			"Ingress a backend of its own; an annotation on the Service counts for all. Ingresses to pods are left alone.",
		Bad: `apiVersion: v1
kind: Service
metadata:
  name: partner
  namespace: team-a
spec:
  ports:
  - name: api
    port: 8443
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata:
  name: edge
spec:
  controller: haproxy.org/ingress-controller
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: public
  namespace: team-a
  annotations:
    haproxy.org/server-ssl: "true"
spec:
  ingressClassName: edge
  rules:
  - host: public.team-a.example
    http:
      paths:
      - path: /
        pathType: Prefix
        backend:
          service:
            name: partner
            port:
              number: 8443
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: internal
  namespace: team-a
spec:
  ingressClassName: edge
  rules:
  - host: internal.team-a.example
    http:
      paths:
      - path: /
        pathType: Prefix
        backend:
          service:
            name: partner
            port:
              number: 8443
`,
		Good: `apiVersion: v1
kind: Service
metadata:
  name: partner
  namespace: team-a
  annotations:
    haproxy.org/server-ssl: "true"
spec:
  ports:
  - name: api
    port: 8443
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata:
  name: edge
spec:
  controller: haproxy.org/ingress-controller
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: public
  namespace: team-a
spec:
  ingressClassName: edge
  rules:
  - host: public.team-a.example
    http:
      paths:
      - path: /
        pathType: Prefix
        backend:
          service:
            name: partner
            port:
              number: 8443
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: internal
  namespace: team-a
spec:
  ingressClassName: edge
  rules:
  - host: internal.team-a.example
    http:
      paths:
      - path: /
        pathType: Prefix
        backend:
          service:
            name: partner
            port:
              number: 8443
`,
		Since:  "0.2.0",
		Source: "https://github.com/haproxytech/kubernetes-ingress/blob/master/pkg/service/service.go, GetBackendName and New",
	},
	Check: func(p *policy.Pass[*networkingv1.Ingress]) {
		ing := p.Object
		if spared(ing) {
			return
		}
		d, served := dialectOf(p)
		if !served || d != intent.Haproxytech || standsAlone(ing.Annotations) {
			return
		}
		left := maxCompared
		findings := limited{report: func(err *field.Error) { p.Report(err, nil) }}
		for _, t := range targetsOf(p) {
			b, _, err := d.BackendOf(t.svc, t.Service.Port, p.Config.ClusterDomain)
			if err != nil || !b.External() || standsAlone(t.svc.Annotations) {
				continue
			}
			other, wish := quarrel(p, d, t, &left)
			if other == nil {
				continue
			}
			findings.add(func() *field.Error {
				return field.Invalid(t.field().Child("service", "name"), t.svc.Name, fmt.Sprintf(
					"must not lead to a backend of which Ingress '%s' says another %s: the two share it; write the annotation on the Service, or add `%s`: 'true'",
					quoted(other.Name), wish, standaloneBackend))
			})
		}
		findings.done(field.NewPath("spec"), "backends must be spoken of alike by all Ingresses")
	},
}

const standaloneBackend = "haproxy.org/standalone-backend"

// standsAlone tells that the backends of an Ingress or a Service are no other Ingress's too.
func standsAlone(annotations map[string]string) bool {
	for _, prefix := range intent.Haproxytech.Prefixes {
		if strings.TrimSpace(annotations[prefix+keyName(standaloneBackend)]) == "true" {
			return true
		}
	}
	return false
}

// sharedWishes are those that the controller writes into the backend.
var sharedWishes = [...]intent.Wish{intent.WishProtocol, intent.WishVerify, intent.WishCASecret, intent.WishClientCert}

// maxCompared bounds the backends of other Ingresses that one is compared with: each of many may lead to each of many
// Services. What is left then is not judged.
const maxCompared = 1 << 14

// quarrel finds an Ingress of the same class that says something else of a backend, and what of. left is what may still
// be compared.
func quarrel(p *policy.Pass[*networkingv1.Ingress], d *intent.Dialect, t targetAt, left *int) (other *networkingv1.Ingress, wish intent.Wish) {
	ing := p.Object
	mine := intent.ReadBackend(d, ing.Annotations, t.svc, t.Service.Port)
	for _, o := range p.World.IngressesTo(ing.Namespace, t.svc.Name) {
		if o.Name == ing.Name || intent.ClassName(o) != intent.ClassName(ing) || standsAlone(o.Annotations) {
			continue
		}
		backends := backendsOf(o)
		if *left -= len(backends); *left < 0 {
			return nil, 0
		}
		if !slices.ContainsFunc(backends, func(at backendAt) bool {
			return at.Service != nil && at.Service.Name == t.svc.Name && at.Service.Port == t.Service.Port
		}) {
			continue
		}
		theirs := intent.ReadBackend(d, o.Annotations, t.svc, t.Service.Port)
		for _, wish := range sharedWishes {
			a, _ := mine.Get(wish)
			b, _ := theirs.Get(wish)
			if a != b {
				return o, wish
			}
		}
	}
	return nil, 0
}
