package haproxy

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"drawbridge.dev/drawbridge/render/model"
)

// Problem is why something of the model isn't served. All else is.
type Problem struct {
	// Host and Path are those of the route, where it is one; they are printed quoted, as they may be anything.
	Host, Path string
	Origin     model.Origin
	// Message is one line.
	Message string
}

// String is one line, with what came from an object in quotes.
func (p Problem) String() string {
	return fmt.Sprintf("%s %q: host %q, path %q: %s", p.Origin.Kind, p.Origin.Namespace+"/"+p.Origin.Name, p.Host, p.Path, p.Message)
}

// State is what a HAProxy serves: the lines of its map and its certificates. It is a value: an update makes another
// one that shares what stayed as it was.
type State struct {
	// fragments are sorted by host; the default's is apart.
	fragments []fragment
	otherwise fragment
	// certificates are sorted by ID.
	certificates []certificate
}

// fragment is what stands in the map for one host.
type fragment struct {
	host string
	// name is the host once it has been checked.
	name        Token
	certificate string
	// entries have the host's own line last: as long as it is missing nothing else of the host is looked up.
	entries []entry
}

// Render makes the state of a whole model, with the addresses of t in place of names.
func Render(m *model.Model, t model.Table) (State, []Problem) {
	s, problems := State{}.Update(m.Hosts, nil, t)
	s, more := s.UpdateDefault(m.Default, t)
	problems = append(problems, more...)
	s, more = s.UpdateCertificates(m.Certificates)
	return s, append(problems, more...)
}

// Update replaces the hosts in changed, or adds them, and takes away those that removed names. It costs what these
// hosts cost, and a copy of one word or two for each other host. The Problems are those of the changed hosts.
func (s State) Update(changed []model.Host, removed []string, t model.Table) (State, []Problem) {
	var problems []Problem
	fresh := make([]fragment, 0, len(changed)+len(removed))
	for i := range changed {
		f, p := renderHost(&changed[i], t)
		problems = append(problems, p...)
		fresh = append(fresh, f)
	}
	for _, host := range removed {
		fresh = append(fresh, fragment{host: host})
	}
	slices.SortStableFunc(fresh, func(a, b fragment) int { return strings.Compare(a.host, b.host) })
	fresh = slices.CompactFunc(fresh, func(a, b fragment) bool {
		if a.host == b.host {
			problems = append(problems, Problem{Host: b.host, Message: "the model has this host twice; its first is served"})
		}
		return a.host == b.host
	})
	all := make([]fragment, 0, len(s.fragments)+len(fresh))
	rest := s.fragments
	for _, f := range fresh {
		i, found := slices.BinarySearchFunc(rest, f.host, func(f fragment, host string) int { return strings.Compare(f.host, host) })
		all = append(all, rest[:i]...)
		if rest = rest[i:]; found {
			rest = rest[1:]
		}
		if len(f.entries) > 0 {
			all = append(all, f)
		}
	}
	all = append(all, rest...)
	s.fragments = all
	return s, problems
}

// UpdateDefault replaces the upstream that answers what no route matches; one without a Service is none.
func (s State) UpdateDefault(u model.Upstream, t model.Table) (State, []Problem) {
	s.otherwise = fragment{}
	if u.Service == "" {
		return s, nil
	}
	r, err := settle(&model.Route{Path: "/", Match: model.Prefix, Upstream: u}, t)
	if err != nil {
		return s, []Problem{{Message: "default backend: " + err.Error()}}
	}
	r.addresses = r.addresses[:min(len(r.addresses), maxAddresses)]
	s.otherwise.entries = []entry{{byDefault, r.pack()}}
	return s, nil
}

