package manifest

import (
	"encoding/json"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	extensionsv1beta1 "k8s.io/api/extensions/v1beta1"
	networkingv1 "k8s.io/api/networking/v1"
	networkingv1beta1 "k8s.io/api/networking/v1beta1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"

	"drawbridge.dev/drawbridge/policy"
)

const networkingV1 = "networking.k8s.io/v1"

// gvk is the kind that an object has in the current version of the API.
func gvk(o *Object) schema.GroupVersionKind {
	apiVersion := o.APIVersion
	if o.Legacy {
		apiVersion = networkingV1
	}
	return schema.FromAPIVersionAndKind(apiVersion, o.Kind)
}

// modernIngress makes a networking.k8s.io/v1 Ingress of the versions before it, by the rules of the conversion that
// API servers did as long as they served both (k8s.io/kubernetes/pkg/apis/networking/v1beta1/conversion.go). A path
// without a type is ImplementationSpecific, the default that those versions had.
func modernIngress(old policy.Object) policy.Object {
	in, ok := old.(*networkingv1beta1.Ingress)
	if !ok {
		in = &networkingv1beta1.Ingress{}
		restate(old.(*extensionsv1beta1.Ingress), in)
	}
	out := &networkingv1.Ingress{ObjectMeta: in.ObjectMeta}
	restate(&in.Status, &out.Status)
	out.Spec.IngressClassName = in.Spec.IngressClassName
	if in.Spec.Backend != nil {
		b := modernBackend(*in.Spec.Backend)
		out.Spec.DefaultBackend = &b
	}
	for _, t := range in.Spec.TLS {
		out.Spec.TLS = append(out.Spec.TLS, networkingv1.IngressTLS{Hosts: t.Hosts, SecretName: t.SecretName})
	}
	for _, r := range in.Spec.Rules {
		rule := networkingv1.IngressRule{Host: r.Host}
		if r.HTTP != nil {
			rule.HTTP = &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{}}
			for _, p := range r.HTTP.Paths {
				pathType := networkingv1.PathTypeImplementationSpecific
				if p.PathType != nil {
					pathType = networkingv1.PathType(*p.PathType)
				}
				rule.HTTP.Paths = append(rule.HTTP.Paths, networkingv1.HTTPIngressPath{
					Path: p.Path, PathType: &pathType, Backend: modernBackend(p.Backend),
				})
			}
		}
		out.Spec.Rules = append(out.Spec.Rules, rule)
	}
	return out
}

func modernBackend(in networkingv1beta1.IngressBackend) networkingv1.IngressBackend {
	var out networkingv1.IngressBackend
	if in.Resource != nil {
		out.Resource = &corev1.TypedLocalObjectReference{}
		*out.Resource = *in.Resource
	}
	if in.ServiceName != "" || in.ServicePort != (intstr.IntOrString{}) {
		out.Service = &networkingv1.IngressServiceBackend{Name: in.ServiceName}
		if in.ServicePort.Type == intstr.String {
			out.Service.Port.Name = in.ServicePort.StrVal
		} else {
			out.Service.Port.Number = in.ServicePort.IntVal
		}
	}
	return out
}

// modernClass makes a networking.k8s.io/v1 IngressClass of the version before it, which has the same fields.
func modernClass(old policy.Object) policy.Object {
	out := &networkingv1.IngressClass{}
	restate(old, out)
	return out
}

// restate copies between types whose JSON is the same. It can not fail for types that come from JSON.
func restate(from, to any) {
	text, err := json.Marshal(from)
	if err == nil {
		err = json.Unmarshal(text, to)
	}
	if err != nil {
		panic(fmt.Sprintf("manifest: %T is no %T: %v", from, to, err))
	}
}

// legacyPath is where a field of a networking.k8s.io/v1 Ingress stood before.
func legacyPath(path string) string {
	if rest, ok := cutField(path, "spec.defaultBackend"); ok {
		return "spec.backend" + legacyBackendPath(rest)
	}
	if i := strings.Index(path, ".http.paths["); i >= 0 && strings.HasPrefix(path, "spec.rules[") {
		if j := strings.Index(path[i:], "].backend"); j >= 0 {
			head := path[:i+j+len("].backend")]
			return head + legacyBackendPath(path[len(head):])
		}
	}
	return path
}

func legacyBackendPath(rest string) string {
	if _, ok := cutField(rest, ".service.name"); ok {
		return ".serviceName"
	}
	if _, ok := cutField(rest, ".service.port"); ok {
		return ".servicePort"
	}
	if r, ok := cutField(rest, ".service"); ok {
		return r
	}
	return rest
}

// cutField removes a leading path that ends at the end of a field's name.
func cutField(path, prefix string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(path, prefix)
	return rest, ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}
