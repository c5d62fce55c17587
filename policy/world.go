package policy

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// World is a read-only view of the objects beside the one under review. A name that is not known gives nil: people
// apply files in any order, so that a rule may warn of a missing object and never deny for it. What is returned is
// shared and must not be changed.
type World interface {
	Service(namespace, name string) *corev1.Service
	// Services lists the Services of a namespace by name.
	Services(namespace string) []*corev1.Service
	// IngressesTo lists the Ingresses with a backend that is the Service, by name.
	IngressesTo(namespace, service string) []*networkingv1.Ingress
	// EndpointSlices lists the slices of a Service, by the label kubernetes.io/service-name, by name.
	EndpointSlices(namespace, service string) []*discoveryv1.EndpointSlice
	Endpoints(namespace, name string) *corev1.Endpoints
	IngressClass(name string) *networkingv1.IngressClass
	Namespace(name string) *corev1.Namespace
	// IngressesOf lists the Ingresses of all namespaces with a rule for the host, in lower case, by namespace and name.
	// A host that is not there has a wildcard where the Ingress has one: "*.example.com" is a host as any other.
	IngressesOf(host string) []*networkingv1.Ingress
	// Owner is what of the cluster has an address, other than pods of the given namespace; the zero Owner where nothing is
	// known. known tells that an object told of this very address, and not of a range that it is in.
	Owner(namespace string, addr netip.Addr) (o Owner, known bool)
}

// Nothing is a World that knows no object.
type Nothing struct{}

// Service knows none.
func (Nothing) Service(string, string) *corev1.Service { return nil }

// Services knows none.
func (Nothing) Services(string) []*corev1.Service { return nil }

// IngressesTo knows none.
func (Nothing) IngressesTo(string, string) []*networkingv1.Ingress { return nil }

// EndpointSlices knows none.
func (Nothing) EndpointSlices(string, string) []*discoveryv1.EndpointSlice { return nil }

// Endpoints knows none.
func (Nothing) Endpoints(string, string) *corev1.Endpoints { return nil }

// IngressClass knows none.
func (Nothing) IngressClass(string) *networkingv1.IngressClass { return nil }

// Namespace knows none.
func (Nothing) Namespace(string) *corev1.Namespace { return nil }

// IngressesOf knows none.
func (Nothing) IngressesOf(string) []*networkingv1.Ingress { return nil }

// Owner knows none.
func (Nothing) Owner(string, netip.Addr) (Owner, bool) { return Owner{}, false }

// HostsOf lists the hosts of an Ingress's rules, in lower case, each once; "" for a rule without host. It is what
// IngressesOf indexes by.
func HostsOf(ing *networkingv1.Ingress) []string {
	var hosts []string
	for i := range ing.Spec.Rules {
		hosts = append(hosts, strings.ToLower(ing.Spec.Rules[i].Host))
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// ServicesOf lists the names of the Services that are backends of an Ingress, each once: what IngressesTo indexes by.
func ServicesOf(ing *networkingv1.Ingress) []string {
	var names []string
	add := func(b *networkingv1.IngressBackend) {
		if b != nil && b.Service != nil {
			names = append(names, b.Service.Name)
		}
	}
	add(ing.Spec.DefaultBackend)
	for i := range ing.Spec.Rules {
		if http := ing.Spec.Rules[i].HTTP; http != nil {
			for j := range http.Paths {
				add(&http.Paths[j].Backend)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
