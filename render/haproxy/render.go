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
	host        string
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
	gone := make(map[string]bool, len(removed)+len(changed))
	for _, host := range removed {
		gone[host] = true
	}
	fresh := make([]fragment, 0, len(changed))
	for i := range changed {
		h := &changed[i]
		gone[h.Name] = true
		f, p := renderHost(h, t)
		problems = append(problems, p...)
		if len(f.entries) > 0 {
			fresh = append(fresh, f)
		}
	}
	byHost := func(a, b fragment) int { return strings.Compare(a.host, b.host) }
	slices.SortStableFunc(fresh, byHost)
	fresh = slices.CompactFunc(fresh, func(a, b fragment) bool {
		if a.host == b.host {
			problems = append(problems, Problem{Host: b.host, Message: "the model has this host twice; its first is served"})
		}
		return a.host == b.host
	})
	all := make([]fragment, 0, len(s.fragments)+len(fresh))
	next := 0
	for _, f := range s.fragments {
		if gone[f.host] {
			continue
		}
		for next < len(fresh) && fresh[next].host < f.host {
			all = append(all, fresh[next])
			next++
		}
		all = append(all, f)
	}
	s.fragments = append(all, fresh[next:]...)
	return s, problems
}

// UpdateDefault replaces the upstream that answers what no route matches; one without a Service is none.
func (s State) UpdateDefault(u model.Upstream, t model.Table) (State, []Problem) {
	s.otherwise = fragment{}
	if u.Service == "" {
		return s, nil
	}
	r := model.Route{Path: "/", Match: model.Prefix, Upstream: u}
	if err := settle(&r, t); err != nil {
		return s, []Problem{{Message: "default backend: " + err.Error()}}
	}
	s.otherwise.entries = pack(byDefault, &r)
	return s, nil
}

// renderHost makes what stands in the map for one host. A host of which nothing can be served has no entries: its
// requests go on to the wildcard above it.
func renderHost(h *model.Host, t model.Table) (fragment, []Problem) {
	f := fragment{host: h.Name, certificate: h.Certificate}
	if h.Name != "" {
		if _, err := Hostname(h.Name); err != nil {
			problem := Problem{Host: h.Name, Message: err.Error()}
			if len(h.Routes) > 0 {
				problem.Origin = h.Routes[0].Origin
			}
			return f, []Problem{problem}
		}
	}
	var problems []Problem
	routes := make([]model.Route, 0, len(h.Routes))
	seen := make(map[string]bool, len(h.Routes))
	for _, r := range h.Routes {
		err := settle(&r, t)
		if err == nil && seen[routeKey(h.Name, &r)] {
			err = errors.New("the host has this path twice; its first is served")
		}
		if err != nil {
			problems = append(problems, Problem{Host: h.Name, Path: r.Path, Origin: r.Origin, Message: err.Error()})
			continue
		}
		seen[routeKey(h.Name, &r)] = true
		routes = append(routes, r)
	}
	if len(routes) == 0 {
		return f, problems
	}
	key := hostKey(h.Name)
	if len(routes) == 1 && routes[0].Match == model.Prefix && routes[0].Path == "/" {
		f.entries = pack(key, &routes[0])
		return f, problems
	}
	for i := range routes {
		f.entries = append(f.entries, pack(routeKey(h.Name, &routes[i]), &routes[i])...)
	}
	f.entries = append(f.entries, entry{Token{key}, Token{comparing}})
	return f, problems
}

// settle checks all that a record is made of, and puts addresses in the place of the name. An upstream without
// addresses is right: it is answered with a 503.
func settle(r *model.Route, t model.Table) error {
	path, err := Path(r.Path)
	if err != nil {
		return err
	}
	r.Path = path.text
	switch r.Match {
	case model.Exact:
	case model.Prefix:
		if r.Path != "/" && strings.HasSuffix(r.Path, "/") {
			return fmt.Errorf("path %q: a Prefix must not end with '/'", r.Path)
		}
	default:
		return fmt.Errorf("match %d is unknown", r.Match)
	}
	switch r.Rewrite.Mode {
	case model.KeepPath:
		r.Rewrite.Path = ""
	case model.ReplacePrefix, model.ReplacePath:
		if path, err = Path(r.Rewrite.Path); err != nil {
			return fmt.Errorf("rewrite: %w", err)
		}
		r.Rewrite.Path = path.text
	default:
		return fmt.Errorf("rewrite %d is unknown", r.Rewrite.Mode)
	}
	u := &r.Upstream
	if _, err := ServiceName(u.Service); err != nil {
		return err
	}
	if int(u.Protocol) >= len(poolNames) {
		return fmt.Errorf("protocol %d is unknown", u.Protocol)
	}
	if u.Host != "" {
		if _, err := HostHeader(u.Host); err != nil {
			return err
		}
	}
	if u.ServerName != "" {
		if _, err := ServerName(u.ServerName); err != nil {
			return err
		}
	}
	if !u.Protocol.TLS() {
		u.ServerName = ""
	}
	addresses := slices.Clone(u.Addresses)
	if u.Name != "" {
		for _, a := range t[u.Name] {
			addresses = append(addresses, netip.AddrPortFrom(a, u.Port))
		}
	}
	for i, a := range addresses {
		if err := checkAddress(a); err != nil {
			return err
		}
		addresses[i] = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	}
	slices.SortFunc(addresses, netip.AddrPort.Compare)
	u.Addresses = slices.Compact(addresses)
	if len(u.Addresses) == 0 {
		u.Addresses = nil
	}
	u.Name, u.Port = "", 0
	return nil
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
	for f := range s.all {
		for _, e := range f.entries {
			size += len(e.key.text) + len(e.value.text) + 2
		}
	}
	b := make([]byte, 0, size)
	for f := range s.all {
		for _, e := range f.entries {
			b = append(b, e.key.text...)
			b = append(b, ' ')
			b = append(b, e.value.text...)
			b = append(b, '\n')
		}
	}
	return b
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
