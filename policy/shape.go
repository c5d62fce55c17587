package policy

import (
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"

	"drawbridge.dev/drawbridge/policy/intent"
)

// shape says what may stand at a place of policy.yaml: a mapping of keys, a mapping of rules to levels, a list, or a
// scalar. Null stands for "not said" everywhere but in lists.
type shape struct {
	keys   map[string]*shape
	need   []string // keys that the mapping must have
	some   []string // keys of which it must have one
	single bool     // ... and no two

	rules bool

	items  *shape
	filled bool // the list must not be empty
	once   bool // no value stands in it twice

	tags  []string                             // the types of the scalar
	kind  string                               // what it is called where it is of another type
	check func(text string) (complaint string) // of the scalar; "" where it is right
	off   bool                                 // it may be false for 'off'
	never bool                                 // it must not be null
	rule  bool                                 // it is the ID of a rule

	values []string // all that it may be, where these are few; check refuses the rest

	// across names a set of values that must stand once in the whole policy, in lists or alone.
	across string
}

// what names what must stand at the place.
func (s *shape) what() string {
	switch {
	case s.kind != "":
		return s.kind
	case s.keys != nil || s.rules:
		return "a mapping of keys to values"
	case s.items != nil:
		return "a list"
	}
	return "a string; write it in quotes"
}

// instead names the keys that may stand where an unknown one does: those that look like it, else all.
func (s *shape) instead(wrong string) string {
	all := slices.Sorted(maps.Keys(s.keys))
	near := slices.DeleteFunc(slices.Clone(all), func(key string) bool {
		a, b := strings.ToLower(key), strings.ToLower(wrong)
		return len(b) < 3 || !strings.HasPrefix(a, b) && !strings.HasPrefix(b, a)
	})
	if len(near) > 0 {
		return "must be " + alternatives(near)
	}
	return "must be one of '" + strings.Join(all, "', '") + "'"
}

func text(check func(string) string) *shape { return &shape{tags: []string{"!!str"}, check: check} }

// anyOf is a list in which nothing stands twice; listOf one that lets it pass, as the first version of the policy did.
func anyOf(items *shape) *shape { return &shape{items: items, once: true} }

func listOf(items *shape) *shape { return &shape{items: items} }

// someOf is a list as anyOf that must not be empty.
func someOf(items *shape) *shape { return &shape{items: items, once: true, filled: true} }

// choice is a text that must be among some.
func choice(what string, values ...string) *shape {
	return &shape{tags: []string{"!!str"}, values: values, check: oneOf(what, values)}
}

func dialects() (names []string) {
	for _, d := range intent.Dialects {
		names = append(names, d.Name)
	}
	return names
}

