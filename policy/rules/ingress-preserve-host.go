package rules

import (
	"fmt"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/intent"
)

var ingressPreserveHost = policy.Rule[*networkingv1.Ingress]{
	ID:     "ingress-preserve-host",
	Levels: policy.Same(policy.Fix),
	Doc: policy.Doc{
		Summary: "An Ingress whose backends are all ExternalName Services with one public name must send that name as Host.",
		Why: "A proxy passes the Host of the client on. A site outside the cluster has never heard of the Ingress's host: it " +
			"answers with 404, a redirect to itself or a stranger's page, and its certificate does not fit. The annotation is " +
			"written in the words of the Ingress's class, and never beside one that already says something of the Host.",
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
              number: 80
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
              number: 80
`,
		Since:  "0.1.0",
		Source: "https://kubernetes.io/docs/concepts/services-networking/service/#externalname",
	},
	Check: func(p *policy.Pass[*networkingv1.Ingress]) {
		d, list, ok := upstreams(p, intent.WishHost, func(b intent.Backend) bool {
			return b.Kind == intent.ExternalName && !b.Internal && isName(b.Name) && !isIP(b.Name)
		})
		if !ok {
			return
		}
		wishes := intent.Read(d, p.Object.Annotations)
		host := ""
		for i, b := range list {
			h := wishes.For(b).Host
			if i > 0 && (h != host || b.Name != list[0].Name) {
				return
			}
			host = h
		}
		written, ok := d.Spell(intent.WishHost, "node", intent.Target{Host: host})
		if !ok {
			return
		}
		annotation, text := written[0].Key, written[0].Text
		gets := "its own name"
		if text != host {
			gets += fmt.Sprintf(", '%s',", quoted(host))
		}
		p.Report(field.Required(annotationPath(annotation),
			fmt.Sprintf("must be '%s', so that the external site gets %s as Host", quoted(text), gets)),
			func(ing *networkingv1.Ingress) { intent.Inject(ing, annotation, text) })
	},
}
