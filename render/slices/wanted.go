// Package slices turns the Endpoints that people write into the EndpointSlices that carry their traffic, and takes
// the work over from kube-controller-manager's mirroring controller, and hands it back, without a gap.
//
// Wanted is the pure part: Endpoints, their Service and the slices that exist give the slices that should. The
// Reconciler stores them, in the order that never leaves a Service without an endpoint: first drawbridge's slices,
// then, once they are read back, the label endpointslice.kubernetes.io/skip-mirror: "true" on the Endpoints, upon
// which the mirroring controller deletes its own. The way back goes in the opposite order.
//
// What the mirroring controller copies as it stands is mended here: port names are filled in by policy.PortNames,
// without which kube-proxy finds no endpoint, and an address that the API server refuses is left out by itself.
package slices

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/net"

	"drawbridge.dev/drawbridge/policy"
)

// MaxEndpoints is how many endpoints one slice holds: the API allows 1,000, but every change of one address is sent
// to every node with the whole slice.
const MaxEndpoints = 100

// serviceProxyName is the label by which a Service asks for another proxy than kube-proxy, which looks for it on
// slices too.
const serviceProxyName = "service.kubernetes.io/service-proxy-name"

// Problem is something in Endpoints that was left out of the slices, or that carries no traffic.
type Problem struct {
	// Reason is one CamelCase word, as the reason of an Event.
	Reason string
	// Field is the path in the Endpoints.
	Field string
	// Message is one line, free of control characters.
	Message string
}

// Reasons of a Problem, and of the Events that the Reconciler sends.
const (
	ReasonAddress  = "InvalidAddress"
	ReasonPort     = "InvalidPort"
	ReasonPortName = "PortNameMismatch"
	ReasonEndpoint = "InvalidEndpoint"
)

// port is an endpoint port as a value that can be compared. app is empty where there is none.
type port struct {
	name     string
	number   int32
	protocol corev1.Protocol
	app      string
}

func (p port) compare(q port) int {
	return cmp.Or(cmp.Compare(p.name, q.name), cmp.Compare(p.protocol, q.protocol), cmp.Compare(p.number, q.number), cmp.Compare(p.app, q.app))
}

// host is all that the subsets say of one address.
type host struct {
	addr netip.Addr
	// from is the occurrence whose hostname, node and target count: the first ready one, else the first.
	from  corev1.EndpointAddress
	ready bool
	// ports tells for each port of the address whether it is ready there.
	ports map[port]bool
	// bare says that the address was listed without ports, and whether as ready.
	bare, bareReady bool
}

// group is the endpoints of one address family and port set.
type group struct {
	key       string
	family    discoveryv1.AddressType
	ports     []port
	endpoints map[string]discoveryv1.Endpoint // by address
}

// Wanted gives the EndpointSlices that should exist for Endpoints, complete with names, labels and controller
// reference, sorted by name; and what it left out. It changes nothing and reads nothing else.
//
// There is one set of slices per address family and port set, of at most MaxEndpoints each. existing are the slices
// of the Service, of any owner: an endpoint stays in the slice of drawbridge that holds it, a new one goes where
// another left or where there is room, so that the change of one address changes one slice. Names follow from the
// family, the ports and an ordinal; a name that a foreign slice in existing bears is passed over. Slices are not
// repacked when they drain, only dropped when they are empty.
//
// An address stands once per port set, as ready where it is listed as both. Not ready ones are kept with ready: false,
// or true where the Service publishes them. Port names are those of policy.PortNames. svc may be nil, which leaves
// the names as they are. Endpoints without a UID (from a file) give slices without an owner.
func Wanted(ep *corev1.Endpoints, svc *corev1.Service, existing []*discoveryv1.EndpointSlice) ([]*discoveryv1.EndpointSlice, []Problem) {
	hosts, problems := hostsOf(ep, svc)
	var wanted []*discoveryv1.EndpointSlice

	taken := map[string]bool{}
	own := map[string][]*discoveryv1.EndpointSlice{}
	for _, s := range existing {
		taken[s.Name] = true
		if Owns(ep, s) && s.DeletionTimestamp == nil {
			key := keyOf(s.AddressType, portsOf(s))
			own[key] = append(own[key], s)
		}
	}
	labels := labelsOf(ep, svc)
	for _, g := range groupsOf(hosts, svc) {
		for _, p := range pack(g, own[g.key]) {
			name := p.name
			if name == "" {
				name = freeName(ep.Name, g.key, taken)
				taken[name] = true
			}
			wanted = append(wanted, newSlice(ep, name, labels, g, p.endpoints))
		}
	}
	slices.SortFunc(wanted, func(a, b *discoveryv1.EndpointSlice) int { return cmp.Compare(a.Name, b.Name) })
	return wanted, problems
}

