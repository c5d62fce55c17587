package rules

import (
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/intent"
)

const portNameID = "ingress-external-name-port-name"

var portNameDoc = policy.Doc{
	Summary: "An Ingress must name the port of an ExternalName Service by number.",
	Why: "A port name is looked up in the Service's ports and endpoints. An ExternalName Service is a DNS name: it needs no " +
		"ports, and most controllers look at none, so that the route has no port to connect to. Where the class is known " +
		"to find the name and the Service declares it, this is a warning. The requirement is held from both sides: a " +
		"Service can not become an ExternalName under an Ingress that names its port.",
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
              name: http
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
	Source: "https://github.com/apache/trafficserver-ingress-controller, which the ingress.kubernetes.io annotations come from: \"the servicePort must be an integer\"",
}

var ingressExternalNamePortName = policy.Rule[*networkingv1.Ingress]{
	ID:      portNameID,
	Levels:  policy.Same(policy.Deny),
	Unfixed: policy.Deny,
	Doc:     portNameDoc,
	Check: func(p *policy.Pass[*networkingv1.Ingress]) {
		var d *intent.Dialect
		for _, at := range backendsOf(p.Object) {
			if at.Service == nil || at.Service.Port.Name == "" {
				continue
			}
			svc := p.World.Service(p.Object.Namespace, at.Service.Name)
			if svc == nil || svc.Spec.Type != corev1.ServiceTypeExternalName {
				continue
			}
			if d == nil {
				d, _ = p.Config.DialectOf(p.Object, p.World.IngressClass)
			}
			path, name := at.field().Child("service", "port", "name"), at.Service.Port.Name
			if named(d, svc, at.Service.Port, p.Config.ClusterDomain) {
				p.Report(field.Invalid(path, name, fmt.Sprintf("must be a number: Service '%s' is an ExternalName, whose ports have no names; %s",
					quoted(svc.Name), numberOf(svc, name))), nil)
				continue
			}
			// Of another type than the denial, so that the ratchet tells the two apart.
			p.Warn(unsupported(path, name, fmt.Sprintf(
				"must be a number under other Ingress classes: Service '%s' is an ExternalName; %s", quoted(svc.Name), numberOf(svc, name))))
		}
	},
}

// ingressExternalNamePortNameService holds the same requirement where the Service comes after its Ingresses.
var ingressExternalNamePortNameService = policy.Rule[*corev1.Service]{
	ID:      portNameID,
	Levels:  policy.Same(policy.Deny),
	Unfixed: policy.Deny,
	Doc:     portNameDoc,
	Check: func(p *policy.Pass[*corev1.Service]) {
		svc := p.Object
		if svc.Spec.Type != corev1.ServiceTypeExternalName {
			return
		}
		var denied, warned namers
		for _, ing := range p.World.IngressesTo(svc.Namespace, svc.Name) {
			var d *intent.Dialect
			for _, at := range backendsOf(ing) {
				if at.Service == nil || at.Service.Name != svc.Name || at.Service.Port.Name == "" {
					continue
				}
				if d == nil {
					d, _ = p.Config.DialectOf(ing, p.World.IngressClass)
				}
				if named(d, svc, at.Service.Port, p.Config.ClusterDomain) {
					denied.add(ing.Name, at.Service.Port.Name)
				} else {
					warned.add(ing.Name, at.Service.Port.Name)
				}
			}
		}
		path, kind := field.NewPath("spec", "type"), string(corev1.ServiceTypeExternalName)
		if denied.ingresses != nil {
			p.Report(field.Invalid(path, kind, "must not be ExternalName while "+denied.String()+"; write the number there first"), nil)
		}
		if warned.ingresses != nil {
			p.Warn(unsupported(path, kind, warned.String()+"; write the number there: other Ingress classes need it"))
		}
	},
}

// named tells whether nothing resolves the port's name for an ExternalName Service.
func named(d *intent.Dialect, svc *corev1.Service, port networkingv1.ServiceBackendPort, clusterDomain string) bool {
	_, _, err := d.BackendOf(svc, port, clusterDomain)
	var unresolved *intent.PortError
	return errors.As(err, &unresolved)
}

func unsupported(path *field.Path, value, detail string) *field.Error {
	return &field.Error{Type: field.ErrorTypeNotSupported, Field: path.String(), BadValue: value, Detail: detail}
}

// numberOf is what to write for the port: its number where the Service says it.
func numberOf(svc *corev1.Service, name string) string {
	for _, p := range svc.Spec.Ports {
		if p.Name == name {
			return fmt.Sprintf("write 'number: %d'", p.Port)
		}
	}
	return "write its number"
}

// namers are the Ingresses that name a port of a Service, and the names, each once.
type namers struct {
	ingresses, ports []string
	seen             map[string]bool
}

// add is called Ingress by Ingress.
func (n *namers) add(ingress, port string) {
	if last := len(n.ingresses) - 1; last < 0 || n.ingresses[last] != ingress {
		n.ingresses = append(n.ingresses, ingress)
	}
	if !n.seen[port] {
		if n.seen == nil {
			n.seen = map[string]bool{}
		}
		n.seen[port] = true
		n.ports = append(n.ports, port)
	}
}

func (n *namers) String() string {
	verb, ingresses := "names", "Ingress "
	if len(n.ingresses) > 1 {
		verb, ingresses = "name", "Ingresses "
	}
	return ingresses + listed(n.ingresses, 3) + " " + verb + " its port " + listed(n.ports, 2)
}

// listed writes names for a message: quoted, at most limit of them, and how many more there are.
func listed(names []string, limit int) string {
	more := ""
	if n := len(names) - limit; n > 0 {
		more = fmt.Sprintf(" and %d more", n)
		names = names[:limit]
	}
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = "'" + quoted(name) + "'"
	}
	return strings.Join(out, ", ") + more
}
