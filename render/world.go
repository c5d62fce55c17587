package render

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"drawbridge.dev/drawbridge/policy"
)

// Namespace is the Namespace of that name, nil where there is none.
func (s *Snapshot) Namespace(namespace string) *corev1.Namespace {
	return s.spaces.get(name{Name: namespace})
}

// IngressesOf lists the Ingresses with a rule for the host, by namespace and name.
func (s *Snapshot) IngressesOf(host string) []*networkingv1.Ingress {
	return listed(s.ingresses, s.byHost.get(host))
}

// Owner knows none: whose an address is changes with every pod, and is no part of a snapshot.
func (s *Snapshot) Owner(string, netip.Addr) (policy.Owner, bool) { return policy.Owner{}, false }

// TouchedByOwners is what may be judged otherwise because these addresses and ranges came to be, or are no longer, the
// cluster's.
func (s *Snapshot) TouchedByOwners(prefixes []netip.Prefix) Touched {
	var t Touched
	touch := func(slices []name) {
		for _, n := range slices {
			t = t.Merge(s.touchedBySlice(serviceOf(s.slices.get(n))))
		}
	}
	for _, p := range prefixes {
		if p.IsSingleIP() {
			touch(s.byAddress.get(p.Addr()))
			continue
		}
		for addr, slices := range s.byAddress.all {
			if p.Contains(addr) {
				touch(slices)
			}
		}
	}
	return t
}

// addressesOf are the addresses in a slice that people or operators wrote, and those that a translator would make of
// them.
func addressesOf(slice *discoveryv1.EndpointSlice) map[netip.Addr]struct{} {
	set := map[netip.Addr]struct{}{}
	if slice == nil || slice.Labels[discoveryv1.LabelManagedBy] == policy.ManagedByPods {
		return set
	}
	for i := range slice.Endpoints {
		for _, text := range slice.Endpoints[i].Addresses {
			addr, err := netip.ParseAddr(text)
			if err != nil {
				continue
			}
			set[addr.WithZone("").Unmap()] = struct{}{}
			if inner, ok := policy.Embedded(addr); ok {
				set[inner] = struct{}{}
			}
		}
	}
	return set
}

// around is what every object is judged by: its namespace. The owners of addresses are not among it: where a name leads,
// an address in its place too, is judged as it is resolved, without building anything anew.
type around struct {
	policy.Nothing
	b *builder
}

func (w around) Namespace(namespace string) *corev1.Namespace {
	return w.b.snapshot.Namespace(namespace)
}

// ingressWorld is what an Ingress is judged by beside: the Services that it names, and its class. What touches hosts
// rests on it.
type ingressWorld struct{ around }

func (w ingressWorld) Service(namespace, service string) *corev1.Service {
	return w.b.snapshot.Service(namespace, service)
}

func (w ingressWorld) IngressClass(class string) *networkingv1.IngressClass {
	return w.b.snapshot.IngressClass(class)
}

// sliceWorld is what a slice is judged by beside: the Services of its namespace, whose an address is, and that an
// Ingress lends its place in the network, because only what some Ingress leads to is built.
type sliceWorld struct{ around }

func (w sliceWorld) Service(namespace, service string) *corev1.Service {
	return w.b.snapshot.Service(namespace, service)
}

func (w sliceWorld) Services(namespace string) []*corev1.Service {
	return w.b.snapshot.Services(namespace)
}

// someIngress stands for all: which of them it is makes no difference, and the hosts of one are not touched by another.
var someIngress = []*networkingv1.Ingress{{}}

func (w sliceWorld) IngressesTo(string, string) []*networkingv1.Ingress { return someIngress }

func (w sliceWorld) Owner(namespace string, addr netip.Addr) (policy.Owner, bool) {
	if w.b.options.Owner == nil {
		return policy.Owner{}, false
	}
	return w.b.options.Owner(namespace, addr)
}
