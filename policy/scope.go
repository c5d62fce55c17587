package policy

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"

	"drawbridge.dev/drawbridge/policy/intent"
)

// Pattern is a name in which each '*' stands for any number of characters, none included.
type Pattern string

// Match tells whether the pattern covers a whole name.
func (p Pattern) Match(name string) bool {
	parts := strings.Split(string(p), "*")
	if len(parts) == 1 {
		return string(p) == name
	}
	rest, ok := strings.CutPrefix(name, parts[0])
	if !ok {
		return false
	}
	last := len(parts) - 1
	for _, part := range parts[1:last] {
		_, after, found := strings.Cut(rest, part)
		if !found {
			return false
		}
		rest = after
	}
	return strings.HasSuffix(rest, parts[last])
}

func matchAny(patterns []Pattern, name string) bool {
	return slices.ContainsFunc(patterns, func(p Pattern) bool { return p.Match(name) })
}

// Override is what the policy says of some namespaces: an entry of the list `namespaces`.
type Override struct {
	// Names are patterns of namespace names; empty means every name.
	Names []Pattern
	// Labels selects namespaces by their labels; nil means all. A namespace that is not known matches no selector.
	// Whoever may label a namespace may choose among the overrides that select by labels.
	Labels labels.Selector
	// Profile is empty where the override does not name one.
	Profile Profile
	Rules   map[string]Level
	// Destinations say what is allowed here in place of what the whole policy allows, unless Allowed is nil, and what is
	// forbidden beside what it forbids; nil means that the override says nothing of them.
	Destinations *Destinations
}

// specificity orders overrides: an exact name, then the pattern with most letters, then labels alone.
func (o *Override) specificity(namespace string) (literal int, labeled bool) {
	for _, p := range o.Names {
		if !p.Match(namespace) {
			continue
		}
		n := len(p) - strings.Count(string(p), "*")
		if !strings.Contains(string(p), "*") {
			n = 1 << 16
		}
		literal = max(literal, n)
	}
	return literal, o.Labels != nil
}

func (o *Override) matches(namespace string, known func() labels.Set) bool {
	if len(o.Names) > 0 && !matchAny(o.Names, namespace) {
		return false
	}
	if o.Labels == nil {
		return true
	}
	set := known()
	return set != nil && o.Labels.Matches(set)
}

// name is how an override is told of.
func (o *Override) name(index int) string {
	var what []string
	for _, p := range o.Names {
		what = append(what, string(p))
	}
	if o.Labels != nil {
		what = append(what, "labels "+o.Labels.String())
	}
	return fmt.Sprintf("namespaces[%d] (%s)", index, strings.Join(what, ", "))
}

// scoped holds the policies of namespaces that overrides match, made when first asked for.
type scoped struct {
	mu sync.RWMutex
	// by holds one policy for each set of overrides that some namespace matches, so that it is bounded by the
	// policy's own length and not by the number of namespaces, which others make.
	by map[string]*Config
}

// For is the policy in force in a namespace: with the overrides that match it, the most specific of which wins each
// setting; of two that are as specific, the later. A level that `rules` names, here or there, comes before one that
// follows from a profile. lookup gives a Namespace, nil where it is not known; it may be nil.
func (c *Config) For(namespace string, lookup func(name string) *corev1.Namespace) *Config {
	if len(c.Namespaces) == 0 || c.flat {
		return c
	}
	var set labels.Set
	asked := false
	known := func() labels.Set {
		if !asked && lookup != nil {
			if ns := lookup(namespace); ns != nil {
				set = labels.Set(ns.Labels)
				if set == nil {
					set = labels.Set{}
				}
			}
		}
		asked = true
		return set
	}
	var matched []int
	for i := range c.Namespaces {
		if c.Namespaces[i].matches(namespace, known) {
			matched = append(matched, i)
		}
	}
	if len(matched) == 0 {
		return c
	}
	slices.SortStableFunc(matched, func(i, j int) int {
		a, al := c.Namespaces[i].specificity(namespace)
		b, bl := c.Namespaces[j].specificity(namespace)
		switch {
		case a != b:
			return a - b
		case al == bl:
			return 0
		case bl:
			return -1
		}
		return 1
	})
	var key strings.Builder
	for _, i := range matched {
		key.WriteString(strconv.Itoa(i))
		key.WriteByte(',')
	}
	c.scoped.mu.RLock()
	made := c.scoped.by[key.String()]
	c.scoped.mu.RUnlock()
	if made != nil {
		return made
	}
	made = c.override(matched)
	c.scoped.mu.Lock()
	defer c.scoped.mu.Unlock()
	if c.scoped.by == nil {
		c.scoped.by = map[string]*Config{}
	}
	if len(c.scoped.by) < maxScoped {
		c.scoped.by[key.String()] = made
	}
	return made
}

