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
	return fmt.Errorf("unknown format '%s': must be '%s', '%s' or '%s'", format, FormatText, FormatMarkdown, FormatJSON)
}

// levelText is the level of a rule for a reader: one word where the profiles agree, with what fix falls back to.
func levelText(i Info) string {
	one := func(l Level) string {
		if l == Fix && i.Unfixed != Fix {
			return fmt.Sprintf("fix, else %s", i.Unfixed)
		}
		return l.String()
	}
	if i.Levels.Baseline == i.Levels.Strict {
		return one(i.Levels.Baseline)
	}
	return one(i.Levels.Baseline) + "; strict: " + one(i.Levels.Strict)
}

// exemption is what a reader does to be spared of a rule.
func exemption(i Info) string {
	if i.Guard {
		return "in the policy only: this is a guard"
	}
	return AllowPrefix + i.ID + `: "<reason>"`
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
	fmt.Fprintf(&b, "\nKinds:      %s\nLevel:      %s\nExemption:  %s\nSince:      %s\nSource:     %s\n",
		strings.Join(i.Kinds, ", "), levelText(i), exemption(i), i.Doc.Since, i.Doc.Source)
	fmt.Fprintf(&b, "\nInstead of\n\n%s\nwrite\n\n%s", indent(i.Doc.Bad), indent(i.Doc.Good))
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
			"it, and does what stands after \"else\" where there is no single answer. The policy may set another level for a rule.\n" +
			"Something that a stored object already has never stops an update of it.\n")
	}
	for _, i := range infos {
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "## %s\n\n%s\n\n%s\n\n", i.ID, wrap(i.Doc.Summary, 120), wrap(i.Doc.Why, 120))
		fmt.Fprintf(&b, "- Kinds: %s\n- Level: %s\n- Exemption: %s\n- Since: %s\n- Source: %s\n", strings.Join(i.Kinds, ", "),
			levelText(i), markdownExemption(i), i.Doc.Since, markdownSource(i.Doc.Source))
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
	ID      string   `json:"id"`
	Kinds   []string `json:"kinds"`
	Summary string   `json:"summary"`
	Why     string   `json:"why"`
	Bad     string   `json:"bad"`
	Good    string   `json:"good"`
	Since   string   `json:"since"`
	Source  string   `json:"source"`
	Levels  struct {
		Baseline Level `json:"baseline"`
		Strict   Level `json:"strict"`
	} `json:"levels"`
	Unfixed Level `json:"unfixed"`
	Guard   bool  `json:"guard"`
}

func writeJSON(w io.Writer, infos []Info) error {
	list := make([]ruleJSON, len(infos))
	for n, i := range infos {
		list[n] = ruleJSON{
			ID: i.ID, Kinds: slices.Clone(i.Kinds), Summary: i.Doc.Summary, Why: i.Doc.Why, Bad: i.Doc.Bad, Good: i.Doc.Good,
			Since: i.Doc.Since, Source: i.Doc.Source, Unfixed: i.Unfixed, Guard: i.Guard,
		}
		list[n].Levels.Baseline, list[n].Levels.Strict = i.Levels.Baseline, i.Levels.Strict
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(list)
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
