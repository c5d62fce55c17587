package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"drawbridge.dev/drawbridge/policy"
)

// Mend gives the text of the file with the objects of want put in the place of their own, and legacy objects written
// as networking.k8s.io/v1. Only what differs is edited: comments, order and blank lines stay, and a document without
// a change stays byte for byte. What want adds or sets is written; an object from which something was removed is an
// error.
//
// Every edited document is read again: it must give exactly the objects asked for, and nothing else in it may have
// changed. Where that fails the document stays as it was, with an Error.
func (f *File) Mend(want map[*Object]policy.Object) (text []byte, errs []*Error) {
	return f.mend(want, false)
}

func (f *File) mend(want map[*Object]policy.Object, removing bool) (text []byte, errs []*Error) {
	if len(f.docs) == 0 {
		return f.Source, nil
	}
	byDoc := map[*document][]*Object{}
	for _, o := range f.Objects {
		byDoc[o.doc] = append(byDoc[o.doc], o)
	}
	text = append(text, f.Source[:f.docs[0].start]...)
	for _, d := range f.docs {
		out, err := f.mendDocument(d, byDoc[d], want, removing)
		if err != nil {
			errs = append(errs, err)
			out = d.text
		}
		text = append(text, out...)
	}
	return text, errs
}

// target is an object of a document and what it is to become.
type target struct {
	object *Object
	after  policy.Object
}

func (f *File) mendDocument(d *document, objects []*Object, want map[*Object]policy.Object, removing bool) ([]byte, *Error) {
	changed := false
	targets := make([]target, len(objects))
	for i, o := range objects {
		targets[i] = target{o, o.Object}
		if after := want[o]; after != nil {
			targets[i].after = after
		}
		changed = changed || o.Legacy || !sameJSON(o.Object, targets[i].after)
	}
	if !changed {
		return d.text, nil
	}
	upgraded, objects, err := f.upgrade(d, objects)
	if err != nil {
		return nil, err
	}
	for i := range targets {
		targets[i].object = objects[i]
	}
	var failed *Error
	for _, front := range []bool{false, true} {
		out, err := f.rewrite(upgraded, targets, front, removing)
		if err == nil {
			return out, nil
		}
		if failed == nil {
			failed = err
		}
	}
	return nil, failed
}

// rewrite edits a document without legacy objects.
func (f *File) rewrite(d *document, targets []target, front, removing bool) ([]byte, *Error) {
	e := newEditor(d, front)
	e.removing = removing
	for _, t := range targets {
		before, err := generic(t.object.Object)
		if err != nil {
			return nil, f.editError(t.object, t.object.node, err.Error())
		}
		after, err := generic(t.after)
		if err != nil {
			return nil, f.editError(t.object, t.object.node, err.Error())
		}
		if err := e.change(t.object.node, "", before, after); err != nil {
			return nil, f.editError(t.object, err.node, err.detail)
		}
	}
	return f.finish(e, d, targets)
}

// finish applies the edits and reads the result again.
func (f *File) finish(e *editor, d *document, targets []target) ([]byte, *Error) {
	if len(e.edits) == 0 {
		return d.text, f.verify(d, d.text, targets)
	}
	out, err := e.apply()
	if err != nil {
		return nil, &Error{File: f.Name, Position: Position{Line: d.firstLine}, Detail: "can not be mended: " + err.Error()}
	}
	if err := f.verify(d, out, targets); err != nil {
		return nil, err
	}
	return out, nil
}

