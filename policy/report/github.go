package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/manifest"
)

// What a workflow command can not hold as it is; the runner turns it back
// (https://github.com/actions/toolkit/blob/main/packages/core/src/command.ts).
var (
	commandData     = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	commandProperty = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

// writeGitHub writes a workflow command for each finding but the exempt ones, and for what could not be read. GitHub
// makes annotations of them, at the lines of the change where they are among them.
func writeGitHub(w io.Writer, r *Report) error {
	out := bufio.NewWriter(w)
	for _, u := range r.Unreadable {
		command(out, "error", "can not be read", u.source(), u.text(), u.line())
	}
	for _, f := range r.Findings {
		if !f.Exempt {
			command(out, githubLevel(f.Level), f.Rule, f.Source, f.text(), placed(f))
		}
	}
	return out.Flush()
}

// placed is the text of a finding that is in no file: with its object, because the lines of standard input are gone by
// the time that somebody reads of them.
func placed(f Finding) string {
	text := manifest.OneLine(f.Object.String()) + ": " + f.text()
	if f.Source.File != "" {
		text = f.Source.String() + ": " + text
	}
	return text
}

func githubLevel(l policy.Level) string {
	switch l {
	case policy.Deny:
		return "error"
	case policy.Fix:
		return "notice"
	}
	return "warning"
}

// command writes a command with a text, which is placed where GitHub can not show its place.
func command(w io.Writer, level, title string, at Source, text, placed string) {
	var properties []string
	set := func(name, value string) {
		properties = append(properties, name+"="+commandProperty.Replace(value))
	}
	if inFile(at) {
		set("file", manifest.OneLine(at.File))
		number := func(name string, n int) {
			if n > 0 {
				set(name, fmt.Sprint(n))
			}
		}
		number("line", at.Line)
		number("col", at.Column)
		if at.EndLine == at.Line { // GitHub takes no columns for several lines
			number("endLine", at.EndLine)
			number("endColumn", at.EndColumn)
		}
	} else {
		text = placed
	}
	set("title", title)
	fmt.Fprintf(w, "::%s %s::%s\n", level, strings.Join(properties, ","), commandData.Replace(text))
}

// inFile tells that a place is in a file, rather than on standard input or in a cluster.
func inFile(at Source) bool { return at.File != "" && at.File != manifest.StdinName }
