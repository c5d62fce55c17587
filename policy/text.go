package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
)

// policyText is policy.yaml as viper unmarshals it, once its shape is known to be right.
type policyText struct {
	Version       int
	Profile       string
	Rules         map[string]any
	ClusterDomain string
	Namespaces    []struct {
		Names        []string
		Labels       string
		Profile      string
		Rules        map[string]any
		Destinations *destinationsText
	}
	Destinations destinationsText
	Addresses    struct{ Allowed, Forbidden []string }
	Ranges       struct{ Pods, Services, Nodes []string }
	ProxyNames   []string
	ExternalIPs  []string
	Grants       []struct{ From, To, Kinds, Names []string }
	Hosts        []struct{ Hosts, Namespaces []string }
	Exemptions   []struct {
		Rules, Namespaces, Users []string
		Reason                   string
	}
	Classes []struct{ Class, Controller, Dialect string }
	Inject  []string
	Slices  struct {
		Scope           any
		ForeignManagers []string
	}
}

type destinationsText struct {
	Allowed, Forbidden []struct {
		Hosts, CIDRs []string
		Ports        []any
	}
}

// config makes the policy of its text. isSet tells which keys it has, in lower case; "::" stands between two.
func (t *policyText) config(isSet func(key string) bool) *Config {
	cfg := DefaultConfig()
	if t.Profile != "" {
		cfg.Profile = Profile(t.Profile)
	}
	cfg.Rules = levelsOf(t.Rules)
	if t.ClusterDomain != "" {
		cfg.ClusterDomain = t.ClusterDomain
	}
	for i := range t.Namespaces {
		n := &t.Namespaces[i]
		o := Override{Names: patterns(n.Names), Profile: Profile(n.Profile), Rules: levelsOf(n.Rules)}
		if n.Labels != "" {
			// It was parsed before; where it is wrong all the same it selects nothing.
			o.Labels = labels.Nothing()
			if selector, err := labels.Parse(n.Labels); err == nil {
				o.Labels = selector
			}
		}
		if n.Destinations != nil {
			o.Destinations = new(n.Destinations.destinations())
			if n.Destinations.Allowed != nil && o.Destinations.Allowed == nil {
				o.Destinations.Allowed = []Destination{} // said to be all
			}
		}
		cfg.Namespaces = append(cfg.Namespaces, o)
	}
	cfg.Destinations = t.Destinations.destinations()
	cfg.Addresses = Addresses{Allowed: prefixes(t.Addresses.Allowed), Forbidden: prefixes(t.Addresses.Forbidden)}
	cfg.Ranges = Ranges{Pods: prefixes(t.Ranges.Pods), Services: prefixes(t.Ranges.Services), Nodes: prefixes(t.Ranges.Nodes)}
	cfg.ProxyNames = slices.Concat(t.ProxyNames)
	cfg.ExternalIPs = prefixes(t.ExternalIPs)
	for _, g := range t.Grants {
		cfg.Grants = append(cfg.Grants, Grant{From: patterns(g.From), To: patterns(g.To), Kinds: g.Kinds, Names: patterns(g.Names)})
	}
	for _, h := range t.Hosts {
		cfg.Hosts = append(cfg.Hosts, HostOwner{Hosts: h.Hosts, Namespaces: patterns(h.Namespaces)})
	}
	for _, e := range t.Exemptions {
		cfg.Exemptions = append(cfg.Exemptions,
			Exemption{Rules: e.Rules, Namespaces: patterns(e.Namespaces), Users: patterns(e.Users), Reason: strings.TrimSpace(oneLine(e.Reason))})
	}
	for _, c := range t.Classes {
		cfg.Classes = append(cfg.Classes, Class(c))
	}
	if isSet("inject") {
		cfg.Inject = t.Inject
	}
	switch scope := t.Slices.Scope.(type) {
	case string:
		cfg.Slices.Scope = SliceScope(scope)
	case bool:
		cfg.Slices.Scope = SlicesOff
	}
	if isSet("slices::foreignmanagers") {
		cfg.Slices.ForeignManagers = t.Slices.ForeignManagers
	}
	return cfg
}

// levelsOf reads levels; what is no string was an unquoted off.
func levelsOf(texts map[string]any) map[string]Level {
	if len(texts) == 0 {
		return nil
	}
	rules := make(map[string]Level, len(texts))
	for id, text := range texts {
		level := Off
		if s, ok := text.(string); ok && level.UnmarshalText([]byte(s)) != nil {
			level = Deny
		}
		rules[id] = level
	}
	return rules
}

func patterns(texts []string) []Pattern {
	var list []Pattern
	for _, text := range texts {
		list = append(list, Pattern(text))
	}
	return list
}

func (t *destinationsText) destinations() Destinations {
	var d Destinations
	for i, list := range [...]*[]Destination{&d.Allowed, &d.Forbidden} {
		entries := t.Allowed
		if i == 1 {
			entries = t.Forbidden
		}
		for _, e := range entries {
			one := Destination{Hosts: e.Hosts, CIDRs: prefixes(e.CIDRs)}
			for _, port := range e.Ports {
				if r, ok := parsePorts(fmt.Sprint(port)); ok {
					one.Ports = append(one.Ports, r)
				}
			}
			*list = append(*list, one)
		}
	}
	return d
}

func prefixes(texts []string) []netip.Prefix {
	var out []netip.Prefix
	for _, text := range texts {
		if p, err := netip.ParsePrefix(text); err == nil {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	return out
}