// maxScoped bounds the policies that are kept: n overrides by labels can be combined in 2^n ways.
const maxScoped = 1024

// override lays overrides over the policy, the most specific last.
func (c *Config) override(matched []int) *Config {
	flat := c.clone()
	flat.flat = true
	flat.Rules = maps.Clone(c.Rules)
	if flat.Rules == nil {
		flat.Rules = map[string]Level{}
	}
	flat.origins = map[string]string{}
	for _, i := range matched {
		o := &c.Namespaces[i]
		if o.Profile != "" {
			flat.Profile = o.Profile
			flat.profileOrigin = o.name(i)
		}
		for id, level := range o.Rules {
			flat.Rules[id] = level
			flat.origins[id] = o.name(i)
		}
		if o.Destinations != nil {
			if o.Destinations.Allowed != nil {
				flat.Destinations.Allowed = o.Destinations.Allowed
			}
			flat.Destinations.Forbidden = slices.Concat(flat.Destinations.Forbidden, o.Destinations.Forbidden)
		}
	}
	return flat
}

// WithProfile is the policy with another profile, in every namespace.
func (c *Config) WithProfile(p Profile) *Config {
	changed := c.clone()
	changed.Profile = p
	changed.Namespaces = slices.Clone(c.Namespaces)
	for i := range changed.Namespaces {
		changed.Namespaces[i].Profile = ""
	}
	return changed
}

// Explain is the level in force of a rule and where it comes from: "rules", "profile baseline", or an entry of
// `namespaces`.
func (c *Config) Explain(id string, levels Levels) (Level, string) {
	level := c.Level(id, levels)
	if _, said := c.Rules[id]; said {
		if from := c.origins[id]; from != "" {
			return level, from
		}
		return level, "rules"
	}
	if c.profileOrigin != "" {
		return level, fmt.Sprintf("profile %s of %s", c.Profile, c.profileOrigin)
	}
	return level, fmt.Sprintf("profile %s", c.Profile)
}

// Grant lets objects of some namespaces refer to objects of others.
type Grant struct {
	// From are the namespaces of the objects that refer, To those of what is referred to.
	From, To []Pattern
	// Kinds are "Service", "Secret" and "ConfigMap".
	Kinds []string
	// Names are those of the objects that are referred to; empty means all.
	Names []Pattern
}

// Granted tells whether an object of one namespace may refer to an object of another: always within one namespace.
func (c *Config) Granted(from, kind, to, name string) bool {
	if from == to {
		return true
	}
	return slices.ContainsFunc(c.Grants, func(g Grant) bool {
		return matchAny(g.From, from) && matchAny(g.To, to) && slices.Contains(g.Kinds, kind) &&
			(len(g.Names) == 0 || matchAny(g.Names, name))
	})
}

// HostOwner gives host names of Ingresses to namespaces.
type HostOwner struct {
	// Hosts are names, and "*.example.com" for every name below one.
	Hosts []string
	// Namespaces may use them; no other may.
	Namespaces []Pattern
}

