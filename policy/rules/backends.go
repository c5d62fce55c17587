package rules

import (
	"slices"

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

// upstreams tells what stands behind every backend of an Ingress, for a rule that says one thing of them all. ok is
// false where nothing may be said: the class is not known, TLS is passed through, the wish was said already, there is no
// backend, or one that is no Service, names a port that can not be resolved, or does not suit. Where all that hinders is
// a Service that is not known yet, the rule awaits it.
func upstreams(p *policy.Pass[*networkingv1.Ingress], wish intent.Wish, suits func(intent.Backend) bool) (d *intent.Dialect, list []intent.Backend, ok bool) {
	ing := p.Object
	d, ok = intent.Of(ing, p.World.IngressClass)
	if !ok || d.PassesTLS(ing.Annotations) || d.Says(wish, ing.Annotations) {
		return d, nil, false
	}
	var missing []string
	for _, at := range backendsOf(ing) {
		if at.Service == nil {
			return d, nil, false
		}
		svc := p.World.Service(ing.Namespace, at.Service.Name)
		if svc == nil {
			missing = append(missing, at.Service.Name)
			continue
		}
		b, _, err := d.BackendOf(svc, at.Service.Port, p.Config.ClusterDomain)
		if err != nil || !suits(b) {
			return d, nil, false
		}
		list = append(list, b)
	}
	slices.Sort(missing)
	for _, name := range slices.Compact(missing) {
		p.Await("Service", name)
	}
	return d, list, len(list) > 0 && len(missing) == 0
}

// annotationPath is the field of one annotation.
func annotationPath(key string) *field.Path { return field.NewPath("metadata", "annotations").Key(key) }
