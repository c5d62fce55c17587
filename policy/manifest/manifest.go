// Package manifest reads Kubernetes manifests from text, tells the line and column of every field, and mends objects by
// editing the text that they came from.
//
// Offline text has what a cluster never shows: comments, an order, several documents, lists of objects, versions of
// the API that no server serves any longer. [Read] makes typed objects of it and [File.Mend] puts mended objects
// back with everything else as it was: an edit is verified by reading the result again, so that the outcome is
// either exactly the object that was asked for or an error and the text unchanged.
//
// Text may come from anybody. Reading is bounded in size, depth and expansion of aliases, and never panics.
package manifest

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"

	"drawbridge.dev/drawbridge/policy"
)

// Bounds of what is read. A Kubernetes object is smaller than 2 MiB, because etcd takes no more.
const (
	// MaxSize is the largest file that is read, in bytes, and the most that the aliases of a document may expand to.
	MaxSize = 16 << 20
	// maxDepth is how deep an object may nest.
	maxDepth = 100
	// maxExpanded is how many nodes the aliases and merge keys of a file may expand to. Without them a file can not
	// have more nodes than characters.
	maxExpanded = 1 << 18
	// maxDuplicates is how many duplicate fields of one object are told.
	maxDuplicates = 10
	// maxDocuments is how many documents a file may hold.
	maxDocuments = 50_000
)

// DefaultNamespace is where an object without a namespace is taken to live.
const DefaultNamespace = "default"

// Options says how text is read.
type Options struct {
	// Namespace is given to namespaced objects that name none; empty means DefaultNamespace.
	Namespace string
	// Patterns has Load take a path that does not exist for a pattern, where it can be one.
	Patterns bool
}

func (o Options) namespace() string { return cmp.Or(o.Namespace, DefaultNamespace) }

// File is one text and what was read from it.
type File struct {
	// Name is what positions and errors call it.
	Name   string
	Source []byte
	// Objects are the readable objects of the kinds that drawbridge knows, in the order of the text.
	Objects []*Object
	// Passed counts the objects of other kinds.
	Passed int
	// Errors tells of what could not be read, by line; the rest of the file was read all the same.
	Errors []*Error

	docs     []*document
	opts     Options
	expanded int
}

// Object is one object of a file.
type Object struct {
	// Object is of the type that the current version of the API has, TypeMeta set: *corev1.Service, *corev1.Endpoints,
	// *discoveryv1.EndpointSlice or *networkingv1.Ingress, which Review judges; or *networkingv1.IngressClass,
	// *corev1.Secret, *corev1.ConfigMap, *corev1.Namespace, which others refer to. A namespace that the text leaves
	// out is filled in.
	Object policy.Object
	// APIVersion is the one that the text has.
	APIVersion string
	Kind       string
	File       string
	// Document is the index of its document in the file, from 0.
	Document int
	// Judged tells that Review has rules for the object: for its kind, or for the ConfigMap of the policy.
	Judged bool
	// Legacy tells that the text has a version of the API that became networking.k8s.io/v1.
	Legacy bool

	doc    *document
	node   *yaml.Node
	parent *yaml.Node // the list that it is an item of, nil where it is a document of its own
	keys   keyIndex
}

// Line is the line of a field in the whole file, from 1. path is spelled as field.Path spells it, for the current
// version of the API whatever the text has; the line of a field that is not there is that of its nearest parent, and
// that of the empty path is where the object begins.
func (o *Object) Line(path string) int { return o.Position(path).Line }

// Position is a place in a file, both counted from 1. A column counts characters, of which a tab is one, as the position
// that editors are told does. Column is 0 where only the line is known, and both are where the whole file is meant.
type Position struct{ Line, Column int }

// Position is where Line is, with its column: of the field's name, or of the item's first character.
func (o *Object) Position(path string) Position {
	from, _ := o.Span(path)
	return from
}

