package rules

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
)

var endpointSlicePorts = policy.Rule[*discoveryv1.EndpointSlice]{
	ID:      "endpointslice-ports",
	Levels:  policy.Same(policy.Deny),
	Milder:  policy.Same(policy.Warn),
	Unfixed: policy.Deny,
	Doc: policy.Doc{
		Summary: "An EndpointSlice must have ports, each with a number and a name of its own.",
		Why: "Two ports of one name are one port to whoever matches by name; the API server refuses them, which is denied here with " +
			"words that say so. A slice without ports, or with one without a number, means every port: legal for a headless Service, " +
			"whose clients bring the port along, and no port at all to kube-proxy and Ingress controllers, of which some crashed. " +
			"That is warned of. Slices that a controller owns or another manager keeps are not judged.",
		Bad: `apiVersion: v1
kind: Service
metadata:
  name: billing
  namespace: team-a
spec:
  ports:
  - name: http
    port: 80
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: billing-1
  namespace: team-a
  labels:
    kubernetes.io/service-name: billing
    endpointslice.kubernetes.io/managed-by: hand-written.drawbridge.dev
addressType: IPv4
ports:
- name: http
  port: 80
  protocol: TCP
- name: http
  port: 8080
  protocol: TCP
endpoints:
- addresses:
  - 192.0.2.10
`,
		Good: `apiVersion: v1
kind: Service
metadata:
  name: billing
  namespace: team-a
spec:
  ports:
  - name: http
    port: 80
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: billing-1
  namespace: team-a
  labels:
    kubernetes.io/service-name: billing
    endpointslice.kubernetes.io/managed-by: hand-written.drawbridge.dev
addressType: IPv4
ports:
- name: http
  port: 80
  protocol: TCP
endpoints:
- addresses:
  - 192.0.2.10
`,
		Since:  "0.2.0",
		Source: "https://github.com/kubernetes/ingress-nginx/issues/9606",
	},
	Check: func(p *policy.Pass[*discoveryv1.EndpointSlice]) {
		s := p.Object
		if owned, foreign := sliceManager(s); owned || foreign {
			return
		}
		svc := p.World.Service(s.Namespace, s.Labels[discoveryv1.LabelServiceName])
		// Whether the ports suit those of the Service is for endpointslice-port-name to say.
		named := ownEndpoints(svc)
		headless := svc != nil && svc.Spec.ClusterIP == corev1.ClusterIPNone
		if len(s.Ports) == 0 && !named && !headless && (svc == nil || svc.Spec.Type != corev1.ServiceTypeExternalName) {
			p.Mild(field.Required(portsPath, "must list the ports that the endpoints serve: a name, a number and a protocol each"), nil)
		}
		twice := limited{report: func(err *field.Error) { p.Report(err, nil) }}
		without := limited{report: func(err *field.Error) { p.Mild(err, nil) }}
		first := make(map[string]int, len(s.Ports))
		for i, port := range s.Ports {
			name := ""
			if port.Name != nil {
				name = *port.Name
			}
			if at, taken := first[name]; !taken {
				first[name] = i
			} else if name != "" || !named {
				twice.add(func() *field.Error {
					return field.Invalid(portsPath.Index(i).Child("name"), name,
						fmt.Sprintf("must not be the name of two ports, and is that of `ports[%d]` too; write each port's name in the Service", at))
				})
			}
			if port.Port == nil && !headless {
				without.add(func() *field.Error {
					return field.Required(portsPath.Index(i).Child("port"), "must be a number, or the port is every port to some and none to others")
				})
			}
		}
		twice.done(portsPath, "ports that must have names of their own")
		without.done(portsPath, "ports that must have numbers")
	},
}
