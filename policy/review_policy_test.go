package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// graded reports each port called bad as its rule, each called risk by Pass.Mild, each called odd by Pass.Warn.
func graded(id string, levels, milder Levels) Rule[*corev1.Service] {
	return Rule[*corev1.Service]{ID: id, Levels: levels, Milder: milder, Check: func(p *Pass[*corev1.Service]) {
		for i, port := range p.Object.Spec.Ports {
			err := field.Invalid(field.NewPath("spec", "ports").Index(i).Child("name"), port.Name, "is "+port.Name)
			switch port.Name {
			case "bad":
				p.Report(err, nil)
			case "risk":
				p.Mild(err, nil)
			case "odd":
				p.Warn(err)
			case "mend":
				if port.AppProtocol == nil {
					p.Report(err, func(s *corev1.Service) { s.Spec.Ports[i].AppProtocol = new("http") })
				}
			}
		}
	}}
}

// tally is told, with the number of those that are the same in a row.
func tally(r Result) string {
	var out []string
	last, n := "", 0
	for one := range strings.SplitSeq(told(r), ", ") {
		if n++; len(out) == 0 || one != last {
			last, n = one, 1
			out = append(out, one)
		} else {
			out[len(out)-1] = fmt.Sprintf("%s %d", one, n)
		}
	}
	return strings.Join(out, ", ")
}

// The policy grades what a rule finds: by profile, by the milder levels, by namespace, by what may be injected.
func TestReviewGrades(t *testing.T) {
	risk := graded("r", Same(Deny), Levels{Warn, Deny})
	only := graded("r", Same(Off), Levels{Off, Deny})
	fixes := graded("r", Same(Fix), Levels{Off, Deny})
	injects := graded("r", Same(Fix), Levels{})
	injects.Injects = InjectHost
	injects.Unfixed = Deny
	for name, c := range map[string]struct {
		rule   Rule[*corev1.Service]
		policy string
		object *corev1.Service
		want   string
	}{
		"baseline":                {risk, "", service("bad", "risk", "odd"), "D:r, W:r 2"},
		"strict":                  {risk, "profile: strict", service("bad", "risk", "odd"), "D:r 2, W:r"},
		"a level counts for both": {risk, "rules: {r: deny}", service("bad", "risk", "odd"), "D:r 2, W:r"},
		"warn counts for both":    {risk, "rules: {r: warn}", service("bad", "risk", "odd"), "W:r 3"},
		"off counts for both":     {risk, "rules: {r: 'off'}", service("bad", "risk", "odd"), ""},
		"fix, which it has not":   {risk, "rules: {r: fix}", service("bad", "risk"), "W:r 2"},
		"no milder levels":        {graded("r", Same(Deny), Levels{}), "", service("risk"), "D:r"},
		"off but for risks":       {only, "profile: strict", service("bad", "risk", "odd"), "D:r"},
		"off and off":             {only, "", service("bad", "risk", "odd"), ""},

		// What is off is not found by looking whether a fix did its work.
		"beside a fix":         {fixes, "", service("mend", "risk"), "F:r"},
		"beside a fix, strict": {fixes, "profile: strict", service("mend", "risk"), "D:r, F:r"},

		"injected":       {injects, "", service("mend"), "F:r"},
		"not injected":   {injects, "inject: [labels]", service("mend"), "W:r"},
		"nothing at all": {injects, "inject: []", service("mend", "bad"), "D:r, W:r"},

		"a namespace":               {risk, "namespaces: [{names: [n], profile: strict}]", service("risk"), "D:r"},
		"another namespace":         {risk, "namespaces: [{names: [m], profile: strict}]", service("risk"), "W:r"},
		"a namespace's rule":        {risk, "rules: {r: deny}\nnamespaces: [{names: [n], rules: {r: warn}}]", service("bad"), "W:r"},
		"a namespace by its labels": {risk, "namespaces: [{labels: env, profile: strict}]", service("risk"), "D:r"},
		"by labels it has not":      {risk, "namespaces: [{labels: '!env', profile: strict}]", service("risk"), "W:r"},
	} {
		world := NewIndex(namespace("n", map[string]string{"env": ""}))
		r := book(c.rule).Review(Request{Object: c.object, Config: parsed(t, c.policy), World: world})
		if got := tally(r); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if r.Policy == nil || r.Policy.Generation != parsed(t, c.policy).Generation {
			t.Errorf("%s: the result does not have the policy", name)
		}
	}
}

