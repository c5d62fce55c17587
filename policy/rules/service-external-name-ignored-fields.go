package rules

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
)

var serviceExternalNameIgnoredFields = policy.Rule[*corev1.Service]{
	ID:     "service-external-name-ignored-fields",
	Levels: policy.Same(policy.Warn),
	Doc: policy.Doc{
		Summary: "A Service of type ExternalName must not have fields that have no effect on it.",
		Why: "An ExternalName is a CNAME record: nothing selects pods for it, forwards traffic or opens ports, so that a selector, " +
			"externalIPs or a traffic policy in it say something that is not so. They are left over from another type or meant for " +
			"another Service. What the API server fills in by itself is nobody's fault, and Services that another object owns are not judged.",
		Bad: `apiVersion: v1
kind: Service
metadata:
  name: billing
  namespace: team-a
spec:
  type: ExternalName
  externalName: billing.example.com
  selector:
    app: billing
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
		Source: "https://kubernetes.io/docs/concepts/services-networking/service/#externalname",
	},
	Check: func(p *policy.Pass[*corev1.Service]) {
		svc := p.Object
		if svc.Spec.Type != corev1.ServiceTypeExternalName || len(svc.OwnerReferences) > 0 {
			return
		}
		spec := field.NewPath("spec")
		for _, f := range ignoredFields(&svc.Spec) {
			p.Report(field.Forbidden(spec.Child(f), "must be left out: an ExternalName is a name only, and this has no effect"), nil)
		}
		l := limited{report: func(err *field.Error) { p.Report(err, nil) }}
		for i := range svc.Spec.Ports {
			if svc.Spec.Ports[i].NodePort != 0 {
				l.add(func() *field.Error {
					return field.Forbidden(spec.Child("ports").Index(i).Child("nodePort"), "must be left out: an ExternalName opens no ports")
				})
			}
		}
		l.done(spec.Child("ports"), "ports that must not have a nodePort")
	},
}

// ignoredFields lists the fields of a Service that are set, say something that an ExternalName can not be, and are not
// what the API server sets by itself (SetDefaults_Service of kubernetes pkg/apis/core/v1: sessionAffinity None).
func ignoredFields(spec *corev1.ServiceSpec) []string {
	var list []string
	add := func(name string, set bool) {
		if set {
			list = append(list, name)
		}
	}
	add("selector", len(spec.Selector) > 0)
	add("clusterIP", spec.ClusterIP != "")
	add("externalIPs", len(spec.ExternalIPs) > 0)
	add("sessionAffinity", spec.SessionAffinity != "" && spec.SessionAffinity != corev1.ServiceAffinityNone)
	add("loadBalancerIP", spec.LoadBalancerIP != "")
	add("loadBalancerSourceRanges", len(spec.LoadBalancerSourceRanges) > 0)
	add("loadBalancerClass", spec.LoadBalancerClass != nil)
	add("allocateLoadBalancerNodePorts", spec.AllocateLoadBalancerNodePorts != nil)
	add("externalTrafficPolicy", spec.ExternalTrafficPolicy != "")
	add("internalTrafficPolicy", spec.InternalTrafficPolicy != nil)
	add("healthCheckNodePort", spec.HealthCheckNodePort != 0)
	add("publishNotReadyAddresses", spec.PublishNotReadyAddresses)
	add("ipFamilies", len(spec.IPFamilies) > 0)
	add("ipFamilyPolicy", spec.IPFamilyPolicy != nil)
	add("trafficDistribution", spec.TrafficDistribution != nil)
	return list
}
