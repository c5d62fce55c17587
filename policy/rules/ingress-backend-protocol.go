package rules

import (
	"fmt"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/intent"
)

var ingressBackendProtocol = policy.Rule[*networkingv1.Ingress]{
	ID:     "ingress-backend-protocol",
	Levels: policy.Same(policy.Fix),
	Doc: policy.Doc{
		Summary: "An Ingress whose backends are all outside the cluster and speak TLS must say that they do.",
		Why: "Ingress controllers speak plain HTTP to a backend, whatever its port is. A site on port 443 answers that with " +
			"an error, or not at all. External means an ExternalName Service or one without selector; TLS is what port 443, " +
			"a port named https and appProtocol https stand for. Ingresses to pods are left alone.",
		Bad: `apiVersion: v1
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
              number: 443
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
              number: 443
`,
		Since:  "0.1.0",
		Source: "https://github.com/kubernetes/ingress-nginx/blob/main/docs/user-guide/nginx-configuration/annotations.md#backend-protocol",
	},
	Check: func(p *policy.Pass[*networkingv1.Ingress]) {
		var none intent.Wishes
		d, _, ok := upstreams(p, intent.WishProtocol, func(b intent.Backend) bool {
			// appProtocol may say something else of a port 443, such as h2c.
			return b.External() && none.For(b).Protocol == intent.HTTPS
		})
		if !ok {
			return
		}
		written, ok := d.Spell(intent.WishProtocol, string(intent.HTTPS), intent.Target{})
		if !ok {
			return
		}
		annotation, text := written[0].Key, written[0].Text
		p.Report(field.Required(annotationPath(annotation),
			fmt.Sprintf("must be '%s': every backend is an external one that speaks TLS", text)),
			func(ing *networkingv1.Ingress) { intent.Inject(ing, annotation, text) })
	},
}
