package rules

import (
	"fmt"
	"math/big"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilnet "k8s.io/utils/net"

	"drawbridge.dev/drawbridge/policy"
)

// addressed is the addresses of Endpoints or of an EndpointSlice, with the ports on which each is served.
type addressed struct {
	root   *field.Path
	groups [][]int32 // sets of ports: of each subset, or of the slice
	list   []addressAt
	path   func(addressAt) *field.Path
}

// addressAt is an address as it is written, its group, and where it stands: the kind of list, item and place in it.
type addressAt struct {
	text             string
	group            int
	notReady         bool
	item, inEndpoint int
}

// addressesOf are the addresses of Endpoints, ready or not.
func addressesOf(ep *corev1.Endpoints) *addressed {
	a := &addressed{root: subsetsPath}
	a.path = func(at addressAt) *field.Path {
		list := "addresses"
		if at.notReady {
			list = "notReadyAddresses"
		}
		return subsetsPath.Index(at.group).Child(list).Index(at.item).Child("ip")
	}
	for i := range ep.Subsets {
		s := &ep.Subsets[i]
		var ports []int32
		for j := range s.Ports {
			ports = append(ports, s.Ports[j].Port)
		}
		a.groups = append(a.groups, ports)
		for j := range s.Addresses {
			a.list = append(a.list, addressAt{text: s.Addresses[j].IP, group: i, item: j})
		}
		for j := range s.NotReadyAddresses {
			a.list = append(a.list, addressAt{text: s.NotReadyAddresses[j].IP, group: i, item: j, notReady: true})
		}
	}
	return a
}

var endpointsPath = field.NewPath("endpoints")

// addressesIn are the addresses of an EndpointSlice, whatever their type.
func addressesIn(s *discoveryv1.EndpointSlice) *addressed {
	a := &addressed{root: endpointsPath, groups: make([][]int32, 1)}
	a.path = func(at addressAt) *field.Path {
		return endpointsPath.Index(at.item).Child("addresses").Index(at.inEndpoint)
	}
	for i := range s.Ports {
		if s.Ports[i].Port == nil {
			a.groups[0] = nil // every port
			break
		}
		a.groups[0] = append(a.groups[0], *s.Ports[i].Port)
	}
	for i := range s.Endpoints {
		for j, text := range s.Endpoints[i].Addresses {
			a.list = append(a.list, addressAt{text: text, item: i, inEndpoint: j})
		}
	}
	return a
}

// parseAddress reads an address as the API server and the mirroring controller do: IPv4 with zeros in front is decimal.
func parseAddress(text string) (netip.Addr, bool) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return addr.WithZone("").Unmap(), true
	}
	addr, ok := netip.AddrFromSlice(utilnet.ParseIPSloppy(text))
	return addr.Unmap(), ok
}

// strangerAt is what of the cluster has an address that an object of a namespace must not lead to: a pod or a Service
// of a namespace without a grant, a node, or the API server. The zero Owner stands for nothing. A Service of the very
// namespace is among it: an endpoint can not be a cluster IP.
func strangerAt(c *policy.Config, w policy.World, namespace string, addr netip.Addr) policy.Owner {
	o := c.Foreign(w, namespace, addr)
	switch o.Kind {
	case policy.NoOwner, policy.OwnerLoadBalancer:
		return policy.Owner{}
	case policy.OwnerPod, policy.OwnerService:
		if o.Namespace != "" && o.Namespace != namespace && c.Granted(namespace, "Service", o.Namespace, "") {
			return policy.Owner{}
		}
	case policy.OwnerNode, policy.OwnerAPIServer:
	}
	if slices.ContainsFunc(c.Addresses.Allowed, func(p netip.Prefix) bool { return p.Contains(addr) }) {
		return policy.Owner{}
	}
	return o
}

// ownerText names an owner in a message.
func ownerText(o policy.Owner) string {
	if o.Namespace != "" {
		return fmt.Sprintf("%s of namespace '%s'", o.Kind, quoted(o.Namespace))
	}
	return o.Kind.String()
}

// ownerAdvice says what to do instead of leading to it.
func ownerAdvice(o policy.Owner) string {
	if o.Namespace != "" {
		return "write the Ingress there, or ask for a grant (`grants`)"
	}
	return "write a Service with a selector, or ask for the address (`addresses.allowed`)"
}

