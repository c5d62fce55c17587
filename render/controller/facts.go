package controller

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"drawbridge.dev/drawbridge/policy"
)

// Facts knows the addresses that belong to the cluster or to the proxy itself. A DNS name must not lead there: whoever
// controls the name would borrow the proxy's place in the network (CVE-2021-25740 by another road, DNS rebinding).
type Facts struct {
	policy.Nothing // of a World it knows the owners of addresses alone

	mu     sync.RWMutex
	told   map[Ref]policy.Object
	owners *policy.Owners
	own    map[netip.Addr]bool
}

// NewFacts knows nothing yet but the addresses of this host's interfaces. The loopback interface is left out: its own
// ranges are forbidden anyway, and what else is bound to it is announced for others.
func NewFacts() (*Facts, error) {
	f := &Facts{told: map[Ref]policy.Object{}, owners: &policy.Owners{}, own: map[netip.Addr]bool{}}
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list this host's interfaces: %w", err)
	}
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
					f.own[addr.Unmap()] = true
				}
			}
		}
	}
	return f, nil
}

// Observe learns what an object tells of addresses, as [policy.PlacesOf] reads it. It gives the addresses and ranges
// that it did not tell of before, or no longer tells of.
func (f *Facts) Observe(o policy.Object) []netip.Prefix { return f.replace(RefOf(o), o) }

// Forget drops what an object told, and gives what that was.
func (f *Facts) Forget(ref Ref) []netip.Prefix { return f.replace(ref, nil) }

// Reset forgets every object, and keeps what is known of this host.
func (f *Facts) Reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.told)
	f.owners = &policy.Owners{}
}

func (f *Facts) replace(ref Ref, now policy.Object) []netip.Prefix {
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.told[ref]
	if now != nil && len(policy.PlacesOf(now)) == 0 {
		now = nil
	}
	if old == nil && now == nil {
		return nil
	}
	f.owners.Replace(old, now)
	if now == nil {
		delete(f.told, ref)
	} else {
		f.told[ref] = now
	}
	was, is := prefixesOf(old), prefixesOf(now)
	var changed []netip.Prefix
	for p := range was {
		if !is[p] {
			changed = append(changed, p)
		}
	}
	for p := range is {
		if !was[p] {
			changed = append(changed, p)
		}
	}
	return changed
}

// prefixesOf are the addresses and ranges that an object tells of.
func prefixesOf(o policy.Object) map[netip.Prefix]bool {
	set := map[netip.Prefix]bool{}
	if o == nil {
		return set
	}
	for _, p := range policy.PlacesOf(o) {
		for _, a := range p.Addrs {
			set[netip.PrefixFrom(a, a.BitLen())] = true
		}
		for _, r := range p.Prefixes {
			set[r] = true
		}
	}
	return set
}

// Owner is what of the cluster has an address, other than pods of the given namespace.
func (f *Facts) Owner(namespace string, addr netip.Addr) (policy.Owner, bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.owners.Owner(namespace, addr)
}

// Judge is Check under a policy.
func (f *Facts) Judge(config *policy.Config) func(string, netip.Addr) error {
	return func(name string, addr netip.Addr) error { return f.Check(config, name, addr) }
}

// Check tells why a name must not resolve to an address, nil where it may. What `addresses.allowed` of the policy has
// is allowed. An IPv4 address that is written as IPv6 is judged as what it reaches too, as [policy.Addresses.Check] does.
//
// A name of the cluster's own DNS may lead to Services and pods of the namespace that it names: whether it may be used
// is judged by the name, where the object that has it is reviewed. It may lead no further, as an alias in that namespace
// would make it.
func (f *Facts) Check(config *policy.Config, name string, addr netip.Addr) error {
	addr = addr.WithZone("").Unmap()
	if err := config.Addresses.Check(addr); err != nil {
		return err
	}
	forbidden := policy.Destinations{Forbidden: config.Destinations.Forbidden}
	if err := forbidden.CheckAddress(addr, 0); err != nil {
		return err
	}
	if err := f.check(config, name, addr); err != nil {
		return err
	}
	if inner, ok := policy.Embedded(addr); ok {
		return f.check(config, name, inner)
	}
	return nil
}

func (f *Facts) check(config *policy.Config, name string, addr netip.Addr) error {
	for _, p := range config.Addresses.Allowed {
		if p.Contains(addr) {
			return nil
		}
	}
	if f.own[addr] {
		return fmt.Errorf("'%s' is an address of the proxy itself, and `addresses.allowed` of the policy does not have it", addr)
	}
	owner := config.Foreign(f, "", addr)
	switch {
	case owner.Kind == policy.NoOwner:
		return nil
	case (owner.Kind == policy.OwnerService || owner.Kind == policy.OwnerPod) && owner.Namespace != "" && owner.Namespace == namespaceOf(name, config.ClusterDomain):
		return nil
	}
	return fmt.Errorf("'%s' is the address of %s, and `addresses.allowed` of the policy does not have it", addr, owner.Kind)
}

// namespaceOf is the namespace that a name of the cluster's DNS is in, empty for every other name: that of
// <service>.<namespace>.svc.<domain>, with a pod's host name in front or without.
func namespaceOf(name, clusterDomain string) string {
	labels := strings.Split(strings.ToLower(strings.TrimSuffix(name, ".")), ".")
	domain := strings.Split("svc."+clusterDomain, ".")
	n := len(labels) - len(domain)
	if n < 2 || !slices.Equal(labels[n:], domain) {
		return ""
	}
	return labels[n-1]
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
	case *corev1.Namespace:
		kind = "Namespace"
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
