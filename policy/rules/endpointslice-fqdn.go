package rules

import (
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
)

var endpointSliceFQDN = policy.Rule[*discoveryv1.EndpointSlice]{
	ID:      "endpointslice-fqdn",
	Levels:  policy.Same(policy.Deny),
	Unfixed: policy.Deny,
	Doc: policy.Doc{
		Summary: "An EndpointSlice must not have host names as its addresses.",
		Why: "The address type FQDN is deprecated and has no meaning that was ever agreed on: kube-proxy and almost every " +
			"controller pass such a slice over, and those that look the names up were led to metadata services by them. A name " +
			"belongs into a Service of type ExternalName. Slices that a controller owns are not judged, those of other " +
			"managers are warned of; the names in them are judged by endpointslice-address.",
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
addressType: FQDN
ports:
- name: http
  port: 80
  protocol: TCP
endpoints:
- addresses:
  - billing.example.com
`,
		Good: `apiVersion: v1
kind: Service
metadata:
  name: billing
  namespace: team-a
spec:
  type: ExternalName
  externalName: billing.example.com
`,
		Since:  "0.2.0",
		Source: "https://github.com/kubernetes/kubernetes/issues/114210",
	},
	Check: func(p *policy.Pass[*discoveryv1.EndpointSlice]) {
		s := p.Object
		if s.AddressType != discoveryv1.AddressTypeFQDN {
			return
		}
		owned, foreign := sliceManager(s)
		if owned {
			return
		}
		name := "api.example.com"
		if len(s.Endpoints) > 0 && len(s.Endpoints[0].Addresses) > 0 {
			if first := hostIn(s.Endpoints[0].Addresses[0]); isName(first) && !isIP(first) {
				name = first
			}
		}
		err := field.Invalid(field.NewPath("addressType"), string(s.AddressType),
			"must be 'IPv4' or 'IPv6'; for a name write a Service of type ExternalName with `externalName: "+quoted(name)+"`, and no slice")
		if foreign {
			p.Warn(err)
			return
		}
		p.Report(err, nil)
	},
}