// lending is what lends its place in the network to the endpoints of a Service; the zero value is nothing.
type lending struct {
	who string
	// ingress tells of a proxy; else it is kube-proxy, for traffic from outside.
	ingress bool
}

// would is the part of a message that says what is lent.
func (l lending) would() string { return ", which " + l.who + " would expose" }

// lenderOf finds what makes the endpoints of a Service reachable to those who can not reach them.
func lenderOf(w policy.World, namespace, service string) lending {
	if service == "" {
		return lending{}
	}
	if list := w.IngressesTo(namespace, service); len(list) > 0 {
		return lendingOf(list)
	}
	return lending{who: exposed(w.Service(namespace, service))}
}

// lendingOf is what one of some Ingresses lends.
func lendingOf(list []*networkingv1.Ingress) lending {
	who := "an Ingress" // whose name the API server has yet to make, or which makes no difference
	if list[0].Name != "" {
		who = fmt.Sprintf("Ingress '%s'", quoted(list[0].Name))
	}
	return lending{who, true}
}

// exposed says in which way a Service takes traffic from outside the cluster, empty where it does not.
func exposed(svc *corev1.Service) string {
	switch {
	case svc == nil:
	case svc.Spec.Type == corev1.ServiceTypeLoadBalancer, svc.Spec.Type == corev1.ServiceTypeNodePort:
		return "the " + string(svc.Spec.Type) + " Service"
	case svc.Spec.Type != corev1.ServiceTypeExternalName && len(svc.Spec.ExternalIPs) > 0:
		return "the Service with externalIPs"
	}
	return ""
}

// addressJudge judges the addresses of one object.
type addressJudge struct {
	config    *policy.Config
	world     policy.World
	namespace string
	lending   lending
	// pods tells that the control plane made the endpoints of the pods of a Service: they are where they are, and
	// only that no pod has a forbidden address holds for them.
	pods bool
	// ports remembers the first port that is refused to addresses which the same destinations cover, so that many
	// addresses with many ports cost their sum and not their product.
	ports map[portsKey]int32
}

type portsKey struct {
	group   int
	covered string
}

// noPort stands for "none is refused".
const noPort = -1

// fault is what is wrong with an address; the zero value is nothing.
type fault struct {
	// detail says what must be, what only what it is, and advice what to do instead.
	detail, what, advice string
	// mild tells of a risk only together with something that lends its place.
	mild bool
}

// wrong judges an address on the ports of its group.
func (j *addressJudge) wrong(addr netip.Addr, group int, ports []int32) fault {
	allowed := j.config.Addresses
	if j.pods {
		allowed.Forbidden = nil
	}
	if err := allowed.Check(addr); err != nil {
		return fault{detail: "must not be served: " + err.Error(), what: "which must not be served: " + err.Error()}
	}
	if j.pods {
		return fault{}
	}
	if err := j.destination(addr, group, ports); err != nil {
		what := "must be an allowed destination: " + err.Error()
		const advice = "; ask for it in the policy (`destinations`)"
		return fault{detail: what + advice, what: "which " + what, advice: advice}
	}
	o := strangerAt(j.config, j.world, j.namespace, addr)
	if o.Kind == policy.NoOwner {
		return fault{}
	}
	f := fault{what: "the address of " + ownerText(o), advice: "; " + ownerAdvice(o)}
	if o.Kind == policy.OwnerService && o.Namespace == j.namespace {
		f.detail = "must not be the cluster IP of a Service, which kube-proxy does not forward to; write a Service with a selector"
		f.mild = true
		return f
	}
	lends := ""
	if j.lending.who != "" {
		lends = j.lending.would()
	}
	// Where only a range tells, it may be a pod of this very namespace that no Service selects: KubeVirt's cloud
	// provider keeps the endpoints of load balancers so (controller kubevirteps).
	f.mild = j.lending.who == "" || !j.lending.ingress && o.Kind == policy.OwnerPod && o.Namespace == ""
	f.detail = "must not be " + f.what + lends + f.advice
	return f
}

func (j *addressJudge) destination(addr netip.Addr, group int, ports []int32) error {
	to := &j.config.Destinations
	if len(to.Allowed)+len(to.Forbidden) == 0 {
		return nil
	}
	switch len(ports) {
	case 0:
		return to.CheckAddress(addr, policy.EveryPort)
	case 1:
		return to.CheckAddress(addr, ports[0])
	}
	key := portsKey{group, coveredBy(to, addr)}
	port, known := j.ports[key]
	if !known {
		port = noPort
		for _, n := range ports {
			if to.CheckAddress(addr, n) != nil {
				port = n
				break
			}
		}
		if j.ports == nil {
			j.ports = map[portsKey]int32{}
		}
		j.ports[key] = port
	}
	if port == noPort {
		return nil
	}
	return to.CheckAddress(addr, port)
}

