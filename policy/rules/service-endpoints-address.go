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
			"or an Ingress already. Written the other way round it comes to the same, and each step alone looks harmless: first the " +
			"endpoints and then the type LoadBalancer or NodePort or externalIPs; first endpoints and an Ingress and the Service " +
			"last; Endpoints beside a selector, which count for nothing until it goes.",
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
		if svc.Spec.Type == corev1.ServiceTypeExternalName || ofAPIServer(svc.Namespace, svc.Name) {
			return
		}
		if who := exposed(svc); who != "" {
			at, value := field.NewPath("spec", "type"), string(svc.Spec.Type)
			if svc.Spec.Type != corev1.ServiceTypeLoadBalancer && svc.Spec.Type != corev1.ServiceTypeNodePort {
				at, value = field.NewPath("spec", "externalIPs"), "externalIPs"
			}
			if what := lentBy(p, lending{who: who}); what != "" {
				p.Report(field.Invalid(at, value, "must not lend its network position to "+what), nil)
				return
			}
		}
		// Where it is not known who writes, everything is judged, and ingress-backend-address tells of it.
		if p.User == "" {
			return
		}
		if list := p.World.IngressesTo(svc.Namespace, svc.Name); len(list) > 0 {
			l := lendingOf(list)
			if what := lentBy(p, l); what != "" {
				p.Report(field.Invalid(field.NewPath("metadata", "name"), svc.Name, "must not lead "+l.who+" to "+what), nil)
			}
		}
	},
}

// lentBy says which of the endpoints of a Service that are written by hand must not be lent a network position, and
// why; empty where none is.
func lentBy(p *policy.Pass[*corev1.Service], l lending) string {
	svc := p.Object
	j := &addressJudge{config: p.Config, world: p.World, namespace: svc.Namespace, lending: l}
	left := maxLent
	first := func(object string, list *addressed) string {
		if left -= len(list.list); left < 0 {
			return fmt.Sprintf("more than %d endpoints that are written by hand, or they can not all be judged", maxLent)
		}
		j.ports = nil
		for _, a := range list.list {
			addr, ok := parseAddress(a.text)
			if !ok {
				continue
			}
			if f := j.wrong(addr, a.group, list.groups[a.group]); f.detail != "" && !f.mild {
				return fmt.Sprintf("'%s' in %s, %s%s", quoted(a.text), object, f.what, f.advice)
			}
		}
		return ""
	}
	for _, s := range p.World.EndpointSlices(svc.Namespace, svc.Name) {
		// Of a Service without a selector nothing is made of pods, whatever the slice calls itself.
		if s.AddressType == discoveryv1.AddressTypeFQDN || selects(svc) && s.Labels[discoveryv1.LabelManagedBy] == policy.ManagedByPods {
			continue
		}
		if what := first(fmt.Sprintf("EndpointSlice '%s'", quoted(s.Name)), addressesIn(s)); what != "" {
			return what
		}
	}
	if ep := p.World.Endpoints(svc.Namespace, svc.Name); ep != nil && !selects(svc) {
		return first("its Endpoints", addressesOf(ep))
	}
	return ""
}