var (
	// An empty profile stands for none.
	profileShape = &shape{tags: []string{"!!str"}, values: []string{"", string(Baseline), string(Strict)}, check: checkProfile}

	scopeShape = func() *shape {
		s := choice("scope", string(SlicesAll), string(SlicesIngress), string(SlicesAnnotated), string(SlicesOff))
		s.off = true
		return s
	}()

	destinationShape = &shape{keys: map[string]*shape{
		"hosts": someOf(text(checkHostPattern)),
		"cidrs": someOf(text(checkPrefix)),
		"ports": someOf(&shape{tags: []string{"!!int", "!!str"}, check: checkPorts, kind: "a port or a range of ports, such as 443 or '8000-8100'"}),
	}, some: []string{"hosts", "cidrs"}}

	destinationsShape = &shape{keys: map[string]*shape{"allowed": listOf(destinationShape), "forbidden": listOf(destinationShape)}}

	policyShape = &shape{need: []string{"version"}, keys: map[string]*shape{
		"version":       {tags: []string{"!!int"}, kind: "the number 1", check: checkVersion, never: true},
		"profile":       profileShape,
		"rules":         {rules: true},
		"clusterDomain": text(checkClusterDomain),
		"namespaces": listOf(&shape{keys: map[string]*shape{
			"names":        someOf(text(checkNamespacePattern)),
			"labels":       text(checkSelector),
			"profile":      profileShape,
			"rules":        {rules: true},
			"destinations": destinationsShape,
		}, some: []string{"names", "labels"}}),
		"destinations": destinationsShape,
		"addresses":    {keys: map[string]*shape{"allowed": listOf(text(checkPrefix)), "forbidden": listOf(text(checkPrefix))}},
		"ranges": {keys: map[string]*shape{
			"pods": anyOf(text(checkPrefix)), "services": anyOf(text(checkPrefix)), "nodes": anyOf(text(checkPrefix)),
		}},
		"proxyNames":  anyOf(text(checkProxyName)),
		"externalIPs": anyOf(text(checkPrefix)),
		"grants": listOf(&shape{keys: map[string]*shape{
			"from":  someOf(text(checkNamespacePattern)),
			"to":    someOf(text(checkNamespacePattern)),
			"kinds": someOf(choice("kind", GrantKinds...)),
			"names": someOf(text(checkNamePattern)),
		}, need: []string{"from", "to", "kinds"}}),
		"hosts": listOf(&shape{keys: map[string]*shape{
			// Of two entries with one pattern only one could count.
			"hosts":      {items: text(checkHostPattern), once: true, filled: true, across: "hosts"},
			"namespaces": someOf(text(checkNamespacePattern)),
		}, need: []string{"hosts", "namespaces"}}),
		"exemptions": listOf(&shape{keys: map[string]*shape{
			"rules":      someOf(&shape{tags: []string{"!!str"}, rule: true}),
			"namespaces": someOf(text(checkNamespacePattern)),
			"users":      someOf(text(checkUserPattern)),
			"reason":     text(checkReason),
		}, need: []string{"rules", "reason"}}),
		"classes": listOf(&shape{keys: map[string]*shape{
			"class":      {tags: []string{"!!str"}, check: checkClass, across: "class"},
			"controller": {tags: []string{"!!str"}, check: checkController, across: "controller"},
			"dialect":    choice("dialect", dialects()...),
		}, need: []string{"dialect"}, some: []string{"class", "controller"}, single: true}),
		"inject": anyOf(choice("injection", Injections...)),
		"slices": {keys: map[string]*shape{
			"scope":           scopeShape,
			"foreignManagers": listOf(text(checkManager)),
		}},
	}}
)

// GrantKinds are the kinds of object that a Grant may be about.
var GrantKinds = []string{"Service", "Secret", "ConfigMap"}

// oneOf wants a text to be among some.
func oneOf(what string, all []string) func(string) string {
	return func(text string) string {
		if slices.Contains(all, text) {
			return ""
		}
		return fmt.Sprintf("unknown %s '%s': must be %s", what, cut(text, maxValue), alternatives(all))
	}
}

// alternatives writes 'a', 'b' or 'c'.
func alternatives(all []string) string {
	quoted := make([]string, len(all))
	for i, s := range all {
		quoted[i] = "'" + s + "'"
	}
	if len(quoted) < 2 {
		return strings.Join(quoted, "")
	}
	last := len(quoted) - 1
	return strings.Join(quoted[:last], ", ") + " or " + quoted[last]
}

func checkVersion(text string) string {
	if text != "1" {
		return fmt.Sprintf("is %s; must be 1, the only one there is", cut(text, maxValue))
	}
	return ""
}

// checkProfile lets an empty text stand for none.
func checkProfile(text string) string {
	if text == "" {
		return ""
	}
	return oneOf("profile", []string{string(Baseline), string(Strict)})(text)
}

func checkClusterDomain(text string) string {
	if len(validation.IsDNS1123Subdomain(text)) > 0 {
		return fmt.Sprintf("'%s' must be a DNS name in lower case without dots at its ends, such as 'cluster.local'", cut(text, maxValue))
	}
	return ""
}

var (
	namespacePattern = regexp.MustCompile(`^[a-z0-9*]([-a-z0-9*]*[a-z0-9*])?$`)
	namePattern      = regexp.MustCompile(`^[a-z0-9*]([-.a-z0-9*]*[a-z0-9*])?$`)
)

func checkNamespacePattern(text string) string {
	if len(text) > validation.DNS1123LabelMaxLength || !namespacePattern.MatchString(text) {
		return fmt.Sprintf("'%s' must be the name of a namespace, in which '*' may stand for any characters", cut(text, maxValue))
	}
	return ""
}

func checkNamePattern(text string) string {
	if len(text) > validation.DNS1123SubdomainMaxLength || !namePattern.MatchString(text) {
		return fmt.Sprintf("'%s' must be the name of an object, in which '*' may stand for any characters", cut(text, maxValue))
	}
	return ""
}