// renderHost makes what stands in the map for one host. A host of which nothing can be served has no entries: its
// requests go on to the wildcard above it.
func renderHost(h *model.Host, t model.Table) (fragment, []Problem) {
	f := fragment{host: h.Name, certificate: h.Certificate}
	var name Token
	if h.Name != "" {
		var err error
		if name, err = Hostname(h.Name); err == nil {
			f.name = name
		} else {
			problem := Problem{Host: h.Name, Message: err.Error()}
			if len(h.Routes) > 0 {
				problem.Origin = h.Routes[0].Origin
			}
			return f, []Problem{problem}
		}
	}
	var problems []Problem
	routes := make([]route, 0, len(h.Routes))
	seen := make(map[Token]bool)
	for i := range h.Routes {
		given := &h.Routes[i]
		r, err := settle(given, t)
		if err == nil && len(h.Routes) > 1 {
			if key := r.key(Token{}); seen[key] {
				err = errors.New("the host has this path twice; its first is served")
			} else {
				seen[key] = true
			}
		}
		if err != nil {
			problems = append(problems, Problem{Host: h.Name, Path: given.Path, Origin: given.Origin, Message: err.Error()})
			continue
		}
		if n := len(r.addresses); n > maxAddresses {
			r.addresses = r.addresses[:maxAddresses]
			problems = append(problems, Problem{
				Host: h.Name, Path: given.Path, Origin: given.Origin,
				Message: fmt.Sprintf("it has %d addresses, of which the first %d are served", n, maxAddresses),
			})
		}
		routes = append(routes, r)
	}
	if len(routes) == 0 {
		return f, problems
	}
	if len(routes) == 1 && routes[0].match == model.Prefix && routes[0].path == slash {
		f.entries = []entry{{hostKey(name), routes[0].pack()}}
		return f, problems
	}
	for i := range routes {
		f.entries = append(f.entries, entry{routes[i].key(name), routes[i].pack()})
	}
	f.entries = append(f.entries, entry{hostKey(name), comparing})
	return f, problems
}

// settle checks all that a record is made of, and puts addresses in the place of the name. An upstream without
// addresses is right: it is answered with a 503.
func settle(given *model.Route, t model.Table) (route, error) {
	u := &given.Upstream
	r := route{match: given.Match, mode: given.Rewrite.Mode, protocol: u.Protocol}
	var err error
	if r.path, err = Path(given.Path); err != nil {
		return r, err
	}
	switch {
	case r.match == model.Prefix && r.path != slash && strings.HasSuffix(r.path.text, "/"):
		return r, fmt.Errorf("path %q: a Prefix must not end with '/'", given.Path)
	case r.match != model.Prefix && r.match != model.Exact:
		return r, fmt.Errorf("match %d is unknown", r.match)
	}
	switch r.mode {
	case model.KeepPath:
	case model.ReplacePrefix, model.ReplacePath:
		if r.target, err = Path(given.Rewrite.Path); err != nil {
			return r, fmt.Errorf("rewrite: %w", err)
		}
	default:
		return r, fmt.Errorf("rewrite %d is unknown", r.mode)
	}
	if r.service, err = ServiceName(u.Service); err != nil {
		return r, err
	}
	if int(u.Protocol) >= len(poolNames) {
		return r, fmt.Errorf("protocol %d is unknown", u.Protocol)
	}
	if u.Host != "" {
		if r.host, err = HostHeader(u.Host); err != nil {
			return r, err
		}
	}
	if u.ServerName != "" && u.Protocol.TLS() {
		if r.serverName, err = ServerName(u.ServerName); err != nil {
			return r, err
		}
	}
	r.addresses, err = settleAddresses(u, t)
	return r, err
}

// settleAddresses lists the addresses of an upstream, sorted, each once; nil where there are none.
func settleAddresses(u *model.Upstream, t model.Table) ([]netip.AddrPort, error) {
	addresses := slices.Clone(u.Addresses)
	if u.Name != "" {
		for _, a := range t[u.Name] {
			addresses = append(addresses, netip.AddrPortFrom(a, u.Port))
		}
	}
	for i, a := range addresses {
		if err := checkAddress(a); err != nil {
			return nil, err
		}
		addresses[i] = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	}
	if len(addresses) == 0 {
		return nil, nil
	}
	slices.SortFunc(addresses, netip.AddrPort.Compare)
	return slices.Compact(addresses), nil
}

