package policy

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // DefaultYAML
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/viper"
	"go.yaml.in/yaml/v3"
)

// DefaultYAML is a policy.yaml with a comment for each key, which says what DefaultConfig says.
//
//go:embed default.yaml
var DefaultYAML string

// Bounds of a policy: a ConfigMap holds a mebibyte, and nobody writes a policy of a tenth of it.
const (
	maxPolicyBytes  = 128 << 10
	maxPolicyErrors = 20
)

// Mistake is one thing that is wrong with a policy.
type Mistake struct {
	// Line and Column of the text, from 1 on; 0 where no place has it.
	Line, Column int
	// Text says what is wrong and what to write instead, in one line.
	Text string
}

// At is the mistake with its place before it: "line 3, column 5: ...".
func (m *Mistake) At() string {
	switch {
	case m.Line == 0:
		return m.Text
	case m.Column == 0:
		return fmt.Sprintf("line %d: %s", m.Line, m.Text)
	}
	return fmt.Sprintf("line %d, column %d: %s", m.Line, m.Column, m.Text)
}

func (m *Mistake) Error() string { return "policy: " + m.At() }

// Mistakes lists what ParseConfig found wrong, in the order of the text; none for another error.
func Mistakes(err error) []*Mistake {
	var list []*Mistake
	var one *Mistake
	switch many, ok := err.(interface{ Unwrap() []error }); {
	case ok:
		for _, err := range many.Unwrap() {
			list = append(list, Mistakes(err)...)
		}
	case errors.As(err, &one):
		list = append(list, one)
	}
	return list
}

// place is where something stands in the text.
type place struct{ line, column int }

func placeOf(n *yaml.Node) place { return place{n.Line, n.Column} }

// policyReader collects what is wrong with a policy.
type policyReader struct {
	known func(string) bool
	// seen holds where each value stands that must stand once in the whole policy, by the name of the set.
	seen   map[string]map[string]place
	errs   []error
	hushed int
}

func (r *policyReader) fail(at place, format string, args ...any) {
	if len(r.errs) == maxPolicyErrors {
		r.hushed++
		return
	}
	r.errs = append(r.errs, &Mistake{Line: at.line, Column: at.column, Text: oneLine(fmt.Sprintf(format, args...))})
}

// ParseConfig reads a policy.yaml. It is strict: an unknown key or rule, a bad value, a duplicate or a second
// document is an error that says its line and column and what to write; every error is reported at once, one a line,
// as [Mistakes] has them. known tells which rule IDs there are; nil lets every ID pass. Keys that are left out have
// the values of DefaultConfig.
//
// The level 'fix' is no error for a rule that has no fix: the rule then does what its Unfixed level says, and for a
// rule that denies by default that is to deny. Levels and the scope may also be 'false' for 'off', because tools
// that read YAML 1.1 turn an unquoted off into it.
func ParseConfig(text []byte, known func(id string) bool) (*Config, error) {
	r := &policyReader{known: known, seen: map[string]map[string]place{}}
	if len(text) > maxPolicyBytes {
		r.fail(place{}, "has %d bytes, must have at most %d", len(text), maxPolicyBytes)
		return nil, r.err()
	}
	// The places, the exact spelling of keys and the types come from the nodes of the text: viper lower-cases keys and
	// converts types as it sees fit.
	r.document(text)
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
	cfg := t.config(v.IsSet)
	sum := sha256.Sum256(text)
	cfg.Generation = hex.EncodeToString(sum[:6])
	return cfg, nil
}

func (r *policyReader) err() error {
	if len(r.errs) == 0 {
		return nil
	}
	if r.hushed > 0 {
		r.errs = append(r.errs, &Mistake{Text: fmt.Sprintf("and %d more", r.hushed)})
	}
	return errors.Join(r.errs...)
}

const emptyPolicy = "is empty; must begin with 'version: 1'"

func (r *policyReader) document(text []byte) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) || err == nil && len(doc.Content) != 1 {
		r.fail(place{}, emptyPolicy)
		return
	} else if err != nil {
		r.syntax(err)
		return
	}
	r.walk(doc.Content[0], policyShape, "")
	var second yaml.Node
	if err := dec.Decode(&second); err == nil {
		r.fail(placeOf(&second), "a second document: there must be one only")
	} else if !errors.Is(err, io.EOF) {
		r.syntax(err)
	}
}

// syntax tells what the YAML parser says, which has a line but no column.
func (r *policyReader) syntax(err error) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	var at place
	if number, rest, ok := strings.Cut(strings.TrimPrefix(text, "line "), ": "); ok {
		if n, err := strconv.Atoi(number); err == nil {
			at.line, text = n, rest
		}
	}
	r.fail(at, "must be YAML: %s", text)
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

func (r *policyReader) walk(n *yaml.Node, s *shape, path string) {
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		r.fail(placeOf(n), "%s: must not use anchors and aliases; write the value", at(path))
		return
	}
	if isNull(n) && !s.never {
		return
	}
	switch {
	case s.keys != nil || s.rules:
		if n.Kind != yaml.MappingNode {
			r.fail(placeOf(n), "%s: must be a mapping of keys to values", at(path))
			return
		}
		r.mapping(n, s, path)
	case s.items != nil:
		if n.Kind != yaml.SequenceNode {
			r.fail(placeOf(n), "%s: must be a list", at(path))
			return
		}
		r.list(n, s, path)
	default:
		r.scalar(n, s, path)
	}
}

