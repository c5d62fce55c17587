package rules

import (
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
)

var endpointSlicePortName = policy.Rule[*discoveryv1.EndpointSlice]{
	ID:      "endpointslice-port-name",
	Levels:  policy.Same(policy.Fix),
	Injects: policy.InjectPortNames,
	Unfixed: policy.Deny,
	Doc: policy.Doc{
		Summary: "The ports of an EndpointSlice must have the names of the Service's ports.",
		Why:     portNamesWhy,
		Bad: `apiVersion: v1
kind: Service
metadata:
  name: billing
  namespace: team-a
spec:
  ports:
  - name: https
    port: 443
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
- name: webhook
  port: 443
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
  - name: https
    port: 443
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
- name: https
  port: 443
  protocol: TCP
endpoints:
- addresses:
  - 192.0.2.10
`,
		Since:  "0.1.0",
		Source: "https://kubernetes.io/docs/concepts/services-networking/service/#endpointslices",
	},
	Check: func(p *policy.Pass[*discoveryv1.EndpointSlice]) {
		slice := p.Object
		name := slice.Labels[discoveryv1.LabelServiceName]
		owned, foreign := sliceManager(slice)
		if name == "" || owned {
			return
		}
		if _, reserved := reservedManagers[slice.Labels[discoveryv1.LabelManagedBy]]; reserved && foreign {
			return
		}
		svc := p.World.Service(slice.Namespace, name)
		if !ownEndpoints(svc) {
			return
		}
		// Another controller may have its reasons: its slices are told of, and never stopped.
		report := func(err *field.Error, fix func(*discoveryv1.EndpointSlice)) {
			if foreign {
				p.Warn(err)
				return
			}
			p.Report(err, fix)
		}
		ports := policy.SlicePorts(slice)
		names, matched := policy.PortNames(svc.Spec.Ports, ports)
		for i, name := range names {
			if name == ports[i].Name {
				continue
			}
			report(field.Required(portsPath.Index(i).Child("name"), filled(svc, name)),
				func(s *discoveryv1.EndpointSlice) { s.Ports[i].Name = &name })
		}
		if !anyOf(matched) {
			report(unmatched(svc, portsPath, ports), nil)
			return
		}
		// A Service's ports may be spread over its slices.
		if servedBeside(p.World, svc, matched, func(other *discoveryv1.EndpointSlice) bool { return other.Name != slice.Name }) {
			unserved(svc, matched, portsPath, p.Warn)
		}
	},
}

var portsPath = field.NewPath("ports")
