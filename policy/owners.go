package policy

import (
	"net/netip"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// OwnerKind says what of a cluster has an address.
type OwnerKind uint8

// The owners. A stronger one comes later: an address of a pod that is its node's is the node's.
const (
	NoOwner OwnerKind = iota
	OwnerPod
	OwnerService
	OwnerLoadBalancer
	OwnerNode
	OwnerAPIServer
)

func (k OwnerKind) String() string {
	return [...]string{"", "a pod", "a Service", "a load balancer of the cluster", "a node", "the API server"}[k]
}

// Owner is what of a cluster has an address; the zero value is nothing.
type Owner struct {
	Kind OwnerKind
	// Namespace is that of a pod, a Service or a load balancer; empty where only a range tells.
	Namespace string
}

// Owners knows which addresses belong to the cluster, from the objects that tell of them. It is safe for concurrent
// use. The zero value knows nothing.
type Owners struct {
	mu       sync.RWMutex
	addrs    map[netip.Addr][]claim
	prefixes map[netip.Prefix][]claim
	// lengths counts the prefixes of each length, so that an address is looked up once for each length there is: every
	// node may have a range of its own.
	lengths map[int]int
}

// claim is an owner and how many objects tell of it.
type claim struct {
	Owner
	n int
}

// Places is what an object tells of the addresses of its cluster.
type Places struct {
	Owner    Owner
	Addrs    []netip.Addr
	Prefixes []netip.Prefix
}

// PlacesOf reads a Service (its cluster IPs), a Node (its addresses; its pods' ranges are in PodRangesOf), a ServiceCIDR,
// or an EndpointSlice that the control plane made of pods or of the API server. Only what the control plane writes
// counts: anyone may call an address of his own slice a pod, and would thereby claim it.
func PlacesOf(o Object) []Places {
	var list []Places
	add := func(owner Owner, addresses ...string) {
		p := Places{Owner: owner}
		for _, s := range addresses {
			if a, err := netip.ParseAddr(s); err == nil {
				p.Addrs = append(p.Addrs, a.WithZone("").Unmap())
			}
		}
		if len(p.Addrs) > 0 {
			list = append(list, p)
		}
	}
	addRanges := func(owner Owner, ranges ...string) {
		p := Places{Owner: owner}
		for _, s := range ranges {
			if r, err := netip.ParsePrefix(s); err == nil {
				p.Prefixes = append(p.Prefixes, r.Masked())
			}
		}
		if len(p.Prefixes) > 0 {
			list = append(list, p)
		}
	}
	switch o := o.(type) {
	case *corev1.Service:
		if o.Spec.Type == corev1.ServiceTypeExternalName {
			break
		}
		owner := Owner{OwnerService, o.Namespace}
		if o.Namespace == "default" && o.Name == "kubernetes" {
			owner = Owner{Kind: OwnerAPIServer}
		}
		add(owner, o.Spec.ClusterIPs...)
		// Not externalIPs: whoever may write a Service may claim any address there, and would take it from others.
		for _, in := range o.Status.LoadBalancer.Ingress {
			add(Owner{OwnerLoadBalancer, o.Namespace}, in.IP)
		}
	case *corev1.Node:
		for _, a := range o.Status.Addresses {
			add(Owner{Kind: OwnerNode}, a.Address)
		}
		addRanges(Owner{Kind: OwnerPod}, o.Spec.PodCIDRs...)
	case *networkingv1.ServiceCIDR:
		addRanges(Owner{Kind: OwnerService}, o.Spec.CIDRs...)
	case *discoveryv1.EndpointSlice:
		if o.AddressType == discoveryv1.AddressTypeFQDN {
			break
		}
		apiServer := o.Namespace == "default" && o.Name == "kubernetes"
		pods := o.Labels[discoveryv1.LabelManagedBy] == ManagedByPods
		var addresses []string
		for i := range o.Endpoints {
			if target := o.Endpoints[i].TargetRef; apiServer || pods && target != nil && target.Kind == "Pod" {
				addresses = append(addresses, o.Endpoints[i].Addresses...)
			}
		}
		owner := Owner{OwnerPod, o.Namespace}
		if apiServer {
			owner = Owner{Kind: OwnerAPIServer}
		}
		add(owner, addresses...)
	}
	return list
}

// Replace takes back what an object told, and learns what its next version tells; either may be nil.
func (x *Owners) Replace(old, next Object) {
	var before, after []Places
	if old != nil {
		before = PlacesOf(old)
	}
	if next != nil {
		after = PlacesOf(next)
	}
	if len(before)+len(after) == 0 {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.addrs == nil {
		x.addrs, x.prefixes, x.lengths = map[netip.Addr][]claim{}, map[netip.Prefix][]claim{}, map[int]int{}
	}
	for _, p := range after {
		x.count(p, 1)
	}
	for _, p := range before {
		x.count(p, -1)
	}
}

func (x *Owners) count(p Places, by int) {
	for _, a := range p.Addrs {
		countClaim(x.addrs, a, p.Owner, by)
	}
	for _, r := range p.Prefixes {
		before := len(x.prefixes)
		countClaim(x.prefixes, r, p.Owner, by)
		if x.lengths[r.Bits()] += len(x.prefixes) - before; x.lengths[r.Bits()] == 0 {
			delete(x.lengths, r.Bits())
		}
	}
}

func countClaim[K comparable](claims map[K][]claim, key K, owner Owner, by int) {
	list := claims[key]
	i := slices.IndexFunc(list, func(c claim) bool { return c.Owner == owner })
	switch {
	case i < 0 && by > 0:
		claims[key] = append(list, claim{owner, by})
	case i < 0:
	case list[i].n+by <= 0:
		if list = slices.Delete(list, i, i+1); len(list) == 0 {
			delete(claims, key)
		} else {
			claims[key] = list
		}
	default:
		list[i].n += by
	}
}

// Owner is what of the cluster has an address, other than pods of the given namespace; the zero Owner where nothing
// has. known tells that an object told of this very address, which says more than a range that it is in.
func (x *Owners) Owner(namespace string, addr netip.Addr) (o Owner, known bool) {
	addr = addr.WithZone("").Unmap()
	x.mu.RLock()
	defer x.mu.RUnlock()
	if list, ok := x.addrs[addr]; ok {
		return strongest(list, namespace), true
	}
	var best Owner
	for bits := range x.lengths {
		r, err := addr.Prefix(bits)
		if err != nil { // longer than the address
			continue
		}
		if o := strongest(x.prefixes[r], namespace); o.Kind > best.Kind {
			best = o
		}
	}
	return best, false
}

func strongest(list []claim, namespace string) Owner {
	var best Owner
	for _, c := range list {
		if c.Kind > best.Kind && (c.Kind != OwnerPod || c.Namespace == "" || c.Namespace != namespace) {
			best = c.Owner
		}
	}
	return best
}

// Ranges are the ranges of a cluster's addresses that nothing in it tells of, or not to everybody.
type Ranges struct{ Pods, Services, Nodes []netip.Prefix }

// Foreign is what of the cluster has an address, other than pods of the given namespace: as the World knows, else as
// the ranges of the policy have it. An IPv4 address inside an IPv6 one counts as well.
func (c *Config) Foreign(w World, namespace string, addr netip.Addr) Owner {
	addr = addr.WithZone("").Unmap()
	if o := c.foreign(w, namespace, addr); o.Kind != NoOwner {
		return o
	}
	if inner, ok := Embedded(addr); ok {
		return c.foreign(w, namespace, inner)
	}
	return Owner{}
}

func (c *Config) foreign(w World, namespace string, addr netip.Addr) Owner {
	o, known := w.Owner(namespace, addr)
	if known || o.Kind != NoOwner {
		return o
	}
	for _, r := range [...]struct {
		kind     OwnerKind
		prefixes []netip.Prefix
	}{{OwnerNode, c.Ranges.Nodes}, {OwnerService, c.Ranges.Services}, {OwnerPod, c.Ranges.Pods}} {
		if slices.ContainsFunc(r.prefixes, func(p netip.Prefix) bool { return p.Contains(addr) }) {
			return Owner{Kind: r.kind}
		}
	}
	return o
}
