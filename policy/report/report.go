// Package report writes what rules found in the formats that people, editors and CI systems read: text, JSON, SARIF
// 2.1.0, JUnit XML and the workflow commands of GitHub Actions.
//
// The objects may come from files, where each finding has a file, a line and a column, or from a cluster, where its
// place is the object itself. What is written holds names and texts that anybody may have chosen: whatever they are,
// the JSON is valid, the XML is well-formed, and a finding is one line where the format has lines.
package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/manifest"
)

// The formats of Write.
const (
	Text   = "text"
	JSON   = "json"
	SARIF  = "sarif"
	JUnit  = "junit"
	GitHub = "github"
)

// Report is what was judged and what came of it. The zero value is an empty one.
type Report struct {
	// Version is that of drawbridge.
	Version string
	// Rules are the rules that judged; SARIF describes them.
	Rules []policy.Info
	// Judged are the objects that were judged, with and without findings.
	Judged []Subject
	// Findings are in the order of Add until Sort is called.
	Findings []Finding
	// Unreadable is what could not be read and was not judged.
	Unreadable []Unreadable
}

// Subject is one object that was judged.
type Subject struct {
	Object Object
	// Source is where the object begins; zero for one of a cluster.
	Source Source
}

// Object names an object.
type Object struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace"`
	Name       string `json:"name"`
}

// String is namespace/kind/name, without the namespace where there is none.
func (o Object) String() string {
	if o.Namespace == "" {
		return o.Kind + "/" + o.Name
	}
	return o.Namespace + "/" + o.Kind + "/" + o.Name
}

// Source is a place in a file. Lines and columns count from 1, columns in characters. The end is the column behind the
// last character, and 0 where it is not known. The zero value is that of an object of a cluster.
type Source struct {
	File      string `json:"file"`
	Line      int    `json:"line"`
	Column    int    `json:"column"`
	EndLine   int    `json:"endLine,omitzero"`
	EndColumn int    `json:"endColumn,omitzero"`
}

// Finding is one finding of a rule.
type Finding struct {
	Rule   string       `json:"rule"`
	Level  policy.Level `json:"level"`
	Object Object       `json:"object"`
	Field  string       `json:"field"`
	// Message is what is wrong and what to write instead, in one line that ends with the rule; the field is not in it.
	Message   string `json:"message"`
	Source    Source `json:"source,omitzero"`
	Exempt    bool   `json:"exempt"`
	Ratcheted bool   `json:"ratcheted"`
	// ExemptBy and Reason tell by what right a finding is exempt, and why.
	ExemptBy policy.ExemptBy `json:"exemptBy,omitempty"`
	Reason   string          `json:"reason,omitempty"`

	subject  int    // index in Judged
	identity string // what stays the same while the text around it moves
}

// Unreadable is an input, or a part of one, that could not be read.
type Unreadable struct {
	// File is empty where it is something of a cluster.
	File string `json:"file,omitempty"`
	// Line and Column are 0 where the whole file is meant, Column also where only the line is known.
	Line   int    `json:"line,omitzero"`
	Column int    `json:"column,omitzero"`
	Field  string `json:"field,omitempty"`
	Detail string `json:"message"`
}

func (u Unreadable) source() Source { return Source{File: u.File, Line: u.Line, Column: u.Column} }

func (u Unreadable) text() string {
	if u.Field == "" {
		return manifest.OneLine(u.Detail)
	}
	return manifest.OneLine(u.Field + ": " + u.Detail)
}

// Add adds an object that was judged, and what came of it. at gives the place of a field, and of the object for the
// empty path; it is nil for an object of a cluster.
func (r *Report) Add(o policy.Object, res policy.Result, at func(field string) Source) {
	if at == nil {
		at = func(string) Source { return Source{} }
	}
	object := nameOf(o)
	r.Judged = append(r.Judged, Subject{Object: object, Source: at("")})
	for _, list := range [...][]policy.Finding{res.Denied, res.Unheeded, res.Warned, res.Fixed, res.Exempt} {
		for _, f := range list {
			finding := Finding{
				Rule: f.Rule, Level: f.Level, Object: object, Field: f.Err.Field, Message: f.Cause(), Source: at(f.Err.Field),
				Exempt: f.Exempt, Ratcheted: f.Ratcheted, ExemptBy: f.By, Reason: f.Reason,
				subject: len(r.Judged) - 1,
			}
			finding.identity = strings.Join([]string{
				f.Rule, object.String(), withoutIndices(f.Err.Field), string(f.Err.Type), fmt.Sprint(f.Err.BadValue),
			}, "\x00")
			r.Findings = append(r.Findings, finding)
		}
	}
}

