package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// service has one port a word; the rules of these tests look at the ports' names alone.
func service(names ...string) *corev1.Service {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "n"}}
	for _, n := range names {
		svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{Name: n})
	}
	return svc
}

func annotated(svc *corev1.Service, key, value string) *corev1.Service {
	svc.Annotations = map[string]string{key: value}
	return svc
}

// noWord finds each port called word; where to is set it can be fixed by an appProtocol.
func noWord(id, word string, levels Levels, to string) Rule[*corev1.Service] {
	return Rule[*corev1.Service]{ID: id, Levels: levels, Check: func(p *Pass[*corev1.Service]) {
		for i, port := range p.Object.Spec.Ports {
			if port.Name != word || port.AppProtocol != nil {
				continue
			}
			var fix func(*corev1.Service)
			if to != "" {
				fix = func(s *corev1.Service) { s.Spec.Ports[i].AppProtocol = &to }
			}
			p.Report(field.Invalid(field.NewPath("spec", "ports").Index(i).Child("name"), port.Name, "must not be '"+word+"'"), fix)
		}
	}}
}

func book(rules ...Rule[*corev1.Service]) Book { return Book{Services: rules} }

// told writes a result in short: D, W, F and E, with r where ratcheted.
func told(r Result) string {
	var out []string
	for _, list := range []struct {
		letter   string
		findings []Finding
		level    Level
	}{{"D", r.Denied, Deny}, {"W", r.Warned, Warn}, {"F", r.Fixed, Fix}, {"E", r.Exempt, Warn}} {
		for _, f := range list.findings {
			s := list.letter + ":" + f.Rule
			if f.Ratcheted {
				s += "+r"
			}
			if f.Level != list.level || f.Exempt != (list.letter == "E") {
				s += fmt.Sprintf("(level %s, exempt %t)", f.Level, f.Exempt)
			}
			out = append(out, s)
		}
	}
	return strings.Join(out, ", ")
}