// checkAddress refuses what is no address of one host at all; what an upstream may be is for the policy to say.
// HAProxy takes 0.0.0.0 for the client's own destination, which is the proxy.
func checkAddress(a netip.AddrPort) error {
	ip := a.Addr()
	switch {
	case !ip.IsValid():
		return errors.New("an address is missing")
	case ip.Unmap().IsUnspecified() || ip.Unmap().IsMulticast():
		return fmt.Errorf("address %s: must be the address of one host", ip)
	case ip.Zone() != "":
		return fmt.Errorf("address %q: must not have a zone", ip)
	case a.Port() == 0:
		return fmt.Errorf("address %s: the port must be between 1 and 65535", ip)
	}
	return nil
}

// all goes through the fragments, the default's at the end.
func (s State) all(yield func(fragment) bool) {
	for _, f := range s.fragments {
		if !yield(f) {
			return
		}
	}
	yield(s.otherwise)
}

// entries goes through the lines in the order of the file.
func (s State) entries(yield func(entry) bool) {
	for f := range s.all {
		for _, e := range f.entries {
			if !yield(e) {
				return
			}
		}
	}
}

// Len is the number of lines of the map.
func (s State) Len() int {
	n := 0
	for f := range s.all {
		n += len(f.entries)
	}
	return n
}

// String tells how much there is; the keys of certificates are no one's to print.
func (s State) String() string {
	return fmt.Sprintf("%d hosts, %d lines, %d certificates", len(s.fragments), s.Len(), len(s.certificates))
}

// GoString is String: a State hides its parts from every way of printing.
func (s State) GoString() string { return s.String() }

// Map writes the map, 'key value' in a line, in an order that depends on what is in it only.
func (s State) Map() []byte {
	size := 0
	for e := range s.entries {
		size += len(e.key.text) + len(e.value.text) + 2
	}
	b := make([]byte, 0, size)
	for e := range s.entries {
		b = append(b, e.key.text...)
		b = append(b, ' ')
		b = append(b, e.value.text...)
		b = append(b, '\n')
	}
	return b
}

// CertList writes the certificate list of a proxy with this run directory: a file and a name in a line, the
// certificate for names that nobody has first.
func (s State) CertList(runDir string) ([]byte, error) {
	dir, err := checkRunDir(runDir)
	if err != nil {
		return nil, err
	}
	return folder(dir).list(s.bindings()), nil
}

// Certificates lists the IDs of the certificates that can be served, sorted.
func (s State) Certificates() []string {
	ids := make([]string, 0, len(s.certificates))
	for _, c := range s.certificates {
		ids = append(ids, c.id.text)
	}
	return ids
}

// UpdateCertificates replaces the certificates by those given. One whose text stays the same isn't parsed again.
func (s State) UpdateCertificates(given []model.Certificate) (State, []Problem) {
	var problems []Problem
	fresh := make([]certificate, 0, len(given))
	for _, g := range given {
		old, ok := slices.BinarySearchFunc(s.certificates, g.ID, func(c certificate, id string) int { return cmp.Compare(c.id.text, id) })
		if ok && s.certificates[old].source == g.PEM {
			fresh = append(fresh, s.certificates[old])
			continue
		}
		c, err := newCertificate(g)
		if err != nil {
			problems = append(problems, Problem{Origin: g.Origin, Message: err.Error()})
			continue
		}
		fresh = append(fresh, c)
	}
	slices.SortStableFunc(fresh, func(a, b certificate) int { return cmp.Compare(a.id.text, b.id.text) })
	s.certificates = slices.CompactFunc(fresh, func(a, b certificate) bool {
		if a.id == b.id {
			problems = append(problems, Problem{Message: fmt.Sprintf("the model has certificate %q twice; its first is served", a.id)})
		}
		return a.id == b.id
	})
	return s, problems
}
