package rules

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
)

var endpointsMirrorDuplicate = policy.Rule[*corev1.Endpoints]{
	ID:      "endpoints-mirror-duplicate",
	Levels:  policy.Same(policy.Fix),
	Injects: policy.InjectLabels,
	Doc: policy.Doc{
		Summary: "Endpoints must not be mirrored where hand-written EndpointSlices hold the same addresses.",
		Why: "The control plane copies Endpoints into EndpointSlices. Where somebody wrote a slice of the same addresses as well, each " +
			"stands twice: kube-proxy counts it once, controllers that do not remove duplicates give it twice the traffic, and " +
			"a change in one of the two leaves the old address in the other. Where such slices hold all addresses, on the same ports and as " +
			"ready, the Endpoints get the label that keeps them from being copied; nothing is lost by it. Where they hold some of them, it " +
			"is warned of. Endpoints that a program keeps are left alone, and slices that a controller owns or another manager " +
			"keeps do not count. The label with another value than 'true' says that the copies are wanted.",
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
apiVersion: v1
kind: Endpoints
metadata:
  name: billing
  namespace: team-a
subsets:
- addresses:
  - ip: 192.0.2.10
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
		Source: "https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#endpointslice-mirroring",
	},
	Check: func(p *policy.Pass[*corev1.Endpoints]) {
		ep := p.Object
		if len(ep.Subsets) == 0 || ep.Labels[discoveryv1.LabelSkipMirror] != "" || keptByProgram(ep) || ofAPIServer(ep.Namespace, ep.Name) {
			return
		}
		svc := p.World.Service(ep.Namespace, ep.Name)
		// The mirroring controller asks whether there is a selector, not whether it is empty.
		if svc == nil || svc.Spec.Selector != nil || svc.Spec.Type == corev1.ServiceTypeExternalName {
			return
		}
		r := policy.RepeatedIn(ep, p.World.EndpointSlices(ep.Namespace, ep.Name))
		path := labelPath(discoveryv1.LabelSkipMirror)
		switch {
		case r.All():
			p.Report(field.Required(path, fmt.Sprintf("must be 'true': EndpointSlice '%s' stands beside these Endpoints and holds all of their addresses, which would count twice", quoted(r.Slice))),
				func(ep *corev1.Endpoints) {
					if ep.Labels == nil {
						ep.Labels = map[string]string{}
					}
					ep.Labels[discoveryv1.LabelSkipMirror] = "true"
				})
		case r.Held > 0:
			p.Warn(field.Required(path, fmt.Sprintf("%s addresses stand in EndpointSlice '%s' too and count twice: all of them must stand in one of the two", r, quoted(r.Slice))))
		}
	},
}