func TestReviewJudges(t *testing.T) {
	deny := noWord("d", "bad", Same(Deny), "")
	fix := noWord("f", "mend", Same(Fix), "http")
	unfixable := noWord("u", "bad", Same(Fix), "")
	unfixableDeny := unfixable
	unfixableDeny.Unfixed = Deny
	guard := deny
	guard.Guard = true
	mild := Rule[*corev1.Service]{ID: "m", Levels: Same(Deny), Check: func(p *Pass[*corev1.Service]) {
		p.Warn(field.Required(field.NewPath("spec"), "is odd"))
	}}
	owned := service("mend")
	owned.OwnerReferences = []metav1.OwnerReference{{Controller: new(true)}}
	foreign := service("mend")
	foreign.Labels = map[string]string{"endpointslice.kubernetes.io/managed-by": "mesh.example.org"}
	config := func(rules map[string]Level) *Config {
		c := DefaultConfig()
		c.Rules = rules
		return c
	}
	strict := DefaultConfig()
	strict.Profile = Strict

	for name, c := range map[string]struct {
		book Book
		req  Request
		want string
	}{
		"nothing found":    {book(deny), Request{Object: service("fine")}, ""},
		"denied":           {book(deny), Request{Object: service("bad")}, "D:d"},
		"every finding":    {book(deny), Request{Object: service("bad", "bad")}, "D:d, D:d"},
		"every rule":       {book(deny, fix, unfixable), Request{Object: service("bad", "mend")}, "D:d, W:u, F:f"},
		"fixed":            {book(fix), Request{Object: service("mend", "mend")}, "F:f, F:f"},
		"no fix to hand":   {book(unfixable), Request{Object: service("bad")}, "W:u"},
		"unfixed denies":   {book(unfixableDeny), Request{Object: service("bad")}, "D:u"},
		"mild":             {book(mild), Request{Object: service()}, "W:m"},
		"nofix":            {book(fix), Request{Object: service("mend"), NoFix: true}, "W:f"},
		"nofix denies":     {book(unfixableDeny), Request{Object: service("bad"), NoFix: true}, "D:u"},
		"owned":            {book(fix), Request{Object: owned}, "W:f"},
		"foreign":          {book(fix), Request{Object: foreign}, "W:f"},
		"profile baseline": {book(noWord("p", "bad", Levels{Warn, Deny}, "")), Request{Object: service("bad")}, "W:p"},
		"profile strict":   {book(noWord("p", "bad", Levels{Warn, Deny}, "")), Request{Object: service("bad"), Config: strict}, "D:p"},

		"policy off":        {book(deny), Request{Object: service("bad"), Config: config(map[string]Level{"d": Off})}, ""},
		"policy warn":       {book(deny), Request{Object: service("bad"), Config: config(map[string]Level{"d": Warn})}, "W:d"},
		"policy deny a fix": {book(fix), Request{Object: service("mend"), Config: config(map[string]Level{"f": Deny})}, "D:f"},
		"policy fix a deny": {book(noWord("x", "mend", Same(Deny), "http")), Request{Object: service("mend"), Config: config(map[string]Level{"x": Fix})}, "F:x"},

		"exempt":            {book(deny), Request{Object: annotated(service("bad"), "drawbridge.dev/allow-d", "known")}, "E:d"},
		"exempt, no reason": {book(deny), Request{Object: annotated(service("bad"), "drawbridge.dev/allow-d", " \t")}, "D:d"},
		"exempt, other":     {book(deny), Request{Object: annotated(service("bad"), "drawbridge.dev/allow-e", "known")}, "D:d"},
		"exempt from a fix": {book(fix), Request{Object: annotated(service("mend"), "drawbridge.dev/allow-f", "known")}, "E:f"},
		"guard":             {book(guard), Request{Object: annotated(service("bad"), "drawbridge.dev/allow-d", "known")}, "D:d"},
		"exempt before ratchet": {book(deny), Request{
			Object: annotated(service("bad"), "drawbridge.dev/allow-d", "known"), Old: service("bad")}, "E:d"},

		"ratcheted":          {book(deny), Request{Object: service("bad"), Old: service("bad")}, "W:d+r"},
		"ratcheted guard":    {book(guard), Request{Object: service("bad"), Old: service("bad")}, "W:d+r"},
		"ratchet, moved":     {book(deny), Request{Object: service("fine", "bad"), Old: service("bad", "fine")}, "W:d+r"},
		"ratchet, one more":  {book(deny), Request{Object: service("bad", "bad"), Old: service("bad")}, "D:d, W:d+r"},
		"ratchet, two of us": {book(deny), Request{Object: service("bad"), Old: service("bad", "bad")}, "W:d+r"},
		"ratchet, new":       {book(deny), Request{Object: service("bad"), Old: service("fine")}, "D:d"},
		"ratchet, fix":       {book(fix), Request{Object: service("mend", "mend"), Old: service("mend")}, "W:f+r, F:f"},
		"ratchet, the exemption of old goes": {book(deny), Request{
			Object: service("bad"), Old: annotated(service("bad"), "drawbridge.dev/allow-d", "known")}, "W:d+r"},
		"ratchet, old of another kind": {book(deny), Request{Object: service("bad"), Old: &corev1.Endpoints{}}, "D:d"},
		"ratchet, nil of our kind":     {book(deny), Request{Object: service("bad"), Old: (*corev1.Service)(nil)}, "D:d"},
		"another kind":                 {book(deny), Request{Object: &corev1.Pod{}}, ""},
	} {
		if got := told(c.book.Review(c.req)); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// The next rule sees the object as the one before mended it.
func TestReviewPassesOn(t *testing.T) {
	second := noWord("second", "", Same(Deny), "")
	second.Check = func(p *Pass[*corev1.Service]) {
		if a := p.Object.Spec.Ports[0].AppProtocol; a == nil || *a != "http" {
			p.Report(field.Required(field.NewPath("spec"), "must be mended"), nil)
		}
	}
	req := Request{Object: service("mend")}
	if got := told(book(noWord("f", "mend", Same(Fix), "http"), second).Review(req)); got != "F:f" {
		t.Error(got)
	}
	if got := told(book(second, noWord("f", "mend", Same(Fix), "http")).Review(req)); got != "D:second, F:f" {
		t.Error(got)
	}
	if diff := cmp.Diff(service("mend"), req.Object); diff != "" {
		t.Errorf("the input changed:\n%s", diff)
	}
}

// A fix that does not mend, or breaks something else, is no way around its rule.
func TestReviewFailedFix(t *testing.T) {
	r := noWord("f", "mend", Same(Fix), "")
	check := r.Check
	r.Check = func(p *Pass[*corev1.Service]) {
		check(p)
		if len(p.reports) > 0 {
			p.reports[0].fix = func(*corev1.Service) {}
		}
	}
	if got := told(book(r).Review(Request{Object: service("mend")})); got != "W:f, F:f" {
		t.Error(got)
	}
	r.Unfixed = Deny
	if got := told(book(r).Review(Request{Object: service("mend")})); got != "D:f, F:f" {
		t.Error(got)
	}
	// What the ratchet left alone is not told twice.
	if got := told(book(r).Review(Request{Object: service("mend", "mend", "fine"), Old: service("mend", "mend")})); got != "W:f+r, W:f+r" {
		t.Error(got)
	}
}

func TestFindingIsOneLine(t *testing.T) {
	evil := "x\n\x1b[2J\u202e\u2028\u0085\xff" + strings.Repeat("y", 5000)
	for _, e := range []*field.Error{
		field.Invalid(field.NewPath("spec"), evil, evil),
		field.Required(field.NewPath("metadata", "annotations").Key(evil), evil),
		field.Forbidden(field.NewPath(evil), evil),
		field.Invalid(field.NewPath("spec"), []string{evil}, "short"),
	} {
		for _, s := range []string{Finding{Rule: "some-rule", Err: e}.Cause(), Finding{Rule: "some-rule", Err: e}.Message()} {
			if strings.ContainsAny(s, "\n\x1b\u202e\u2028\u0085") || !utf8.ValidString(s) || !strings.HasSuffix(s, " (some-rule)") {
				t.Errorf("%q", s)
			}
			if n := utf8.RuneCountInString(s); n > maxCause+maxField+2 {
				t.Errorf("%d characters", n)
			}
		}
		if n := utf8.RuneCountInString(Finding{Rule: "some-rule", Err: e}.Cause()); n > maxCause {
			t.Errorf("a cause of %d characters", n)
		}
	}
	f := Finding{Rule: "r", Err: field.Invalid(field.NewPath("spec", "externalName"), "1.2.3.4", "must be a DNS name")}
	if got, want := f.Message(), `spec.externalName: Invalid value: "1.2.3.4": must be a DNS name (r)`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		s    string
		n    int
		want string
	}{{"", 3, ""}, {"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"äöü", 3, "äöü"}, {"äöüß", 3, "äö…"}, {"abcd", 1, "…"}} {
		if got := cut(c.s, c.n); got != c.want {
			t.Errorf("cut(%q, %d) = %q, want %q", c.s, c.n, got, c.want)
		}
	}
}

func TestIdentity(t *testing.T) {
	same := func(a, b *field.Error) bool { return identity(a) == identity(b) }
	p := field.NewPath("spec", "ports")
	if !same(field.Invalid(p.Index(0).Child("name"), "x", "a"), field.Invalid(p.Index(11).Child("name"), "x", "b")) {
		t.Error("an index or a detail makes a difference")
	}
	for i, e := range []*field.Error{
		field.Invalid(p.Index(0).Child("name"), "y", "a"),
		field.Invalid(p.Index(0).Child("port"), "x", "a"),
		field.NotFound(p.Index(0).Child("name"), "x"),
		field.Invalid(p.Key("a").Child("name"), "x", "a"),
		field.Invalid(p.Child("name"), "x", "a"),
	} {
		if same(field.Invalid(p.Index(0).Child("name"), "x", "a"), e) {
			t.Errorf("%d: %s is held for the same", i, e)
		}
	}
}

func TestLevelText(t *testing.T) {
	for l := Off; l <= Fix; l++ {
		text, err := l.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var back Level
		if err := back.UnmarshalText(text); err != nil || back != l {
			t.Errorf("%s reads as %s: %v", text, back, err)
		}
	}
	for _, s := range []string{"", "Deny", "deny ", "error", "level(9)"} {
		var l Level
		if l.UnmarshalText([]byte(s)) == nil {
			t.Errorf("%q is read as %s", s, l)
		}
	}
	if Level(9).String() != "level(9)" {
		t.Error(Level(9))
	}
}

func TestIndex(t *testing.T) {
	first, last, other := service("first"), service("last"), service()
	other.Name = "a"
	x := NewIndex(first, last, other, &corev1.Pod{})
	if x.Service("n", "s") != last || x.Service("m", "s") != nil || x.Endpoints("n", "s") != nil || x.IngressClass("x") != nil {
		t.Error("a look-up finds the wrong object")
	}
	if got := x.Services("n"); !slices.Equal(got, []*corev1.Service{other, last}) {
		t.Errorf("lists %v", got)
	}
}

// TestReviewAwaits holds that what could be mended later is told where it might be, and is no finding.
func TestReviewAwaits(t *testing.T) {
	// waits asks for the Service that each port is named by.
	waits := func(levels Levels) Rule[*corev1.Service] {
		return Rule[*corev1.Service]{ID: "w", Levels: levels, Check: func(p *Pass[*corev1.Service]) {
			for _, port := range p.Object.Spec.Ports {
				p.Await("Service", port.Name)
			}
		}}
	}
	fix := waits(Same(Fix))
	guard := fix
	guard.Guard = true
	owned := service("a")
	owned.OwnerReferences = []metav1.OwnerReference{{Controller: new(true), Name: "x"}}
	exempt := annotated(service("a"), AllowPrefix+"w", "because")
	for name, c := range map[string]struct {
		rule Rule[*corev1.Service]
		req  Request
		want string
	}{
		"fix":              {fix, Request{Object: service("a", "b")}, "Service/a Service/b"},
		"deny":             {waits(Same(Deny)), Request{Object: service("a")}, ""},
		"warn":             {waits(Same(Warn)), Request{Object: service("a")}, ""},
		"off":              {waits(Same(Off)), Request{Object: service("a")}, ""},
		"no fix":           {fix, Request{Object: service("a"), NoFix: true}, ""},
		"controller owned": {fix, Request{Object: owned}, ""},
		"exempt":           {fix, Request{Object: exempt}, ""},
		"guard":            {guard, Request{Object: exempt}, "Service/a"},
		"waited before":    {fix, Request{Object: service("a", "b"), Old: service("a")}, "Service/a+r Service/b"},
	} {
		r := book(c.rule).Review(c.req)
		var got []string
		for _, a := range r.Awaited {
			text := a.Missing
			if a.Ratcheted {
				text += "+r"
			}
			got = append(got, text)
		}
		if text := strings.Join(got, " "); text != c.want || told(r) != "" {
			t.Errorf("%s: awaits %q, want %q; findings %q", name, text, c.want, told(r))
		}
	}
}