// verify holds an edited document against what it must say.
func (f *File) verify(d *document, text []byte, targets []target) *Error {
	fail := func(why string) *Error {
		at := Position{Line: d.firstLine}
		if len(targets) > 0 {
			at = targets[0].object.Position("")
		}
		return &Error{File: f.Name, Position: at, Detail: "can not be mended in this text: " + why}
	}
	again := Read(f.Name, text, f.opts)
	if len(again.docs) != 1 || len(again.Errors) > 0 || len(again.Objects) != len(targets) {
		return fail("the edit would break it")
	}
	for i, t := range targets {
		if !sameJSON(again.Objects[i].Object, t.after) {
			return fail(fmt.Sprintf("%s '%s' would not come out as it should", t.object.Kind, t.object.Object.GetName()))
		}
	}
	// What is nobody's business here must be as it was: other kinds beside ours in a list.
	mine, his := map[*yaml.Node]bool{}, map[*yaml.Node]bool{}
	for i, t := range targets {
		mine[t.object.node], his[again.Objects[i].node] = true, true
	}
	if len(d.roots) != len(again.docs[0].roots) {
		return fail("the edit would break it")
	}
	for i, root := range d.roots {
		if !sameNodes(root, again.docs[0].roots[i], mine, his, 0) {
			return fail("something else in the document would change")
		}
	}
	return nil
}

// sameNodes compares two trees without the objects that were to change.
func sameNodes(a, b *yaml.Node, mine, his map[*yaml.Node]bool, depth int) bool {
	if mine[a] || his[b] {
		return mine[a] && his[b]
	}
	if a.Kind != b.Kind || a.Tag != b.Tag || a.Value != b.Value || a.Anchor != b.Anchor || len(a.Content) != len(b.Content) || depth > 10_000 {
		return false
	}
	for i := range a.Content {
		if !sameNodes(a.Content[i], b.Content[i], mine, his, depth+1) {
			return false
		}
	}
	return true
}

func sameJSON(a, b policy.Object) bool {
	x, err := json.Marshal(a)
	if err != nil {
		return false
	}
	y, err := json.Marshal(b)
	return err == nil && bytes.Equal(x, y)
}

func (f *File) editError(o *Object, n *yaml.Node, detail string) *Error {
	return &Error{File: f.Name, Position: o.doc.position(n), Field: pathTo(o.node, n), Detail: "can not be mended: " + detail}
}

// upgrade writes the legacy objects of a document as networking.k8s.io/v1 and reads it again.
func (f *File) upgrade(d *document, objects []*Object) (*document, []*Object, *Error) {
	legacy := false
	targets := make([]target, len(objects))
	for i, o := range objects {
		targets[i] = target{o, o.Object}
		legacy = legacy || o.Legacy
	}
	if !legacy {
		return d, objects, nil
	}
	var failed *Error
	for _, front := range []bool{false, true} {
		e := newEditor(d, front)
		err := e.upgradeAll(f, objects)
		if err == nil {
			var out []byte
			if out, err = f.finish(e, d, targets); err == nil {
				again := Read(f.Name, out, f.opts)
				nd := again.docs[0]
				nd.start, nd.end, nd.firstLine = d.start, d.end, d.firstLine
				return nd, again.Objects, nil
			}
		}
		if failed == nil {
			failed = err
		}
	}
	return nil, nil, failed
}

func (e *editor) upgradeAll(f *File, objects []*Object) *Error {
	for _, o := range objects {
		if !o.Legacy {
			continue
		}
		if err := e.upgradeObject(o); err != nil {
			return f.editError(o, err.node, err.detail)
		}
	}
	return nil
}

func (e *editor) upgradeObject(o *Object) *nodeError {
	_, version, ok := lookup(o.node, "apiVersion")
	if !ok {
		// An item of a typed list has its version from the list.
		return &nodeError{o.node, "must name its `apiVersion`"}
	}
	if err := e.setScalar(version, networkingV1); err != nil {
		return err
	}
	if o.Kind != "Ingress" {
		return nil
	}
	_, spec, ok := lookup(o.node, "spec")
	if !ok {
		return fixed(o.node)
	}
	if err := fixed(spec); err != nil {
		return err
	}
	if key, backend, ok := lookup(spec, "backend"); ok {
		if err := e.setScalar(key, "defaultBackend"); err != nil {
			return err
		}
		if err := e.upgradeBackend(backend); err != nil {
			return err
		}
	}
	_, rules, _ := lookup(spec, "rules")
	for _, rule := range content(rules) {
		if err := fixed(rule); err != nil {
			return err
		}
		_, http, _ := lookup(rule, "http")
		if err := fixed(http); err != nil {
			return err
		}
		_, paths, _ := lookup(http, "paths")
		if err := fixed(paths); err != nil {
			return err
		}
		for _, p := range content(paths) {
			if err := fixed(p); err != nil {
				return err
			}
			_, backend, _ := lookup(p, "backend")
			if err := e.upgradeBackend(backend); err != nil {
				return err
			}
			if _, t, ok := lookup(p, "pathType"); ok && t.Tag != "!!null" {
				continue
			} else if ok {
				if err := e.setScalar(t, "ImplementationSpecific"); err != nil {
					return err
				}
				continue
			}
			if err := e.addFields(p, map[string]any{"pathType": "ImplementationSpecific"}); err != nil {
				return err
			}
		}
	}
	return nil
}

