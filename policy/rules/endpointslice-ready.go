package rules

import (
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
)

var endpointSliceReady = policy.Rule[*discoveryv1.EndpointSlice]{
	ID:      "endpointslice-ready",
	Levels:  policy.Same(policy.Off),
	Injects: policy.InjectReady,
	Doc: policy.Doc{
		Summary: "An EndpointSlice that somebody writes must say of each endpoint whether it is ready.",
		Why: "Where conditions.ready is not set Kubernetes takes it for true, and says so. Versions of ingress-nginx did not, and " +
			"crashed (nil pointer). The rule is off; a policy that sets it to fix has true written where nothing is said, but not " +
			"of an endpoint that is terminating or does not serve. Slices that a controller owns or another manager keeps are left alone.",
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
  conditions:
    ready: true
`,
		Since:  "0.2.0",
		Source: "https://github.com/kubernetes/ingress-nginx/pull/9550",
	},
	Check: func(p *policy.Pass[*discoveryv1.EndpointSlice]) {
		s := p.Object
		if owned, foreign := sliceManager(s); owned || foreign {
			return
		}
		for i := range s.Endpoints {
			c := s.Endpoints[i].Conditions
			if c.Ready != nil || c.Terminating != nil && *c.Terminating || c.Serving != nil && !*c.Serving {
				continue
			}
			p.Report(field.Required(endpointsPath.Index(i).Child("conditions", "ready"), "must be set, or some controllers crash; write 'true' for an endpoint that serves"),
				func(s *discoveryv1.EndpointSlice) { s.Endpoints[i].Conditions.Ready = new(true) })
		}
	},
}
