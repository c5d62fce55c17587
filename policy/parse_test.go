package policy

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
)

func knownRule(id string) bool {
	return id == "service-external-name-ip" || id == "ingress-preserve-host"
}

var comparePrefixes = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

// ignored is what two policies of one meaning differ in.
var ignored = cmp.Options{cmpopts.IgnoreFields(Config{}, "Generation"), cmpopts.IgnoreUnexported(Config{})}

func TestDefaultYAML(t *testing.T) {
	got, err := ParseConfig([]byte(DefaultYAML), knownRule)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(DefaultConfig(), got, ignored); diff != "" {
		t.Errorf("default.yaml says something else than DefaultConfig:\n%s", diff)
	}
	if got.Generation == DefaultConfig().Generation || len(got.Generation) != 12 {
		t.Errorf("the generation is %q", got.Generation)
	}
}

func TestParseConfig(t *testing.T) {
	for text, change := range map[string]func(*Config){
		"version: 1":              func(*Config) {},
		"{version: 1, rules: {}}": func(*Config) {},
		"version: 1\nrules:\nslices:\naddresses:\n  allowed:\n": func(*Config) {},
		"---\nversion: 1\nprofile: strict\n":                    func(c *Config) { c.Profile = Strict },
		"version: 1\nclusterDomain: corp.example":               func(c *Config) { c.ClusterDomain = "corp.example" },
		"version: 1\nrules:\n  service-external-name-ip: warn\n  ingress-preserve-host: off\n": func(c *Config) {
			c.Rules = map[string]Level{"service-external-name-ip": Warn, "ingress-preserve-host": Off}
		},
		// What `helm template` makes of an unquoted off.
		"version: 1\nrules:\n  ingress-preserve-host: false\nslices:\n  scope: false\n": func(c *Config) {
			c.Rules = map[string]Level{"ingress-preserve-host": Off}
			c.Slices.Scope = SlicesOff
		},
		"version: 1\nslices:\n  scope: ingress\n  foreignManagers: []\n":           func(c *Config) { c.Slices = Slices{SlicesIngress, []string{}} },
		"version: 1\nslices:\n  scope: off\n  foreignManagers: [Patroni, 'my op']": func(c *Config) { c.Slices = Slices{SlicesOff, []string{"Patroni", "my op"}} },
		"version: 1\naddresses:\n  allowed: [10.0.0.0/8, '::1/128', 127.0.0.1/32]\n": func(c *Config) {
			c.Addresses.Allowed = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("::1/128")}
		},
		"version: 1\naddresses:\n  forbidden:\n  - 0.0.0.0/0\n": func(c *Config) {
			c.Addresses.Forbidden = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
		},
	} {
		want := DefaultConfig()
		change(want)
		got, err := ParseConfig([]byte(text), knownRule)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if diff := cmp.Diff(want, got, ignored, comparePrefixes); diff != "" {
			t.Errorf("%q: -want +got\n%s", text, diff)
		}
	}
}

// columns are what TestMistakes is about.
var columns = regexp.MustCompile(`, column \d+`)

func TestParseConfigRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                       "policy: is empty; must begin with 'version: 1'",
		"# nothing\n":            "policy: is empty; must begin with 'version: 1'",
		"profile: strict":        "policy: line 1: `version` is missing: write 'version: 1'",
		"version: 2":             "policy: line 1: `version`: is 2; must be 1, the only one there is",
		"version: '1'":           "policy: line 1: `version`: must be the number 1",
		"version: 1.0":           "policy: line 1: `version`: must be the number 1",
		"version:":               "policy: line 1: `version`: must be the number 1",
		"- version: 1":           "policy: line 1: the policy: must be a mapping of keys to values",
		"version: 1\n---\na: b":  "policy: line 2: a second document: there must be one only",
		"version: 1\nprofil: x":  "policy: line 2: unknown key 'profil': must be 'profile'",
		"version: 1\nProfile: x": "policy: line 2: unknown key 'Profile'",
		"Version: 1":             "policy: line 1: unknown key 'Version'",
		"version: 1\nprofile: baseline\nprofile: strict":                   "policy: line 3: `profile`: stands on line 2 already; write it once",
		"version: 1\nprofile: Strict":                                      "policy: line 2: `profile`: unknown profile 'Strict': must be 'baseline' or 'strict'",
		"version: 1\nprofile: [strict]":                                    "policy: line 2: `profile`: must be a string; write it in quotes",
		"version: 1\nrules: [a]":                                           "policy: line 2: `rules`: must be a mapping of keys to values",
		"version: 1\nrules:\n  nope: warn":                                 "policy: line 3: unknown rule 'nope': must be one that `drawbridge rules` lists",
		"version: 1\nrules:\n  Ingress-Preserve-Host: warn":                "policy: line 3: unknown rule 'Ingress-Preserve-Host'",
		"version: 1\nrules:\n  \"a::b\": warn":                             "policy: line 3: unknown rule 'a::b'",
		"version: 1\nrules:\n  ingress-preserve-host: Warn":                "policy: line 3: `rules.ingress-preserve-host`: unknown level 'Warn': must be 'off', 'warn', 'deny' or 'fix'",
		"version: 1\nrules:\n  ingress-preserve-host: true":                "policy: line 3: `rules.ingress-preserve-host`: must be 'off', 'warn', 'deny' or 'fix'",
		"version: 1\nrules:\n  ingress-preserve-host:":                     "policy: line 3: `rules.ingress-preserve-host`: must be 'off', 'warn', 'deny' or 'fix'",
		"version: 1\nrules:\n  ingress-preserve-host: {a: b}":              "policy: line 3: `rules.ingress-preserve-host`: must be 'off', 'warn', 'deny' or 'fix'",
		"version: 1\nrules:\n  ingress-preserve-host: 'x\\n'":              "policy: line 3: `rules.ingress-preserve-host`: unknown level 'x\\n'",
		"version: 1\nclusterDomain: Cluster.Local":                         "policy: line 2: `clusterDomain`: 'Cluster.Local' must be a DNS name in lower case",
		"version: 1\nclusterDomain: cluster.local.":                        "policy: line 2: `clusterDomain`: 'cluster.local.' must be",
		"version: 1\nclusterDomain: ''":                                    "policy: line 2: `clusterDomain`: '' must be",
		"version: 1\naddresses: {allowed: 10.0.0.0/8}":                     "policy: line 2: `addresses.allowed`: must be a list",
		"version: 1\naddresses: {allow: []}":                               "policy: line 2: unknown key 'addresses.allow': must be 'allowed'",
		"version: 1\naddresses:\n  allowed:\n  - 10.0.0.0/8\n  - 10.1.2.3": "policy: line 5: `addresses.allowed[1]`: '10.1.2.3' must be a CIDR; write '10.1.2.3/32'",
		"version: 1\naddresses:\n  forbidden: ['::1']":                     "`addresses.forbidden[0]`: '::1' must be a CIDR; write '::1/128'",
		"version: 1\naddresses:\n  forbidden: [10.1.2.3/8]":                "'10.1.2.3/8' has bits set behind the mask; write '10.0.0.0/8'",
		"version: 1\naddresses:\n  forbidden: ['::ffff:10.0.0.0/104']":     "'::ffff:10.0.0.0/104' must be written as IPv4",
		"version: 1\naddresses:\n  forbidden: [everything]":                "'everything' must be a CIDR such as '192.0.2.0/24'",
		"version: 1\naddresses:\n  forbidden: [~]":                         "policy: line 3: `addresses.forbidden[0]`: an empty item; must be a string",
		"version: 1\nslices:\n  scope: some":                               "policy: line 3: `slices.scope`: unknown scope 'some': must be 'all', 'ingress', 'annotated' or 'off'",
		"version: 1\nslices:\n  scope: ''":                                 "policy: line 3: `slices.scope`: unknown scope ''",
		"version: 1\nslices:\n  foreignManagers: ['']":                     "policy: line 3: `slices.foreignManagers[0]`: must be the name of a field manager",
		"version: 1\nslices: &x {}\naddresses: *x":                         "must not use anchors and aliases; write the value",
		"version: 1\n<<: {profile: strict}":                                "policy: line 2: the policy: a key must be a plain word",
		"version: 1\n1: 2":                                                 "a key must be a plain word",
		"version: 1\nrules: {":                                             "policy: line 2: must be YAML: did not find expected node content",
		"version: 1\n\tx: y":                                               "policy: line 2",
	} {
		got, err := ParseConfig([]byte(text), knownRule)
		if err == nil {
			t.Errorf("%q is read as %+v", text, got)
			continue
		}
		if got := columns.ReplaceAllString(err.Error(), ""); !strings.Contains(got, want) {
			t.Errorf("%q:\n%v, want\n%s", text, got, want)
		}
	}
}

