package render

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"drawbridge.dev/drawbridge/render/model"
)

// Incremental keeps what was built and builds anew only what a change touches. It comes to the same as [Build]. One
// goroutine owns it. Other options, a new policy among them, want a new one.
type Incremental struct {
	options  Options
	hosts    map[string]model.Host // with a route at least
	certs    map[string]model.Certificate
	problems map[string][]Problem // by host

	defaultUpstream model.Upstream
	defaultProblems []Problem
}

// Changed says what an update altered.
type Changed struct {
	// Hosts are those that came, went, or have another route or certificate, sorted.
	Hosts []string
	// Default tells that the default backend is another.
	Default bool
}

// Empty tells that everything is served as before.
func (c Changed) Empty() bool { return len(c.Hosts) == 0 && !c.Default }

// NewIncremental builds everything once.
func NewIncremental(s *Snapshot, o Options) *Incremental {
	b := &Incremental{
		options:  o,
		hosts:    map[string]model.Host{},
		certs:    map[string]model.Certificate{},
		problems: map[string][]Problem{},
	}
	b.Update(s, Touched{Hosts: s.Hosts(), Default: true})
	return b
}

// Update builds what was touched since the snapshot of the last call; s comes after all those changes.
func (b *Incremental) Update(s *Snapshot, t Touched) Changed {
	var changed Changed
	build := newBuilder(s, b.options)
	for _, name := range t.Hosts {
		h := build.host(name)
		old, was := b.hosts[name]
		is := len(h.host.Routes) > 0
		differs := was != is || is && !reflect.DeepEqual(old, h.host)
		if is {
			b.hosts[name] = h.host
		} else {
			delete(b.hosts, name)
		}
		oldCert, had := b.certs[name]
		if h.certificate != nil {
			// Who asks for a certificate makes no difference to what is served.
			differs = differs || !had || oldCert.ID != h.certificate.ID || oldCert.PEM != h.certificate.PEM
			b.certs[name] = *h.certificate
		} else {
			delete(b.certs, name)
			differs = differs || had
		}
		if len(h.problems) > 0 {
			b.problems[name] = sortProblems(h.problems)
		} else {
			delete(b.problems, name)
		}
		if differs {
			changed.Hosts = append(changed.Hosts, name)
		}
	}
	if t.Default {
		u, problems := build.defaultBackend()
		changed.Default = !reflect.DeepEqual(u, b.defaultUpstream)
		b.defaultUpstream, b.defaultProblems = u, problems
	}
	return changed
}

// Host is one host as it is served, with its certificate; ok is false where it is not.
func (b *Incremental) Host(name string) (host model.Host, certificates []model.Certificate, ok bool) {
	host, ok = b.hosts[name]
	if certificate, has := b.certs[name]; has {
		certificates = []model.Certificate{certificate}
	}
	return host, certificates, ok
}

// Default is the default backend; its Service is empty where there is none.
func (b *Incremental) Default() model.Upstream { return b.defaultUpstream }

// Model is everything that is served.
func (b *Incremental) Model() model.Model {
	m := model.Model{Default: b.defaultUpstream}
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(b.hosts)) {
		m.Hosts = append(m.Hosts, b.hosts[name])
		if certificate, has := b.certs[name]; has && !seen[certificate.ID] {
			seen[certificate.ID] = true
			m.Certificates = append(m.Certificates, certificate)
		}
	}
	slices.SortFunc(m.Certificates, func(a, b model.Certificate) int { return strings.Compare(a.ID, b.ID) })
	return m
}

// Problems are those of everything, sorted, each once.
func (b *Incremental) Problems() []Problem {
	all := slices.Clone(b.defaultProblems)
	for _, problems := range b.problems {
		all = append(all, problems...)
	}
	return sortProblems(all)
}
