package rules

import (
	"fmt"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
)

var endpointSliceServiceSelector = policy.Rule[*discoveryv1.EndpointSlice]{
	ID:     "endpointslice-service-selector",
	Levels: policy.Same(policy.Warn),
	Doc: policy.Doc{
		Summary: "An EndpointSlice that somebody writes must not belong to a Service with a selector.",
		Why: "The control plane adds the slices of the pods that the selector finds: traffic is spread over both, and nobody " +
			"sees from the Service that some of it leaves the cluster. Where that is meant, during a migration for instance, " +
			"say so by the annotation. Slices that a controller owns or another manager keeps are not judged.",
		Bad: `apiVersion: v1
kind: Service
metadata:
  name: billing
  namespace: team-a
spec:
  selector:
    app: billing
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
`,
		Since:  "0.2.0",
		Source: "https://kubernetes.io/docs/concepts/services-networking/service/#services-without-selectors",
	},
	Check: func(p *policy.Pass[*discoveryv1.EndpointSlice]) {
		s := p.Object
		if owned, foreign := sliceManager(s); owned || foreign || s.Labels[discoveryv1.LabelManagedBy] == policy.ManagedBy {
			return
		}
		name := s.Labels[discoveryv1.LabelServiceName]
		if name == "" {
			return
		}
		if svc := p.World.Service(s.Namespace, name); selects(svc) {
			p.Report(field.Invalid(labelPath(discoveryv1.LabelServiceName), name,
				fmt.Sprintf("must name a Service without selector: the pods of '%s' are endpoints beside these; take `spec.selector` out of it, or write another Service",
					quoted(svc.Name))), nil)
		}
	},
}
