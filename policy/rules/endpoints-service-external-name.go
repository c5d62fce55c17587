package rules

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
)

var endpointsServiceExternalName = policy.Rule[*corev1.Endpoints]{
	ID:      "endpoints-service-external-name",
	Levels:  policy.Same(policy.Deny),
	Unfixed: policy.Deny,
	Doc: policy.Doc{
		Summary: "Endpoints must not belong to a Service of type ExternalName.",
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
		Source: "https://kubernetes.io/docs/concepts/services-networking/service/#externalname",
	},
	Check: func(p *policy.Pass[*corev1.Endpoints]) {
		ep := p.Object
		if len(ep.Subsets) == 0 {
			return
		}
		svc := p.World.Service(ep.Namespace, ep.Name)
		if svc == nil || svc.Spec.Type != corev1.ServiceTypeExternalName {
			return
		}
		err := field.Invalid(field.NewPath("metadata", "name"), ep.Name, aliasEndpoints(svc))
		if keptByProgram(ep) {
			p.Warn(err)
			return
		}
		p.Report(err, nil)
	},
}

const aliasEndpointsWhy = "A Service is either a name or a list of addresses. Of an ExternalName Service cluster DNS answers with the name, " +
	"kube-proxy does nothing, and most controllers look at the name; some serve the addresses instead. Who reads one of the two does not see the " +
	"other, and the traffic goes where nobody looked. What a program keeps is warned of."

// aliasEndpoints says that endpoints and the name of an alias exclude each other.
func aliasEndpoints(svc *corev1.Service) string {
	return fmt.Sprintf("must not have endpoints: Service '%s' is an alias of '%s'; take them away, or make it a Service with ports and without externalName",
		quoted(svc.Name), quoted(shown(svc.Spec.ExternalName)))
}
