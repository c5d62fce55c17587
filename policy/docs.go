package policy

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// The formats of WriteRules.
const (
	FormatText     = "text"
	FormatMarkdown = "markdown"
	FormatJSON     = "json"
)

// WriteRules writes what is known of rules. As text one rule is told at length and several are listed in a line
// each; markdown tells all at length, several below a table of them; JSON is an array of objects. An unknown format
// is an error.
func WriteRules(w io.Writer, format string, infos []Info) error {
	switch format {
	case FormatText:
		if len(infos) == 1 {
			return writeText(w, infos[0])
		}
		return writeList(w, infos)
	case FormatMarkdown:
		return writeMarkdown(w, infos)
	case FormatJSON:
		return writeJSON(w, infos)
	}
	return unknownFormat(format)
}

func unknownFormat(format string) error {
	return fmt.Errorf("unknown format '%s': must be '%s', '%s' or '%s'", format, FormatText, FormatMarkdown, FormatJSON)
}

// levelText is the level of a rule for a reader: one word where the profiles agree, with what fix falls back to, and the
// milder levels in parentheses.
func levelText(i Info) string {
	one := func(l Level) string {
		if l == Fix && i.Unfixed != Fix {
			return fmt.Sprintf("fix, else %s", i.Unfixed)
		}
		return l.String()
	}
	both := func(l Levels) string {
		if l.Baseline == l.Strict {
			return one(l.Baseline)
		}
		return one(l.Baseline) + "; strict: " + one(l.Strict)
	}
	text := both(i.Levels)
	if i.Milder != (Levels{}) && i.Milder != i.Levels {
		text += " (milder: " + both(i.Milder) + ")"
	}
	return text
}

// about are the marks of a rule, a sentence each.
func about(i Info) []string {
	var list []string
	if i.Guard {
		list = append(list, "It guards against a risk: whoever writes an object can not exempt it.")
	}
	if i.Milder != (Levels{}) && i.Milder != i.Levels {
		list = append(list, "What is a risk only together with something else has the milder level; a level that the policy names counts for both.")
	}
	if i.Status {
		list = append(list, "It judges what is written to the status, and nothing else.")
	}
	if i.Injects != "" {
		list = append(list, fmt.Sprintf("Mended only where `inject` of the policy has '%s'.", i.Injects))
	}
	return list
}

// exemption is what a reader does to be spared of a rule, in a line.
func exemption(i Info) string {
	if i.Guard {
		return "by the policy, or by the right to `use` it"
	}
	return AllowPrefix + i.ID + `: "<reason>"`
}

// policyExemption is what an administrator writes into the policy.
func policyExemption(i Info) string {
	return "exemptions:\n  - rules: [" + i.ID + "]\n    namespaces: [<namespace>]\n    reason: <why>\n"
}

// rightToUse is what an administrator applies so that a user may exempt what he writes from a Guard.
func rightToUse(i Info) string {
	return "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: exempt-" + i.ID + "\nrules:\n" +
		"  - apiGroups: [drawbridge.dev]\n    resources: [exemptions]\n    resourceNames: [" + i.ID + "]\n    verbs: [use]\n"
}

func writeList(w io.Writer, infos []Info) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "RULE\tKINDS\tLEVEL\tREQUIREMENT")
	for _, i := range infos {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", i.ID, strings.Join(i.Kinds, ","), levelText(i), i.Doc.Summary)
	}
	return tw.Flush()
}

