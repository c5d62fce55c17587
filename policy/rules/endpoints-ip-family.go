package rules

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
)

var ipFamilyDoc = policy.Doc{
	Summary: "Endpoints and an EndpointSlice must have addresses of an IP family that their Service has.",
	Why: "A Service of one family has a cluster IP of that family only, and kube-proxy looks at endpoints of that family only: an " +
		"IPv6 address behind an IPv4 Service gets no traffic from pods, though some Ingress controllers connect to it. A " +
		"headless Service has no cluster IP and serves both. Where the Service does not say its families yet, nothing is judged; " +
		"nor is what a program keeps.",
	Bad: `apiVersion: v1
kind: Service
metadata:
  name: billing
  namespace: team-a
spec:
  ipFamilies:
  - IPv4
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
addressType: IPv6
ports:
- name: http
  port: 80
  protocol: TCP
endpoints:
- addresses:
  - 2001:db8::10
`,
	Good: `apiVersion: v1
kind: Service
metadata:
  name: billing
  namespace: team-a
spec:
  ipFamilyPolicy: PreferDualStack
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
addressType: IPv6
ports:
- name: http
  port: 80
  protocol: TCP
endpoints:
- addresses:
  - 2001:db8::10
`,
	Since:  "0.2.0",
	Source: "https://kubernetes.io/docs/concepts/services-networking/dual-stack/#services",
}

var endpointsIPFamily = policy.Rule[*corev1.Endpoints]{
	ID:     "endpoints-ip-family",
	Levels: policy.Same(policy.Warn),
	Doc:    ipFamilyDoc,
	Check: func(p *policy.Pass[*corev1.Endpoints]) {
		ep := p.Object
		if len(ep.Subsets) == 0 || keptByProgram(ep) {
			return
		}
		svc := p.World.Service(ep.Namespace, ep.Name)
		if !hasFamilies(svc) {
			return
		}
		l := limited{report: func(err *field.Error) { p.Report(err, nil) }}
		list := addressesOf(ep)
		for _, at := range list.list {
			addr, ok := parseAddress(at.text)
			if !ok {
				continue
			}
			family := corev1.IPv4Protocol
			if addr.Is6() {
				family = corev1.IPv6Protocol
			}
			if !slices.Contains(svc.Spec.IPFamilies, family) {
				l.add(func() *field.Error { return field.Invalid(list.path(at), at.text, mustBeOfFamily(svc)) })
			}
		}
		l.done(list.root, "addresses that must be of a family that the Service has")
	},
}

var endpointSliceIPFamily = policy.Rule[*discoveryv1.EndpointSlice]{
	ID:     "endpoints-ip-family",
	Levels: policy.Same(policy.Warn),
	Doc:    ipFamilyDoc,
	Check: func(p *policy.Pass[*discoveryv1.EndpointSlice]) {
		s := p.Object
		if owned, foreign := sliceManager(s); owned || foreign || s.Labels[discoveryv1.LabelManagedBy] == policy.ManagedBy {
			return
		}
		if s.AddressType != discoveryv1.AddressTypeIPv4 && s.AddressType != discoveryv1.AddressTypeIPv6 {
			return
		}
		svc := p.World.Service(s.Namespace, s.Labels[discoveryv1.LabelServiceName])
		if hasFamilies(svc) && !slices.Contains(svc.Spec.IPFamilies, corev1.IPFamily(s.AddressType)) {
			p.Report(field.Invalid(field.NewPath("addressType"), string(s.AddressType), mustBeOfFamily(svc)), nil)
		}
	},
}

// hasFamilies tells whether the families of a Service decide which endpoints it has.
func hasFamilies(svc *corev1.Service) bool {
	return svc != nil && len(svc.Spec.IPFamilies) > 0 && svc.Spec.ClusterIP != corev1.ClusterIPNone &&
		svc.Spec.Type != corev1.ServiceTypeExternalName
}

// mustBeOfFamily is called where a Service lacks a family, so that it has just one.
func mustBeOfFamily(svc *corev1.Service) string {
	return fmt.Sprintf("must be %s, the only IP family of Service '%s', or kube-proxy sends it no traffic; write `ipFamilyPolicy: PreferDualStack` there for both",
		svc.Spec.IPFamilies[0], quoted(svc.Name))
}
