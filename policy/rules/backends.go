package rules

import (
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
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

// annotationPath is the field of one annotation.
func annotationPath(key string) *field.Path { return field.NewPath("metadata", "annotations").Key(key) }