func (r *policyReader) list(n *yaml.Node, s *shape, path string) {
	if s.filled && len(n.Content) == 0 {
		r.fail(placeOf(n), "%s: must not be empty; leave it out, or write what it is about", at(path))
	}
	seen := map[string]place{}
	if s.across != "" {
		if r.seen[s.across] == nil {
			r.seen[s.across] = seen
		}
		seen = r.seen[s.across]
	}
	for i, item := range n.Content {
		here := fmt.Sprintf("%s[%d]", path, i)
		if isNull(item) {
			r.fail(placeOf(item), "%s: an empty item; must be %s", at(here), s.items.what())
			continue
		}
		r.walk(item, s.items, here)
		if s.once && item.Kind == yaml.ScalarNode {
			r.once(seen, item, here)
		}
	}
}

// once refuses a value that stands elsewhere already.
func (r *policyReader) once(seen map[string]place, n *yaml.Node, path string) {
	if first, dup := seen[n.Value]; dup {
		r.fail(placeOf(n), "%s: '%s' stands on line %d already; write it once", at(path), cut(n.Value, maxValue), first.line)
		return
	}
	seen[n.Value] = placeOf(n)
}

func (r *policyReader) scalar(n *yaml.Node, s *shape, path string) {
	if n.Kind == yaml.ScalarNode && s.off && offByAccident(n) {
		return
	}
	if n.Kind != yaml.ScalarNode || !slices.Contains(s.tags, n.ShortTag()) {
		r.fail(placeOf(n), "%s: must be %s", at(path), s.what())
		return
	}
	if s.check != nil {
		if complaint := s.check(n.Value); complaint != "" {
			r.fail(placeOf(n), "%s: %s", at(path), complaint)
			return
		}
	}
	if s.rule {
		r.rule(n)
	}
	if s.across != "" {
		if r.seen[s.across] == nil {
			r.seen[s.across] = map[string]place{}
		}
		r.once(r.seen[s.across], n, path)
	}
}

// rule refuses an ID that no rule has.
func (r *policyReader) rule(n *yaml.Node) (ok bool) {
	if strings.Trim(n.Value, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || n.Value == "" || r.known != nil && !r.known(n.Value) {
		r.fail(placeOf(n), "unknown rule '%s': must be one that `drawbridge rules` lists", cut(n.Value, maxValue))
		return false
	}
	return true
}

func (r *policyReader) mapping(n *yaml.Node, s *shape, path string) {
	seen := map[string]place{}
	has := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, value := n.Content[i], n.Content[i+1]
		if k.Kind != yaml.ScalarNode || k.ShortTag() != "!!str" || k.Anchor != "" {
			r.fail(placeOf(k), "%s: a key must be a plain word", at(path))
			continue
		}
		if first, dup := seen[k.Value]; dup {
			r.fail(placeOf(k), "`%s`: stands on line %d already; write it once", cut(k.Value, maxValue), first.line)
			continue
		}
		seen[k.Value] = placeOf(k)
		sub := k.Value
		if path != "" {
			sub = path + "." + k.Value
		}
		if s.rules {
			if r.rule(k) {
				r.level(value, sub)
			}
			continue
		}
		shape, ok := s.keys[k.Value]
		if !ok {
			r.fail(placeOf(k), "unknown key '%s': %s", cut(sub, maxValue), s.instead(k.Value))
			continue
		}
		has[k.Value] = !isNull(value) || shape.never
		r.walk(value, shape, sub)
	}
	for _, key := range s.need {
		if !has[key] {
			r.fail(placeOf(n), "%s", missing(path, key))
		}
	}
	if len(s.some) == 0 {
		return
	}
	said := 0
	for _, key := range s.some {
		if has[key] {
			said++
		}
	}
	switch words := "`" + strings.Join(s.some, "` or `") + "`"; {
	case said == 0:
		r.fail(placeOf(n), "%s: must have %s", at(path), words)
	case said > 1 && s.single:
		r.fail(placeOf(n), "%s: must have only one of %s", at(path), words)
	}
}

func missing(path, key string) string {
	if path == "" && key == "version" {
		return "`version` is missing: write 'version: 1'"
	}
	return fmt.Sprintf("%s: must have `%s`", at(path), key)
}

func (r *policyReader) level(value *yaml.Node, path string) {
	const levels = "must be 'off', 'warn', 'deny' or 'fix'"
	switch {
	case value.Anchor != "" || value.Kind != yaml.ScalarNode || value.ShortTag() != "!!str" && !offByAccident(value):
		r.fail(placeOf(value), "%s: %s", at(cut(path, maxField)), levels)
	case value.ShortTag() == "!!str" && new(Level).UnmarshalText([]byte(value.Value)) != nil:
		r.fail(placeOf(value), "%s: unknown level '%s': %s", at(cut(path, maxField)), cut(value.Value, maxValue), levels)
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
