package policy

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// parsed reads a policy that may name any rule; "version: 1" is put before it.
func parsed(t *testing.T, text string) *Config {
	t.Helper()
	c, err := ParseConfig([]byte("version: 1\n"+text), nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPattern(t *testing.T) {
	for _, c := range []struct {
		pattern Pattern
		yes, no []string
	}{
		{"team-a", []string{"team-a"}, []string{"", "team", "team-a-", "x-team-a"}},
		{"*", []string{"", "a"}, nil},
		{"dev-*", []string{"dev-", "dev-a"}, []string{"dev", "xdev-a"}},
		{"*-dev", []string{"-dev", "a-dev"}, []string{"dev", "a-devx"}},
		{"a*a", []string{"aa", "aba"}, []string{"a", "ab"}},
		{"a*b*c", []string{"abc", "axbyc", "abbc", "abcbc"}, []string{"ac", "acb", "abcx"}},
		{"**", []string{"", "x"}, nil},
		{"", []string{""}, []string{"a"}},
		// No pattern is a regular expression.
		{"a.c", []string{"a.c"}, []string{"abc"}},
	} {
		for _, name := range c.yes {
			if !c.pattern.Match(name) {
				t.Errorf("'%s' does not cover '%s'", c.pattern, name)
			}
		}
		for _, name := range c.no {
			if c.pattern.Match(name) {
				t.Errorf("'%s' covers '%s'", c.pattern, name)
			}
		}
	}
	// The cost is that of the lengths, whatever the text is.
	if Pattern(strings.Repeat("*a", 250) + "b").Match(strings.Repeat("a", 100000)) {
		t.Error("covers a name without its last letter")
	}
}

func namespace(name string, labels map[string]string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
}

func TestFor(t *testing.T) {
	c := parsed(t, `
rules: {named: warn}
namespaces:
- {names: [team-a], profile: strict, rules: {a: warn}}
- {names: ["team-*"], profile: strict, rules: {a: deny, b: deny, named: deny}, destinations: {allowed: [{hosts: [team.example]}]}}
- {names: ["*"], rules: {a: "off", b: "off", every: "off"}}
- {labels: env=prod, rules: {a: fix, label: deny}}
- {labels: "!env", rules: {unlabeled: deny}}
- {names: [team-b], labels: env=prod, rules: {a: "off"}}
- {names: [team-b], rules: {a: deny, last: warn}}
- {names: [team-b], rules: {last: deny}}
- {names: ["a*", "*b", ab], rules: {best: deny}}
- {names: ["ab*"], rules: {best: warn}}
destinations: {allowed: [{hosts: [all.example]}]}
`)
	labeled := func(labels map[string]string) func(string) *corev1.Namespace {
		return func(name string) *corev1.Namespace { return namespace(name, labels) }
	}
	unknown := func(string) *corev1.Namespace { return nil }
	prod := map[string]string{"env": "prod"}
	for _, tt := range []struct {
		namespace string
		lookup    func(string) *corev1.Namespace
		rule      string
		want      Level
		from      string
	}{
		{"team-a", unknown, "a", Warn, "namespaces[0] (team-a)"},
		{"team-a", unknown, "b", Deny, "namespaces[1] (team-*)"},
		{"team-c", unknown, "a", Deny, "namespaces[1] (team-*)"},
		{"team-c", unknown, "named", Deny, "namespaces[1] (team-*)"},
		{"other", unknown, "named", Warn, "rules"},
		{"other", unknown, "a", Off, "namespaces[2] (*)"},
		{"team-c", unknown, "unnamed", Deny, "profile strict of namespaces[1] (team-*)"},
		{"other", unknown, "unnamed", Warn, "profile baseline"},
		// Labels alone come last among the specific, yet before "*", which says nothing of a name.
		{"other", labeled(prod), "a", Fix, "namespaces[3] (labels env=prod)"},
		{"team-c", labeled(prod), "a", Deny, "namespaces[1] (team-*)"},
		{"team-c", labeled(prod), "label", Deny, "namespaces[3] (labels env=prod)"},
		{"team-b", labeled(prod), "a", Off, "namespaces[5] (team-b, labels env=prod)"},
		{"team-b", labeled(nil), "a", Deny, "namespaces[6] (team-b)"},
		// Of two that are as specific the later counts.
		{"team-b", unknown, "last", Deny, "namespaces[7] (team-b)"},
		// The best of several patterns counts for its entry.
		{"ab", unknown, "best", Deny, "namespaces[8] (a*, *b, ab)"},
		{"abc", unknown, "best", Warn, "namespaces[9] (ab*)"},
		// A namespace that is not known matches no selector, not even one for the lack of a label.
		{"other", unknown, "unlabeled", Warn, "profile baseline"},
		{"other", nil, "unlabeled", Warn, "profile baseline"},
		{"other", labeled(nil), "unlabeled", Deny, "namespaces[4] (labels !env)"},
		{"other", labeled(prod), "unlabeled", Warn, "profile baseline"},
	} {
		flat := c.For(tt.namespace, tt.lookup)
		got, from := flat.Explain(tt.rule, Levels{Warn, Deny})
		if got != tt.want || from != tt.from {
			t.Errorf("%s: %s is %s by %s, want %s by %s", tt.namespace, tt.rule, got, from, tt.want, tt.from)
		}
		if flat.For("team-a", nil) != flat {
			t.Errorf("%s: the policy of a namespace is not its own", tt.namespace)
		}
		if flat.Generation != c.Generation {
			t.Errorf("%s: generation %s", tt.namespace, flat.Generation)
		}
	}
	if first, again := c.For("team-a", unknown), c.For("team-a", unknown); first != again {
		t.Error("the same policy is made twice")
	}
	for ns, host := range map[string]string{"team-a": "team.example", "other": "all.example"} {
		d := c.For(ns, unknown).Destinations
		if d.CheckHost(host, 0) != nil || d.CheckHost("x.example", 0) == nil {
			t.Errorf("%s: %+v", ns, d)
		}
	}
	layered := parsed(t, `
destinations:
  allowed: [{hosts: ["*.example"]}]
  forbidden: [{hosts: [bad.example]}]
namespaces:
- {names: ["*"], destinations: {forbidden: [{hosts: [worse.example]}]}}
- {names: [open], destinations: {allowed: []}}
- {names: [other], destinations: {allowed: [{hosts: ["*.test", bad.example]}]}}
`)
	for _, tt := range []struct {
		namespace, host string
		may             bool
	}{
		{"x", "a.example", true}, {"x", "a.test", false}, {"x", "bad.example", false}, {"x", "worse.example", false},
		{"open", "a.test", true}, {"open", "bad.example", false}, {"open", "worse.example", false},
		{"other", "a.test", true}, {"other", "a.example", false}, {"other", "bad.example", false},
	} {
		d := layered.For(tt.namespace, nil).Destinations
		if err := d.CheckHost(tt.host, 443); (err == nil) != tt.may {
			t.Errorf("%s to %s: %v", tt.namespace, tt.host, err)
		}
	}
	if c.Rules["a"] != 0 || len(c.Rules) != 1 {
		t.Errorf("the whole policy changed: %v", c.Rules)
	}
	if plain := parsed(t, ""); plain.For("x", unknown) != plain {
		t.Error("a policy without overrides is not the same everywhere")
	}
	// The profile of a flag counts in every namespace, and a level that is named does so still.
	b := c.WithProfile(Baseline).For("team-c", unknown)
	if l, from := b.Explain("unnamed", Levels{Warn, Deny}); l != Warn || from != "profile baseline" {
		t.Errorf("%s by %s", l, from)
	}
	if l, _ := b.Explain("a", Levels{Warn, Deny}); l != Deny {
		t.Errorf("%s", l)
	}
}

// The policies that are kept are bounded by the policy, whoever makes namespaces.
func TestForIsBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("namespaces:\n")
	for i := range 12 {
		b.WriteString("- {labels: l" + string(rune('a'+i)) + ", profile: strict}\n")
	}
	c := parsed(t, b.String())
	for n := range 1 << 12 {
		set := map[string]string{}
		for i := range 12 {
			if n&(1<<i) != 0 {
				set["l"+string(rune('a'+i))] = ""
			}
		}
		if got := c.For("x", func(string) *corev1.Namespace { return namespace("x", set) }).Profile; (got == Strict) != (n > 0) {
			t.Fatalf("%d: %s", n, got)
		}
	}
	if len(c.scoped.by) > maxScoped {
		t.Errorf("%d policies are kept", len(c.scoped.by))
	}
}

func TestOwnsHost(t *testing.T) {
	c := parsed(t, `
hosts:
- {hosts: ["*.example.com", example.com], namespaces: [edge, "web-*"]}
- {hosts: ["*.a.example.com"], namespaces: [a]}
- {hosts: [x.a.example.com, b.example.com, c.example.com], namespaces: [b]}
- {hosts: ["*.corp"], namespaces: [corp]}
- {hosts: [x.corp], namespaces: [one]}
`)
	for _, tt := range []struct {
		namespace, host string
		owner           string // "" where the namespace may
	}{
		{"edge", "www.example.com", ""},
		{"web-1", "www.example.com", ""},
		{"edge", "WWW.Example.com.", ""},
		{"other", "www.example.com", "*.example.com"},
		{"other", "example.com", "example.com"},
		{"other", "deep.www.example.com", "*.example.com"},
		{"other", "example.org", ""},
		{"other", "notexample.com", ""},
		// The longest pattern decides, and the host itself before any.
		{"a", "y.a.example.com", ""},
		{"edge", "y.a.example.com", "*.a.example.com"},
		{"a", "x.a.example.com", "x.a.example.com"},
		{"b", "x.a.example.com", ""},
		{"b", "b.example.com", ""},
		{"edge", "b.example.com", "b.example.com"},
		{"one", "x.corp", ""},
		{"corp", "x.corp", "x.corp"},
		{"corp", "y.corp", ""},
		// A wildcard takes what is below it.
		{"edge", "*.example.com", "*.a.example.com"},
		{"a", "*.a.example.com", "x.a.example.com"},
		{"corp", "*.corp", "x.corp"},
		{"a", "*.y.a.example.com", ""},
		{"other", "*.com", "*.example.com"},
		{"other", "*.org", ""},
		{"other", "*.b.example.com", "*.example.com"},
		// A rule without host takes every host.
		{"edge", "", "*.a.example.com"},
	} {
		owner, ok := c.OwnsHost(tt.namespace, tt.host)
		if owner != tt.owner || ok != (tt.owner == "") {
			t.Errorf("%s may use '%s': %t, owned as '%s'; want '%s'", tt.namespace, tt.host, ok, owner, tt.owner)
		}
	}
	// Where the entries stand makes no difference.
	for _, text := range []string{
		"hosts: [{hosts: ['*.b'], namespaces: [x]}, {hosts: [a.b], namespaces: [y]}]",
		"hosts: [{hosts: [a.b], namespaces: [y]}, {hosts: ['*.b'], namespaces: [x]}]",
	} {
		c := parsed(t, text)
		if _, ok := c.OwnsHost("y", "a.b"); !ok {
			t.Errorf("%s: its owner is refused", text)
		}
		if owner, ok := c.OwnsHost("x", "a.b"); ok || owner != "a.b" {
			t.Errorf("%s: the owner of the wildcard has '%s'", text, owner)
		}
	}
	all := parsed(t, "hosts: [{hosts: ['*'], namespaces: [edge]}]")
	for ns, want := range map[string]bool{"edge": true, "other": false} {
		for _, host := range []string{"", "a.b", "*.b"} {
			if _, ok := all.OwnsHost(ns, host); ok != want {
				t.Errorf("%s may use '%s': %t", ns, host, ok)
			}
		}
	}
	if _, ok := parsed(t, "").OwnsHost("any", ""); !ok {
		t.Error("a policy without hosts refuses one")
	}
}

func TestGranted(t *testing.T) {
	c := parsed(t, `
grants:
- {from: [team-a, "dev-*"], to: [shared], kinds: [Service, Secret], names: [api, "tls-*"]}
- {from: ["*"], to: [tailscale], kinds: [Service]}
`)
	for _, tt := range []struct {
		from, kind, to, name string
		want                 bool
	}{
		{"x", "Secret", "x", "own", true},
		{"team-a", "Service", "shared", "api", true},
		{"dev-1", "Secret", "shared", "tls-x", true},
		{"team-a", "Service", "shared", "other", false},
		{"team-a", "ConfigMap", "shared", "api", false},
		{"team-b", "Service", "shared", "api", false},
		{"shared", "Service", "team-a", "api", false},
		{"any", "Service", "tailscale", "ts-x", true},
		{"any", "Secret", "tailscale", "ts-x", false},
	} {
		if got := c.Granted(tt.from, tt.kind, tt.to, tt.name); got != tt.want {
			t.Errorf("%+v: %t", tt, got)
		}
	}
}

func TestExempts(t *testing.T) {
	c := parsed(t, `
exemptions:
- {rules: [everywhere], reason: everywhere}
- {rules: [a, b], namespaces: [legacy, "old-*"], reason: by namespace}
- {rules: [a], users: [alice, "system:serviceaccount:ops:*", admins], reason: by user}
- {rules: [both], namespaces: [legacy], users: [alice], reason: both}
`)
	for _, tt := range []struct {
		rule, namespace, user, groups string
		want                          string
	}{
		{"everywhere", "x", "", "", "everywhere"},
		{"c", "legacy", "alice", "", ""},
		{"b", "old-1", "", "", "by namespace"},
		{"b", "x", "alice", "", ""},
		{"a", "x", "alice", "", "by user"},
		{"a", "x", "system:serviceaccount:ops:x", "", "by user"},
		{"a", "x", "bob", "dev,admins", "by user"},
		{"a", "x", "bob", "dev", ""},
		// Nobody knows who wrote a stored object.
		{"a", "x", "", "", ""},
		{"both", "legacy", "alice", "", "both"},
		{"both", "legacy", "bob", "", ""},
		{"both", "x", "alice", "", ""},
	} {
		var groups []string
		if tt.groups != "" {
			groups = strings.Split(tt.groups, ",")
		}
		if got, ok := c.Exempts(tt.rule, tt.namespace, tt.user, groups); got != tt.want || ok != (tt.want != "") {
			t.Errorf("%+v: '%s', %t", tt, got, ok)
		}
	}
}

func TestDialectOf(t *testing.T) {
	c := parsed(t, `
classes:
- {class: edge, dialect: ingress-nginx}
- {controller: example.com/fork, dialect: ingress-nginx}
- {class: nginx, dialect: drawbridge}
`)
	classes := map[string]string{"forked": "example.com/fork", "nginx": "k8s.io/ingress-nginx", "own": "drawbridge.dev/ingress"}
	class := func(name string) *networkingv1.IngressClass {
		if controller := classes[name]; controller != "" {
			return &networkingv1.IngressClass{Spec: networkingv1.IngressClassSpec{Controller: controller}}
		}
		return nil
	}
	for name, want := range map[string]string{"edge": "ingress-nginx", "forked": "ingress-nginx", "nginx": "drawbridge", "own": "drawbridge"} {
		ing := &networkingv1.Ingress{Spec: networkingv1.IngressSpec{IngressClassName: &name}}
		if d, ok := c.DialectOf(ing, class); !ok || d.Name != want {
			t.Errorf("%s speaks %s, want %s", name, d.Name, want)
		}
	}
	none := "none"
	if d, ok := c.DialectOf(&networkingv1.Ingress{Spec: networkingv1.IngressSpec{IngressClassName: &none}}, class); ok {
		t.Errorf("an unknown class speaks %s", d.Name)
	}
	if _, ok := c.DialectOf(&networkingv1.Ingress{Spec: networkingv1.IngressSpec{IngressClassName: new("forked")}}, nil); ok {
		t.Error("a class that nobody can look up has a controller")
	}
}

func TestInjects(t *testing.T) {
	for text, want := range map[string]string{
		"": "host protocol port-names labels ready ", "inject: []": "", "inject:": "host protocol port-names labels ready ",
		"inject: [labels, host]": "host labels ",
	} {
		c := parsed(t, text)
		got := ""
		for _, what := range Injections {
			if c.Injects(what) {
				got += what + " "
			}
		}
		if got != want || !c.Injects("") {
			t.Errorf("%q injects %s", text, got)
		}
	}
}
