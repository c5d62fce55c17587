package policy

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	corev1 "k8s.io/api/core/v1"
)

// InForce is what a policy makes of a rule.
type InForce struct {
	// Namespace that it holds in; empty for every namespace that no entry of the policy names.
	Namespace string
	Level     Level
	// Milder is the level of what Pass.Mild reports; as Level where the rule has one level.
	Milder Level
	// From tells where the level comes from, as [Config.Explain] does.
	From string
	// Exempt is the reason for which the policy spares the whole namespace, empty where it does not.
	Exempt string
}

// InForce is what the policy makes of a rule in a namespace, which lookup gives; it may be nil, and gives nil for one
// that is not known. An empty namespace asks for what holds where no entry of `namespaces` matches.
func (c *Config) InForce(i Info, namespace string, lookup func(name string) *corev1.Namespace) InForce {
	flat := c
	if namespace != "" {
		flat = c.For(namespace, lookup)
	}
	in := InForce{Namespace: namespace}
	in.Level, in.From = flat.Explain(i.ID, i.Levels)
	in.Milder = in.Level
	if i.Milder != (Levels{}) {
		in.Milder = flat.Level(i.ID, i.Milder)
	}
	in.Exempt, _ = flat.Exempts(i.ID, namespace, "", nil)
	return in
}

// text is the level for a reader, with what fix falls back to.
func (in InForce) text(i Info) string {
	one := func(l Level) string {
		if l == Fix && i.Unfixed != Fix {
			return fmt.Sprintf("fix, else %s", i.Unfixed)
		}
		return l.String()
	}
	text := one(in.Level)
	if in.Milder != in.Level {
		text += " (milder: " + one(in.Milder) + ")"
	}
	if in.Exempt != "" {
		text += ", exempt"
	}
	return text
}

// from is where the level comes from, and the reason of an exemption.
func (in InForce) from() string {
	if in.Exempt != "" {
		return in.From + "; exemptions: " + in.Exempt
	}
	return in.From
}

// WriteInForce writes what a policy makes of rules, by the formats of WriteRules: as text one rule is told at length and
// several in a line each; JSON is that of WriteRules, with an object `inForce`. in has an entry for each of infos.
func WriteInForce(w io.Writer, format string, infos []Info, in []InForce) error {
	switch format {
	case FormatText:
		if len(infos) == 1 {
			if err := writeText(w, infos[0]); err != nil {
				return err
			}
			where := ""
			if in[0].Namespace != "" {
				where = fmt.Sprintf(" in namespace '%s'", in[0].Namespace)
			}
			_, err := fmt.Fprintf(w, "\nThe level in force%s is: %s\nIt comes from: %s\n", where, in[0].text(infos[0]), in[0].from())
			return err
		}
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(tw, "RULE\tKINDS\tLEVEL\tFROM")
		for n, i := range infos {
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", i.ID, strings.Join(i.Kinds, ","), in[n].text(i), in[n].from())
		}
		return tw.Flush()
	case FormatMarkdown:
		var b strings.Builder
		b.WriteString("| Rule | Kinds | Level | From |\n| --- | --- | --- | --- |\n")
		for n, i := range infos {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", i.ID, strings.Join(i.Kinds, ", "), in[n].text(i), strings.ReplaceAll(in[n].from(), "|", `\|`))
		}
		_, err := io.WriteString(w, b.String())
		return err
	case FormatJSON:
		list := make([]ruleJSON, len(infos))
		for n, i := range infos {
			list[n] = jsonOf(i)
			list[n].InForce = &inForceJSON{
				Namespace: in[n].Namespace, Level: in[n].Level, Milder: in[n].Milder, From: in[n].From, Exempt: in[n].Exempt,
			}
		}
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(list)
	}
	return unknownFormat(format)
}

// inForceJSON is InForce as it is printed.
type inForceJSON struct {
	Namespace string `json:"namespace"`
	Level     Level  `json:"level"`
	Milder    Level  `json:"milder"`
	From      string `json:"from"`
	Exempt    string `json:"exempt,omitempty"`
}
