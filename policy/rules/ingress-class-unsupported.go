package rules

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/intent"
)

var ingressClassUnsupported = policy.Rule[*networkingv1.Ingress]{
	ID:     "ingress-class-unsupported",
	Levels: policy.Same(policy.Warn),
	Doc: policy.Doc{
		Summary: "An Ingress must lead to an ExternalName Service only under a class that serves one.",
		Why: "Many controllers refuse ExternalName, or do until an administrator sets a flag, because it lends their network " +
			"position to whoever may write a Service. The route answers with 404 or 503 then, and a line in the controller's log " +
			"is all that tells. A Service without selector and an EndpointSlice with the addresses work under every class.",
		Bad: `apiVersion: v1
kind: Service
metadata:
  name: api
  namespace: team-a
spec:
  type: ExternalName
  externalName: api.example.com
  ports:
  - port: 80
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: api
  namespace: team-a
spec:
  ingressClassName: cilium
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
		Good: exampleAddresses + `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: partner
  namespace: team-a
spec:
  ingressClassName: cilium
  rules:
  - host: partner.team-a.example
    http:
      paths:
      - path: /
        pathType: Prefix
        backend:
          service:
            name: partner
            port:
              number: 80
`,
		Since:  "0.2.0",
		Source: "CVE-2021-32783 and GHSA-mxxc-p822-2hx9, after which Contour, Traefik and Skipper switched it off",
	},
	Check: func(p *policy.Pass[*networkingv1.Ingress]) {
		if spared(p.Object) {
			return
		}
		d, served := dialectOf(p)
		if !served || d.Aliases.State != intent.AliasOff && d.Aliases.State != intent.AliasNever {
			return
		}
		detail := fmt.Sprintf("must not be an ExternalName: %s serves none", d.Title)
		if d.Aliases.State == intent.AliasOff {
			detail = fmt.Sprintf("must not be an ExternalName: %s serves none without `%s`", d.Title, d.Aliases.Flag)
		}
		if d.Aliases.Instead != "" {
			detail += "; " + d.Aliases.Instead
		}
		services := lookupOf[struct{}](p)
		findings := limited{report: func(err *field.Error) { p.Report(err, nil) }}
		for _, at := range backendsOf(p.Object) {
			if at.Service == nil {
				continue
			}
			if k, fresh := services.get(at.Service.Name); fresh && k.svc != nil && k.svc.Spec.Type == corev1.ServiceTypeExternalName {
				findings.add(func() *field.Error {
					return field.Invalid(at.field().Child("service", "name"), at.Service.Name, detail)
				})
			}
		}
		findings.done(field.NewPath("spec"), "backends must not be ExternalName Services")
	},
}
