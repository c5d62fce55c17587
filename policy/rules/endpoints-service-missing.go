package rules

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
)

var endpointsServiceMissing = policy.Rule[*corev1.Endpoints]{
	ID:     "endpoints-service-missing",
	Levels: policy.Same(policy.Warn),
	Doc: policy.Doc{
		Summary: "Endpoints must belong to a Service of their name.",
		Why: "Endpoints without a Service of the very same name are read by nobody: the control plane makes no EndpointSlices " +
			"of them, and there is no name to reach them by. It is a warning and no more, as files are applied in any order. " +
			"Endpoints that a program keeps are not judged, nor those without addresses, which are locks of leader elections.",
		Bad: `apiVersion: v1
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
		if len(ep.Subsets) == 0 || keptByProgram(ep) || p.World.Service(ep.Namespace, ep.Name) != nil {
			return
		}
		p.Warn(field.Invalid(field.NewPath("metadata", "name"), ep.Name,
			fmt.Sprintf("must be the name of a Service; there is no Service '%s' in this namespace yet", quoted(ep.Name))))
	},
}
