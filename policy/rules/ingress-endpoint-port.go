package rules

import (
	"fmt"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/intent"
)

var ingressEndpointPort = policy.Rule[*networkingv1.Ingress]{
	ID:     "ingress-endpoint-port",
	Levels: policy.Same(policy.Warn),
	Doc: policy.Doc{
		Summary: "An Ingress under Apache's Traffic Server controller must name the number of an endpoint port called http or https.",
		Why: "That controller never looks at the Service. It keeps endpoints under their own port number, so that the number in " +
			"the Ingress must be that of the endpoints and not that of the Service; a port's name in the Ingress counts as 0; and " +
			"the name of the endpoint port is taken for the scheme of the upstream, so that it must be http or https. Its class is " +
			"known where the policy says so (`classes`: dialect apache-trafficserver).",
		Bad: `# with a policy that says: classes: [{class: ats, dialect: apache-trafficserver}]
apiVersion: v1
kind: Service
metadata:
  name: partner
  namespace: team-a
spec:
  ports:
  - name: http
    port: 80
    targetPort: 8080
---
apiVersion: v1
kind: Endpoints
metadata:
  name: partner
  namespace: team-a
subsets:
- addresses:
  - ip: 192.0.2.10
  ports:
  - name: http
    port: 8080
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: partner
  namespace: team-a
spec:
  ingressClassName: ats
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
		Good: `# with a policy that says: classes: [{class: ats, dialect: apache-trafficserver}]
apiVersion: v1
kind: Service
metadata:
  name: partner
  namespace: team-a
spec:
  ports:
  - name: http
    port: 8080
---
apiVersion: v1
kind: Endpoints
metadata:
  name: partner
  namespace: team-a
subsets:
- addresses:
  - ip: 192.0.2.10
  ports:
  - name: http
    port: 8080
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: partner
  namespace: team-a
spec:
  ingressClassName: ats
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
              number: 8080
`,
		Since:  "0.2.0",
		Source: "https://github.com/apache/trafficserver-ingress-controller, watcher/handlerEndpoint.go and pluginats/connect_redis.lua",
	},
	Check: func(p *policy.Pass[*networkingv1.Ingress]) {
		if spared(p.Object) {
			return
		}
		if d, served := dialectOf(p); !served || d != intent.ApacheTrafficServer {
			return
		}
		findings := limited{report: func(err *field.Error) { p.Report(err, nil) }}
		behind, left := map[string][]policy.EndpointPort{}, maxCompared
		for _, t := range targetsOf(p) {
			path := t.field().Child("service", "port")
			if name := t.Service.Port.Name; name != "" {
				findings.add(func() *field.Error {
					return field.Invalid(path.Child("name"), name, "must be a number: Apache's Traffic Server controller reads no names; write that of the endpoints' port")
				})
				continue
			}
			ports, known := behind[t.svc.Name]
			if !known {
				ports = portsBehind(p.World, t)
				behind[t.svc.Name] = ports
			}
			if left -= len(ports); left < 0 {
				break
			}
			if detail := endpointPort(ports, t.Service.Port.Number); detail != "" {
				findings.add(func() *field.Error { return field.Invalid(path.Child("number"), t.Service.Port.Number, detail) })
			}
		}
		findings.done(field.NewPath("spec"), "backends must name the port of their endpoints")
	},
}

// portsBehind lists the ports of the endpoints of a Service: of its Endpoints, else of its slices, which become such, as
// far as they are looked at.
func portsBehind(w policy.World, t targetAt) []policy.EndpointPort {
	var ports []policy.EndpointPort
	if ep := w.Endpoints(t.svc.Namespace, t.svc.Name); ep != nil {
		for i := range ep.Subsets {
			ports = append(ports, policy.SubsetPorts(&ep.Subsets[i])...)
		}
		return ports
	}
	list := w.EndpointSlices(t.svc.Namespace, t.svc.Name)
	for _, s := range list[:min(len(list), maxSiblings)] {
		ports = append(ports, policy.SlicePorts(s)...)
	}
	return ports
}

// endpointPort says what is wrong with a port number; empty where it is right, or no endpoint is known.
func endpointPort(ports []policy.EndpointPort, number int32) string {
	var numbers []string
	seen := map[int32]bool{}
	for _, port := range ports {
		switch {
		case port.Port != number:
			if !seen[port.Port] {
				seen[port.Port] = true
				numbers = append(numbers, fmt.Sprint(port.Port))
			}
		case port.Name == "http" || port.Name == "https":
			return ""
		default:
			return fmt.Sprintf("must be a port that the endpoints call 'http' or 'https', the scheme of the upstream; there it is '%s'", quoted(port.Name))
		}
	}
	if len(numbers) == 0 {
		return ""
	}
	return "must be the port of the endpoints, which this controller looks for, and not that of the Service: " + listed(numbers, 4)
}
