package render

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/intent"
	"drawbridge.dev/drawbridge/render/model"
)

// service is a Service as it is served: mended, or denied.
type service struct {
	object *corev1.Service // nil where there is none
	denied []string
}

func (b *builder) service(n name) *service {
	if known := b.services[n]; known != nil {
		return known
	}
	svc := &service{object: b.snapshot.services.get(n)}
	if svc.object != nil {
		// A Service is judged alone: who refers to it is judged on the Ingress, path by path.
		res := b.review(svc.object, around{b: b})
		svc.object, svc.denied = res.Object.(*corev1.Service), messages(res.Denied)
	}
	b.services[n] = svc
	return svc
}

// upstreamOf tells where a backend of an Ingress leads. anyHost says that the route answers under every host name.
// A refusal means that the route is left out; an Upstream without name and addresses answers 503.
func (b *builder) upstreamOf(in *ingress, backend *networkingv1.IngressBackend, anyHost bool, origin model.Origin) (model.Upstream, []Problem, *refusal) {
	var none model.Upstream
	if in.passesTLS {
		return none, nil, refuse(NotSupported, "TLS passthrough is not supported, and to end TLS here would break what its author relies on")
	}
	if backend.Service == nil {
		kind := ""
		if backend.Resource != nil {
			kind = " of kind " + quote(backend.Resource.Kind)
		}
		return none, nil, refuse(BadBackend, "backend must be a Service; a resource"+kind+" can not be served")
	}
	n := name{Namespace: in.name.Namespace, Name: backend.Service.Name}
	if len(validation.IsDNS1123Label(n.Name)) > 0 {
		return none, nil, refuse(BadBackend, quote(n.Name)+" must be the name of a Service")
	}
	svc := b.service(n)
	switch why, shared := in.restricted(svc.object); {
	case shared != "":
		return none, nil, refuse(NotSupported, shared)
	case why != "":
		// Not left out: a shorter path, which may lead to the same Service, would serve what is restricted.
		return model.Upstream{Service: n.String()}, []Problem{{NotSupported, origin, line(why + "; answered with 503")}}, nil
	}
	if len(svc.denied) > 0 {
		return none, nil, refuse(Denied, "Service "+quote(n.Name)+" is denied: "+strings.Join(svc.denied, "; "))
	}
	what, port, err := in.dialect.BackendOf(svc.object, backend.Service.Port, b.config.ClusterDomain)
	// An author may exempt an address from service-external-name-ip; it is then served as the address that it is.
	address, notAddress := netip.ParseAddr(what.Name)
	if what.Kind == intent.ExternalName && notAddress == nil {
		what.Kind = intent.Addresses
	}
	wishes := in.wishesFor(svc.object, backend)
	want := wishes.For(what)
	u, r := b.asked(wishes, want)
	if r != nil {
		return none, nil, r
	}
	u.Service = n.String()
	var problems []Problem
	tell := func(kind Kind, text string) { problems = append(problems, Problem{kind, origin, line(text)}) }
	nowhere := func(kind Kind, text string) (model.Upstream, []Problem, *refusal) {
		tell(kind, text+"; answered with 503")
		return model.Upstream{Service: u.Service}, problems, nil
	}
	switch {
	case svc.object == nil:
		return nowhere(BadBackend, "Service "+quote(n.Name)+" does not exist")
	case err != nil:
		return nowhere(BadBackend, err.Error())
	case port != nil && port.Protocol != "" && port.Protocol != corev1.ProtocolTCP:
		return nowhere(BadBackend, fmt.Sprintf("port %d of Service %s must be TCP, not %s", port.Port, quote(n.Name), quote(string(port.Protocol))))
	case svc.object.Spec.Type == corev1.ServiceTypeExternalName:
		switch {
		case what.Port < 1 || what.Port > 65535:
			return nowhere(BadBackend, fmt.Sprintf("port of Service %s must be from 1 to 65535, not %d", quote(n.Name), what.Port))
		case notAddress == nil:
			if err := b.config.Addresses.Check(address); err != nil {
				return nowhere(BadAddress, "address of Service "+quote(n.Name)+" must not be served: "+err.Error())
			}
			// Whoever may write a Service says this, as he says a name: it goes the way of names, to where the addresses
			// of the cluster and of the proxy are known and refused.
			u.Name, u.Port = address.Unmap().String(), uint16(what.Port)
		case !isDNSName(what.Name):
			return nowhere(BadBackend, "external name of Service "+quote(n.Name)+" must be a DNS name, not "+quote(what.Name))
		default:
			u.Name, u.Port = intent.Absolute(what.Name, b.config.ClusterDomain), uint16(what.Port)
		}
	default:
		addresses, found := b.addresses(n, svc.object, port)
		u.Addresses = addresses
		problems = append(problems, found...)
		if len(addresses) == 0 {
			text := "Service " + quote(n.Name) + " has no address that is ready"
			// The author of the Ingress is told on it alone, and need not know of the slice.
			if i := slices.IndexFunc(found, func(p Problem) bool { return p.Kind == Denied || p.Kind == BadAddress }); i >= 0 {
				text = fmt.Sprintf("Service %s has no address that may be served: EndpointSlice %s: %s", quote(n.Name), quote(found[i].Origin.Name), found[i].Message)
			}
			tell(Notice, text+"; answered with 503")
		}
	}
	if !u.Protocol.TLS() {
		return u, problems, nil
	}
	if u.ServerName == "" && (anyHost || u.Host != "") {
		text := "TLS to Service " + quote(n.Name) + " has no name to verify the certificate against; set the annotation `drawbridge.dev/tls-server-name`"
		if anyHost {
			text += ", or give the rule a host"
		}
		return nowhere(NoServerName, text)
	}
	if !want.Verify {
		tell(NotSupported, "verification of the upstream's certificate stays on; it can not be turned off")
	} else if said, _ := wishes.Get(intent.WishVerify); said == "" && in.dialect.Unverified {
		tell(Notice, "the upstream's certificate is verified here, which "+in.dialect.Name+" does not do unless asked to")
	}
	return u, problems, nil
}

