package webhook

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"drawbridge.dev/drawbridge/policy"
)

// Objects lists what the cache holds of the kinds that are judged, by namespace, kind and name. They are shared and
// must not be changed.
func (w *Cluster) Objects() []policy.Object {
	var out []policy.Object
	for _, kind := range [...]string{"Endpoints", "EndpointSlice", "Ingress", "Service"} {
		stored := w.informers[kind].GetIndexer().List()
		out = slices.Grow(out, len(stored))
		first := len(out)
		for _, o := range stored {
			if object, ok := o.(policy.Object); ok {
				out = append(out, object)
			}
		}
		slices.SortFunc(out[first:], byName)
	}
	// The kinds follow each other in their order already.
	slices.SortStableFunc(out, func(a, b policy.Object) int { return cmp.Compare(a.GetNamespace(), b.GetNamespace()) })
	return out
}

func byName(a, b policy.Object) int {
	return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
}

// Cached is the World as the cache has it: it asks the API server for nothing. It is meant for one look through many
// objects, in the order of Objects: it remembers its last lists, which grow old. It is not safe for concurrent use.
func (w *Cluster) Cached() policy.World { return &cached{view: &view{cluster: w}} }

type cached struct {
	*view

	services       last[*corev1.Service]
	ingressesTo    last[*networkingv1.Ingress]
	ingressesOf    last[*networkingv1.Ingress]
	endpointSlices last[*discoveryv1.EndpointSlice]
}

// last is the list that was asked for last: of a namespace with a thousand objects each asks for the same one, and
// gathering and sorting it each time would cost the square of their number.
type last[T any] struct {
	key   string
	list  []T
	known bool
}

func (l *last[T]) get(key string, list func() []T) []T {
	if !l.known || l.key != key {
		l.key, l.list, l.known = key, list(), true
	}
	return l.list
}

func (c *cached) Services(namespace string) []*corev1.Service {
	return c.services.get(namespace, func() []*corev1.Service { return c.view.Services(namespace) })
}

func (c *cached) IngressesTo(namespace, service string) []*networkingv1.Ingress {
	return c.ingressesTo.get(namespace+"/"+service, func() []*networkingv1.Ingress { return c.view.IngressesTo(namespace, service) })
}

func (c *cached) IngressesOf(host string) []*networkingv1.Ingress {
	return c.ingressesOf.get(host, func() []*networkingv1.Ingress { return c.view.IngressesOf(host) })
}

func (c *cached) EndpointSlices(namespace, service string) []*discoveryv1.EndpointSlice {
	return c.endpointSlices.get(namespace+"/"+service, func() []*discoveryv1.EndpointSlice { return c.view.EndpointSlices(namespace, service) })
}

func (c *cached) Service(namespace, name string) *corev1.Service {
	return stored[*corev1.Service](c, "Service", namespace+"/"+name)
}

func (c *cached) Endpoints(namespace, name string) *corev1.Endpoints {
	return stored[*corev1.Endpoints](c, "Endpoints", namespace+"/"+name)
}

func (c *cached) IngressClass(name string) *networkingv1.IngressClass {
	return stored[*networkingv1.IngressClass](c, "IngressClass", name)
}

func (c *cached) Namespace(name string) *corev1.Namespace {
	return stored[*corev1.Namespace](c, "Namespace", name)
}

// stored looks an object up by the key of the cache: namespace/name, or the name of what has no namespace.
func stored[T policy.Object](c *cached, kind, key string) T {
	var none T
	informer := c.cluster.informers[kind]
	if informer == nil {
		return none
	}
	o, ok, err := informer.GetIndexer().GetByKey(key)
	if err != nil || !ok {
		return none
	}
	found, _ := o.(T)
	return found
}
