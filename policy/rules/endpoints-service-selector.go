package rules

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
)

var endpointsServiceSelector = policy.Rule[*corev1.Endpoints]{
	ID:     "endpoints-service-selector",
	Levels: policy.Same(policy.Warn),
	Doc: policy.Doc{
		Summary: "Endpoints that somebody writes must not belong to a Service with a selector.",
		Why: "The control plane writes the Endpoints of such a Service itself, from the pods that the selector finds, and " +
			"overwrites what it did not write: within seconds, or at the next change of a pod. What is stored is its own and not judged.",
		Bad: `apiVersion: v1
kind: Service
metadata:
  name: billing
  namespace: team-a
spec:
  selector:
    app: billing
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
`,
		Since:  "0.2.0",
		Source: "https://kubernetes.io/docs/concepts/services-networking/service/#services-without-selectors",
	},
	Check: func(p *policy.Pass[*corev1.Endpoints]) {
		ep := p.Object
		if p.Stored || len(ep.Subsets) == 0 || keptByProgram(ep) {
			return
		}
		if svc := p.World.Service(ep.Namespace, ep.Name); selects(svc) {
			p.Report(field.Invalid(field.NewPath("metadata", "name"), ep.Name,
				fmt.Sprintf("must not be written by hand: Service '%s' has a selector, and the control plane overwrites its Endpoints; take `spec.selector` out of it",
					quoted(svc.Name))), nil)
		}
	},
}
