package rules

import (
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/intent"
)

// backendAt is a backend of an Ingress and where it stands: the default backend where rule is negative.
type backendAt struct {
	*networkingv1.IngressBackend
	rule, path int
}

// field is the path of the backend.
func (b backendAt) field() *field.Path {
	if b.rule < 0 {
		return field.NewPath("spec", "defaultBackend")
	}
	return field.NewPath("spec", "rules").Index(b.rule).Child("http", "paths").Index(b.path).Child("backend")
}

// backendsOf lists every backend of an Ingress, the default one first.
func backendsOf(ing *networkingv1.Ingress) []backendAt {
	var list []backendAt
	if ing.Spec.DefaultBackend != nil {
		list = append(list, backendAt{ing.Spec.DefaultBackend, -1, 0})
	}
	for i := range ing.Spec.Rules {
		if http := ing.Spec.Rules[i].HTTP; http != nil {
			for j := range http.Paths {
				list = append(list, backendAt{&http.Paths[j].Backend, i, j})
			}
		}
	}
	return list
}

// upstreams tells what stands behind every backend of an Ingress, for rules that say one thing of them all. ok is
// false where nothing may be said: the class is not known, TLS is passed through, there is no backend or one that is
// no Service, is not known yet, or names a port that can not be resolved.
func upstreams(p *policy.Pass[*networkingv1.Ingress]) (d *intent.Dialect, list []intent.Backend, ok bool) {
	ing := p.Object
	d, ok = intent.Of(ing, p.World.IngressClass)
	if !ok || d.PassesTLS(ing.Annotations) {
		return d, nil, false
	}
	for _, at := range backendsOf(ing) {
		if at.Service == nil {
			return d, nil, false
		}
		svc := p.World.Service(ing.Namespace, at.Service.Name)
		if svc == nil {
			return d, nil, false
		}
		b, _, err := d.BackendOf(svc, at.Service.Port, p.Config.ClusterDomain)
		if err != nil {
			return d, nil, false
		}
		list = append(list, b)
	}
	return d, list, len(list) > 0
}

// annotationPath is the field of one annotation.
func annotationPath(key string) *field.Path { return field.NewPath("metadata", "annotations").Key(key) }
