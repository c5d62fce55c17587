package rules

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
)

var ingressBackendPort = policy.Rule[*networkingv1.Ingress]{
	ID:     "ingress-backend-port",
	Levels: policy.Same(policy.Warn),
	Doc: policy.Doc{
		Summary: "An Ingress must name a port that the Service declares.",
		Why: "A backend's port is a port of the Service, by name or by number, and not that of the pods behind it. Where the " +
			"Service has no such port, the route has no endpoints: 503. An ExternalName needs no ports under most controllers; " +
			"under those that serve none without, such as Traefik, it must declare the one that is asked for.",
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
            name: web
            port:
              number: 8080
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
              name: http
`,
		Since:  "0.2.0",
		Source: "https://kubernetes.io/docs/reference/kubernetes-api/service-resources/ingress-v1/#IngressBackend",
	},
	Check: func(p *policy.Pass[*networkingv1.Ingress]) {
		if spared(p.Object) {
			return
		}
		findings := limited{report: func(err *field.Error) { p.Report(err, nil) }}
		for _, t := range targetsOf(p) {
			if isAnnotationPort(t.Service.Port) || declares(t.svc, t.Service.Port) {
				continue
			}
			why := ""
			if t.svc.Spec.Type == corev1.ServiceTypeExternalName {
				// A name is for ingress-external-name-port-name to judge.
				d, ok := dialectOf(p)
				if !ok || !d.NeedsPort || t.Service.Port.Name != "" {
					continue
				}
				why = fmt.Sprintf("must be declared in the ports of Service '%s': %s serves no other port of an ExternalName; write 'ports: [{port: %d}]' there",
					quoted(t.svc.Name), d.Title, t.Service.Port.Number)
			}
			findings.add(func() *field.Error {
				path := t.field().Child("service", "port")
				if why == "" {
					why = portChoice(t.svc)
				}
				if t.Service.Port.Name != "" {
					return field.Invalid(path.Child("name"), t.Service.Port.Name, why)
				}
				return field.Invalid(path.Child("number"), t.Service.Port.Number, why)
			})
		}
		findings.done(field.NewPath("spec"), "backends must name a port that their Service declares")
	},
}

// declares tells whether a Service has a port that an Ingress means.
func declares(svc *corev1.Service, port networkingv1.ServiceBackendPort) bool {
	return slices.ContainsFunc(svc.Spec.Ports, func(sp corev1.ServicePort) bool {
		return port.Name != "" && sp.Name == port.Name || port.Name == "" && sp.Port == port.Number
	})
}

// portChoice says which ports of a Service an Ingress can name.
func portChoice(svc *corev1.Service) string {
	if len(svc.Spec.Ports) == 0 {
		return fmt.Sprintf("must be a port of Service '%s', which declares none", quoted(svc.Name))
	}
	const shown = 4
	var ports []string
	for _, sp := range svc.Spec.Ports[:min(len(svc.Spec.Ports), shown+1)] {
		text := fmt.Sprint(sp.Port)
		if sp.Name != "" {
			text += " (" + sp.Name + ")"
		}
		ports = append(ports, text)
	}
	if n := len(svc.Spec.Ports); n > shown {
		return fmt.Sprintf("must be a port of Service '%s': %s and %d more", quoted(svc.Name), listed(ports[:shown], shown), n-shown)
	}
	return fmt.Sprintf("must be a port of Service '%s': %s", quoted(svc.Name), listed(ports, shown))
}
