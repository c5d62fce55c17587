// Package render makes a model of what is served out of Kubernetes objects: a [Snapshot] goes in, hosts with their
// routes come out, and a [Problem] for everything that is not served as it is written.
//
// It is pure: no network, no clock, no cluster. The unit is a host, so that a change of one object rebuilds only the
// hosts that it touches; [Incremental] keeps the rest, and comes to the same as [Build] anew.
package render

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/render/model"
)

// Options say what is served, and by which rules.
type Options struct {
	// Book holds the rules: every object is served as Review mends it, and what Review denies is left out.
	Book policy.Book
	// Config is the policy in force; nil means the default.
	Config *policy.Config
	// Classes are the names of the IngressClasses served. Where there are none, every class of drawbridge's
	// controller is, and 'drawbridge' where no such IngressClass is known.
	Classes []string
	// Classless serves Ingresses without a class too.
	Classless bool
	// Owner tells what of the cluster has an address, as [policy.World] has it; nil where nothing is known. It may
	// change between two builds: [Snapshot.TouchedByOwners] tells what is to be built anew then.
	Owner func(namespace string, addr netip.Addr) (policy.Owner, bool)
}

// Build makes the model of everything that a snapshot serves. Problems are sorted, each once.
func Build(s *Snapshot, o Options) (model.Model, []Problem) {
	b := NewIncremental(s, o)
	return b.Model(), b.Problems()
}

// BuildHost makes one host; a host without routes is not served. The certificates are those that it uses, one at
// most.
//
// Routes of all Ingresses are merged. Where two say the same host, path and match, the one that was created first has
// it, by namespace and name where that is the same; so it is with certificates. An Ingress's default backend answers
// what is left of its own hosts, unless a rule does.
func BuildHost(s *Snapshot, o Options, host string) (model.Host, []model.Certificate, []Problem) {
	h := newBuilder(s, o).host(host)
	return h.host, h.certificates(), sortProblems(h.problems)
}

// BuildDefault makes what answers requests that no host and no path matches: the default backend of the oldest
// Ingress that has one.
func BuildDefault(s *Snapshot, o Options) (model.Upstream, []Problem) {
	u, problems := newBuilder(s, o).defaultBackend()
	return u, sortProblems(problems)
}

// builder keeps what several hosts of one snapshot share.
type builder struct {
	snapshot *Snapshot
	options  Options
	config   *policy.Config

	ingresses map[name]*ingress
	services  map[name]*service
	slices    map[name]*endpointSlice
	adopted   map[string]map[string][]*endpointSlice // by namespace and Service
	targets   map[target]reached
	pairs     map[name]*keyPair
}

func newBuilder(s *Snapshot, o Options) *builder {
	b := &builder{
		snapshot:  s,
		options:   o,
		config:    o.Config,
		ingresses: map[name]*ingress{},
		services:  map[name]*service{},
		slices:    map[name]*endpointSlice{},
		adopted:   map[string]map[string][]*endpointSlice{},
		targets:   map[target]reached{},
		pairs:     map[name]*keyPair{},
	}
	if b.config == nil {
		b.config = policy.DefaultConfig()
	}
	return b
}

func (b *builder) review(o policy.Object, w policy.World) policy.Result {
	return b.options.Book.Review(policy.Request{Object: o, World: w, Config: b.config, Stored: true})
}

func messages(findings []policy.Finding) []string {
	var list []string
	for _, f := range findings {
		list = append(list, f.Message())
	}
	return list
}

func (b *builder) origin(kind string, n name, field string) model.Origin {
	return model.Origin{Kind: kind, Namespace: line(n.Namespace), Name: line(n.Name), Field: line(field)}
}

// built is a host and what came with it.
type built struct {
	host        model.Host
	certificate *model.Certificate
	problems    []Problem
}

func (h built) certificates() []model.Certificate {
	if h.certificate == nil {
		return nil
	}
	return []model.Certificate{*h.certificate}
}

// taken is what a route is known by within its host.
type taken struct {
	path  string
	match model.Match
}

