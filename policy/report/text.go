package report

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"drawbridge.dev/drawbridge/policy"
)

// The colors of levels, as terminals know them.
const (
	red    = "\x1b[31m"
	yellow = "\x1b[33m"
	cyan   = "\x1b[36m"
	dim    = "\x1b[2m"
	plain  = "\x1b[0m"
)

// writeText writes a line for each finding but the exempt ones: place, level, field, what is wrong, rule.
func writeText(w io.Writer, r *Report, opts Options) error {
	out := bufio.NewWriter(w)
	for _, f := range r.Findings {
		if f.Exempt {
			continue
		}
		level, text := f.Level.String(), f.text()
		if opts.Color {
			level = levelColor(f.Level) + level + plain
			if rest, ok := strings.CutSuffix(text, "("+f.Rule+")"); ok {
				text = rest + dim + "(" + f.Rule + ")" + plain
			}
		}
		fmt.Fprintf(out, "%s: %s: %s\n", f.place(), level, text)
	}
	return out.Flush()
}

func levelColor(l policy.Level) string {
	switch l {
	case policy.Deny:
		return red
	case policy.Warn:
		return yellow
	}
	return cyan
}

// writeJSON writes everything as one object; lists are never null.
func writeJSON(w io.Writer, r *Report) error {
	out := bufio.NewWriter(w)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(struct {
		Version    string       `json:"version"`
		Findings   []Finding    `json:"findings"`
		Objects    int          `json:"objects"`
		Unreadable []Unreadable `json:"unreadable"`
	}{r.Version, append([]Finding{}, r.Findings...), len(r.Judged), append([]Unreadable{}, r.Unreadable...)})
	if err != nil {
		return err
	}
	return out.Flush()
}
