package rules

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
)

var endpointSliceServiceExternalName = policy.Rule[*discoveryv1.EndpointSlice]{
	ID:      "endpointslice-service-external-name",
	Levels:  policy.Same(policy.Deny),
	Unfixed: policy.Deny,
	Doc: policy.Doc{
		Summary: "An EndpointSlice must not belong to a Service of type ExternalName.",
		Why:     aliasEndpointsWhy,
		Bad: `apiVersion: v1
kind: Service
metadata:
  name: billing
  namespace: team-a
spec:
  type: ExternalName
  externalName: billing.example.com
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
		Source: "https://kubernetes.io/docs/concepts/services-networking/service/#externalname",
	},
	Check: func(p *policy.Pass[*discoveryv1.EndpointSlice]) {
		s := p.Object
		name := s.Labels[discoveryv1.LabelServiceName]
		owned, foreign := sliceManager(s)
		if name == "" || owned {
			return
		}
		svc := p.World.Service(s.Namespace, name)
		if svc == nil || svc.Spec.Type != corev1.ServiceTypeExternalName {
			return
		}
		err := field.Invalid(labelPath(discoveryv1.LabelServiceName), name, aliasEndpoints(svc))
		if foreign {
			p.Warn(err)
			return
		}
		p.Report(err, nil)
	},
}