// asked is the part of an upstream that annotations ask for.
func (b *builder) asked(wishes intent.Wishes, want intent.Upstream) (model.Upstream, *refusal) {
	u := model.Upstream{Host: strings.ToLower(want.Host)}
	switch want.Protocol {
	case intent.HTTPS:
		u.Protocol = model.HTTPS
	case intent.H2C, intent.GRPC:
		u.Protocol = model.H2C
	case intent.H2, intent.GRPCS:
		u.Protocol = model.H2
	}
	host := hostOf(u.Host)
	if value, by := wishes.Get(intent.WishHost); strings.HasPrefix(value, "rewrite:") && !isName(host) {
		return u, refuse(BadAnnotation, fmt.Sprintf("`%s` must be a host name, with a port at most, not %s", by, quote(want.Host)))
	}
	serverName := strings.ToLower(strings.TrimSuffix(want.ServerName, "."))
	if want.ServerName != "" && !isDNSName(serverName) {
		_, by := wishes.Get(intent.WishServerName)
		return u, refuse(BadAnnotation, fmt.Sprintf("`%s` must be a DNS name, not %s", by, quote(want.ServerName)))
	}
	if u.Protocol.TLS() {
		u.ServerName = serverName
		if serverName == "" && isDNSName(host) {
			u.ServerName = host
		}
	}
	return u, nil
}

// hostOf is a Host header without its port; empty where the port is none.
func hostOf(header string) string {
	host, port, found := strings.Cut(header, ":")
	if !found {
		return header
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port || n == 0 {
		return ""
	}
	return host
}

// isName tells whether s can stand in a Host header: a DNS name or an IPv4 address. Kubernetes bounds the length of
// the whole only; DNS bounds a label to 63 bytes too (RFC 1035, section 2.3.4).
func isName(s string) bool {
	if len(validation.IsDNS1123Subdomain(s)) > 0 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if len(label) > 63 {
			return false
		}
	}
	return true
}

// isDNSName tells whether s can be a server name, which an address can not (RFC 6066, section 3). No top-level
// domain is a number, so that what ends in one would be taken for an address somewhere.
func isDNSName(s string) bool {
	last := s[strings.LastIndexByte(s, '.')+1:]
	return isName(s) && strings.Trim(last, "0123456789") != ""
}

