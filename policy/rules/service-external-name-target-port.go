package rules

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
)

var serviceExternalNameTargetPort = policy.Rule[*corev1.Service]{
	ID:      "service-external-name-target-port",
	Levels:  policy.Same(policy.Deny),
	Unfixed: policy.Deny,
	Doc: policy.Doc{
		Summary: "A Service of type ExternalName must not have a named targetPort.",
		Why: "A named targetPort is looked up among the container ports of the Service's pods. An ExternalName Service has " +
			"no pods, so that nothing can ever resolve the name, and the port leads nowhere.",
		Bad: `apiVersion: v1
kind: Service
metadata:
  name: api
  namespace: team-a
spec:
  type: ExternalName
  externalName: api.example.com
  ports:
  - name: https
    port: 443
    targetPort: https
`,
		Good: `apiVersion: v1
kind: Service
metadata:
  name: api
  namespace: team-a
spec:
  type: ExternalName
  externalName: api.example.com
  ports:
  - name: https
    port: 443
    targetPort: 443
`,
		Since:  "0.1.0",
		Source: "https://kubernetes.io/docs/concepts/services-networking/service/#field-spec-ports",
	},
	Check: func(p *policy.Pass[*corev1.Service]) {
		if p.Object.Spec.Type != corev1.ServiceTypeExternalName {
			return
		}
		for i, port := range p.Object.Spec.Ports {
			// An empty name is "not set": the API server puts the port's number there.
			if port.TargetPort.Type != intstr.String || port.TargetPort.StrVal == "" {
				continue
			}
			p.Report(field.Invalid(field.NewPath("spec", "ports").Index(i).Child("targetPort"), port.TargetPort.StrVal,
				fmt.Sprintf("must be a number: an ExternalName has no pods that could name a port; write %d or leave it out", port.Port)), nil)
		}
	},
}