// Owns tells whether a slice is drawbridge's and made for these Endpoints: by its label and its controller
// reference both. A slice that merely looks like it is somebody else's.
func Owns(ep *corev1.Endpoints, s *discoveryv1.EndpointSlice) bool {
	if s.Labels[discoveryv1.LabelManagedBy] != policy.ManagedBy || s.Namespace != ep.Namespace {
		return false
	}
	ref := metav1.GetControllerOf(s)
	return ref != nil && ref.APIVersion == "v1" && ref.Kind == "Endpoints" && ref.Name == ep.Name && ref.UID == ep.UID
}

// hostsOf reads the subsets into one host per address, in the order of the addresses.
func hostsOf(ep *corev1.Endpoints, svc *corev1.Service) ([]*host, []Problem) {
	var problems []Problem
	byAddr := map[netip.Addr]*host{}
	served := map[string]bool{}
	add := func(a corev1.EndpointAddress, ready bool, ports []port, path string) {
		addr, err := parse(a.IP)
		if err != nil {
			problems = append(problems, Problem{ReasonAddress, path + ".ip", fmt.Sprintf("%s: %v; it is left out", quote(a.IP), err)})
			return
		}
		h := byAddr[addr]
		if h == nil {
			h = &host{addr: addr, from: a, ready: ready, ports: map[port]bool{}}
			byAddr[addr] = h
		} else if ready && !h.ready {
			h.from, h.ready = a, true
		}
		if len(ports) == 0 {
			h.bare, h.bareReady = true, h.bareReady || ready
		}
		for _, p := range ports {
			h.ports[p] = h.ports[p] || ready
		}
	}
	for i, s := range ep.Subsets {
		path := fmt.Sprintf("subsets[%d]", i)
		ports, found := subsetPorts(s, svc, path)
		problems = append(problems, found...)
		if len(s.Ports) > 0 && len(ports) == 0 {
			continue // every port of it is broken: nothing can be reached there
		}
		for _, p := range ports {
			served[p.name] = true
		}
		for j, a := range s.Addresses {
			add(a, true, ports, fmt.Sprintf("%s.addresses[%d]", path, j))
		}
		for j, a := range s.NotReadyAddresses {
			add(a, false, ports, fmt.Sprintf("%s.notReadyAddresses[%d]", path, j))
		}
	}
	hosts := make([]*host, 0, len(byAddr))
	for _, h := range byAddr {
		hosts = append(hosts, h)
	}
	slices.SortFunc(hosts, func(a, b *host) int { return a.addr.Compare(b.addr) })
	if svc != nil && len(hosts) > 0 {
		for _, p := range svc.Spec.Ports {
			if !served[p.Name] {
				problems = append(problems, Problem{ReasonPortName, "subsets",
					fmt.Sprintf("no port is named %s, as the port %d of the Service is: it carries no traffic", quote(p.Name), p.Port)})
			}
		}
	}
	return hosts, problems
}

// subsetPorts gives the ports of a subset with the names that they ought to have.
func subsetPorts(s corev1.EndpointSubset, svc *corev1.Service, path string) ([]port, []Problem) {
	var problems []Problem
	var service []corev1.ServicePort
	if svc != nil {
		service = svc.Spec.Ports
	}
	names, _ := policy.PortNames(service, policy.SubsetPorts(&s))
	ports := make([]port, 0, len(s.Ports))
	for i, p := range s.Ports {
		q := port{name: names[i], number: p.Port, protocol: p.Protocol}
		if q.protocol == "" {
			q.protocol = corev1.ProtocolTCP
		}
		if p.AppProtocol != nil {
			q.app = *p.AppProtocol
		}
		if err := q.check(); err != nil {
			problems = append(problems, Problem{ReasonPort, fmt.Sprintf("%s.ports[%d]", path, i), err.Error() + "; it is left out"})
			continue
		}
		ports = append(ports, q)
	}
	slices.SortFunc(ports, port.compare)
	return slices.Compact(ports), problems
}

// check tells why the API server would refuse a slice with this port.
func (p port) check() error {
	switch {
	case p.number < 1 || p.number > 65535:
		return fmt.Errorf("%d must be between 1 and 65535", p.number)
	case p.protocol != corev1.ProtocolTCP && p.protocol != corev1.ProtocolUDP && p.protocol != corev1.ProtocolSCTP:
		return fmt.Errorf("%s must be 'TCP', 'UDP' or 'SCTP'", quote(string(p.protocol)))
	case p.name != "" && len(validation.IsDNS1123Label(p.name)) > 0:
		return fmt.Errorf("%s must be a DNS label", quote(p.name))
	case p.app != "" && len(validation.IsQualifiedName(p.app)) > 0:
		return fmt.Errorf("%s must be a qualified name", quote(p.app))
	}
	return nil
}

