package trial

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
)

// book finds each port of a Service, with what its name asks for: deny, warn or fix.
var book = policy.Book{Services: []policy.Rule[*corev1.Service]{rule("deny", policy.Deny), rule("warn", policy.Warn), rule("fix", policy.Fix)}}

func rule(name string, level policy.Level) policy.Rule[*corev1.Service] {
	return policy.Rule[*corev1.Service]{ID: "on-" + name, Levels: policy.Same(level), Check: func(p *policy.Pass[*corev1.Service]) {
		for i, port := range p.Object.Spec.Ports {
			if port.Name == name && port.AppProtocol == nil {
				p.Report(field.Invalid(field.NewPath("spec", "ports").Index(i).Child("name"), name, "must be another"), func(s *corev1.Service) {
					s.Spec.Ports[i].AppProtocol = new("x")
				})
			}
		}
	}}
}

func service(names ...string) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "s"}}
	for _, name := range names {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: name})
	}
	return s
}

func config(t *testing.T, text string) *policy.Config {
	t.Helper()
	c, err := policy.ParseConfig([]byte("version: 1\n"+text), nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSimulate(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		object   *corev1.Service
		want     string // verdicts, of now and then, then what is gone and what is new; "" where nothing changes
	}{
		{"", "profile: strict", service("deny", "warn"), ""},
		{"", "rules: {on-deny: warn}", service("deny"), "denied to warned -[deny on-deny] +[warn on-deny]"},
		{"rules: {on-deny: 'off'}", "", service("deny"), "clean to denied -[] +[deny on-deny]"},
		// The verdict of the whole stays.
		{"rules: {on-warn: 'off'}", "", service("deny", "warn"), "denied to denied -[] +[warn on-warn]"},
		{"", "inject: []", service("fix"), ""},
		{"rules: {on-fix: deny}", "", service("fix", "fix"), "denied to mended -[deny on-fix deny on-fix] +[fix on-fix fix on-fix]"},
		{"", "exemptions: [{rules: [on-deny], namespaces: [ns], reason: x}]", service("deny"), "denied to exempt -[deny on-deny] +[exempt on-deny]"},
		{"", "exemptions: [{rules: [on-deny], namespaces: [other], reason: x}]", service("deny"), ""},
		{"", "namespaces: [{names: [ns], rules: {on-deny: warn}}]", service("deny"), "denied to warned -[deny on-deny] +[warn on-deny]"},
	} {
		c, differs := Simulate(book, config(t, tt.from), config(t, tt.to), policy.Nothing{}, tt.object, false)
		short := func(list []Finding) []string {
			out := []string{}
			for _, f := range list {
				out = append(out, f.Level+" "+f.Rule)
			}
			return out
		}
		got := ""
		if differs {
			got = fmt.Sprintf("%s to %s -%v +%v", c.From, c.To, short(c.Gone), short(c.New))
		}
		if got != tt.want || c.Object != "ns/Service/s" {
			t.Errorf("%q to %q: %q of %s, want %q", tt.from, tt.to, got, c.Object, tt.want)
		}
	}
	var s Summary
	s.Objects = 9
	for _, c := range []Change{{From: Clean, To: Denied}, {From: Denied, To: Warned}, {From: Warned, To: Warned}, {From: Denied, To: Mended}, {From: Warned, To: Clean}} {
		s.Add(c)
	}
	if got := s.String(); got != "5 of 9 objects would be judged differently: 1 newly denied, 2 no longer, 1 newly mended, 1 newly warned of" {
		t.Error(got)
	}
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func manifestOf(names ...string) string {
	var b strings.Builder
	b.WriteString("apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: ns}\nspec:\n  ports:\n")
	for i, name := range names {
		fmt.Fprintf(&b, "  - {name: %s, port: %d}\n", name, i+1)
	}
	return b.String()
}

func TestSuite(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"policy.yaml":       "version: 1\n",
		"world.yml":         "apiVersion: v1\nkind: Namespace\nmetadata: {name: ns, labels: {env: dev}}\n",
		"world/more.yaml":   manifestOf("deny"),
		"ok.yaml":           manifestOf("deny", "deny"),
		"ok.expected":       "\n# twice\n deny  ns/Service/s\tspec.ports[1].name (on-deny)\ndeny ns/Service/s spec.ports[0].name (on-deny)\n",
		"less.yaml":         manifestOf("deny", "deny"),
		"less.expected":     "deny ns/Service/s spec.ports[0].name (on-deny)",
		"more.yaml":         manifestOf("deny"),
		"more.expected":     "deny ns/Service/s spec.ports[0].name (on-deny)\ndeny ns/Service/s spec.ports[0].name (on-deny)\n",
		"sub/new.yaml":      manifestOf("warn"),
		"sub/user.json":     `{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "ns"}, "spec": {"ports": [{"name": "deny", "port": 1}]}}`,
		"sub/user.expected": "user: alice\ngroups: dev,  ops\nexempt ns/Service/s spec.ports[0].name (on-deny)\n",
		".git/x.yaml":       "nonsense: [",
		"notes.txt":         "no manifest",
	})
	if err := os.Symlink("/etc", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	c := config(t, "exemptions: [{rules: [on-deny], users: [ops], reason: x}]\nnamespaces: [{labels: env=prod, rules: {on-deny: 'off'}}]")
	run := func() (outcomes []Outcome, suite *Suite) {
		suite, errs := Load(dir)
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		for _, one := range suite.Cases {
			o := suite.Run(one, book, c)
			o.found = nil
			outcomes = append(outcomes, o)
		}
		return outcomes, suite
	}
	finding := func(level, path, rule string) Finding {
		return Finding{Level: level, Object: "ns/Service/s", Field: path, Rule: rule,
			Message: `Invalid value: "` + strings.TrimPrefix(rule, "on-") + `": must be another (` + rule + ")"}
	}
	want := []Outcome{
		{Name: "less.yaml", Unexpected: []Finding{finding("deny", "spec.ports[1].name", "on-deny")}},
		{Name: "more.yaml", Missing: []string{"deny ns/Service/s spec.ports[0].name (on-deny)"}},
		{Name: "ok.yaml", OK: true},
		{Name: "sub/new.yaml", New: true, Unexpected: []Finding{finding("warn", "spec.ports[0].name", "on-warn")}},
		{Name: "sub/user.json", OK: true},
	}
	got, suite := run()
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Outcome{})); diff != "" {
		t.Fatalf("-want +got\n%s", diff)
	}
	// Written anew, everything is as expected, and what was right is not touched.
	for _, one := range suite.Cases {
		o := suite.Run(one, book, c)
		if wrote, err := one.Update(o); err != nil || wrote == o.OK {
			t.Errorf("%s: wrote %t, %v", one.Name, wrote, err)
		}
	}
	got, _ = run()
	for _, o := range got {
		if !o.OK {
			t.Errorf("%+v", o)
		}
	}
	if text, err := os.ReadFile(filepath.Join(dir, "sub/new.expected")); err != nil || string(text) != "warn ns/Service/s spec.ports[0].name (on-warn)\n" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestLoadRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		files map[string]string
		want  string
	}{
		"no manifest":    {map[string]string{"a.yaml": "a: ["}, "a.yaml"},
		"a wrong level":  {map[string]string{"a.yaml": manifestOf(), "a.expected": "# x\nrefuse ns/Service/s x (y)\n"}, "a.expected:2: must be 'LEVEL"},
		"no rule":        {map[string]string{"a.yaml": manifestOf(), "a.expected": "deny ns/Service/s x\n"}, "a.expected:1: must be"},
		"too long":       {map[string]string{"a.yaml": manifestOf(), "a.expected": strings.Repeat("#", maxExpected+1)}, "must have at most"},
		"two of a name":  {map[string]string{"a.yaml": manifestOf(), "a.json": "{}"}, "give one of them another name"},
		"another's file": {map[string]string{"world/a.yaml": "kind: ["}, "a.yaml"},
	} {
		dir := t.TempDir()
		write(t, dir, tt.files)
		_, errs := Load(dir)
		if len(errs) == 0 || !strings.Contains(fmt.Sprint(errs), tt.want) {
			t.Errorf("%s: %v, want %s", name, errs, tt.want)
		}
	}
	if _, errs := Load(filepath.Join(t.TempDir(), "none")); len(errs) == 0 {
		t.Error("a folder that is not there is read")
	}
}
