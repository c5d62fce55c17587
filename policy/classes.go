package policy

import (
	"cmp"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"

	"drawbridge.dev/drawbridge/policy/intent"
)

// ClassLister is a World that can tell which IngressClasses there are, without asking anybody.
type ClassLister interface {
	// IngressClasses lists them by name.
	IngressClasses() []*networkingv1.IngressClass
}

var _ ClassLister = (*Index)(nil)

// IngressClasses lists them by name.
func (x *Index) IngressClasses() []*networkingv1.IngressClass {
	list := make([]*networkingv1.IngressClass, 0, len(x.classes))
	for _, ic := range x.classes {
		list = append(list, ic)
	}
	slices.SortFunc(list, func(a, b *networkingv1.IngressClass) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// Speaks tells whether a class of the World speaks a dialect that suits; false where the World does not know its
// classes.
func (c *Config) Speaks(w World, suits func(*intent.Dialect) bool) bool {
	lister, ok := w.(ClassLister)
	if !ok {
		return false
	}
	for _, ic := range lister.IngressClasses() {
		ing := &networkingv1.Ingress{Spec: networkingv1.IngressSpec{IngressClassName: &ic.Name}}
		d, known := c.DialectOf(ing, func(string) *networkingv1.IngressClass { return ic })
		if known && suits(d) {
			return true
		}
	}
	return false
}
