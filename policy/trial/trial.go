// Package trial tries a policy out before it is in force: on an administrator's own cases, each some objects and the
// findings expected of them, and on objects that there are, beside the policy that is in force now.
package trial

import (
	"fmt"
	"slices"
	"strings"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/manifest"
)

// Finding is what a policy makes of one thing that a rule found.
type Finding struct {
	// Level is deny, warn or fix, or exempt for what is spared.
	Level string `json:"level"`
	// Object is namespace/kind/name.
	Object string `json:"object"`
	Field  string `json:"field"`
	Rule   string `json:"rule"`
	// Message is what is wrong and what to write instead, in one line that ends with the rule.
	Message string `json:"message"`
}

// String is the finding as a case expects it: level, object, field and rule. The message is not in it, because it may
// change while the judgment stays.
func (f Finding) String() string {
	return manifest.OneLine(strings.Join([]string{f.Level, f.Object, f.Field, "(" + f.Rule + ")"}, " "))
}

// NameOf is namespace/kind/name of an object, and of one that is named as it is made the beginning of that name.
func NameOf(o policy.Object) string {
	kind := o.GetObjectKind().GroupVersionKind().Kind
	if kind == "" { // as clients return it
		kind = strings.TrimPrefix(fmt.Sprintf("%T", o), "*v1.")
	}
	name := o.GetName()
	if name == "" {
		name = o.GetGenerateName()
	}
	return o.GetNamespace() + "/" + kind + "/" + name
}

// findings lists what came of a review.
func findings(o policy.Object, r policy.Result) []Finding {
	var list []Finding
	name := NameOf(o)
	for _, group := range [...]struct {
		level string
		found []policy.Finding
	}{{"deny", r.Denied}, {"warn", r.Warned}, {"fix", r.Fixed}, {"exempt", r.Exempt}} {
		for _, f := range group.found {
			list = append(list, Finding{Level: group.level, Object: name, Field: f.Err.Field, Rule: f.Rule, Message: f.Cause()})
		}
	}
	return list
}

// difference is what one multiset of findings has more than another, each in its own order. Two that differ in their
// message alone are the same.
func difference(before, after []Finding) (gone, fresh []Finding) {
	had := map[string]int{}
	for _, f := range before {
		had[f.String()]++
	}
	for _, f := range after {
		if had[f.String()] > 0 {
			had[f.String()]--
			continue
		}
		fresh = append(fresh, f)
	}
	for _, f := range slices.Backward(before) {
		if had[f.String()] > 0 {
			had[f.String()]--
			gone = append(gone, f)
		}
	}
	slices.Reverse(gone)
	return gone, fresh
}

// Verdict is what comes of an object as a whole, from the mildest on.
type Verdict int

// The verdicts: no finding, all of them exempt, warned of, mended, denied.
const (
	Clean Verdict = iota
	Exempt
	Warned
	Mended
	Denied
)

var verdicts = [...]string{"clean", "exempt", "warned", "mended", "denied"}

func (v Verdict) String() string { return verdicts[v] }

// MarshalText writes the verdict as a word.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

func verdictOf(r policy.Result) Verdict {
	switch {
	case len(r.Denied) > 0:
		return Denied
	case len(r.Fixed) > 0:
		return Mended
	case len(r.Warned) > 0:
		return Warned
	case len(r.Exempt) > 0:
		return Exempt
	}
	return Clean
}

// Change is an object that two policies judge differently.
type Change struct {
	// Object is namespace/kind/name.
	Object string  `json:"object"`
	From   Verdict `json:"from"`
	To     Verdict `json:"to"`
	// Gone are the findings of the one policy that the other does not make, and New the reverse.
	Gone []Finding `json:"gone"`
	New  []Finding `json:"new"`
}

// Simulate judges an object by two policies, as if it were applied now, in one World, and tells whether they differ in
// the level of any finding. stored tells that it comes from a cluster, and nobody knows who wrote it.
func Simulate(book policy.Book, from, to *policy.Config, world policy.World, o policy.Object, stored bool) (Change, bool) {
	request := policy.Request{Object: o, World: world, Config: from, Stored: stored}
	before := book.Review(request)
	request.Config = to
	after := book.Review(request)
	c := Change{Object: NameOf(o), From: verdictOf(before), To: verdictOf(after)}
	c.Gone, c.New = difference(findings(o, before), findings(o, after))
	return c, len(c.Gone)+len(c.New) > 0
}

// Summary counts what changes.
type Summary struct {
	Objects int `json:"objects"`
	Changed int `json:"changed"`
	// Of the objects whose verdict changes: how many have each of these that had another.
	Denied int `json:"denied"`
	Mended int `json:"mended"`
	Warned int `json:"warned"`
	// Freed are denied now and would not be.
	Freed int `json:"freed"`
}

// Add counts one change.
func (s *Summary) Add(c Change) {
	s.Changed++
	if c.From == c.To {
		return
	}
	switch c.To {
	case Denied:
		s.Denied++
	case Mended:
		s.Mended++
	case Warned:
		s.Warned++
	case Clean, Exempt:
	}
	if c.From == Denied {
		s.Freed++
	}
}

// String is one line for a person.
func (s Summary) String() string {
	return fmt.Sprintf("%d of %s would be judged differently: %d newly denied, %d no longer, %d newly mended, %d newly warned of",
		s.Changed, count(s.Objects, "object"), s.Denied, s.Freed, s.Mended, s.Warned)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