// host makes a host; the result has no routes where it is not served.
func (b *builder) host(host string) built {
	var ingresses []*ingress
	for _, n := range b.snapshot.byHost.get(host) {
		if in := b.ingress(n); in.served {
			ingresses = append(ingresses, in)
		}
	}
	slices.SortFunc(ingresses, compareAge)
	h := built{host: model.Host{Name: host}}
	why := checkHost(host)
	owners := map[taken]name{}
	for _, in := range ingresses {
		h.problems = append(h.problems, in.problems...)
		for _, i := range in.rules[host] {
			field := fmt.Sprintf("spec.rules[%d]", i)
			tell := func(field string, kind Kind, text string) {
				h.problems = append(h.problems, Problem{kind, b.origin("Ingress", in.name, field), line(text)})
			}
			if why != "" {
				tell(field+".host", BadHost, "host "+quote(host)+" "+why)
				continue
			}
			rule := &in.object.Spec.Rules[i]
			if rule.HTTP == nil {
				// Such a rule gives the whole host to the default backend, which is added below.
				if in.object.Spec.DefaultBackend == nil {
					tell(field, BadBackend, "rule without paths must have a default backend")
				}
				continue
			}
			for j := range rule.HTTP.Paths {
				field := fmt.Sprintf("%s.http.paths[%d]", field, j)
				path := &rule.HTTP.Paths[j]
				if r := b.route(&h, in, path, field, owners); r != nil {
					tell(field, r.kind, "route "+quote(host+path.Path)+" is left out: "+r.text)
				}
			}
		}
	}
	if why != "" {
		return h
	}
	for _, in := range ingresses {
		root := networkingv1.HTTPIngressPath{Path: "/"}
		if in.object.Spec.DefaultBackend == nil || owners[taken{"/", model.Prefix}] != (name{}) {
			continue
		}
		root.Backend = *in.object.Spec.DefaultBackend
		if r := b.route(&h, in, &root, "spec.defaultBackend", owners); r != nil {
			h.problems = append(h.problems, Problem{r.kind, b.origin("Ingress", in.name, "spec.defaultBackend"), line("default backend is left out: " + r.text)})
		}
	}
	if len(h.host.Routes) == 0 {
		return h
	}
	slices.SortFunc(h.host.Routes, func(a, b model.Route) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Match, b.Match))
	})
	certificate, problems := b.certificateFor(host, ingresses)
	h.problems = append(h.problems, problems...)
	if certificate != nil {
		h.certificate, h.host.Certificate = certificate, certificate.ID
	}
	return h
}

// route adds the route of one path, or tells why it is left out.
func (b *builder) route(h *built, in *ingress, path *networkingv1.HTTPIngressPath, field string, owners map[taken]name) *refusal {
	if denied := in.denied.of(field); len(denied) > 0 {
		return refuse(Denied, strings.Join(denied, "; "))
	}
	var svc *corev1.Service
	if path.Backend.Service != nil {
		svc = b.service(name{Namespace: in.name.Namespace, Name: path.Backend.Service.Name}).object
	}
	m, r := matchingOf(path, in.dialect, in.wishesFor(svc, &path.Backend))
	if r != nil {
		return r
	}
	key := taken{m.path, m.match}
	if owner, found := owners[key]; found {
		return refuse(Conflict, "Ingress "+quote(owner.String())+" has the same host and path, and comes first")
	}
	origin := b.origin("Ingress", in.name, field)
	u, problems, r := b.upstreamOf(in, &path.Backend, h.host.Name == "", origin)
	if r != nil {
		return r
	}
	owners[key] = in.name
	h.problems = append(h.problems, problems...)
	h.host.Routes = append(h.host.Routes, model.Route{
		Path: m.path, Match: m.match, Rewrite: m.rewrite, Upstream: u, Origin: origin,
	})
	return nil
}

// defaultBackend is the default backend of the oldest Ingress that has one to serve.
func (b *builder) defaultBackend() (model.Upstream, []Problem) {
	var ingresses []*ingress
	for _, n := range b.snapshot.defaults.get(true) {
		if in := b.ingress(n); in.served {
			ingresses = append(ingresses, in)
		}
	}
	slices.SortFunc(ingresses, compareAge)
	var chosen model.Upstream
	var owner *ingress
	var problems []Problem
	for _, in := range ingresses {
		problems = append(problems, in.problems...)
		origin := b.origin("Ingress", in.name, "spec.defaultBackend")
		tell := func(kind Kind, text string) { problems = append(problems, Problem{kind, origin, line(text)}) }
		if owner != nil {
			tell(Conflict, "Ingress "+quote(owner.name.String())+" has a default backend for every host, and comes first; this one serves the hosts of its own rules")
			continue
		}
		if denied := in.denied.of("spec.defaultBackend"); len(denied) > 0 {
			tell(Denied, "default backend is left out: "+strings.Join(denied, "; "))
			continue
		}
		u, found, r := b.upstreamOf(in, in.object.Spec.DefaultBackend, true, origin)
		if r != nil {
			tell(r.kind, "default backend is left out: "+r.text)
			continue
		}
		problems = append(problems, found...)
		chosen, owner = u, in
	}
	return chosen, problems
}

// checkHost tells why a host is none, and "" where it is one, a wildcard, or every host.
func checkHost(host string) string {
	bare, wildcard := strings.CutPrefix(host, "*.")
	switch {
	case host == "":
		return ""
	case !isName(bare):
		return "must be a DNS name, with '*.' in front for one label"
	case !wildcard && isAddress(host):
		return "must be a DNS name, not an address"
	}
	return ""
}

func isAddress(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}