// parse reads an address as the API server does for Endpoints, leading zeros included, and refuses those that it
// refuses in a slice. An IPv4 address written as IPv6 is the IPv4 one, as the mirroring controller has it.
func parse(s string) (netip.Addr, error) {
	ip := net.ParseIPSloppy(s)
	addr, ok := netip.AddrFromSlice(ip)
	if ip == nil || !ok {
		return netip.Addr{}, fmt.Errorf("must be an IP address")
	}
	addr = addr.Unmap()
	switch {
	case addr.IsUnspecified():
		return netip.Addr{}, fmt.Errorf("must not be an unspecified address")
	case addr.IsLoopback():
		return netip.Addr{}, fmt.Errorf("must not be a loopback address")
	case addr.IsLinkLocalUnicast(), addr.IsLinkLocalMulticast():
		return netip.Addr{}, fmt.Errorf("must not be a link-local address")
	}
	return addr, nil
}

// groupsOf sorts the hosts into their families and port sets. Each host's ready ports make one set, the others
// another; names are unique in a slice, so that a second port of a name goes into a set of its own.
func groupsOf(hosts []*host, svc *corev1.Service) []*group {
	publish := svc != nil && svc.Spec.PublishNotReadyAddresses
	groups := map[string]*group{}
	put := func(h *host, ready bool, ports []port) {
		family := discoveryv1.AddressTypeIPv4
		if h.addr.Is6() {
			family = discoveryv1.AddressTypeIPv6
		}
		key := keyOf(family, ports)
		g := groups[key]
		if g == nil {
			g = &group{key: key, family: family, ports: ports, endpoints: map[string]discoveryv1.Endpoint{}}
			groups[key] = g
		}
		g.endpoints[h.addr.String()] = endpoint(h, ready, publish)
	}
	for _, h := range hosts {
		if len(h.ports) == 0 {
			put(h, h.bareReady, nil)
			continue
		}
		for _, ready := range []bool{true, false} {
			var ports []port
			for p, r := range h.ports {
				if r == ready {
					ports = append(ports, p)
				}
			}
			slices.SortFunc(ports, port.compare)
			for _, layer := range layers(ports) {
				put(h, ready, layer)
			}
		}
	}
	sorted := make([]*group, 0, len(groups))
	for _, g := range groups {
		sorted = append(sorted, g)
	}
	slices.SortFunc(sorted, func(a, b *group) int { return cmp.Compare(a.key, b.key) })
	return sorted
}

// layers splits sorted ports so that no name stands twice in one part.
func layers(ports []port) [][]port {
	var out [][]port
	depth := 0
	for i, p := range ports {
		depth++
		if i == 0 || ports[i-1].name != p.name {
			depth = 1
		}
		if depth > len(out) {
			out = append(out, nil)
		}
		out[depth-1] = append(out[depth-1], p)
	}
	return out
}

func endpoint(h *host, ready, publish bool) discoveryv1.Endpoint {
	published, serving, terminating := ready || publish, ready, false
	e := discoveryv1.Endpoint{
		Addresses:  []string{h.addr.String()},
		Conditions: discoveryv1.EndpointConditions{Ready: &published, Serving: &serving, Terminating: &terminating},
		TargetRef:  h.from.TargetRef.DeepCopy(),
	}
	// Either would make the API server refuse the slice with everything else in it.
	if h.from.Hostname != "" && len(validation.IsDNS1123Label(h.from.Hostname)) == 0 {
		e.Hostname = &h.from.Hostname
	}
	if n := h.from.NodeName; n != nil && len(apivalidation.NameIsDNSSubdomain(*n, false)) == 0 {
		e.NodeName = n
	}
	return e
}

// packed is the endpoints of one slice; the name is empty for a new slice.
type packed struct {
	name      string
	endpoints []discoveryv1.Endpoint
}

