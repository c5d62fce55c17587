package rules

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"drawbridge.dev/drawbridge/policy"
)

// levelsOf are the levels that a rule's findings can have by either profile.
func levelsOf(i policy.Info) []policy.Level {
	return []policy.Level{i.Levels.Baseline, i.Levels.Strict, i.Milder.Baseline, i.Milder.Strict}
}

// TestCoverage holds which cases each rule has:
//
//	found          denies or mends; warns, where the rule never does more by itself
//	warned         where a profile only warns
//	clean          of no rule a finding
//	ratcheted      the old object had it; a rule about the status compares the two by itself
//	exempt         by its author, or of a guard by the policy
//	not exempt     of a guard, by its author, which does not count
//	per namespace  an override of the policy for the object's namespace makes the difference
func TestCoverage(t *testing.T) {
	infos := All().Infos()
	seen, severe := map[string]map[string]bool{}, map[string]bool{}
	for _, i := range infos {
		seen[i.ID] = map[string]bool{}
		severe[i.ID] = slices.ContainsFunc(levelsOf(i), func(l policy.Level) bool { return l == policy.Deny || l == policy.Fix })
	}
	for _, c := range cases(t) {
		id := ruleOf(c.name)
		if id == "" {
			t.Errorf("%s begins with no rule's ID", c.path)
			continue
		}
		res := All().Review(c.req)
		if len(findings(res)) == 0 {
			seen[id]["clean"] = true
		}
		for _, f := range findings(res) {
			if f.Rule != id {
				continue
			}
			switch {
			case f.Exempt:
				seen[id]["exempt"] = true
				if f.By == policy.ByAuthor {
					seen[id]["exempt by its author"] = true
				}
			case f.Ratcheted:
				seen[id]["ratcheted"] = true
			default:
				if f.Level == policy.Warn {
					seen[id]["warned"] = true
				}
				if f.Level != policy.Warn || !severe[id] {
					seen[id]["found"] = true
					if c.req.Object.GetAnnotations()[policy.AllowPrefix+id] != "" {
						seen[id]["not exempt"] = true
					}
				}
			}
		}
		if c.req.Config != nil && len(c.req.Config.Namespaces) > 0 {
			everywhere := c.req
			everywhere.Config = c.req.Config.WithProfile(c.req.Config.Profile)
			everywhere.Config.Namespaces = nil
			if said(res, id) != said(All().Review(everywhere), id) {
				seen[id]["per namespace"] = true
			}
		}
	}
	for _, i := range infos {
		want := []string{"found", "clean", "exempt", "per namespace"}
		if !i.Status {
			want = append(want, "ratcheted")
		}
		if i.Guard {
			want = append(want, "not exempt")
			if seen[i.ID]["exempt by its author"] {
				t.Errorf("%s is a guard and was exempted by an author", i.ID)
			}
		}
		if slices.Contains(levelsOf(i), policy.Warn) {
			want = append(want, "warned")
		}
		for _, what := range want {
			if !seen[i.ID][what] {
				t.Errorf("%s: no test case is %s", i.ID, what)
			}
		}
	}
}

// said is what came of one rule.
func said(res policy.Result, id string) string {
	var b strings.Builder
	for _, f := range findings(res) {
		if f.Rule == id {
			fmt.Fprintln(&b, f.Level, f.Exempt, f.Message())
		}
	}
	return b.String()
}

// TestDocs holds that the examples of a rule are what they say: the bad one has the finding, the good one has none of
// any rule. A rule that is off by default is made to warn.
func TestDocs(t *testing.T) {
	for _, i := range All().Infos() {
		t.Run(i.ID, func(t *testing.T) {
			d := i.Doc
			for _, text := range []string{d.Summary, d.Why, d.Bad, d.Good, d.Since, d.Source} {
				if text == "" {
					t.Error("the text is not complete")
				}
			}
			if !strings.Contains(d.Summary, " must ") || !strings.HasSuffix(d.Summary, ".") {
				t.Errorf("the summary is no requirement: %s", d.Summary)
			}
			found, others := review(t, d.Bad, i)
			if found == 0 || others > 0 {
				t.Errorf("the bad example has %d findings, and %d of other rules", found, others)
			}
			if found, others = review(t, d.Good, i); found+others > 0 {
				t.Errorf("the good example has %d findings, and %d of other rules", found, others)
			}
		})
	}
}

