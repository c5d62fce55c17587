package rules

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
)

var serviceEndpointsAddress = policy.Rule[*corev1.Service]{
	ID:      "service-endpoints-address",
	Levels:  policy.Same(policy.Deny),
	Unfixed: policy.Deny,
	Guard:   true,
	Doc: policy.Doc{
		Summary: "A Service must not open addresses of the cluster, written by hand as its endpoints, to the outside.",
		Why: "The rules endpoints-address and endpointslice-address deny such endpoints where the Service takes traffic from outside " +
			"already. Written the other way round, first the endpoints and then the type LoadBalancer or NodePort or " +
			"externalIPs, it comes to the same, and each step alone looks harmless.",
		Bad: `apiVersion: v1
kind: Service
metadata:
  name: back-door
  namespace: team-a
spec:
  type: NodePort
  ports:
  - name: https
    port: 443
---
apiVersion: v1
kind: Service
metadata:
  name: ledger
  namespace: team-b
spec:
  clusterIPs:
  - 10.96.7.8
  selector:
    app: ledger
  ports:
  - name: https
    port: 443
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: back-door-1
  namespace: team-a
  labels:
    kubernetes.io/service-name: back-door
    endpointslice.kubernetes.io/managed-by: hand-written.drawbridge.dev
addressType: IPv4
ports:
- name: https
  port: 443
  protocol: TCP
endpoints:
- addresses:
  - 10.96.7.8
`,
		Good: `apiVersion: v1
kind: Service
metadata:
  name: front-door
  namespace: team-b
spec:
  type: NodePort
  selector:
    app: ledger
  ports:
  - name: https
    port: 443
`,
		Since:  "0.2.0",
		Source: "https://github.com/kubernetes/kubernetes/issues/103675",
	},
	Check: func(p *policy.Pass[*corev1.Service]) {
		svc := p.Object
		who := exposed(svc)
		if who == "" || ofAPIServer(svc.Namespace, svc.Name) {
			return
		}
		at, value := field.NewPath("spec", "type"), string(svc.Spec.Type)
		if svc.Spec.Type != corev1.ServiceTypeLoadBalancer && svc.Spec.Type != corev1.ServiceTypeNodePort {
			at, value = field.NewPath("spec", "externalIPs"), "externalIPs"
		}
		j := &addressJudge{config: p.Config, world: p.World, namespace: svc.Namespace, lending: lending{who: who}}
		tell := func(object string, list *addressed) bool {
			j.ports = nil
			for _, a := range list.list {
				addr, ok := parseAddress(a.text)
				if !ok {
					continue
				}
				if f := j.wrong(addr, a.group, list.groups[a.group]); f.detail != "" && !f.mild {
					p.Report(field.Invalid(at, value, fmt.Sprintf("must not lend its network position to '%s' in %s, %s%s", quoted(a.text), object, f.what, f.advice)), nil)
					return true
				}
			}
			return false
		}
		for _, s := range p.World.EndpointSlices(svc.Namespace, svc.Name) {
			// Of a Service without a selector nothing is made of pods, whatever the slice calls itself.
			if s.AddressType == discoveryv1.AddressTypeFQDN || selects(svc) && s.Labels[discoveryv1.LabelManagedBy] == policy.ManagedByPods {
				continue
			}
			if tell(fmt.Sprintf("EndpointSlice '%s'", quoted(s.Name)), addressesIn(s)) {
				return
			}
		}
		if ep := p.World.Endpoints(svc.Namespace, svc.Name); ep != nil && !selects(svc) {
			tell("its Endpoints", addressesOf(ep))
		}
	},
}
