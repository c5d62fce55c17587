package policy

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func exampleInfos() []Info {
	doc := Doc{Summary: "A Service must be fine.", Why: strings.Repeat("because of this ", 20), Bad: "a: 1\nb: 2\n", Good: "a: <2>\n", Since: "0.1.0", Source: "https://example.org/x"}
	one := Info{ID: "one", Kinds: []string{"Service", "Ingress"}, Doc: doc, Levels: Same(Fix), Unfixed: Deny}
	two := Info{ID: "two", Kinds: []string{"Endpoints"}, Doc: doc, Levels: Levels{Warn, Deny}, Unfixed: Warn, Guard: true}
	two.Doc.Source = "a report, by mail"
	return []Info{one, two}
}

func TestWriteRules(t *testing.T) {
	infos := exampleInfos()
	write := func(format string, infos []Info) string {
		var b bytes.Buffer
		if err := WriteRules(&b, format, infos); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	want := "RULE  KINDS            LEVEL               REQUIREMENT\n" +
		"one   Service,Ingress  fix, else deny      A Service must be fine.\n" +
		"two   Endpoints        warn; strict: deny  A Service must be fine.\n"
	if got := write(FormatText, infos); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	three := infos[1]
	three.ID, three.Levels, three.Milder, three.Status, three.Injects = "three", Same(Deny), Levels{Off, Fix}, true, InjectHost
	for _, part := range []string{
		"three  Endpoints  deny (milder: off; strict: fix, else warn)  A Service must be fine.\n",
	} {
		if got := write(FormatText, []Info{three, three}); !strings.Contains(got, part) {
			t.Errorf("no %q in\n%s", part, got)
		}
	}
	for _, part := range []string{
		"\nIt guards against a risk: whoever writes an object can not exempt it.\nWhat is a risk only together with something else",
		"\nIt judges what is written to the status, and nothing else.\nMended only where `inject` of the policy has 'host'.\n\nKinds:",
		"To exempt namespaces, write in the policy\n\n    exemptions:\n      - rules: [three]\n",
		"    kind: ClusterRole\n    metadata:\n      name: exempt-three\n    rules:\n      - apiGroups: [drawbridge.dev]\n        resources: [exemptions]\n        resourceNames: [three]\n        verbs: [use]\n",
	} {
		if got := write(FormatText, []Info{three}); !strings.Contains(got, part) {
			t.Errorf("no %q in\n%s", part, got)
		}
	}
	if got := write(FormatMarkdown, []Info{three}); !strings.Contains(got, "- Source: a report, by mail\n\nIt guards against") {
		t.Error(got)
	}
	if got := write(FormatJSON, []Info{three}); !strings.Contains(got, `"milder": {
      "baseline": "off",
      "strict": "fix"
    },`) || !strings.Contains(got, `"status": true`) {
		t.Error(got)
	}
	long := write(FormatText, infos[:1])
	for _, part := range []string{
		"one\n\nA Service must be fine.\n\nbecause", "Kinds:      Service, Ingress\n", "Level:      fix, else deny\n",
		"Exemption:  drawbridge.dev/allow-one: \"<reason>\"\n", "Source:     https://example.org/x\n",
		"\nInstead of\n\n    a: 1\n    b: 2\n\nwrite\n\n    a: <2>\n",
	} {
		if !strings.Contains(long, part) {
			t.Errorf("no %q in\n%s", part, long)
		}
	}
	for line := range strings.Lines(long) {
		if len(line) > 101 {
			t.Errorf("a line of %d characters: %s", len(line), line)
		}
	}
	if strings.Contains(long, "ClusterRole") {
		t.Error("a mistake is exempted by RBAC")
	}
	if got := write(FormatText, infos[1:]); !strings.Contains(got, "by the policy, or by the right to `use` it") {
		t.Error(got)
	}
	md := write(FormatMarkdown, infos)
	for _, part := range []string{
		"| [`one`](#one) | Service, Ingress | fix, else deny | A Service must be fine. |\n", "\n## two\n", "- Source: <https://example.org/x>\n",
		"- Source: a report, by mail\n", "```yaml\na: 1\nb: 2\n```\n",
	} {
		if !strings.Contains(md, part) {
			t.Errorf("no %q in\n%s", part, md)
		}
	}
	if got := write(FormatMarkdown, infos[:1]); !strings.HasPrefix(got, "## one\n") || strings.Contains(got, "| Rule |") {
		t.Error(got)
	}
	var back []map[string]any
	text := write(FormatJSON, infos)
	if err := json.Unmarshal([]byte(text), &back); err != nil {
		t.Fatal(err)
	}
	if len(back) != 2 || back[0]["good"] != "a: <2>\n" || back[1]["guard"] != true || back[1]["unfixed"] != "warn" ||
		back[1]["levels"].(map[string]any)["strict"] != "deny" || !strings.Contains(text, "a: <2>") {
		t.Error(text)
	}
	if got := write(FormatJSON, nil); got != "[]\n" {
		t.Errorf("%q", got)
	}
	if err := WriteRules(new(bytes.Buffer), "yaml", infos); err == nil || !strings.Contains(err.Error(), "unknown format 'yaml': must be 'text', 'markdown' or 'json'") {
		t.Error(err)
	}
}

func TestWriteInForce(t *testing.T) {
	infos := exampleInfos()
	infos[1].Milder = Levels{Off, Warn}
	c := parsed(t, "profile: strict\nrules: {one: warn}\nnamespaces: [{names: [team-a], profile: baseline, rules: {one: fix}}, {labels: env, rules: {two: deny}}]\n"+
		"exemptions: [{rules: [two], namespaces: [team-a], reason: until May | June}, {rules: [one], users: [alice], reason: x}]")
	in := func(namespace string, labels map[string]string) []InForce {
		var list []InForce
		for _, i := range infos {
			list = append(list, c.InForce(i, namespace, func(name string) *corev1.Namespace {
				if labels == nil {
					return nil
				}
				return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
			}))
		}
		return list
	}
	write := func(format string, infos []Info, in []InForce) string {
		var b bytes.Buffer
		if err := WriteInForce(&b, format, infos, in); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	for _, tt := range []struct {
		in   []InForce
		want string
	}{
		{in("", nil), "RULE  KINDS            LEVEL                FROM\n" +
			"one   Service,Ingress  warn                 rules\n" +
			"two   Endpoints        deny (milder: warn)  profile strict\n"},
		{in("team-a", nil), "RULE  KINDS            LEVEL                        FROM\n" +
			"one   Service,Ingress  fix, else deny               namespaces[0] (team-a)\n" +
			"two   Endpoints        warn (milder: off), exempt   profile baseline of namespaces[0] (team-a); exemptions: until May | June\n"},
		{in("x", map[string]string{"env": ""}), "RULE  KINDS            LEVEL  FROM\n" +
			"one   Service,Ingress  warn   rules\n" +
			"two   Endpoints        deny   namespaces[1] (labels env)\n"},
	} {
		if got := write(FormatText, infos, tt.in); strings.Join(strings.Fields(got), " ") != strings.Join(strings.Fields(tt.want), " ") {
			t.Errorf("%s\nwant\n%s", got, tt.want)
		}
	}
	if got := write(FormatText, infos[:1], in("team-a", nil)[:1]); !strings.HasPrefix(got, "one\n\n") ||
		!strings.HasSuffix(got, "\n\nThe level in force in namespace 'team-a' is: fix, else deny\nIt comes from: namespaces[0] (team-a)\n") {
		t.Error(got)
	}
	if got := write(FormatMarkdown, infos, in("team-a", nil)); !strings.Contains(got, "| `two` | Endpoints | warn (milder: off), exempt | profile baseline of namespaces[0] (team-a); exemptions: until May \\| June |\n") {
		t.Error(got)
	}
	var back []struct{ InForce InForce }
	if err := json.Unmarshal([]byte(write(FormatJSON, infos, in("team-a", nil))), &back); err != nil || back[1].InForce.Milder != Off || back[1].InForce.Exempt != "until May | June" {
		t.Errorf("%v %+v", err, back)
	}
	if WriteInForce(new(bytes.Buffer), "yaml", infos, in("", nil)) == nil {
		t.Error("an unknown format is written")
	}
}