// maxUser is longer than the names of any authenticator that is in use; nothing bounds them.
const maxUser = 512

func checkUserPattern(text string) string {
	if text == "" || len(text) > maxUser || oneLine(text) != text || strings.TrimSpace(text) != text {
		return fmt.Sprintf("'%s' must be the name of a user or a group, such as 'system:serviceaccount:NAMESPACE:NAME', in which '*' may stand for any characters", cut(text, maxValue))
	}
	return ""
}

func checkSelector(text string) string {
	selector, err := labels.Parse(text)
	if err != nil {
		return fmt.Sprintf("'%s' must be a label selector such as 'env in (prod), !legacy': %s", cut(text, maxValue), err)
	}
	if selector.Empty() {
		return "must not be empty: it would select every namespace, for which there are the keys outside of `namespaces`"
	}
	return ""
}

// checkHostPattern wants a DNS name, "*.NAME" or "*".
func checkHostPattern(text string) string {
	if text == "*" {
		return ""
	}
	name := strings.TrimPrefix(text, "*.")
	switch _, err := netip.ParseAddr(text); {
	case err == nil:
		return fmt.Sprintf("'%s' must be a host name; an address is written as a CIDR, where there are `cidrs`", cut(text, maxValue))
	case len(validation.IsDNS1123Subdomain(name)) > 0:
		return fmt.Sprintf("'%s' must be a DNS name in lower case without a last dot, or '*.' and one, or '*'", cut(text, maxValue))
	}
	return ""
}

func checkProxyName(text string) string {
	if text == "*" {
		return "'*' must not be a name of the proxy: no alias could lead anywhere"
	}
	return checkHostPattern(text)
}

func checkReason(text string) string {
	if strings.TrimSpace(text) == "" {
		return "must say why, for whoever reads the findings"
	}
	return ""
}

func checkClass(text string) string {
	if len(validation.IsDNS1123Subdomain(text)) > 0 {
		return fmt.Sprintf("'%s' must be the name of an IngressClass", cut(text, maxValue))
	}
	return ""
}

// checkController asks for what an API server takes for spec.controller of an IngressClass, which is a path with a
// domain, of 250 characters at most.
func checkController(text string) string {
	if domain, path, _ := strings.Cut(text, "/"); len(text) > 250 || len(validation.IsDNS1123Subdomain(domain)) > 0 || path == "" || oneLine(text) != text {
		return fmt.Sprintf("'%s' must be the `spec.controller` of an IngressClass, such as 'example.com/ingress'", cut(text, maxValue))
	}
	return ""
}

func checkManager(text string) string {
	// A field manager has at most 128 printable characters (ValidateFieldManager of apimachinery).
	if text == "" || len(text) > 128 || oneLine(text) != text {
		return "must be the name of a field manager"
	}
	return ""
}

func checkPrefix(text string) string {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		hint := " such as '192.0.2.0/24'"
		if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
			hint = fmt.Sprintf("; write '%s'", netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()))
		}
		return fmt.Sprintf("'%s' must be a CIDR%s", cut(text, maxValue), hint)
	}
	if p.Addr().Is4In6() {
		return fmt.Sprintf("'%s' must be written as IPv4", text)
	}
	if m := p.Masked(); m != p {
		return fmt.Sprintf("'%s' has bits set behind the mask; write '%s'", text, m)
	}
	return ""
}

func checkPorts(text string) string {
	if _, ok := parsePorts(text); !ok {
		return fmt.Sprintf("'%s' must be a port from 1 to 65535 or a range of them, such as 443 or '8000-8100'", cut(text, maxValue))
	}
	return ""
}

// parsePorts reads "443" or "8000-8100". Other spellings of numbers are refused: to YAML 1.1, 0443 is 291.
func parsePorts(text string) (PortRange, bool) {
	first, last, isRange := strings.Cut(text, "-")
	if !isRange {
		last = first
	}
	var r PortRange
	for _, end := range []struct {
		text string
		to   *uint16
	}{{first, &r.First}, {last, &r.Last}} {
		n, err := strconv.ParseUint(end.text, 10, 16)
		if err != nil || n == 0 || strconv.FormatUint(n, 10) != end.text {
			return PortRange{}, false
		}
		*end.to = uint16(n)
	}
	return r, r.First <= r.Last
}
