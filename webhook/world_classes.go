package webhook

import (
	"cmp"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"

	"drawbridge.dev/drawbridge/policy"
)

var _ policy.ClassLister = (*view)(nil)

// IngressClasses lists those of the cache by name.
func (v *view) IngressClasses() []*networkingv1.IngressClass {
	informer := v.cluster.informers["IngressClass"]
	if informer == nil {
		return nil
	}
	var list []*networkingv1.IngressClass
	for _, o := range informer.GetIndexer().List() {
		if ic, ok := o.(*networkingv1.IngressClass); ok {
			list = append(list, ic)
		}
	}
	slices.SortFunc(list, func(a, b *networkingv1.IngressClass) int { return cmp.Compare(a.Name, b.Name) })
	return list
}
