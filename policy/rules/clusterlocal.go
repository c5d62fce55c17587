package rules

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"drawbridge.dev/drawbridge/policy"
)

// clusterName is what of the cluster a DNS name means.
type clusterName struct {
	// Namespace and Service are those of a Service. Both are empty where the name is no one Service's: of a pod by its
	// address, or of the domain itself; Service is empty for the name of a namespace.
	Namespace, Service string
	// Short tells that the name is a single label, which resolvers look for in the namespace of whoever asks.
	Short bool
}

// clusterNameOf tells what of the cluster a DNS name means, in each of its spellings; ok is false for a name outside of
// it. The name is as aliasHost gives it. "x.ns" is a name of the cluster where namespace ns has a Service x:
// a resolver that has the cluster's search list finds that one first.
//
// Names of pods are nobody's in particular: CoreDNS by default answers 10-0-0-7.ANY.pod.cluster.local with 10.0.0.7,
// whatever the namespace and the address (plugin kubernetes, "pods insecure").
func clusterNameOf(w policy.World, name, clusterDomain string) (c clusterName, ok bool) {
	rest, under := strings.CutSuffix(name, "."+clusterDomain)
	if name == clusterDomain {
		return clusterName{}, true
	}
	labels := strings.Split(rest, ".")
	n := len(labels)
	last := labels[n-1]
	switch {
	case last == "svc" && n >= 3:
		return clusterName{Namespace: labels[n-2], Service: labels[n-3]}, true
	case last == "svc" && n == 2:
		return clusterName{Namespace: labels[0]}, true
	case under, last == "pod" && n >= 2:
		return clusterName{}, true
	case n == 1:
		return clusterName{Service: name, Short: true}, true
	}
	service := labels[n-2]
	if last == "default" && service == "kubernetes" || hasService(w, last, service) {
		return clusterName{Namespace: last, Service: service}, true
	}
	return clusterName{}, false
}

// hasService tells whether a Service is there. It asks for the list, which holds what is known, because most names are
// none: to ask for one of them costs a read of the API server.
func hasService(w policy.World, namespace, name string) bool {
	_, found := slices.BinarySearchFunc(w.Services(namespace), name, func(s *corev1.Service, name string) int { return cmp.Compare(s.Name, name) })
	return found
}

// remembering asks a World once for the Services of a namespace, however many aliases end in its name.
type remembering struct {
	policy.World
	// first is the namespace asked for first, mostly the only one; others holds the rest.
	first     string
	firstList []*corev1.Service
	asked     bool
	others    map[string][]*corev1.Service
}

func (r *remembering) Services(namespace string) []*corev1.Service {
	if !r.asked {
		r.asked, r.first, r.firstList = true, namespace, r.World.Services(namespace)
	}
	if namespace == r.first {
		return r.firstList
	}
	list, known := r.others[namespace]
	if !known {
		if r.others == nil {
			r.others = map[string][]*corev1.Service{}
		}
		list = r.World.Services(namespace)
		r.others[namespace] = list
	}
	return list
}

// aliasHop is one ExternalName Service on the way that an alias leads.
type aliasHop struct {
	*corev1.Service
	// Name is the host that its external name means, as aliasHost has it.
	Name string
	// To is what of the cluster the name means; Inside is false where it means nothing of it.
	To     clusterName
	Inside bool
}

// maxHops bounds the chains of aliases that are followed, as resolvers do.
const maxHops = 16

// aliasHops follows an ExternalName Service through others to the last, which is there at least once. A loop, and a
// chain that no resolver would follow to its end, is cut.
func aliasHops(w policy.World, svc *corev1.Service, clusterDomain string) []aliasHop {
	var hops []aliasHop
	for svc != nil && isExternalName(svc) && len(hops) < maxHops {
		if slices.ContainsFunc(hops, func(h aliasHop) bool { return h.Namespace == svc.Namespace && h.Service.Name == svc.Name }) {
			break
		}
		hop := aliasHop{Service: svc, Name: aliasHost(svc)}
		hop.To, hop.Inside = clusterNameOf(w, hop.Name, clusterDomain)
		hops = append(hops, hop)
		if !hop.Inside || hop.To.Namespace == "" || hop.To.Service == "" {
			break
		}
		svc = w.Service(hop.To.Namespace, hop.To.Service)
	}
	return hops
}

// foreignHop is the first hop of an alias that leads into a namespace without its grant, or to something of the cluster
// that is in no namespace. Each hop is judged by the namespace that it stands in.
func foreignHop(c *policy.Config, hops []aliasHop) (h aliasHop, found bool) {
	for _, h := range hops {
		if h.Inside && (h.To.Namespace == "" || !c.Granted(h.Namespace, "Service", h.To.Namespace, h.To.Service)) {
			return h, true
		}
	}
	return aliasHop{}, false
}

// strangerIn is what of the cluster has an address that an alias spells or is: a name such as 10-0-0-7.nip.io, which a
// public server answers with 10.0.0.7, and an address where a name ought to be. The zero Owner stands for nothing.
func strangerIn(c *policy.Config, w policy.World, hops []aliasHop) (addr netip.Addr, o policy.Owner) {
	for _, h := range hops {
		list := spelledIn(h.Name, c.ClusterDomain)
		if isIP(h.Name) {
			list = meantBy(h.Name)
		}
		for _, addr := range list {
			if o := strangerAt(c, w, h.Namespace, addr); o.Kind != policy.NoOwner && (o.Kind != policy.OwnerService || o.Namespace != h.Namespace) {
				return addr, o
			}
		}
	}
	return netip.Addr{}, policy.Owner{}
}

// leadsTo says for a message where a hop leads.
func (h *aliasHop) leadsTo() string {
	switch {
	case h.To.Short:
		return "'" + quoted(h.Name) + "', a Service of whichever namespace the name is looked up from"
	case h.To.Namespace == "":
		return "'" + quoted(h.Name) + "', a name inside the cluster"
	case h.To.Service == "":
		return "'" + quoted(h.Name) + "', the name of namespace '" + quoted(h.To.Namespace) + "'"
	}
	return "'" + quoted(h.Name) + "', Service '" + quoted(h.To.Service) + "' of namespace '" + quoted(h.To.Namespace) + "'"
}