// alsoFrom lists for a rule those that find the same from another object: what an Ingress or a Service lends its
// network position to is told of on either, whichever is written last.
var alsoFrom = map[string][]string{
	"service-endpoints-address":     {"endpoints-address", "endpointslice-address"},
	"ingress-backend-address":       {"endpoints-address", "endpointslice-address"},
	"ingress-backend-cluster-local": {"service-external-name-cluster-local"},
	"ingress-backend-destination":   {"service-external-name-destination"},
}

// underPolicy begins the first line of an example that only a policy makes one; the rest of the line is that policy.
const underPolicy = "# with a policy that says: "

// review counts the findings of a rule and of all others in the objects of a text, which know each other; of a rule
// about the status subresource, as their status is written, and as they are written without it.
func review(t *testing.T, text string, i policy.Info) (found, others int) {
	list := objects(t, text)
	config := policy.DefaultConfig()
	if line, _, _ := strings.Cut(text, "\n"); strings.HasPrefix(line, underPolicy) {
		var err error
		if config, err = policy.ParseConfig([]byte("version: 1\n"+strings.TrimPrefix(line, underPolicy)+"\n"), Known); err != nil {
			t.Fatal(err)
		}
	}
	if i.Levels.Baseline == policy.Off {
		config.Rules = map[string]policy.Level{i.ID: policy.Warn}
	}
	for _, o := range list {
		for _, status := range []bool{false, true} {
			if status && !i.Status {
				continue
			}
			res := All().Review(policy.Request{Object: o, World: policy.NewIndex(list...), Config: config, Status: status})
			for _, f := range findings(res) {
				switch {
				case f.Rule == i.ID:
					found++
				case slices.Contains(alsoFrom[i.ID], f.Rule) && !slices.Contains(i.Kinds, kindOf(o)):
				default:
					others++
					t.Log(f.Message())
				}
			}
		}
	}
	return found, others
}

func kindOf(o policy.Object) string {
	_, kind, _ := strings.Cut(fmt.Sprintf("%T", o), ".")
	return kind
}

// TestBook holds what was decided of each rule: testdata/book, a line each.
func TestBook(t *testing.T) {
	text, err := os.ReadFile("testdata/book")
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for line := range strings.Lines(string(text)) {
		want = append(want, strings.Join(strings.Fields(line), " "))
	}
	for _, i := range All().Infos() {
		line := fmt.Sprintf("%s %s/%s", i.ID, i.Levels.Baseline, i.Levels.Strict)
		if i.Milder != (policy.Levels{}) {
			line += fmt.Sprintf(" mild=%s/%s", i.Milder.Baseline, i.Milder.Strict)
			if i.Milder.Strict < i.Milder.Baseline || i.Milder.Baseline > i.Levels.Baseline {
				t.Errorf("%s: what is mild is not", i.ID)
			}
		}
		if i.Unfixed != policy.Warn {
			line += " else=" + i.Unfixed.String()
		}
		if i.Injects != "" {
			line += " injects=" + i.Injects
			if !slices.Contains(policy.Injections, i.Injects) {
				t.Errorf("%s injects %s, which the policy can not forbid", i.ID, i.Injects)
			}
		}
		if i.Guard {
			line += " guard"
		}
		if i.Status {
			line += " status"
		}
		if i.Levels.Strict < i.Levels.Baseline && i.Levels.Baseline != policy.Fix {
			t.Errorf("%s is milder under the strict profile", i.ID)
		}
		got = append(got, line+" "+strings.Join(i.Kinds, ","))
	}
	slices.SortStableFunc(want, func(a, b string) int { return cmp.Compare(word(a), word(b)) })
	slices.SortStableFunc(got, func(a, b string) int { return cmp.Compare(word(a), word(b)) })
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Error("testdata/book -want +got:\n", diff)
	}
	if Known("no-such-rule") || !Known("service-external-name-ip") {
		t.Error("Known knows too much, or too little")
	}
}

func word(line string) string {
	first, _, _ := strings.Cut(line, " ")
	return first
}

// TestInjections holds that each entry of the policy's list `inject` is about a rule, and that no rule writes what the
// list can not forbid.
func TestInjections(t *testing.T) {
	used := map[string]bool{}
	for _, i := range All().Infos() {
		if i.Injects != "" && !slices.Contains(policy.Injections, i.Injects) {
			t.Errorf("%s injects '%s', which the policy does not know", i.ID, i.Injects)
		}
		used[i.Injects] = true
	}
	for _, what := range policy.Injections {
		if !used[what] {
			t.Errorf("`inject` has '%s', which no rule injects", what)
		}
	}
}