// OwnsHost tells whether a namespace may use a host of an Ingress, which may be a wildcard, or "" for a rule that takes
// every host. The entry that names the host, else the one with the longest pattern decides; a host that no entry covers is everybody's. A wildcard must not cover names that another namespace
// was given either. owner is what the policy says where it is refused.
func (c *Config) OwnsHost(namespace, host string) (owner string, ok bool) {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	best, bestPattern := -1, ""
	for i := range c.Hosts {
		for _, p := range c.Hosts[i].Hosts {
			// The host itself is as long as the wildcard above it where its first label has one letter.
			if hostCovers(p, host) && (p == host || len(p) > len(bestPattern) && bestPattern != host) {
				best, bestPattern = i, p
			}
		}
	}
	if best >= 0 && !matchAny(c.Hosts[best].Namespaces, namespace) {
		return bestPattern, false
	}
	if !strings.HasPrefix(host, "*.") && host != "" {
		return "", true
	}
	for i := range c.Hosts {
		if matchAny(c.Hosts[i].Namespaces, namespace) {
			continue
		}
		for _, p := range c.Hosts[i].Hosts {
			if host == "" || hostCovers(host, p) {
				return p, false
			}
		}
	}
	return "", true
}

// hostCovers tells whether a pattern covers a host, which may be a pattern itself: "*" covers everything, and
// "*.example.com" every name below example.com, at any depth.
func hostCovers(pattern, host string) bool {
	if pattern == "*" || pattern == host {
		return true
	}
	suffix, ok := strings.CutPrefix(pattern, "*")
	return ok && strings.HasPrefix(suffix, ".") && strings.HasSuffix(strings.TrimPrefix(host, "*"), suffix) && host != pattern
}

// Exemption spares objects of rules, Guards among them. Only the policy says so.
type Exemption struct {
	Rules []string
	// Namespaces of the objects; empty means all.
	Namespaces []Pattern
	// Users are names or groups of who writes; empty means everybody. An exemption that names users holds as they
	// write: of a stored object nobody knows who wrote it, so that the audit and the proxy judge it without.
	Users  []Pattern
	Reason string
}

// Exempts is the reason for which the policy spares an object of a rule. groups and user are empty where it is not
// known who wrote the object.
func (c *Config) Exempts(rule, namespace, user string, groups []string) (reason string, ok bool) {
	for i := range c.Exemptions {
		e := &c.Exemptions[i]
		if !slices.Contains(e.Rules, rule) || len(e.Namespaces) > 0 && !matchAny(e.Namespaces, namespace) {
			continue
		}
		if len(e.Users) == 0 || user != "" && matchAny(e.Users, user) ||
			slices.ContainsFunc(groups, func(g string) bool { return matchAny(e.Users, g) }) {
			return e.Reason, true
		}
	}
	return "", false
}

// Class says in which dialect the Ingresses of a class speak, where the table of dialects would not know.
type Class struct {
	// Class is the name of an IngressClass, Controller the spec.controller of some; one of them is set.
	Class, Controller string
	// Dialect is a name of intent.Dialects.
	Dialect string
}

// DialectOf finds the dialect of an Ingress: as the policy has it for its class, else as [intent.Of] does.
func (c *Config) DialectOf(ing *networkingv1.Ingress, class func(name string) *networkingv1.IngressClass) (d *intent.Dialect, ok bool) {
	if len(c.Classes) > 0 {
		name := intent.ClassName(ing)
		controller := ""
		if name != "" && class != nil {
			if ic := class(name); ic != nil {
				controller = ic.Spec.Controller
			}
		}
		for _, set := range c.Classes {
			if set.Class != "" && set.Class == name || set.Controller != "" && set.Controller == controller {
				for _, d := range intent.Dialects {
					if d.Name == set.Dialect {
						return d, true
					}
				}
			}
		}
	}
	return intent.Of(ing, class)
}

// What may be injected, as `inject` of the policy and Rule.Injects name it.
const (
	InjectHost      = "host"       // the annotation about the Host header
	InjectProtocol  = "protocol"   // the annotation about the upstream's protocol
	InjectPortNames = "port-names" // names of the ports of Endpoints and EndpointSlices
	InjectLabels    = "labels"     // labels of Endpoints and EndpointSlices
	InjectReady     = "ready"      // conditions of endpoints
)

// Injections is everything that may be injected.
var Injections = []string{InjectHost, InjectProtocol, InjectPortNames, InjectLabels, InjectReady}

// Injects tells whether something may be injected.
func (c *Config) Injects(what string) bool { return what == "" || slices.Contains(c.Inject, what) }
