package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
)

var update = flag.Bool("update", false, "write the golden files anew")

var formats = []string{Text, JSON, SARIF, JUnit, GitHub}

// sample has a finding of every kind: in files, on standard input, of a cluster, exempt, and what could not be read.
func sample() *Report {
	r := &Report{Version: "v0.2.0-rc.1", Rules: []policy.Info{
		{
			ID: "service-external-name-ip", Kinds: []string{"Service"}, Levels: policy.Same(policy.Deny), Unfixed: policy.Warn,
			Doc: policy.Doc{
				Summary: "A Service must not have an IP as its externalName.", Why: "It is a CNAME.", Bad: "ports: [{port: 80}]\n",
				Good: "ports: []\n", Since: "0.1.0", Source: "https://kubernetes.io",
			},
		},
		{
			ID: "ingress-preserve-host", Kinds: []string{"Ingress"}, Levels: policy.Levels{Baseline: policy.Fix, Strict: policy.Deny},
			Unfixed: policy.Warn, Guard: true, Doc: policy.Doc{Summary: "An Ingress must say it.", Why: "Hosts differ.", Since: "0.1.0", Source: "RFC 9110"},
		},
		{
			ID: "service-load-balancer-status", Kinds: []string{"Service"}, Levels: policy.Levels{Baseline: policy.Off, Strict: policy.Deny},
			Unfixed: policy.Warn, Doc: policy.Doc{Summary: "A Service must not.", Why: "It leads astray.", Since: "0.2.0", Source: "CVE-2020-8554"},
		},
	}}
	svc := func(name string) *corev1.Service {
		return &corev1.Service{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
		}
	}
	ip := func(level policy.Level, value string) policy.Finding {
		return policy.Finding{Rule: "service-external-name-ip", Level: level, Err: field.Invalid(field.NewPath("spec", "externalName"), value, "must be a DNS name")}
	}
	at := func(file string, line int) func(string) Source {
		return func(path string) Source {
			if path == "" {
				return Source{File: file, Line: line, Column: 1}
			}
			return Source{File: file, Line: line + 6, Column: 3, EndLine: line + 6, EndColumn: 26}
		}
	}
	r.Add(svc("a"), policy.Result{Denied: []policy.Finding{ip(policy.Deny, "1.2.3.4")}}, at("deploy/a b.yaml", 1))
	r.Add(svc("clean"), policy.Result{}, at("deploy/a b.yaml", 20))
	exempt := ip(policy.Warn, "10.0.0.1")
	exempt.Exempt, exempt.By, exempt.Reason = true, policy.ByAuthor, "the resolver\nanswers for it"
	r.Add(svc("spared"), policy.Result{Exempt: []policy.Finding{exempt}}, at("deploy/a b.yaml", 40))
	exempt.By, exempt.Reason = policy.ByPolicy, "MetalLB"
	r.Add(svc("by-policy"), policy.Result{Exempt: []policy.Finding{exempt}}, at("deploy/a b.yaml", 60))
	mended := policy.Finding{Rule: "ingress-preserve-host", Level: policy.Fix, Err: field.Required(
		field.NewPath("metadata", "annotations").Key("ingress.kubernetes.io/preserve-host"), "must be 'false'")}
	ing := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}}
	r.Add(ing, policy.Result{Fixed: []policy.Finding{mended}, Warned: []policy.Finding{ip(policy.Warn, "{0} [x](https://evil.example)")}}, nil)
	r.Add(svc("piped"), policy.Result{Denied: []policy.Finding{ip(policy.Deny, "1.2.3.4"), ip(policy.Deny, "1.2.3.4")}}, at("stdin", 3))
	r.Add(svc("outside"), policy.Result{Denied: []policy.Finding{ip(policy.Deny, "1.2.3.4")}}, at("../other/c.yaml", 3))
	r.Add(svc("absolute"), policy.Result{Denied: []policy.Finding{ip(policy.Deny, "1.2.3.4")}}, at("/src/project/deploy/d:e.yaml", 3))
	r.Unreadable = []Unreadable{
		{File: "deploy/broken.yaml", Line: 6, Column: 3, Field: "spec.externalname", Detail: "unknown field"},
		{File: "deploy/chart.yaml", Line: 1, Detail: "is no YAML"},
		{File: "missing.yaml", Detail: "no such file or directory"},
	}
	r.Sort()
	return r
}

