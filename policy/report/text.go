package report

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/manifest"
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
		fmt.Fprintf(out, "%s%s: %s\n", manifest.OneLine(f.place()+": "), level, text)
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
	return encodeJSON(w, struct {
		Version    string       `json:"version"`
		Findings   []Finding    `json:"findings"`
		Objects    int          `json:"objects"`
		Unreadable []Unreadable `json:"unreadable"`
	}{r.Version, append([]Finding{}, r.Findings...), len(r.Judged), append([]Unreadable{}, r.Unreadable...)})
}

// encodeJSON writes a value for people and programs to read, and for a CI system to pass on: GitHub Actions and others
// look for commands to them in every line that a step prints, wherever in it they stand.
func encodeJSON(w io.Writer, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(ciCommand.ReplaceAll(b.Bytes(), []byte(`#\u0023$1`)))
	return err
}

// ciCommand is what begins such a command; '#' stands in strings only.
var ciCommand = regexp.MustCompile(`(?i)##([a-z]*\[)`)
