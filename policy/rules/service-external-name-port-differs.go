package rules

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
)

var serviceExternalNamePortDiffers = policy.Rule[*corev1.Service]{
	ID:      "service-external-name-port-differs",
	Levels:  policy.Levels{Baseline: policy.Warn, Strict: policy.Deny},
	Unfixed: policy.Deny,
	Doc: policy.Doc{
		Summary: "A Service of type ExternalName must have the same port and targetPort.",
		Why: "A CNAME knows no ports, so that nothing translates one into the other. Ingress controllers differ in which of the two " +
			"they connect to: ingress-nginx takes targetPort, Traefik, Kong and the controllers of HAProxy take port. Traffic goes to " +
			"another port with another controller, to 80 instead of 443 as often as not. Leave targetPort out. Services that another object owns are not judged.",
		Bad: `apiVersion: v1
kind: Service
metadata:
  name: billing
  namespace: team-a
spec:
  type: ExternalName
  externalName: billing.example.com
  ports:
  - name: https
    port: 80
    targetPort: 443
`,
		Good: `apiVersion: v1
kind: Service
metadata:
  name: billing
  namespace: team-a
spec:
  type: ExternalName
  externalName: billing.example.com
  ports:
  - name: https
    port: 443
`,
		Since:  "0.2.0",
		Source: "https://github.com/kubernetes/ingress-nginx/issues/4641",
	},
	Check: func(p *policy.Pass[*corev1.Service]) {
		if !isExternalName(p.Object) || len(p.Object.OwnerReferences) > 0 {
			return
		}
		ports := field.NewPath("spec", "ports")
		l := limited{report: func(err *field.Error) { p.Report(err, nil) }}
		for i, port := range p.Object.Spec.Ports {
			if port.TargetPort.Type != intstr.Int || port.TargetPort.IntVal == 0 || port.TargetPort.IntVal == port.Port {
				continue
			}
			l.add(func() *field.Error {
				return field.Invalid(ports.Index(i).Child("targetPort"), port.TargetPort.IntVal,
					fmt.Sprintf("must be %d as `port` is, because controllers differ in which they connect to; write the port of the service outside in both", port.Port))
			})
		}
		l.done(ports, "ports that must be their targetPort")
	},
}