func written(t testing.TB, format string, r *Report, opts Options) string {
	t.Helper()
	var b strings.Builder
	if err := Write(&b, format, r, opts); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Each format is as the file of testdata has it; read them when they change.
func TestWrite(t *testing.T) {
	for _, format := range formats {
		got := written(t, format, sample(), Options{Root: "/src/project"})
		if format == SARIF {
			got = withoutHelp(t, got)
		}
		name := "testdata/sample." + format
		if *update {
			if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", format, diff)
		}
	}
	if err := Write(io.Discard, "xml", &Report{}, Options{}); err == nil || !strings.Contains(err.Error(), "'sarif'") {
		t.Errorf("an unknown format: %v", err)
	}
}

// withoutHelp puts the name of a format in the place of each text that policy.WriteRules makes, which has tests of its
// own.
func withoutHelp(t *testing.T, text string) string {
	t.Helper()
	for _, info := range sample().Rules {
		for _, format := range []string{policy.FormatText, policy.FormatMarkdown} {
			var help strings.Builder
			if err := policy.WriteRules(&help, format, []policy.Info{info}); err != nil {
				t.Fatal(err)
			}
			var quoted strings.Builder
			enc := json.NewEncoder(&quoted)
			enc.SetEscapeHTML(false)
			if err := enc.Encode(help.String()); err != nil {
				t.Fatal(err)
			}
			q := strings.TrimSuffix(quoted.String(), "\n")
			if strings.Count(text, q) != 1 {
				t.Errorf("the %s of %s is not told once", format, info.ID)
			}
			text = strings.Replace(text, q, `"(`+format+`)"`, 1)
		}
	}
	return text
}

func TestReaches(t *testing.T) {
	for _, c := range []struct {
		level policy.Level
		want  [3]bool // of Deny, Warn and Fix
	}{
		{policy.Deny, [3]bool{true, true, true}},
		{policy.Warn, [3]bool{false, true, true}},
		{policy.Fix, [3]bool{false, false, true}},
	} {
		f := Finding{Level: c.level}
		if got := [3]bool{f.Reaches(policy.Deny), f.Reaches(policy.Warn), f.Reaches(policy.Fix)}; got != c.want {
			t.Errorf("%v reaches %v, want %v", c.level, got, c.want)
		}
		f.Exempt = true
		if f.Reaches(policy.Fix) {
			t.Errorf("%v reaches something although it is exempt", c.level)
		}
	}
}

// A fingerprint stays while lines are added above and paths are added before; two findings never share one.
func TestFingerprints(t *testing.T) {
	prints := func(line, path int, values ...string) []string {
		return fingerprintsOf(t, "a.yaml", line, path, values...)
	}
	a, b := prints(3, 0, "/x", "/y", "/x"), prints(300, 7, "/x", "/y", "/x")
	if !cmp.Equal(a, b) {
		t.Errorf("%v became %v", a, b)
	}
	if b := fingerprintsOf(t, "./a.yaml", 3, 0, "/x", "/y", "/x"); !cmp.Equal(a, b) {
		t.Errorf("%v became %v by another spelling of the file", a, b)
	}
	if b := fingerprintsOf(t, "b.yaml", 3, 0, "/x"); b[0] == a[0] {
		t.Error("another file has the same fingerprint")
	}
	if a[0] == a[1] || a[0] == a[2] || a[0] == "" {
		t.Errorf("fingerprints are shared: %v", a)
	}
	if c := prints(3, 0, "/z"); c[0] == a[0] {
		t.Error("another value has the same fingerprint")
	}
}

// fingerprintsOf are those of findings about the paths of an Ingress from one on, at a line of a file.
func fingerprintsOf(t *testing.T, file string, line, path int, values ...string) []string {
	t.Helper()
	r := &Report{}
	ing := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}}
	var denied []policy.Finding
	for i, v := range values {
		p := field.NewPath("spec", "rules").Index(0).Child("http", "paths").Index(path + i).Child("path")
		denied = append(denied, policy.Finding{Rule: "r", Level: policy.Deny, Err: field.Invalid(p, v, "must be another")})
	}
	r.Add(ing, policy.Result{Denied: denied}, func(string) Source { return Source{File: file, Line: line, Column: 3} })
	var log struct {
		Runs []struct {
			Results []struct {
				PartialFingerprints map[string]string
			}
		}
	}
	if err := json.Unmarshal([]byte(written(t, SARIF, r, Options{})), &log); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, res := range log.Runs[0].Results {
		all = append(all, res.PartialFingerprints[fingerprint])
	}
	return all
}

func TestWithoutIndices(t *testing.T) {
	for path, want := range map[string]string{
		"spec.rules[12].http.paths[0].path": "spec.rules[].http.paths[].path",
		"metadata.annotations[a.b/c].x[1]":  "metadata.annotations[a.b/c].x[]",
		"a[":                                "a[", "a[]": "a[]", "": "",
	} {
		if got := withoutIndices(path); got != want {
			t.Errorf("%q is %q, want %q", path, got, want)
		}
	}
}

// hostile is a report in which every text is what somebody chose.
func hostile(text, file string) *Report {
	r := &Report{Version: text, Rules: []policy.Info{{ID: "r", Doc: policy.Doc{Summary: "s", Why: "w"}}}}
	o := &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: text, Kind: text},
		ObjectMeta: metav1.ObjectMeta{Namespace: text, Name: text},
	}
	find := func(level policy.Level, exempt bool) []policy.Finding {
		return []policy.Finding{{Rule: "r", Level: level, Exempt: exempt, Reason: text, Err: &field.Error{Type: field.ErrorTypeInvalid, Field: text, BadValue: text, Detail: text}}}
	}
	for _, at := range []func(string) Source{nil, func(string) Source { return Source{File: file, Line: 1, Column: 2, EndLine: 1, EndColumn: 3} }} {
		r.Add(o, policy.Result{Denied: find(policy.Deny, false), Warned: find(policy.Warn, false), Fixed: find(policy.Fix, false), Exempt: find(policy.Warn, true)}, at)
	}
	r.Findings = append(r.Findings, Finding{Rule: "r", Level: policy.Deny, Field: text, Message: text, Source: Source{File: file, Line: 1}, subject: 1})
	r.Unreadable = []Unreadable{{File: file, Line: 1, Field: text, Detail: text}, {File: file, Detail: text}, {Detail: text}}
	return r
}

