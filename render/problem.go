package render

import (
	"cmp"
	"slices"
	"strings"
	"unicode"

	"drawbridge.dev/drawbridge/render/model"
)

// Kind sorts problems for metrics and for those who act on them.
type Kind string

// The kinds. The route of a problem is either left out, as if nobody had written it, or it stays and is answered 503
// (so that no shorter path and no wildcard gets its traffic); each kind says which.
const (
	// Denied: the policy denies the object; the route is left out.
	Denied Kind = "denied"
	// BadHost: no host name; its routes are left out.
	BadHost Kind = "bad-host"
	// BadPath: a path that HTTP does not have, or a regular expression; the route is left out.
	BadPath Kind = "bad-path"
	// BadAnnotation: a value that means nothing. It is ignored where a default serves, else the route is left out.
	BadAnnotation Kind = "bad-annotation"
	// BadBackend: no Service, no such port, no usable external name; the route stays. A backend that is no Service
	// at all is left out.
	BadBackend Kind = "bad-backend"
	// BadAddress: an endpoint that must not or can not be reached; it is left out, its route stays.
	BadAddress Kind = "bad-address"
	// BadCertificate: a TLS Secret that is missing or broken; the host is served without it.
	BadCertificate Kind = "bad-certificate"
	// Conflict: somebody else has the same path, certificate or default backend, and is older.
	Conflict Kind = "conflict"
	// NoServerName: TLS to an upstream whose certificate could be checked against nothing; the route stays.
	NoServerName Kind = "no-server-name"
	// NotSupported: something that this version does not do; the route is served without it, unless the message says
	// that it is left out, or answered with 503: so is a route whose restriction of access can not be kept.
	NotSupported Kind = "not-supported"
	// Notice: nothing is wrong, but a reader may expect otherwise.
	Notice Kind = "notice"
)

// Problem tells of something that is not served as it is written, and why.
type Problem struct {
	Kind Kind
	// Origin is the object and field at fault, printable as it is.
	Origin model.Origin
	// Message is one printable line.
	Message string
}

// String is the problem in one line: kind, object, field, message.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(string(p.Kind) + ": " + p.Origin.Kind + " " + p.Origin.Namespace + "/" + p.Origin.Name)
	if p.Origin.Field != "" {
		b.WriteString(" " + p.Origin.Field)
	}
	b.WriteString(": " + p.Message)
	return b.String()
}

func compareProblems(a, b Problem) int {
	return cmp.Or(
		cmp.Compare(a.Origin.Namespace, b.Origin.Namespace),
		cmp.Compare(a.Origin.Kind, b.Origin.Kind),
		cmp.Compare(a.Origin.Name, b.Origin.Name),
		cmp.Compare(a.Origin.Field, b.Origin.Field),
		cmp.Compare(a.Kind, b.Kind),
		cmp.Compare(a.Message, b.Message),
	)
}

func sortProblems(problems []Problem) []Problem {
	slices.SortFunc(problems, compareProblems)
	return slices.Clip(slices.Compact(problems))
}

// maxListed bounds the problems of one object that each of its hosts repeats: an object of a megabyte may have
// thousands of both.
const maxListed = 20

// abridge cuts a list of problems short and says so.
func abridge(problems []Problem, whole model.Origin) []Problem {
	if len(problems) <= maxListed {
		return problems
	}
	return append(problems[:maxListed:maxListed], Problem{problems[maxListed].Kind, whole, "there are more problems, which are not listed"})
}

// maxLine bounds what an object can put into a message, in bytes.
const maxLine = 600

// line is text as one printable line: no control characters, no invisible or direction-changing ones.
func line(s string) string {
	if len(s) > maxLine {
		s = strings.ToValidUTF8(s[:maxLine], "") + "..."
	}
	return strings.Map(func(r rune) rune {
		if r == ' ' || unicode.IsGraphic(r) && !unicode.IsSpace(r) && r != unicode.ReplacementChar {
			return r
		}
		return '?'
	}, strings.ToValidUTF8(s, "?"))
}

// quote is a short value in quotes, printable.
func quote(s string) string {
	if len(s) > 120 {
		s = strings.ToValidUTF8(s[:120], "") + "..."
	}
	return "'" + line(s) + "'"
}

// refusal tells why a route can not be what its author wrote.
type refusal struct {
	kind Kind
	text string
}

func refuse(kind Kind, text string) *refusal { return &refusal{kind, text} }
