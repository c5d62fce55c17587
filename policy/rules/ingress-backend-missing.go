package rules

import (
	"fmt"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
)

var ingressBackendMissing = policy.Rule[*networkingv1.Ingress]{
	ID:     "ingress-backend-missing",
	Levels: policy.Same(policy.Warn),
	Doc: policy.Doc{
		Summary: "An Ingress must send its traffic to Services that exist.",
		Why: "A backend is a Service of the Ingress's own namespace. Where there is none of that name, controllers answer with " +
			"503 or 404, or with their default backend, whose page hides what is wrong. It is a warning, because files are " +
			"applied in any order. A port called use-annotation is a mark of AWS's controller, for which no Service needs to be there.",
		Bad: exampleWeb + `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web
  namespace: team-a
spec:
  ingressClassName: drawbridge
  rules:
  - host: web.team-a.example
    http:
      paths:
      - path: /
        pathType: Prefix
        backend:
          service:
            name: wbe
            port:
              number: 80
`,
		Good: exampleWeb + `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web
  namespace: team-a
spec:
  ingressClassName: drawbridge
  rules:
  - host: web.team-a.example
    http:
      paths:
      - path: /
        pathType: Prefix
        backend:
          service:
            name: web
            port:
              number: 80
`,
		Since:  "0.2.0",
		Source: "https://kubernetes.io/docs/concepts/services-networking/ingress/#the-ingress-resource",
	},
	Check: func(p *policy.Pass[*networkingv1.Ingress]) {
		if _, blind := p.World.(policy.Nothing); blind || spared(p.Object) {
			return
		}
		services := lookupOf[struct{}](p)
		findings := limited{report: func(err *field.Error) { p.Report(err, nil) }}
		for _, at := range backendsOf(p.Object) {
			if at.Service == nil || isAnnotationPort(at.Service.Port) {
				continue
			}
			if k, fresh := services.get(at.Service.Name); k.svc != nil || !fresh {
				continue
			}
			findings.add(func() *field.Error {
				err := field.NotFound(at.field().Child("service", "name"), at.Service.Name)
				err.Detail = fmt.Sprintf("must be a Service of namespace '%s'; until there is one, its paths answer with an error", p.Object.Namespace)
				return err
			})
		}
		findings.done(field.NewPath("spec"), "backends must be Services that exist")
	},
}