// Span is the stretch of text that names a field and says its value, as far as it is on one line; to is behind its last
// character, and zero where the end is not known. The field is found as Line finds it. What was found is kept for the
// next question, so that only one goroutine at a time may ask about the objects of a file.
func (o *Object) Span(path string) (from, to Position) {
	if o.Legacy {
		path = legacyPath(path)
	}
	if o.keys == nil {
		o.keys = keyIndex{}
	}
	at, value := locateValue(o.node, path, o.keys)
	from = o.doc.position(at)
	if at == o.node {
		return from, Position{}
	}
	return from, o.doc.spanEnd(at, value, from)
}

func (p Position) compare(q Position) int {
	return cmp.Or(cmp.Compare(p.Line, q.Line), cmp.Compare(p.Column, q.Column))
}

// Error tells what can not be read, or not be edited, and where.
type Error struct {
	File string
	Position
	// Field is a field's path, empty where no field is meant.
	Field  string
	Detail string
	// Err is the cause where there is one.
	Err error
}

// Error is one line: file, line and column, field, what is wrong.
func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File)
		if e.Line > 0 {
			fmt.Fprintf(&b, ":%d", e.Line)
			if e.Column > 0 {
				fmt.Fprintf(&b, ":%d", e.Column)
			}
		}
		b.WriteString(": ")
	}
	if e.Field != "" {
		b.WriteString(e.Field + ": ")
	}
	b.WriteString(e.Detail)
	return OneLine(b.String())
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Read reads a file of YAML documents, JSON documents, or both, some of which may be lists of objects. It does not
// fail as a whole: what can not be read is in File.Errors. source is kept and must not be changed.
func Read(name string, source []byte, opts Options) *File {
	f := &File{Name: name, Source: source, opts: opts}
	if err := readable(source); err != nil {
		f.Errors = append(f.Errors, &Error{File: name, Detail: err.Error(), Err: err})
		return f
	}
	f.docs = split(source)
	if len(f.docs) > maxDocuments {
		f.docs = nil
		f.Errors = append(f.Errors, &Error{File: name, Detail: fmt.Sprintf("has more than %d documents", maxDocuments)})
		return f
	}
	for i, d := range f.docs {
		f.readDocument(d, i)
	}
	slices.SortStableFunc(f.Errors, func(a, b *Error) int { return a.compare(b.Position) })
	return f
}

// readDocument parses one document and reads its objects. The recover stands guard over the parsing library: a text
// that trips it must not take down who reads it.
func (f *File) readDocument(d *document, index int) {
	objects, passed, errs := len(f.Objects), f.Passed, len(f.Errors)
	defer func() {
		if r := recover(); r != nil {
			f.Objects, f.Passed, f.Errors = f.Objects[:objects], passed, f.Errors[:errs]
			f.fail(d, Position{Line: d.firstLine}, "", fmt.Sprintf("can not be read: %v", r), nil)
		}
	}()
	if err := d.parse(); err != nil {
		f.fail(d, Position{Line: err.line}, "", err.detail, nil)
		return
	}
	for _, root := range d.roots {
		f.readNode(d, index, root, nil, typeMeta{}, 0)
	}
}

func (f *File) fail(d *document, at Position, field, detail string, err error) {
	f.Errors = append(f.Errors, &Error{File: f.Name, Position: at, Field: field, Detail: detail, Err: err})
	d.failed = true
}

// ciCommand is what CI systems take for a command to them wherever it stands in a line: '##[' of GitHub Actions, which
// has ActionCommand.TryParse look for it anywhere, and '##vso[' and '##teamcity[' of others. '::' is one at the start.
var ciCommand = regexp.MustCompile(`(?i)#(#[a-z]*\[)`)

// OneLine makes text that came from a file or its name fit to print: nothing in it ends the line, moves the cursor,
// turns the direction of writing, or is a command to the CI system that runs drawbridge.
func OneLine(s string) string {
	s = ciCommand.ReplaceAllString(oneLine(s), "# $1")
	if t := strings.TrimLeftFunc(s, unicode.IsSpace); strings.HasPrefix(t, "::") {
		return ": " + t[1:]
	}
	return s
}

func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r < ' ', r >= 0x7f && r < 0xa0, r == 0x2028, r == 0x2029:
			return ' '
		case r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0x200e, r == 0x200f, r == 0x061c:
			return '?'
		}
		return r
	}, s)
}