// Every mistake is told at once, one a line, up to a limit.
func TestParseConfigTellsAll(t *testing.T) {
	_, err := ParseConfig([]byte("version: 1\nprofil: x\nrules:\n  a: warn\n  ingress-preserve-host: yes\n"), knownRule)
	if err == nil || len(strings.Split(err.Error(), "\n")) != 3 {
		t.Errorf("%v", err)
	}
	_, err = ParseConfig([]byte("version: 1\nrules:\n"+strings.Repeat("  x: y\n", 1)+strings.Repeat("x: y\n", 50)), knownRule)
	if err == nil || !strings.HasSuffix(err.Error(), "more") || len(strings.Split(err.Error(), "\n")) != maxPolicyErrors+1 {
		t.Errorf("%v", err)
	}
	if _, err := ParseConfig([]byte(strings.Repeat("#", maxPolicyBytes+1)), knownRule); err == nil {
		t.Error("a policy of any length is read")
	}
}

// The generation is that of the text, and two readings share nothing.
func TestParseConfigGeneration(t *testing.T) {
	read := func(text string) *Config {
		c, err := ParseConfig([]byte(text), nil)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	a, b, c := read("version: 1\nrules: {x: deny}"), read("version: 1\nrules: {x: deny}"), read("version: 1\nrules: {x: warn}")
	if a.Generation != b.Generation || a.Generation == c.Generation {
		t.Errorf("%s %s %s", a.Generation, b.Generation, c.Generation)
	}
	a.Rules["x"] = Off
	if b.Rules["x"] != Deny || read("version: 1").Rules != nil {
		t.Error("policies share their rules")
	}
}

// FuzzParseConfig holds that a policy that is read says what its text says in plain YAML terms, and that every
// error is a few printable lines.
func FuzzParseConfig(f *testing.F) {
	f.Add(DefaultYAML)
	f.Add("version: 1\nrules:\n  service-external-name-ip: off\naddresses: {allowed: [10.0.0.0/8]}\nslices: {scope: annotated, foreignManagers: [a]}\n")
	f.Add(wholePolicy)
	f.Add("version: 1\nx: &a [*a]\n")
	f.Add("%YAML 1.1\n---\nversion: 1\n...\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseConfig([]byte(text), knownRule)
		if err != nil {
			if c != nil || !strings.HasPrefix(err.Error(), "policy: ") {
				t.Errorf("%+v, %v", c, err)
			}
			if strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f }) {
				t.Errorf("%q", err)
			}
			list := Mistakes(err)
			if len(list) == 0 || len(list) > maxPolicyErrors+1 {
				t.Errorf("%d mistakes: %q", len(list), err)
			}
			for _, m := range list {
				if m.Line < 0 || m.Line > strings.Count(text, "\n")+strings.Count(text, "\r")+strings.Count(text, "\u0085")+strings.Count(text, "\u2028")+strings.Count(text, "\u2029")+2 || strings.Contains(m.Text, "\n") {
					t.Errorf("%+v", m)
				}
			}
			return
		}
		if c.Profile != Baseline && c.Profile != Strict || c.ClusterDomain == "" || c.Slices.Scope == "" || len(c.Generation) != 12 {
			t.Errorf("%+v", c)
		}
		for id, l := range c.Rules {
			if !knownRule(id) || l < Off || l > Fix || !strings.Contains(text, id) {
				t.Errorf("%s: %s", id, l)
			}
		}
		all := slices.Concat(c.Addresses.Allowed, c.Addresses.Forbidden, c.Ranges.Pods, c.Ranges.Services, c.Ranges.Nodes, c.ExternalIPs)
		destinations := []Destinations{c.Destinations}
		for _, o := range c.Namespaces {
			if len(o.Names) == 0 && o.Labels == nil {
				t.Errorf("%+v", o)
			}
			if o.Destinations != nil {
				destinations = append(destinations, *o.Destinations)
			}
		}
		for _, d := range destinations {
			for _, one := range append(d.Allowed, d.Forbidden...) {
				all = append(all, one.CIDRs...)
				if len(one.Hosts)+len(one.CIDRs) == 0 || slices.ContainsFunc(one.Ports, func(r PortRange) bool { return r.First == 0 || r.First > r.Last }) {
					t.Errorf("%+v", one)
				}
			}
		}
		for _, p := range all {
			if p != p.Masked() {
				t.Errorf("%s", p)
			}
		}
		for _, e := range c.Exemptions {
			if len(e.Rules) == 0 || e.Reason == "" {
				t.Errorf("%+v", e)
			}
		}
		flat := c.For("team-a", func(string) *corev1.Namespace { return &corev1.Namespace{} })
		if _, from := flat.Explain("ingress-preserve-host", Same(Deny)); from == "" {
			t.Error("a level comes from nowhere")
		}
		flat.OwnsHost("team-a", "*.example.com")
		flat.Granted("a", "Service", "b", "c")
	})
}

