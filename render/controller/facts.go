package controller

import (
	"fmt"
	"net"
	"net/netip"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"drawbridge.dev/drawbridge/policy"
)

// Facts knows the addresses that belong to the cluster or to the proxy itself. A DNS name must not lead there: whoever
// controls the name would borrow the proxy's place in the network (CVE-2021-25740 by another road, DNS rebinding).
type Facts struct {
	mu       sync.RWMutex
	by       map[Ref]places
	addrs    map[netip.Addr]int
	prefixes map[netip.Prefix]int
}

type places struct {
	addrs    []netip.Addr
	prefixes []netip.Prefix
}

// NewFacts knows nothing yet but the addresses of this host's interfaces. The loopback interface is left out: its own
// ranges are forbidden anyway, and what else is bound to it is announced for others.
func NewFacts() (*Facts, error) {
	f := &Facts{by: map[Ref]places{}, addrs: map[netip.Addr]int{}, prefixes: map[netip.Prefix]int{}}
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list this host's interfaces: %w", err)
	}
	var own places
	for _, i := range interfaces {
		if i.Flags&net.FlagLoopback != 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			return nil, fmt.Errorf("list the addresses of %s: %w", i.Name, err)
		}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok {
				if addr, ok := netip.AddrFromSlice(n.IP); ok {
					own.addrs = append(own.addrs, addr.Unmap())
				}
			}
		}
	}
	f.set(Ref{Kind: "Interfaces"}, own)
	return f, nil
}

// Observe learns from an object: the addresses of Services, of nodes and their pod ranges, of the ranges of Services,
// of pods behind a Service, and of the API server. It reports whether anything changed.
func (f *Facts) Observe(o policy.Object) bool {
	ref := RefOf(o)
	var p places
	switch o := o.(type) {
	case *corev1.Service:
		if o.Spec.Type != corev1.ServiceTypeExternalName {
			p.add(o.Spec.ClusterIPs...)
			// Not externalIPs: whoever may write a Service may claim any address there, and would take it from others.
			for _, in := range o.Status.LoadBalancer.Ingress {
				p.add(in.IP)
			}
		}
	case *corev1.Node:
		for _, a := range o.Status.Addresses {
			p.add(a.Address)
		}
		p.addRanges(o.Spec.PodCIDRs...)
	case *networkingv1.ServiceCIDR:
		p.addRanges(o.Spec.CIDRs...)
	case *discoveryv1.EndpointSlice:
		if o.AddressType == discoveryv1.AddressTypeFQDN {
			return false
		}
		// Only what the control plane writes: anyone may call an address of his slice, or of Endpoints that are mirrored,
		// a pod, and would thereby forbid it to the names of others.
		apiServer := o.Namespace == "default" && o.Name == "kubernetes"
		pods := o.Labels[discoveryv1.LabelManagedBy] == policy.ManagedByPods
		for i := range o.Endpoints {
			if target := o.Endpoints[i].TargetRef; apiServer || pods && target != nil && target.Kind == "Pod" {
				p.add(o.Endpoints[i].Addresses...)
			}
		}
	default:
		return false
	}
	return f.set(ref, p)
}

// Forget drops what an object taught, and reports whether anything changed.
func (f *Facts) Forget(ref Ref) bool { return f.set(ref, places{}) }

// Reset forgets every object, and keeps what is known of this host.
func (f *Facts) Reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	own := f.by[Ref{Kind: "Interfaces"}]
	clear(f.by)
	clear(f.addrs)
	clear(f.prefixes)
	f.by[Ref{Kind: "Interfaces"}] = own
	for _, a := range own.addrs {
		f.addrs[a]++
	}
}

func (p *places) add(addresses ...string) {
	for _, s := range addresses {
		if a, err := netip.ParseAddr(s); err == nil {
			p.addrs = append(p.addrs, a.Unmap())
		}
	}
}

func (p *places) addRanges(ranges ...string) {
	for _, s := range ranges {
		if r, err := netip.ParsePrefix(s); err == nil {
			p.prefixes = append(p.prefixes, r.Masked())
		}
	}
}

func (f *Facts) set(ref Ref, p places) (changed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	count(f.addrs, p.addrs, 1, &changed)
	count(f.prefixes, p.prefixes, 1, &changed)
	old := f.by[ref]
	count(f.addrs, old.addrs, -1, &changed)
	count(f.prefixes, old.prefixes, -1, &changed)
	if len(p.addrs) == 0 && len(p.prefixes) == 0 {
		delete(f.by, ref)
	} else {
		f.by[ref] = p
	}
	return changed
}

// count adds to the number of objects that tell of each key; changed is set when a key comes or goes.
func count[K comparable](counts map[K]int, keys []K, by int, changed *bool) {
	for _, k := range keys {
		n := counts[k] + by
		if n == 0 {
			delete(counts, k)
		} else {
			counts[k] = n
		}
		if n == 0 || n == by {
			*changed = true
		}
	}
}

// Judge is Check for the addresses that a policy allows and forbids.
func (f *Facts) Judge(a policy.Addresses) func(netip.Addr) error {
	return func(addr netip.Addr) error { return f.Check(a, addr) }
}

// Check tells why a name must not resolve to an address, nil where it may. What the policy allows is allowed. An IPv4
// address that is written as IPv6 is judged as what it reaches too, as [policy.Addresses.Check] does.
func (f *Facts) Check(addresses policy.Addresses, addr netip.Addr) error {
	addr = addr.WithZone("").Unmap()
	if err := addresses.Check(addr); err != nil {
		return err
	}
	if err := f.check(addresses, addr); err != nil {
		return err
	}
	if inner, ok := policy.Embedded(addr); ok {
		return f.check(addresses, inner)
	}
	return nil
}

func (f *Facts) check(addresses policy.Addresses, addr netip.Addr) error {
	for _, p := range addresses.Allowed {
		if p.Contains(addr) {
			return nil
		}
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.addrs[addr] > 0 {
		return fmt.Errorf("'%s' belongs to the cluster or to the proxy itself, and `addresses.allowed` of the policy does not have it", addr)
	}
	for p := range f.prefixes {
		if p.Contains(addr) {
			return fmt.Errorf("'%s' is in '%s', a range of the cluster, and `addresses.allowed` of the policy does not have it", addr, p)
		}
	}
	return nil
}

// RefOf names an object by its kind's Go type, so that it does not depend on its TypeMeta.
func RefOf(o policy.Object) Ref {
	kind := ""
	switch o.(type) {
	case *corev1.Service:
		kind = "Service"
	case *corev1.Endpoints:
		kind = "Endpoints"
	case *corev1.Secret:
		kind = "Secret"
	case *corev1.Node:
		kind = "Node"
	case *discoveryv1.EndpointSlice:
		kind = "EndpointSlice"
	case *networkingv1.Ingress:
		kind = "Ingress"
	case *networkingv1.IngressClass:
		kind = "IngressClass"
	case *networkingv1.ServiceCIDR:
		kind = "ServiceCIDR"
	}
	return Ref{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName()}
}