// pack distributes the endpoints of a group over the slices that exist and as few new ones as it takes.
func pack(g *group, existing []*discoveryv1.EndpointSlice) []packed {
	existing = slices.Clone(existing)
	// By length first: ordinal 10 comes after 9.
	slices.SortFunc(existing, func(a, b *discoveryv1.EndpointSlice) int {
		return cmp.Or(cmp.Compare(len(a.Name), len(b.Name)), cmp.Compare(a.Name, b.Name))
	})
	placed := make(map[string]bool, len(g.endpoints))
	var parts []packed
	var changed []bool
	for _, s := range existing {
		p := packed{name: s.Name}
		for _, e := range s.Endpoints {
			if len(e.Addresses) != 1 || len(p.endpoints) == MaxEndpoints || placed[e.Addresses[0]] {
				continue
			}
			if want, ok := g.endpoints[e.Addresses[0]]; ok {
				placed[e.Addresses[0]] = true
				p.endpoints = append(p.endpoints, want)
			}
		}
		parts = append(parts, p)
		changed = append(changed, len(p.endpoints) != len(s.Endpoints))
	}
	var rest []string
	for a := range g.endpoints {
		if !placed[a] {
			rest = append(rest, a)
		}
	}
	slices.SortFunc(rest, func(a, b string) int {
		return netip.MustParseAddr(a).Compare(netip.MustParseAddr(b))
	})
	// A slice that lost an endpoint is written anyway: it takes new ones before the others do.
	for _, lost := range []bool{true, false} {
		for i := range parts {
			for changed[i] == lost && len(parts[i].endpoints) < MaxEndpoints && len(rest) > 0 {
				parts[i].endpoints = append(parts[i].endpoints, g.endpoints[rest[0]])
				rest = rest[1:]
			}
		}
	}
	for chunk := range slices.Chunk(rest, MaxEndpoints) {
		var p packed
		for _, a := range chunk {
			p.endpoints = append(p.endpoints, g.endpoints[a])
		}
		parts = append(parts, p)
	}
	return slices.DeleteFunc(parts, func(p packed) bool { return len(p.endpoints) == 0 })
}

func newSlice(ep *corev1.Endpoints, name string, labels map[string]string, g *group, endpoints []discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		TypeMeta:    metav1.TypeMeta{APIVersion: discoveryv1.SchemeGroupVersion.String(), Kind: "EndpointSlice"},
		ObjectMeta:  metav1.ObjectMeta{Name: name, Namespace: ep.Namespace, Labels: labels},
		AddressType: g.family,
		Ports:       []discoveryv1.EndpointPort{},
		Endpoints:   endpoints,
	}
	if ep.UID != "" {
		// Without blockOwnerDeletion, which takes the right to set finalizers of Endpoints.
		controller := true
		s.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Endpoints", Name: ep.Name, UID: ep.UID, Controller: &controller}}
	}
	for _, p := range g.ports {
		q := discoveryv1.EndpointPort{Name: &p.name, Port: &p.number, Protocol: &p.protocol}
		if p.app != "" {
			q.AppProtocol = &p.app
		}
		s.Ports = append(s.Ports, q)
	}
	return s
}

// labelsOf are the labels of every slice of Endpoints. Those that kube-proxy chooses its slices by are taken from
// the Service; others are not copied, since anything may be in them.
func labelsOf(ep *corev1.Endpoints, svc *corev1.Service) map[string]string {
	labels := map[string]string{
		discoveryv1.LabelServiceName: ep.Name,
		discoveryv1.LabelManagedBy:   policy.ManagedBy,
	}
	if svc != nil {
		if svc.Spec.ClusterIP == corev1.ClusterIPNone {
			labels[corev1.IsHeadlessService] = ""
		}
		if v, ok := svc.Labels[serviceProxyName]; ok {
			labels[serviceProxyName] = v
		}
	}
	return labels
}

// portsOf reads the ports of a slice, sorted.
func portsOf(s *discoveryv1.EndpointSlice) []port {
	ports := make([]port, 0, len(s.Ports))
	for _, p := range s.Ports {
		var q port
		if p.Name != nil {
			q.name = *p.Name
		}
		if p.Port != nil {
			q.number = *p.Port
		}
		if p.Protocol != nil {
			q.protocol = *p.Protocol
		}
		if p.AppProtocol != nil {
			q.app = *p.AppProtocol
		}
		ports = append(ports, q)
	}
	slices.SortFunc(ports, port.compare)
	return ports
}

// keyOf identifies a family and port set. None of its parts can hold a space or a comma where they are valid.
func keyOf(family discoveryv1.AddressType, ports []port) string {
	var b strings.Builder
	b.WriteString(string(family))
	for _, p := range ports {
		fmt.Fprintf(&b, ",%s %s %d %s", p.name, p.protocol, p.number, p.app)
	}
	return b.String()
}

// freeName is the first name for a slice of this key that is not taken: the Endpoints' name, a hash, an ordinal.
func freeName(ep, key string, taken map[string]bool) string {
	sum := sha256.Sum256([]byte(ep + "\x00" + key))
	hash := hex.EncodeToString(sum[:5])
	for n := 0; ; n++ {
		tail := "-" + hash + "-" + strconv.Itoa(n)
		// What is cut off still counts in the hash. A name may not have a dash or a dot where it is cut.
		head := strings.TrimRight(ep[:min(len(ep), validation.DNS1123SubdomainMaxLength-len(tail))], "-.")
		if name := strings.TrimLeft(head+tail, "-"); !taken[name] {
			return name
		}
	}
}

// quote makes text from an object fit for one line of a message.
func quote(s string) string {
	const most = 80
	q := strconv.QuoteToASCII(s)
	q = q[1 : len(q)-1]
	if len(q) > most {
		q = q[:most] + "..."
	}
	return "'" + q + "'"
}