// Whatever a name, a value or a file is called, it stays inside its place in every format.
func FuzzWrite(f *testing.F) {
	for _, s := range []string{
		"", "a", "a\nb", "\r\n::error::x", "::set-output name=a::b", " ::warning::", "##[set-output name=a]b", "###[group]", "##vso[task]", "]]>", "<failure/>",
		"\x00\x1b[31m", "\xff\xfe", "\u2028\u2029\u0085", "\u202e\u2066", `"},{"`, "%0A::error::", "%25", "a,line=9", "{0}", "[a](b)", "a:b", "//host/x", "../../x",
		"/abs", "-", strings.Repeat("é", 200), "stdin", "https://evil.example/x", "\ufffe\uffff", "&amp;", "--><!--",
	} {
		f.Add(s, "deploy/a.yaml")
		f.Add("x", s)
	}
	f.Fuzz(func(t *testing.T, text, file string) {
		r := hostile(text, file)
		for _, format := range formats {
			got := written(t, format, r, Options{Root: "/src"})
			if !utf8.ValidString(got) && utf8.ValidString(text) && utf8.ValidString(file) {
				t.Errorf("%s is no UTF-8", format)
			}
			for _, line := range strings.Split(got, "\n") {
				if ciCommand.MatchString(line) {
					t.Errorf("%s has a command to a CI system: %q", format, line)
				}
				if format != GitHub && strings.HasPrefix(strings.TrimSpace(line), "::") {
					t.Errorf("%s has a command to GitHub Actions: %q", format, line)
				}
			}
			switch format {
			case Text, GitHub:
				// What is exempt is not told, what can not be read only to GitHub.
				want := 7
				if format == GitHub {
					want += 3
				}
				if n := strings.Count(got, "\n"); n != want || !strings.HasSuffix(got, "\n") {
					t.Errorf("%s has %d lines, want %d: %q", format, n, want, got)
				}
				if strings.ContainsAny(got, "\r\x1b\x00\u2028\u2029\u202e\u0085") {
					t.Errorf("%s steers: %q", format, got)
				}
				if format == GitHub {
					commands(t, got)
				}
			case JSON, SARIF:
				if !json.Valid([]byte(got)) {
					t.Errorf("%s is not valid: %s", format, got)
				}
				if format == JSON && utf8.ValidString(file) {
					var back struct{ Unreadable []Unreadable }
					if err := json.Unmarshal([]byte(got), &back); err != nil || back.Unreadable[0].File != file {
						t.Errorf("file %q came back as %+v, %v", file, back, err)
					}
				}
			case JUnit:
				var back junitSuites
				if err := xml.Unmarshal([]byte(got), &back); err != nil {
					t.Fatalf("%v: %s", err, got)
				}
				if back.Tests != 5 || back.Failures != 2 || back.Errors != 3 {
					t.Errorf("%d tests, %d failures, %d errors", back.Tests, back.Failures, back.Errors)
				}
			}
		}
		if err := validate([]byte(written(t, SARIF, r, Options{Root: "/src"}))); err != nil {
			t.Error(err)
		}
	})
}

// commands reads workflow commands as the runner of GitHub Actions does, and holds that each has the properties that it
// was given and no other.
func commands(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, "::")
		head, _, ok2 := strings.Cut(rest, "::")
		level, properties, ok3 := strings.Cut(head, " ")
		if !ok || !ok2 || !ok3 || level != "error" && level != "warning" && level != "notice" {
			t.Errorf("is no command: %q", line)
		}
		seen := map[string]bool{}
		for _, p := range strings.Split(properties, ",") {
			name, _, ok := strings.Cut(p, "=")
			switch name {
			case "file", "line", "col", "endLine", "endColumn", "title":
			default:
				ok = false
			}
			if !ok || seen[name] {
				t.Errorf("property %q of %q", p, line)
			}
			seen[name] = true
		}
	}
}

// A report of ten thousand findings is written in time that grows with it, not faster.
func TestWriteMany(t *testing.T) {
	r := &Report{}
	for i := range 10_000 {
		o := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprint("s", i)}}
		r.Add(o, policy.Result{Denied: []policy.Finding{{Rule: "r", Level: policy.Deny, Err: field.Invalid(field.NewPath("spec"), "x", "must not be")}}}, nil)
	}
	r.Sort()
	for _, format := range formats {
		var b bytes.Buffer
		if err := Write(&b, format, r, Options{}); err != nil || strings.Count(b.String(), "s9999") == 0 {
			t.Errorf("%s: %v", format, err)
		}
	}
}