// Who is exempt, by what right and why.
func TestReviewExempts(t *testing.T) {
	guard := graded("r", Same(Deny), Levels{})
	guard.Guard = true
	mistake := graded("r", Same(Deny), Levels{})
	mends := graded("r", Same(Fix), Levels{})
	mends.Guard, mends.Unfixed = true, Deny
	allow := func(string) bool { return true }
	by := func(r Result) string {
		for _, f := range r.Exempt {
			return string(f.By) + ": " + f.Reason
		}
		return ""
	}
	const legacy = "exemptions: [{rules: [r], namespaces: [n], reason: moves}]"
	const alice = "exemptions: [{rules: [r], users: [alice], reason: knows}]"
	for name, c := range map[string]struct {
		rule     Rule[*corev1.Service]
		policy   string
		req      Request
		want, by string
	}{
		"guard by policy":       {guard, legacy, Request{Object: service("bad")}, "E:r", "policy: moves"},
		"mistake by policy":     {mistake, legacy, Request{Object: service("bad")}, "E:r", "policy: moves"},
		"policy before author":  {mistake, legacy, Request{Object: annotated(service("bad"), AllowPrefix+"r", "me")}, "E:r", "policy: moves"},
		"author":                {mistake, "", Request{Object: annotated(service("bad"), AllowPrefix+"r", "me")}, "E:r", "author: me"},
		"author of a guard":     {guard, "", Request{Object: annotated(service("bad"), AllowPrefix+"r", "me")}, "D:r", ""},
		"user":                  {guard, alice, Request{Object: service("bad"), User: "alice"}, "E:r", "policy: knows"},
		"group":                 {guard, alice, Request{Object: service("bad"), User: "bob", Groups: []string{"x", "alice"}}, "E:r", "policy: knows"},
		"another user":          {guard, alice, Request{Object: service("bad"), User: "bob"}, "D:r", ""},
		"stored":                {guard, alice, Request{Object: service("bad"), Stored: true}, "D:r", ""},
		"right":                 {guard, "", Request{Object: service("bad", "bad"), MayExempt: allow}, "E:r 2", "right: "},
		"right, of a mistake":   {mistake, "", Request{Object: service("bad"), MayExempt: allow}, "D:r", ""},
		"right, of a warning":   {guard, "rules: {r: warn}", Request{Object: service("bad"), MayExempt: allow}, "W:r", ""},
		"right, of the old":     {guard, "", Request{Object: service("bad"), Old: service("bad"), MayExempt: allow}, "W:r+r", ""},
		"no right":              {guard, "", Request{Object: service("bad"), MayExempt: func(string) bool { return false }}, "D:r", ""},
		"right, beside a fix":   {mends, "", Request{Object: service("bad", "mend"), MayExempt: allow}, "F:r, E:r", "right: "},
		"right, of no ones fix": {mends, "", Request{Object: service("mend"), MayExempt: allow}, "F:r", ""},
	} {
		c.req.Config = parsed(t, c.policy)
		r := book(c.rule).Review(c.req)
		if got := tally(r); got != c.want || by(r) != c.by {
			t.Errorf("%s: %q by %q, want %q by %q", name, got, by(r), c.want, c.by)
		}
	}
	// It costs a request to the API server: it is asked once a rule, and only where it matters.
	asked := []string{}
	ask := func(rule string) bool { asked = append(asked, rule); return true }
	other := guard
	other.ID = "other"
	quiet := graded("quiet", Same(Warn), Levels{})
	quiet.Guard = true
	book(guard, other, quiet).Review(Request{Object: service("bad", "bad", "bad"), MayExempt: ask})
	if !slices.Equal(asked, []string{"r", "other"}) {
		t.Errorf("asked of %v", asked)
	}
}

// A rule about the status subresource judges nothing else, and no other rule judges that.
func TestReviewStatus(t *testing.T) {
	status := graded("status", Same(Deny), Levels{})
	status.Status = true
	b := book(graded("spec", Same(Deny), Levels{}), status)
	for isStatus, want := range map[bool]string{false: "D:spec", true: "D:status"} {
		if got := tally(b.Review(Request{Object: service("bad"), Status: isStatus})); got != want {
			t.Errorf("status %t: %s", isStatus, got)
		}
	}
	if infos := b.Infos(); infos[0].Status || !infos[1].Status {
		t.Errorf("%+v", infos)
	}
}

// What claims an owner or a manager is not mended, and judged all the same: both are written by the author.
func TestReviewForged(t *testing.T) {
	guard := graded("r", Same(Deny), Levels{})
	guard.Guard = true
	owned := service("bad", "mend")
	owned.OwnerReferences = []metav1.OwnerReference{{Controller: new(true)}}
	if got := tally(book(guard, graded("f", Levels{Off, Fix}, Levels{})).Review(Request{Object: owned, Config: parsed(t, "profile: strict")})); got != "D:r 2, W:f 2" {
		t.Error(got)
	}
}