// addresses are those of a Service's endpoints for one of its ports, sorted, each once. Where no endpoint is ready,
// those that are shutting down and still serve are taken, as kube-proxy does.
func (b *builder) addresses(n name, svc *corev1.Service, port *corev1.ServicePort) ([]netip.AddrPort, []Problem) {
	key := target{n, port.Name}
	if known, ok := b.targets[key]; ok {
		return known.addresses, known.problems
	}
	var ready, leaving []netip.AddrPort
	var problems []Problem
	for _, slice := range b.slicesOf(n) {
		tell := func(kind Kind, field, text string) {
			problems = append(problems, Problem{kind, b.origin("EndpointSlice", slice.name, field), line(text)})
		}
		if len(slice.denied.all) > 0 {
			tell(Denied, "", "its endpoints are left out: "+strings.Join(slice.denied.all, "; "))
			continue
		}
		o := slice.object
		if o.AddressType != discoveryv1.AddressTypeIPv4 && o.AddressType != discoveryv1.AddressTypeIPv6 {
			tell(BadAddress, "addressType", "must be 'IPv4' or 'IPv6', not "+quote(string(o.AddressType))+"; for a name write a Service of type ExternalName")
			continue
		}
		ports := slice.portsNamed(svc, port.Name)
		if len(ports) == 0 {
			continue
		}
		allowed := b.config.Addresses
		if len(svc.Spec.Selector) > 0 && o.Labels[discoveryv1.LabelManagedBy] == policy.ManagedByPods {
			// Pods are where they are; what the policy forbids names to point at does not apply to them. That no
			// pod is a loopback or metadata address holds for them too.
			allowed.Forbidden = nil
		}
		for i := range o.Endpoints {
			e := &o.Endpoints[i]
			if denied := slice.denied.parts[i]; len(denied) > 0 {
				tell(Denied, fmt.Sprintf("endpoints[%d]", i), "it is left out: "+strings.Join(denied, "; "))
				continue
			}
			is := func(condition *bool, unset bool) bool {
				if condition == nil {
					return unset
				}
				return *condition
			}
			into := &ready
			if !is(e.Conditions.Ready, true) {
				if !is(e.Conditions.Terminating, false) || !is(e.Conditions.Serving, true) {
					continue
				}
				into = &leaving
			}
			for j, text := range e.Addresses {
				addr, err := netip.ParseAddr(text)
				where := fmt.Sprintf("endpoints[%d].addresses[%d]", i, j)
				switch {
				case err != nil || addr.Zone() != "" || addr.Is4In6() || addr.Is4() != (o.AddressType == discoveryv1.AddressTypeIPv4):
					tell(BadAddress, where, fmt.Sprintf("must be an %s address, not %s", o.AddressType, quote(text)))
					continue
				}
				if err := allowed.Check(addr); err != nil {
					tell(BadAddress, where, "must not be served: "+err.Error())
					continue
				}
				for _, p := range ports {
					*into = append(*into, netip.AddrPortFrom(addr, p))
				}
			}
		}
	}
	if len(ready) == 0 {
		ready = leaving
	}
	slices.SortFunc(ready, netip.AddrPort.Compare)
	ready = slices.Clip(slices.Compact(ready))
	problems = abridge(problems, b.origin("Service", n, ""))
	b.targets[key] = reached{ready, problems}
	return ready, problems
}

// portsNamed are the numbers of a slice's ports that bear the name of a Service port, once [policy.PortNames] filled
// in the empty ones. They are found once for all ports of the Service: it and its slices may have thousands.
func (s *endpointSlice) portsNamed(svc *corev1.Service, port string) []uint16 {
	if s.of == svc {
		return s.ports[port]
	}
	s.of, s.ports = svc, map[string][]uint16{}
	ports := policy.SlicePorts(s.object)
	names, _ := policy.PortNames(svc.Spec.Ports, ports)
	for i, p := range ports {
		tcp := p.Protocol == "" || p.Protocol == corev1.ProtocolTCP
		if tcp && p.Port > 0 && p.Port <= 65535 {
			s.ports[names[i]] = append(s.ports[names[i]], uint16(p.Port))
		}
	}
	return s.ports[port]
}

// target is one port of one Service.
type target struct {
	service name
	port    string
}

type reached struct {
	addresses []netip.AddrPort
	problems  []Problem
}

// endpointSlice is a slice as it is served: mended, or denied.
type endpointSlice struct {
	name   name
	object *discoveryv1.EndpointSlice
	denied sliceDenials
	// ports are the numbers of its ports by the names that a Service has for them, and of that Service.
	ports map[string][]uint16
	of    *corev1.Service
}

// sliceDenials are the findings that deny a slice, by the endpoint that they deny.
type sliceDenials struct {
	all   []string
	parts map[int][]string
}

// endpointPart finds the endpoint that a finding's field is in. A finding that stands for several is on the list of
// endpoints as a whole, and denies it.
var endpointPart = regexp.MustCompile(`^endpoints\[(\d+)\]`)

func sliceDenialsOf(findings []policy.Finding) sliceDenials {
	d := sliceDenials{parts: map[int][]string{}}
	for _, f := range findings {
		if m := endpointPart.FindStringSubmatch(f.Err.Field); m != nil {
			if i, err := strconv.Atoi(m[1]); err == nil {
				d.parts[i] = append(d.parts[i], f.Message())
				continue
			}
		}
		d.all = append(d.all, f.Message())
	}
	return d
}

func (b *builder) slice(n name) *endpointSlice {
	if known := b.slices[n]; known != nil {
		return known
	}
	stored := b.snapshot.slices.get(n)
	res := b.review(stored, sliceWorld{around{b: b}})
	s := &endpointSlice{name: n, object: res.Object.(*discoveryv1.EndpointSlice), denied: sliceDenialsOf(res.Denied)}
	b.slices[n] = s
	return s
}

// slicesOf are the slices of a Service: those with its label, and those without one that Review gives it to.
func (b *builder) slicesOf(n name) []*endpointSlice {
	var list []*endpointSlice
	for _, m := range b.snapshot.sliceOf.get(n) {
		list = append(list, b.slice(m))
	}
	orphans, known := b.adopted[n.Namespace]
	if !known {
		orphans = map[string][]*endpointSlice{}
		for _, m := range b.snapshot.sliceOf.get(name{Namespace: n.Namespace}) {
			s := b.slice(m)
			if owner := serviceOf(s.object).Name; owner != "" {
				orphans[owner] = append(orphans[owner], s)
			}
		}
		b.adopted[n.Namespace] = orphans
	}
	return append(list, orphans[n.Name]...)
}
