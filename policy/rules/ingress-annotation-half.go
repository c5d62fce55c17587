package rules

import (
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/intent"
)

var ingressAnnotationHalf = policy.Rule[*networkingv1.Ingress]{
	ID:     "ingress-annotation-half",
	Levels: policy.Same(policy.Warn),
	Doc: policy.Doc{
		Summary: "An Ingress to an external backend must have both of two annotations where one alone does nothing.",
		Why: "ingress-nginx passes over every proxy-ssl-* annotation as long as there is no proxy-ssl-secret: who writes " +
			"proxy-ssl-verify \"on\" believes that the upstream's certificate is verified, and it is not. Other controllers have " +
			"pairs of their own: a CA without TLS, a name without the switch that sends it. Which ones, the table of dialects " +
			"holds for each; Ingresses to pods alone are left alone.",
		Bad: exampleAlias + `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: api
  namespace: team-a
  annotations:
    nginx.ingress.kubernetes.io/upstream-vhost: api.example.com
    nginx.ingress.kubernetes.io/backend-protocol: HTTPS
    nginx.ingress.kubernetes.io/proxy-ssl-verify: "on"
    nginx.ingress.kubernetes.io/proxy-ssl-name: api.example.com
    nginx.ingress.kubernetes.io/proxy-ssl-server-name: "on"
spec:
  ingressClassName: nginx
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
		Good: exampleAlias + `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: api
  namespace: team-a
  annotations:
    nginx.ingress.kubernetes.io/upstream-vhost: api.example.com
    nginx.ingress.kubernetes.io/backend-protocol: HTTPS
    nginx.ingress.kubernetes.io/proxy-ssl-secret: team-a/public-cas
    nginx.ingress.kubernetes.io/proxy-ssl-verify: "on"
    nginx.ingress.kubernetes.io/proxy-ssl-name: api.example.com
    nginx.ingress.kubernetes.io/proxy-ssl-server-name: "on"
spec:
  ingressClassName: nginx
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
		Since:  "0.2.0",
		Source: "https://github.com/kubernetes/ingress-nginx/issues/6728, https://github.com/jcmoraisjr/haproxy-ingress/issues/1072",
	},
	Check: func(p *policy.Pass[*networkingv1.Ingress]) {
		ing := p.Object
		if spared(ing) {
			return
		}
		d, served := dialectOf(p)
		if !served || len(d.Pairs) == 0 {
			return
		}
		findings := limited{report: func(err *field.Error) { p.Report(err, nil) }}
		seen := map[halfAt]bool{}
		for _, t := range targetsOf(p) {
			b, _, err := d.BackendOf(t.svc, t.Service.Port, p.Config.ClusterDomain)
			if err != nil || !b.External() {
				continue
			}
			for _, half := range d.Halves(ing.Annotations, t.svc, t.Service.Port, b) {
				path, bad := annotationPath(half.Annotation), ing.Annotations[half.Annotation]
				if half.On == intent.OnService {
					path, bad = t.field().Child("service", "name"), half.Annotation
				}
				// What one annotation would make whole is one mistake, however many lack it.
				if key := keyPlace(half, t.svc.Name); !seen[key] {
					seen[key] = true
					findings.add(func() *field.Error {
						return field.Invalid(path, bad, "must not stand alone; "+half.Write+": it "+half.Why)
					})
				}
			}
		}
		findings.done(field.NewPath("metadata", "annotations"), "annotations must not stand alone")
	},
}

// halfAt is a pair that is not whole, and the Service that it stands on where it is not the Ingress.
type halfAt struct {
	pair    *intent.Pair
	service string
}

func keyPlace(half intent.Half, service string) halfAt {
	if half.On == intent.OnIngress {
		service = ""
	}
	return halfAt{half.Pair, service}
}
