package report

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strings"

	"drawbridge.dev/drawbridge/policy"
)

// The elements are those that Jenkins, GitLab and Azure agree on. GitLab knows a test again by classname and name,
// and shows the text of a failure rather than its message (lib/gitlab/ci/parsers/test/junit.rb).
type junitSuites struct {
	XMLName  xml.Name      `xml:"testsuites"`
	Name     string        `xml:"name,attr"`
	Tests    int           `xml:"tests,attr"`
	Failures int           `xml:"failures,attr"`
	Errors   int           `xml:"errors,attr"`
	Suites   []*junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string       `xml:"name,attr"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Errors   int          `xml:"errors,attr"`
	Skipped  int          `xml:"skipped,attr"`
	Time     string       `xml:"time,attr"`
	Cases    []*junitCase `xml:"testcase"`
}

type junitCase struct {
	Name      string       `xml:"name,attr"`
	Classname string       `xml:"classname,attr"`
	File      string       `xml:"file,attr,omitempty"`
	Time      string       `xml:"time,attr"`
	Failure   *junitResult `xml:"failure"`
	Error     *junitResult `xml:"error"`
	Output    string       `xml:"system-out,omitempty"`
}

type junitResult struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr"`
	Text    string `xml:",chardata"`
}

// writeJUnit writes a suite for each file and a test for each object that was judged, which fails where a finding
// reaches opts.FailOn; the other findings are its output. What could not be read is a test that had an error.
func writeJUnit(w io.Writer, r *Report, opts Options) error {
	failOn := opts.FailOn
	if failOn == 0 {
		failOn = policy.Deny
	}
	top := junitSuites{Name: "drawbridge"}
	suites := map[string]*junitSuite{}
	names := map[[2]string]int{}
	add := func(at Source, suite, class, name string) (*junitSuite, *junitCase) {
		s := suites[suite]
		if s == nil {
			s = &junitSuite{Name: suite, Time: "0"}
			suites[suite] = s
			top.Suites = append(top.Suites, s)
		}
		key := [2]string{class, name}
		if names[key]++; names[key] > 1 {
			name = fmt.Sprintf("%s #%d", name, names[key])
		}
		c := &junitCase{Name: name, Classname: class, File: at.File, Time: "0"}
		s.Tests++
		top.Tests++
		s.Cases = append(s.Cases, c)
		return s, c
	}
	for _, u := range r.Unreadable {
		s, c := add(u.source(), cmp.Or(u.File, "cluster"), class(u.source(), Object{}), "can be read")
		s.Errors++
		top.Errors++
		c.Error = &junitResult{Message: u.text(), Type: "unreadable", Text: u.line()}
	}
	of := make([][]Finding, len(r.Judged))
	for _, f := range r.Findings {
		if f.subject < len(of) {
			of[f.subject] = append(of[f.subject], f)
		}
	}
	for i, j := range r.Judged {
		s, c := add(j.Source, cmp.Or(j.Source.File, j.Object.Namespace, "cluster"), class(j.Source, j.Object), j.Object.String())
		var failed, told []string
		for _, f := range of[i] {
			level := f.Level.String()
			if f.Exempt {
				level = "exempt"
			}
			line := fmt.Sprintf("%s: %s: %s", f.place(), level, f.text())
			if !f.Reaches(failOn) {
				told = append(told, line)
				continue
			}
			if c.Failure == nil {
				c.Failure = &junitResult{Message: f.text(), Type: f.Rule}
				s.Failures++
				top.Failures++
			}
			failed = append(failed, line)
		}
		if c.Failure != nil {
			c.Failure.Text = strings.Join(failed, "\n")
		}
		c.Output = strings.Join(told, "\n")
	}
	text, err := xml.MarshalIndent(top, "", "  ")
	if err != nil {
		return err
	}
	text = ciCommand.ReplaceAll(text, []byte("#&#35;$1"))
	_, err = fmt.Fprintf(w, "%s%s\n", xml.Header, text)
	return err
}

// class is what a test belongs to: its file without the ending, in which Jenkins would see a package and a class, or
// the namespace and kind.
func class(at Source, o Object) string {
	if at.File == "" {
		return cmp.Or(o.Namespace, "cluster") + "." + o.Kind
	}
	name := filepath.ToSlash(at.File)
	return strings.TrimSuffix(name, path.Ext(name))
}
