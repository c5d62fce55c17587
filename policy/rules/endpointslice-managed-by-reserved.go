package rules

import (
	"fmt"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
)

var endpointSliceManagedByReserved = policy.Rule[*discoveryv1.EndpointSlice]{
	ID:      "endpointslice-managed-by-reserved",
	Levels:  policy.Same(policy.Deny),
	Unfixed: policy.Deny,
	Guard:   true,
	Doc: policy.Doc{
		Summary: "An EndpointSlice must not claim to be kept by the control plane or by drawbridge.",
		Why: "Slices with the label of kube-controller-manager's controllers pass for the pods of a Service: whoever trusts pods " +
			"then trusts any address, and the controller may delete them as leftovers. The label of drawbridge stands for " +
			"slices that it checked and keeps. Those who own the values write under identities that admission does not ask " +
			"about; what is already stored is not judged.",
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
    endpointslice.kubernetes.io/managed-by: endpointslice-controller.k8s.io
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
		if p.Stored {
			return
		}
		value := p.Object.Labels[discoveryv1.LabelManagedBy]
		if owner, reserved := reservedManagers[value]; reserved {
			p.Report(field.Invalid(labelPath(discoveryv1.LabelManagedBy), value,
				fmt.Sprintf("must not be used by others than %s; write '%s'", owner, policy.HandWritten)), nil)
		}
	},
}