// fixed tells why the fields of a node can not be edited.
func fixed(n *yaml.Node) *nodeError {
	if n == nil {
		return nil
	}
	if n.Kind == yaml.AliasNode {
		return &nodeError{n, shared(n)}
	}
	if n.Kind == yaml.MappingNode && merges(n) {
		return &nodeError{n, "has a merge key; write it out to have it mended"}
	}
	return nil
}

func content(n *yaml.Node) []*yaml.Node {
	if n == nil || n.Kind != yaml.SequenceNode {
		return nil
	}
	return n.Content
}

func (e *editor) setScalar(n *yaml.Node, text string) *nodeError {
	if why := shared(n); why != "" {
		return &nodeError{n, why}
	}
	if n.Kind != yaml.ScalarNode {
		return &nodeError{n, "can not be changed to another type"}
	}
	start, end, err := e.scalarSpan(n)
	if err != nil {
		return &nodeError{n, err.Error()}
	}
	e.set(start, end, e.inline(text, e.quoteLike(n)))
	return nil
}

// upgradeBackend turns serviceName and servicePort into service.name and service.port, leaving each value and its
// comment where they stand.
func (e *editor) upgradeBackend(n *yaml.Node) *nodeError {
	if n == nil {
		return nil
	}
	if err := fixed(n); err != nil {
		return err
	}
	type part struct {
		key, value *yaml.Node
		port       bool
	}
	var parts []part
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		switch k := n.Content[i]; k.Value {
		case "serviceName", "servicePort":
			if err := fixed(n.Content[i+1]); err != nil {
				return err
			}
			parts = append(parts, part{k, n.Content[i+1], k.Value == "servicePort"})
		}
	}
	for i, p := range parts {
		start, end, err := e.scalarSpan(p.key)
		if err != nil {
			return &nodeError{p.key, err.Error()}
		}
		q := e.quoteLike(p.key)
		port := "number"
		if text, problem := scalar(p.value); problem == "" && len(text) > 0 && text[0] == '"' {
			port = "name"
		}
		if isFlow(n) {
			text := e.inline("name", q)
			closing := ""
			if p.port {
				text = e.inline("port", q) + ": {" + e.inline(port, q)
				closing = "}"
			}
			if i == 0 {
				text = e.inline("service", q) + ": {" + text
			}
			if i == len(parts)-1 {
				closing += "}"
			}
			e.replace(start, end, text, 0)
			_, valueEnd, err := e.span(p.value)
			if err != nil {
				return &nodeError{p.value, err.Error()}
			}
			if closing != "" {
				e.replace(valueEnd, valueEnd, closing, 1)
			}
			continue
		}
		column := p.key.Column - 1
		pad := func(levels int) string { return e.newline + strings.Repeat(" ", column+levels*e.unit) }
		text := e.inline("name", q)
		if p.port {
			text = e.inline("port", q) + ":" + pad(2) + e.inline(port, q)
		}
		if i == 0 {
			text = e.inline("service", q) + ":" + pad(1) + text
		} else {
			text = strings.Repeat(" ", e.unit) + text
		}
		e.replace(start, end, text, 0)
	}
	return nil
}
