package rules

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
)

var externalNamePath = field.NewPath("spec", "externalName")

var serviceExternalNameIP = policy.Rule[*corev1.Service]{
	ID:      "service-external-name-ip",
	Levels:  policy.Same(policy.Deny),
	Unfixed: policy.Deny,
	Doc: policy.Doc{
		Summary: "A Service must not have an IP address as its externalName, in any spelling.",
		Why: "An ExternalName Service is a CNAME record, and a CNAME leads to a name. The API server lets an IPv4 address " +
			"pass as a name of digits: cluster DNS then answers with a name that nobody can look up, and Ingress " +
			"controllers differ in what they make of it. Spellings such as 127.1, 0x7f000001 or 2130706433 are addresses " +
			"to a C library all the same, and a way around checks of addresses. An address goes into an EndpointSlice.",
		Bad: `apiVersion: v1
kind: Service
metadata:
  name: billing
  namespace: team-a
spec:
  type: ExternalName
  externalName: 192.0.2.10
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
		Source: "https://kubernetes.io/docs/concepts/services-networking/service/#externalname",
	},
	Check: func(p *policy.Pass[*corev1.Service]) {
		svc := p.Object
		if !isExternalName(svc) || !isIP(locate(svc.Spec.ExternalName).host) {
			return
		}
		p.Report(field.Invalid(externalNamePath, shown(svc.Spec.ExternalName),
			"must be a DNS name; for an IP write a Service without selector and an EndpointSlice"), nil)
	},
}
