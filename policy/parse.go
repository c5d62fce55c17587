package policy

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed" // DefaultYAML
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/viper"
	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/util/validation"
)

// DefaultYAML is a policy.yaml with a comment for each key, which says what DefaultConfig says.
//
//go:embed default.yaml
var DefaultYAML string

// Bounds of a policy: a ConfigMap holds a mebibyte, and nobody writes a policy of a tenth of it.
const (
	maxPolicyBytes  = 128 << 10
	maxPolicyErrors = 10
)

// policyText is policy.yaml as viper unmarshals it.
type policyText struct {
	Version       int
	Profile       string
	Rules         map[string]any
	ClusterDomain string
	Addresses     struct{ Allowed, Forbidden []string }
	Slices        struct {
		Scope           any
		ForeignManagers []string
	}
}

// shape says what may stand at a place of policy.yaml: the keys of a mapping, the elements of a list, or a scalar.
type shape struct {
	keys  map[string]*shape
	rules bool   // a mapping of rule IDs to levels
	list  bool   // a list of strings
	tag   string // the scalar's type; "" with list, keys and rules
}

var policyShape = &shape{keys: map[string]*shape{
	"version":       {tag: "!!int"},
	"profile":       {tag: "!!str"},
	"rules":         {rules: true},
	"clusterDomain": {tag: "!!str"},
	"addresses":     {keys: map[string]*shape{"allowed": {list: true}, "forbidden": {list: true}}},
	"slices":        {keys: map[string]*shape{"scope": {tag: "!!str"}, "foreignManagers": {list: true}}},
}}

// policyReader collects what is wrong with a policy and remembers on which line each value stands.
type policyReader struct {
	known  func(string) bool
	lines  map[string]int
	errs   []error
	hushed int
}

func (r *policyReader) fail(line int, format string, args ...any) {
	if len(r.errs) == maxPolicyErrors {
		r.hushed++
		return
	}
	text := oneLine(fmt.Sprintf(format, args...))
	if line > 0 {
		text = fmt.Sprintf("line %d: %s", line, text)
	}
	r.errs = append(r.errs, errors.New(text))
}

// ParseConfig reads a policy.yaml. It is strict: an unknown key or rule, a bad value, a duplicate or a second
// document is an error that says its line and what to write; every error is reported at once, one a line. known
// tells which rule IDs there are; nil lets every ID pass. Keys that are left out have the values of DefaultConfig.
//
// The level 'fix' is no error for a rule that has no fix: the rule then does what its Unfixed level says, and for a
// rule that denies by default that is to deny. Levels and the scope may also be 'false' for 'off', because tools
// that read YAML 1.1 turn an unquoted off into it.
func ParseConfig(text []byte, known func(id string) bool) (*Config, error) {
	if len(text) > maxPolicyBytes {
		return nil, fmt.Errorf("policy: has %d bytes, must have at most %d", len(text), maxPolicyBytes)
	}
	r := &policyReader{known: known, lines: map[string]int{}}
	// The positions, the exact spelling of keys and the types come from the nodes of the text: viper lower-cases
	// keys and converts types as it sees fit.
	if err := r.document(text); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	v := viper.NewWithOptions(viper.KeyDelimiter("::"))
	v.SetConfigType("yaml")
	if err := v.ReadConfig(bytes.NewReader(text)); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	var t policyText
	if err := v.UnmarshalExact(&t); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	cfg := r.config(&t, v)
	if err := r.err(); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	cfg.Generation = hex.EncodeToString(sum[:6])
	return cfg, nil
}

func (r *policyReader) err() error {
	if len(r.errs) == 0 {
		return nil
	}
	if r.hushed > 0 {
		r.errs = append(r.errs, fmt.Errorf("and %d more", r.hushed))
	}
	for i, err := range r.errs {
		r.errs[i] = fmt.Errorf("policy: %w", err)
	}
	return errors.Join(r.errs...)
}