func writeText(w io.Writer, i Info) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n%s\n\n%s\n", i.ID, wrap(i.Doc.Summary, 100), wrap(i.Doc.Why, 100))
	for n, sentence := range about(i) {
		if n == 0 {
			b.WriteByte('\n')
		}
		b.WriteString(wrap(sentence, 100) + "\n")
	}
	fmt.Fprintf(&b, "\nKinds:      %s\nLevel:      %s\nExemption:  %s\nSince:      %s\nSource:     %s\n",
		strings.Join(i.Kinds, ", "), levelText(i), exemption(i), i.Doc.Since, i.Doc.Source)
	fmt.Fprintf(&b, "\nInstead of\n\n%s\nwrite\n\n%s", indent(i.Doc.Bad), indent(i.Doc.Good))
	fmt.Fprintf(&b, "\nTo exempt namespaces, write in the policy\n\n%s", indent(policyExemption(i)))
	if i.Guard {
		fmt.Fprintf(&b, "\nTo let somebody exempt what he writes, bind him by a ClusterRoleBinding, or within a namespace by a\nRoleBinding, to\n\n%s",
			indent(rightToUse(i)))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeMarkdown(w io.Writer, infos []Info) error {
	var b strings.Builder
	if len(infos) != 1 {
		b.WriteString("# Rules\n\n" +
			"Generated from the rules: `go generate ./policy/rules`. On a terminal: `drawbridge rules [ID]`.\n\n" +
			"| Rule | Kinds | Level | Requirement |\n| --- | --- | --- | --- |\n")
		for _, i := range infos {
			fmt.Fprintf(&b, "| [`%s`](#%s) | %s | %s | %s |\n", i.ID, i.ID, strings.Join(i.Kinds, ", "), levelText(i), i.Doc.Summary)
		}
		b.WriteString("\nThe level is that of both profiles where one is given. *deny* refuses the object; *warn* tells of it; *fix* mends\n" +
			"it, and does what stands after \"else\" where there is no single answer. The *milder* level is that of what is a risk only\n" +
			"together with something else. The policy may set another level for a rule, which then counts for both.\n" +
			"Something that a stored object already has never stops an update of it.\n\n" +
			"An author exempts his object by the annotation that stands at the rule, with a reason. Not from a guard: that is\n" +
			"exempted by `exemptions` of the policy, or by who has the right to `use` it, which `drawbridge rules ID` shows.\n")
	}
	for _, i := range infos {
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "## %s\n\n%s\n\n%s\n\n", i.ID, wrap(i.Doc.Summary, 120), wrap(i.Doc.Why, 120))
		fmt.Fprintf(&b, "- Kinds: %s\n- Level: %s\n- Exemption: %s\n- Since: %s\n- Source: %s\n", strings.Join(i.Kinds, ", "),
			levelText(i), markdownExemption(i), i.Doc.Since, markdownSource(i.Doc.Source))
		if sentences := about(i); len(sentences) > 0 {
			b.WriteString("\n" + wrap(strings.Join(sentences, " "), 120) + "\n")
		}
		fmt.Fprintf(&b, "\nInstead of\n\n```yaml\n%s```\n\nwrite\n\n```yaml\n%s```\n", i.Doc.Bad, i.Doc.Good)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func markdownExemption(i Info) string {
	if i.Guard {
		return exemption(i)
	}
	return "`" + exemption(i) + "`"
}

func markdownSource(s string) string {
	if strings.HasPrefix(s, "https://") && !strings.ContainsAny(s, " ,") {
		return "<" + s + ">"
	}
	return s
}

type ruleJSON struct {
	ID      string     `json:"id"`
	Kinds   []string   `json:"kinds"`
	Summary string     `json:"summary"`
	Why     string     `json:"why"`
	Bad     string     `json:"bad"`
	Good    string     `json:"good"`
	Since   string     `json:"since"`
	Source  string     `json:"source"`
	Levels  levelsJSON `json:"levels"`
	// Milder are the levels of what is a risk only together with something else; absent where the rule has one level.
	Milder  *levelsJSON `json:"milder,omitempty"`
	Unfixed Level       `json:"unfixed"`
	Guard   bool        `json:"guard"`
	Status  bool        `json:"status"`
	Injects string      `json:"injects,omitempty"`
	// InForce is what the policy makes of it, where one was asked for.
	InForce *inForceJSON `json:"inForce,omitempty"`
}

type levelsJSON struct {
	Baseline Level `json:"baseline"`
	Strict   Level `json:"strict"`
}

func writeJSON(w io.Writer, infos []Info) error {
	list := make([]ruleJSON, len(infos))
	for n, i := range infos {
		list[n] = jsonOf(i)
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(list)
}

func jsonOf(i Info) ruleJSON {
	r := ruleJSON{
		ID: i.ID, Kinds: slices.Clone(i.Kinds), Summary: i.Doc.Summary, Why: i.Doc.Why, Bad: i.Doc.Bad, Good: i.Doc.Good,
		Since: i.Doc.Since, Source: i.Doc.Source, Unfixed: i.Unfixed, Guard: i.Guard, Status: i.Status, Injects: i.Injects,
		Levels: levelsJSON(i.Levels),
	}
	if i.Milder != (Levels{}) {
		r.Milder = new(levelsJSON(i.Milder))
	}
	return r
}

// wrap breaks text at spaces, so that no line that can be broken is longer than width.
func wrap(text string, width int) string {
	var b strings.Builder
	line := 0
	for n, word := range strings.Fields(text) {
		switch {
		case n == 0:
		case line+1+len(word) > width:
			b.WriteByte('\n')
			line = 0
		default:
			b.WriteByte(' ')
			line++
		}
		b.WriteString(word)
		line += len(word)
	}
	return b.String()
}

func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString("    " + line)
	}
	return b.String()
}
