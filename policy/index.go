package policy

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// Index is a World made of a fixed set of objects: those of a folder, or of a snapshot.
type Index struct {
	services  map[key]*corev1.Service
	endpoints map[key]*corev1.Endpoints
	classes   map[string]*networkingv1.IngressClass
	slices    map[key][]*discoveryv1.EndpointSlice
	inSpace   map[string][]*corev1.Service
	ingresses map[key][]*networkingv1.Ingress // by backend
	hosts     map[string][]*networkingv1.Ingress
	spaces    map[string]*corev1.Namespace
	owners    Owners
}

type key struct{ namespace, name string }

var _ World = (*Index)(nil)

// NewIndex makes a World of objects, which it keeps and does not change. Of two objects of one kind and name the
// last counts; a kind that no World shows is passed over.
func NewIndex(objects ...Object) *Index {
	x := &Index{
		services:  map[key]*corev1.Service{},
		endpoints: map[key]*corev1.Endpoints{},
		classes:   map[string]*networkingv1.IngressClass{},
		slices:    map[key][]*discoveryv1.EndpointSlice{},
		inSpace:   map[string][]*corev1.Service{},
		ingresses: map[key][]*networkingv1.Ingress{},
		hosts:     map[string][]*networkingv1.Ingress{},
		spaces:    map[string]*corev1.Namespace{},
	}
	lastSlice := map[key]*discoveryv1.EndpointSlice{}
	lastIngress := map[key]*networkingv1.Ingress{}
	for _, o := range objects {
		k := key{o.GetNamespace(), o.GetName()}
		switch o := o.(type) {
		case *corev1.Service:
			x.services[k] = o
		case *corev1.Endpoints:
			x.endpoints[k] = o
		case *discoveryv1.EndpointSlice:
			lastSlice[k] = o
		case *networkingv1.Ingress:
			lastIngress[k] = o
		case *networkingv1.IngressClass:
			x.classes[o.Name] = o
		case *corev1.Namespace:
			x.spaces[o.Name] = o
		case *corev1.Node, *networkingv1.ServiceCIDR:
			x.owners.Replace(nil, o)
		}
	}
	for k, o := range x.services {
		x.inSpace[k.namespace] = append(x.inSpace[k.namespace], o)
		x.owners.Replace(nil, o)
	}
	for k, o := range lastIngress {
		for _, k.name = range ServicesOf(o) {
			x.ingresses[k] = append(x.ingresses[k], o)
		}
		for _, host := range HostsOf(o) {
			x.hosts[host] = append(x.hosts[host], o)
		}
	}
	for k, o := range lastSlice {
		k.name = o.Labels[discoveryv1.LabelServiceName]
		x.slices[k] = append(x.slices[k], o)
		x.owners.Replace(nil, o)
	}
	sortByName(x.inSpace)
	sortByName(x.ingresses)
	sortByName(x.slices)
	sortByName(x.hosts)
	return x
}

func sortByName[K comparable, T Object](lists map[K][]T) {
	for _, list := range lists {
		slices.SortFunc(list, func(a, b T) int {
			return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
		})
	}
}

// Service looks one up.
func (x *Index) Service(namespace, name string) *corev1.Service {
	return x.services[key{namespace, name}]
}

// Services lists those of a namespace by name.
func (x *Index) Services(namespace string) []*corev1.Service { return x.inSpace[namespace] }

// IngressesTo lists those with a backend that is the Service, by name.
func (x *Index) IngressesTo(namespace, service string) []*networkingv1.Ingress {
	return x.ingresses[key{namespace, service}]
}

// EndpointSlices lists those of a Service by name.
func (x *Index) EndpointSlices(namespace, service string) []*discoveryv1.EndpointSlice {
	return x.slices[key{namespace, service}]
}

// Endpoints looks one up.
func (x *Index) Endpoints(namespace, name string) *corev1.Endpoints {
	return x.endpoints[key{namespace, name}]
}

// Namespace looks one up.
func (x *Index) Namespace(name string) *corev1.Namespace { return x.spaces[name] }

// IngressesOf lists those with a rule for the host, by namespace and name.
func (x *Index) IngressesOf(host string) []*networkingv1.Ingress { return x.hosts[host] }

// Owner is what of the cluster has an address, as its Services, slices, nodes and ServiceCIDRs tell.
func (x *Index) Owner(namespace string, addr netip.Addr) (Owner, bool) {
	return x.owners.Owner(namespace, addr)
}

// IngressClass looks one up.
func (x *Index) IngressClass(name string) *networkingv1.IngressClass { return x.classes[name] }