func (r *policyReader) document(text []byte) error {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return errors.New("is empty; must begin with 'version: 1'")
	} else if err != nil {
		return errors.New(oneLine(strings.TrimPrefix(err.Error(), "yaml: ")))
	}
	var second yaml.Node
	if err := dec.Decode(&second); err == nil {
		r.fail(second.Line, "a second document: there must be one only")
	} else if !errors.Is(err, io.EOF) {
		return errors.New(oneLine(strings.TrimPrefix(err.Error(), "yaml: ")))
	}
	if len(doc.Content) != 1 {
		return errors.New("is empty; must begin with 'version: 1'")
	}
	r.walk(doc.Content[0], policyShape, "")
	if r.lines["version"] == 0 {
		r.fail(0, "`version` is missing: write 'version: 1'")
	}
	return nil
}

func (r *policyReader) walk(n *yaml.Node, s *shape, path string) {
	r.lines[path] = n.Line
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		r.fail(n.Line, "%s: must not use anchors and aliases; write the value", at(path))
		return
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" && path != "version" {
		return
	}
	switch {
	case s.keys != nil || s.rules:
		if n.Kind != yaml.MappingNode {
			r.fail(n.Line, "%s: must be a mapping of keys to values", at(path))
			return
		}
		r.mapping(n, s, path)
	case s.list:
		if n.Kind != yaml.SequenceNode {
			r.fail(n.Line, "%s: must be a list", at(path))
			return
		}
		for i, item := range n.Content {
			r.walk(item, &shape{tag: "!!str"}, fmt.Sprintf("%s[%d]", path, i))
			if item.ShortTag() == "!!null" {
				r.fail(item.Line, "%s: an empty item; must be a string", at(path))
			}
		}
	default:
		r.scalar(n, s, path)
	}
}

func (r *policyReader) scalar(n *yaml.Node, s *shape, path string) {
	want := "a string; write it in quotes"
	if s.tag == "!!int" {
		want = "the number 1"
	}
	tag := n.ShortTag()
	if n.Kind == yaml.ScalarNode && (tag == s.tag || path == "slices.scope" && offByAccident(n)) {
		return
	}
	r.fail(n.Line, "%s: must be %s", at(path), want)
}

func (r *policyReader) mapping(n *yaml.Node, s *shape, path string) {
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, value := n.Content[i], n.Content[i+1]
		if k.Kind != yaml.ScalarNode || k.ShortTag() != "!!str" || k.Anchor != "" {
			r.fail(k.Line, "%s: a key must be a plain word", at(path))
			continue
		}
		if line, dup := seen[k.Value]; dup {
			r.fail(k.Line, "`%s`: stands on line %d already; write it once", cut(k.Value, maxValue), line)
			continue
		}
		seen[k.Value] = k.Line
		sub := k.Value
		if path != "" {
			sub = path + "." + k.Value
		}
		if s.rules {
			r.lines[sub] = value.Line
			switch {
			case strings.Trim(k.Value, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || r.known != nil && !r.known(k.Value):
				r.fail(k.Line, "unknown rule '%s': `drawbridge rules` lists those there are", cut(k.Value, maxValue))
			case value.Anchor != "" || value.Kind != yaml.ScalarNode || value.ShortTag() != "!!str" && !offByAccident(value):
				r.fail(value.Line, "%s: must be 'off', 'warn', 'deny' or 'fix'", at(cut(sub, maxField)))
			case value.ShortTag() == "!!str" && new(Level).UnmarshalText([]byte(value.Value)) != nil:
				r.fail(value.Line, "%s: unknown level '%s': must be 'off', 'warn', 'deny' or 'fix'", at(cut(sub, maxField)), cut(value.Value, maxValue))
			}
			continue
		}
		shape, ok := s.keys[k.Value]
		if !ok {
			r.fail(k.Line, "unknown key '%s': must be one of '%s'", cut(sub, maxValue), strings.Join(slices.Sorted(maps.Keys(s.keys)), "', '"))
			continue
		}
		r.walk(value, shape, sub)
	}
}

// offByAccident is a false that was an unquoted off before a YAML 1.1 tool copied it.
func offByAccident(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!bool" && strings.EqualFold(n.Value, "false")
}