// nameOf names an object. Those that come from a cluster by a typed client do not tell their kind.
func nameOf(o policy.Object) Object {
	apiVersion, kind := o.GetObjectKind().GroupVersionKind().ToAPIVersionAndKind()
	if kind == "" {
		switch o.(type) {
		case *corev1.Service:
			apiVersion, kind = "v1", "Service"
		case *corev1.Endpoints:
			apiVersion, kind = "v1", "Endpoints"
		case *discoveryv1.EndpointSlice:
			apiVersion, kind = "discovery.k8s.io/v1", "EndpointSlice"
		case *networkingv1.Ingress:
			apiVersion, kind = "networking.k8s.io/v1", "Ingress"
		case *corev1.ConfigMap:
			apiVersion, kind = "v1", "ConfigMap"
		}
	}
	name := o.GetName()
	if name == "" {
		name = o.GetGenerateName()
	}
	return Object{APIVersion: apiVersion, Kind: kind, Namespace: o.GetNamespace(), Name: name}
}

// withoutIndices makes a path that stays the same as items of lists come and go.
func withoutIndices(path string) string {
	var b strings.Builder
	for path != "" {
		open := strings.IndexByte(path, '[')
		if open < 0 {
			break
		}
		end := strings.IndexByte(path[open:], ']')
		if end < 0 {
			break
		}
		end += open
		b.WriteString(path[:open+1])
		if key := path[open+1 : end]; strings.Trim(key, "0123456789") != "" {
			b.WriteString(key)
		}
		path = path[end:]
	}
	b.WriteString(path)
	return b.String()
}

// Sort puts findings and what is unreadable in the order of files, lines and columns, and those of a cluster in that
// of namespaces, kinds and names.
func (r *Report) Sort() {
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(a.Source.compare(b.Source), cmp.Compare(a.Object.Namespace, b.Object.Namespace),
			cmp.Compare(a.Object.Kind, b.Object.Kind), cmp.Compare(a.Object.Name, b.Object.Name), cmp.Compare(a.Rule, b.Rule))
	})
	slices.SortStableFunc(r.Unreadable, func(a, b Unreadable) int { return a.source().compare(b.source()) })
}

func (s Source) compare(o Source) int {
	return cmp.Or(cmp.Compare(s.File, o.File), cmp.Compare(s.Line, o.Line), cmp.Compare(s.Column, o.Column))
}

// String is file:line:column, as far as they are known.
func (s Source) String() string {
	text := s.File
	if s.Line > 0 {
		text += fmt.Sprintf(":%d", s.Line)
		if s.Column > 0 {
			text += fmt.Sprintf(":%d", s.Column)
		}
	}
	return manifest.OneLine(text)
}

// text is the finding without its place: field, what is wrong, what to write instead, rule.
func (f Finding) text() string {
	if f.Field == "" {
		return manifest.OneLine(f.Message)
	}
	return manifest.OneLine(shorten(f.Field, maxField) + ": " + f.Message)
}

// line is the text with its place before it.
func (u Unreadable) line() string {
	if u.File == "" {
		return u.text()
	}
	return manifest.OneLine(u.source().String() + ": " + u.text())
}

// place is file:line:column, or the object's name where it has no file.
func (f Finding) place() string {
	if f.Source.File == "" {
		return manifest.OneLine(f.Object.String())
	}
	return f.Source.String()
}

// maxField is the most characters of a field's path in a line; the key of an annotation may be long.
const maxField = 100

func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	runes := []rune(s)
	if len(runes) <= n {
		return s
	}
	return string(runes[:n-1]) + "…"
}

// Reaches tells whether a finding is as bad as a level: nothing is worse than Deny, and Warn is worse than Fix, which
// drawbridge mends. An exempt finding reaches none.
func (f Finding) Reaches(level policy.Level) bool {
	return !f.Exempt && severity(f.Level) >= severity(level)
}

// Reaches tells whether any finding does.
func (r *Report) Reaches(level policy.Level) bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Reaches(level) })
}

func severity(l policy.Level) int {
	switch l {
	case policy.Deny:
		return 3
	case policy.Warn:
		return 2
	case policy.Fix:
		return 1
	}
	return 0
}

// Count is how many findings of a level there are, exempt ones left out.
func (r *Report) Count(level policy.Level) int {
	n := 0
	for _, f := range r.Findings {
		if f.Level == level && !f.Exempt {
			n++
		}
	}
	return n
}

// Options says how a report is written. The zero value will do.
type Options struct {
	// Color colors text for a terminal.
	Color bool
	// Root is the folder that relative file names are relative to, as an absolute path with slashes. SARIF writes names
	// that lead out of it as absolute ones; empty means that they can not be told, and all are written as they are.
	Root string
	// FailOn is the level from which on JUnit calls a test failed; zero means Deny.
	FailOn policy.Level
}

// Write writes a report in a format. An unknown format is an error.
func Write(w io.Writer, format string, r *Report, opts Options) error {
	switch format {
	case Text:
		return writeText(w, r, opts)
	case JSON:
		return writeJSON(w, r)
	case SARIF:
		return writeSARIF(w, r, opts)
	case JUnit:
		return writeJUnit(w, r, opts)
	case GitHub:
		return writeGitHub(w, r)
	}
	return fmt.Errorf("unknown format '%s': must be '%s', '%s', '%s', '%s' or '%s'", format, Text, JSON, SARIF, JUnit, GitHub)
}
