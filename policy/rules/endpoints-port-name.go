package rules

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
)

var endpointsPortName = policy.Rule[*corev1.Endpoints]{
	ID:      "endpoints-port-name",
	Levels:  policy.Same(policy.Fix),
	Injects: policy.InjectPortNames,
	Unfixed: policy.Deny,
	Doc: policy.Doc{
		Summary: "The ports of Endpoints must have the names of the Service's ports.",
		Why:     portNamesWhy,
		Bad: `apiVersion: v1
kind: Service
metadata:
  name: billing
  namespace: team-a
spec:
  ports:
  - name: http
    port: 80
    targetPort: 8080
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
  - port: 8080
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
    targetPort: 8080
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
    port: 8080
`,
		Since:  "0.1.0",
		Source: "https://kubernetes.io/docs/concepts/services-networking/service/#services-without-selectors",
	},
	Check: func(p *policy.Pass[*corev1.Endpoints]) {
		ep := p.Object
		if len(ep.Subsets) == 0 {
			return
		}
		svc := p.World.Service(ep.Namespace, ep.Name)
		if !ownEndpoints(svc) {
			return
		}
		// Whoever keeps Endpoints by program would undo a fix, and may stop working at a denial: he is told, no more.
		report := p.Report
		if keptByProgram(ep) {
			report = func(err *field.Error, _ func(*corev1.Endpoints)) { p.Warn(err) }
		}
		matched := make([]bool, len(svc.Spec.Ports))
		for i := range ep.Subsets {
			subset := &ep.Subsets[i]
			names, some := policy.PortNames(svc.Spec.Ports, policy.SubsetPorts(subset))
			merge(matched, some)
			for j, name := range names {
				if name == subset.Ports[j].Name {
					continue
				}
				report(field.Required(subsetsPath.Index(i).Child("ports").Index(j).Child("name"), filled(svc, name)),
					func(ep *corev1.Endpoints) { ep.Subsets[i].Ports[j].Name = name })
			}
		}
		if anyOf(matched) {
			// Slices that somebody wrote beside the Endpoints may serve the other ports; those that are copies of
			// the Endpoints only show what they were before.
			counts := func(slice *discoveryv1.EndpointSlice) bool {
				_, copied := reservedManagers[slice.Labels[discoveryv1.LabelManagedBy]]
				return !copied
			}
			if servedBeside(p.World, svc, matched, counts) {
				unserved(svc, matched, subsetsPath, p.Warn)
			}
			return
		}
		at := 0
		if i := slices.IndexFunc(ep.Subsets, func(s corev1.EndpointSubset) bool { return len(s.Ports) > 0 }); i >= 0 {
			at = i
		}
		report(unmatched(svc, subsetsPath.Index(at).Child("ports"), policy.SubsetPorts(&ep.Subsets[at])), nil)
	},
}

var subsetsPath = field.NewPath("subsets")

// keptByProgram tells whether Endpoints belong to somebody's object or to an election of leaders: that of client-go, or
// Patroni's, which keeps the leader in an annotation of that name. An owner need not call itself the controller: those
// of Cilium (the Ingress) and of vCluster do not, and nobody writes the UID of an owner by hand.
func keptByProgram(ep *corev1.Endpoints) bool {
	if len(ep.OwnerReferences) > 0 || ep.Labels["endpoints.kubernetes.io/managed-by"] != "" {
		return true
	}
	for _, key := range [...]string{"control-plane.alpha.kubernetes.io/leader", "leader"} {
		if _, set := ep.Annotations[key]; set {
			return true
		}
	}
	return false
}