func at(path string) string {
	if path == "" {
		return "the policy"
	}
	return "`" + path + "`"
}

// config checks the values and makes the policy of them.
func (r *policyReader) config(t *policyText, v *viper.Viper) *Config {
	cfg := DefaultConfig()
	if t.Version != 1 {
		r.fail(r.lines["version"], "`version`: is %d; must be 1, the only one there is", t.Version)
	}
	switch Profile(t.Profile) {
	case "":
	case Baseline, Strict:
		cfg.Profile = Profile(t.Profile)
	default:
		r.fail(r.lines["profile"], "`profile`: unknown profile '%s': must be 'baseline' or 'strict'", cut(t.Profile, maxValue))
	}
	if len(t.Rules) > 0 {
		cfg.Rules = make(map[string]Level, len(t.Rules))
	}
	for _, id := range slices.Sorted(maps.Keys(t.Rules)) {
		level := Off
		if s, ok := t.Rules[id].(string); ok {
			if err := level.UnmarshalText([]byte(s)); err != nil {
				r.fail(r.lines["rules."+id], "`rules.%s`: %s", id, err)
			}
		}
		cfg.Rules[id] = level
	}
	if v.IsSet("clusterdomain") {
		cfg.ClusterDomain = t.ClusterDomain
		if msgs := validation.IsDNS1123Subdomain(t.ClusterDomain); len(msgs) > 0 {
			r.fail(r.lines["clusterDomain"], "`clusterDomain`: '%s' must be a DNS name in lower case without dots at its ends, such as 'cluster.local'", cut(t.ClusterDomain, maxValue))
		}
	}
	cfg.Addresses.Allowed = r.prefixes(t.Addresses.Allowed, "addresses.allowed")
	cfg.Addresses.Forbidden = r.prefixes(t.Addresses.Forbidden, "addresses.forbidden")
	r.slices(t, v, cfg)
	return cfg
}

func (r *policyReader) slices(t *policyText, v *viper.Viper, cfg *Config) {
	scope, isText := t.Slices.Scope.(string)
	if t.Slices.Scope == false {
		scope, isText = string(SlicesOff), true
	}
	if isText {
		cfg.Slices.Scope = SliceScope(scope)
		if !slices.Contains([]SliceScope{SlicesAll, SlicesIngress, SlicesAnnotated, SlicesOff}, cfg.Slices.Scope) {
			r.fail(r.lines["slices.scope"], "`slices.scope`: unknown scope '%s': must be 'all', 'ingress', 'annotated' or 'off'", cut(scope, maxValue))
		}
	}
	if v.IsSet("slices::foreignmanagers") {
		cfg.Slices.ForeignManagers = t.Slices.ForeignManagers
	}
	for i, name := range cfg.Slices.ForeignManagers {
		// A field manager has at most 128 printable characters (ValidateFieldManager of apimachinery).
		if name == "" || len(name) > 128 || oneLine(name) != name {
			path := fmt.Sprintf("slices.foreignManagers[%d]", i)
			r.fail(r.lines[path], "`%s`: must be the name of a field manager", path)
		}
	}
}

func (r *policyReader) prefixes(texts []string, path string) []netip.Prefix {
	var out []netip.Prefix
	for i, text := range texts {
		here := fmt.Sprintf("%s[%d]", path, i)
		p, err := netip.ParsePrefix(text)
		if err != nil {
			hint := " such as '192.0.2.0/24'"
			if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
				hint = fmt.Sprintf("; write '%s'", netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()))
			}
			r.fail(r.lines[here], "`%s`: '%s' must be a CIDR%s", here, cut(text, maxValue), hint)
			continue
		}
		if p.Addr().Is4In6() {
			r.fail(r.lines[here], "`%s`: '%s' must be written as IPv4", here, text)
			continue
		}
		if m := p.Masked(); m != p {
			r.fail(r.lines[here], "`%s`: '%s' has bits set behind the mask; write '%s'", here, text, m)
			continue
		}
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	return out
}