// coveredBy identifies the destinations that cover an address, in each form of it that is judged.
func coveredBy(to *policy.Destinations, addr netip.Addr) string {
	forms := []netip.Addr{addr}
	if inner, ok := policy.Embedded(addr); ok {
		forms = append(forms, inner)
	}
	set, bit := new(big.Int), 0
	for _, list := range [...][]policy.Destination{to.Forbidden, to.Allowed} {
		for i := range list {
			for _, form := range forms {
				if slices.ContainsFunc(list[i].CIDRs, func(p netip.Prefix) bool { return p.Contains(form) }) {
					set.SetBit(set, bit, 1)
				}
				bit++
			}
		}
	}
	return fmt.Sprint(len(forms), set.Text(62))
}

// judgeAddresses reports the addresses of an object that must not be served. Of many it reports a few of each weight.
// An address that stood in the object before this update, on the same ports, is at most warned of and counted apart:
// it is no cover for another, and an old object with many stays editable. An old address on a port that it did not
// have is new. before is nil where this is no update.
func judgeAddresses[T policy.Object](p *policy.Pass[T], j *addressJudge, now *addressed, before func() *addressed) {
	var old *oldPorts // once there is something to compare
	severe := limited{report: func(err *field.Error) { p.Report(err, nil) }}
	mild := limited{report: func(err *field.Error) { p.Mild(err, nil) }}
	had := limited{report: p.Warn}
	for _, at := range now.list {
		addr, ok := parseAddress(at.text)
		if !ok {
			continue
		}
		ports := now.groups[at.group]
		f := j.wrong(addr, at.group, ports)
		if f.detail == "" {
			continue
		}
		to, value := &severe, at.text
		if f.mild {
			to = &mild
		}
		if before != nil {
			if old == nil {
				old = portsBefore(before())
			}
			switch fresh, added := old.added(addr, ports); {
			case !fresh:
				to = &had
			case added != 0:
				// The ratchet takes findings with the same value for the same.
				value = netip.AddrPortFrom(addr, uint16(added)).String()
			}
		}
		to.add(func() *field.Error { return field.Invalid(now.path(at), value, f.detail) })
	}
	for _, l := range [...]*limited{&severe, &mild, &had} {
		l.done(now.root, "addresses that must not be served")
	}
}

// oldPorts tells on which ports an address stood in an object before an update.
type oldPorts struct {
	groups []map[int32]bool
	by     map[netip.Addr][]int
	// steps is what may still be compared: objects are made so that every address stands in many groups.
	steps int
}

// maxSteps bounds the comparisons of an object with what it was. What is left then counts as new.
const maxSteps = 1 << 22

func portsBefore(before *addressed) *oldPorts {
	o := &oldPorts{by: make(map[netip.Addr][]int, len(before.list)), steps: maxSteps}
	for _, ports := range before.groups {
		set := make(map[int32]bool, len(ports))
		for _, n := range ports {
			set[n] = true
		}
		o.groups = append(o.groups, set)
	}
	for _, at := range before.list {
		if addr, ok := parseAddress(at.text); ok {
			if groups := o.by[addr]; len(groups) == 0 || groups[len(groups)-1] != at.group {
				o.by[addr] = append(groups, at.group)
			}
		}
	}
	return o
}

// added tells whether an address is new, and if it is only on a port, on which.
func (o *oldPorts) added(addr netip.Addr, ports []int32) (fresh bool, port int32) {
	then, known := o.by[addr]
	if !known {
		return true, 0
	}
	if o.steps -= len(then); o.steps < 0 && len(ports) > 0 {
		return true, ports[0]
	}
	if slices.ContainsFunc(then, func(g int) bool { return len(o.groups[g]) == 0 }) {
		return false, 0 // it stood there on every port
	}
	for _, n := range ports {
		if o.steps -= len(then); o.steps < 0 || !slices.ContainsFunc(then, func(g int) bool { return o.groups[g][n] }) {
			return true, n
		}
	}
	if len(ports) == 0 { // every port
		return true, anyPort
	}
	return false, 0
}

// anyPort stands for all ports in the value of a finding.
const anyPort = 65535
