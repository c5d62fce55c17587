package rules

import (
	"fmt"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
)

var endpointSliceServiceMissing = policy.Rule[*discoveryv1.EndpointSlice]{
	ID:     "endpointslice-service-missing",
	Levels: policy.Same(policy.Warn),
	Doc: policy.Doc{
		Summary: "An EndpointSlice must belong to a Service that exists.",
		Why: "The label kubernetes.io/service-name joins a slice to its Service. Where there is none of that name, nothing reads " +
			"the slice. It is a warning and no more, as files are applied in any order. " +
			"Slices that a controller owns or another manager keeps are not judged.",
		Bad: `apiVersion: discovery.k8s.io/v1
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
`,
		Since:  "0.2.0",
		Source: "https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#ownership",
	},
	Check: func(p *policy.Pass[*discoveryv1.EndpointSlice]) {
		s := p.Object
		if owned, foreign := sliceManager(s); owned || foreign {
			return
		}
		name := s.Labels[discoveryv1.LabelServiceName]
		if name == "" || p.World.Service(s.Namespace, name) != nil {
			return
		}
		p.Warn(field.Invalid(labelPath(discoveryv1.LabelServiceName), name,
			fmt.Sprintf("must be the name of a Service; there is no Service '%s' in this namespace yet", quoted(name))))
	},
}