// Whatever a policy is made of, it is read or refused at once: its length is bounded, and so is the work.
func TestParseConfigHostile(t *testing.T) {
	fill := func(piece string) string { return strings.Repeat(piece, (maxPolicyBytes-64)/len(piece)) }
	for name, text := range map[string]string{
		"deep lists":      "version: 1\nx: " + fill("["),
		"deep mappings":   "version: 1\nx: " + fill("{a: "),
		"deep blocks":     "version: 1\nx:\n" + fill("- "),
		"many keys":       "version: 1\n" + fill("k: v\n"),
		"many rules":      "version: 1\nrules:\n" + fill("  x: y\n"),
		"many namespaces": "version: 1\nnamespaces:\n" + fill("- {labels: a}\n"),
		"many hosts":      "version: 1\nhosts: [{namespaces: [a], hosts: [" + fill("a.b, ") + "a]}]",
		"a long word":     "version: 1\nclusterDomain: " + fill("a"),
		"a long selector": "version: 1\nnamespaces: [{labels: '" + fill("a,") + "a'}]",
		"aliases":         "version: 1\na: &a [" + fill("x,") + "]\nb: [*a, *a]",
		"an anchor alone": "version: 1\nrules: &r {}",
		"merged":          "version: 1\nrules: {<<: {a: b}}",
		"tagged":          "version: !!int 1\nrules: !!map {}\nprofile: !!binary c3RyaWN0",
		"a billion":       "version: 1\na: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c]",
	} {
		start := time.Now()
		c, err := ParseConfig([]byte(text), knownRule)
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%s: took %s", name, took)
		}
		if err == nil {
			if name != "many namespaces" && name != "a long selector" {
				t.Errorf("%s: is read", name)
			}
			// Every entry matches: what they come to is made once.
			known := func(string) *corev1.Namespace { return namespace("x", map[string]string{"a": ""}) }
			if c.For("x", known) != c.For("y", known) {
				t.Errorf("%s: made for each namespace", name)
			}
			continue
		}
		if len(err.Error()) > 20<<10 {
			t.Errorf("%s: an error of %d bytes", name, len(err.Error()))
		}
	}
}
