package policy

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
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
	if got := write(FormatText, infos[1:]); !strings.Contains(got, "in the policy only: this is a guard") {
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
