package rules

import (
	"fmt"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
)

var endpointSliceManagedBy = policy.Rule[*discoveryv1.EndpointSlice]{
	ID:      "endpointslice-managed-by",
	Levels:  policy.Same(policy.Fix),
	Injects: policy.InjectLabels,
	Doc: policy.Doc{
		Summary: "A hand-written EndpointSlice must say in the label endpointslice.kubernetes.io/managed-by that nobody else keeps it.",
		Why: "Controllers tell their own slices from others by this label. Kubernetes asks everybody who writes slices to set " +
			"a value of his own, so that no controller ever takes them for its leftovers and that a reader sees where they " +
			"come from. A slice without the label and without a controller gets '" + policy.HandWritten + "'; the API server's own " +
			"slice, default/kubernetes, has none and is left alone.",
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
addressType: IPv4
ports:
- name: https
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
		Source: "https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#management",
	},
	Check: func(p *policy.Pass[*discoveryv1.EndpointSlice]) {
		s := p.Object
		if owned, _ := sliceManager(s); owned || s.Labels[discoveryv1.LabelManagedBy] != "" {
			return
		}
		if s.Namespace == metav1.NamespaceDefault && s.Name == "kubernetes" {
			return // The API server keeps it, and sets no such label.
		}
		p.Report(field.Required(labelPath(discoveryv1.LabelManagedBy),
			fmt.Sprintf("must name who keeps the slice; for a hand-written one '%s'", policy.HandWritten)),
			func(s *discoveryv1.EndpointSlice) { setLabel(s, discoveryv1.LabelManagedBy, policy.HandWritten) })
	},
}
