package manifest

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// edit replaces a stretch of a document's text.
type edit struct {
	start, end int
	text       string
	// depth orders insertions at one place: what belongs to the deeper block comes first.
	depth int
}

// editor collects edits of one document. Its sums rest on the positions of nodes, and it may be wrong about odd
// text: whoever applies the edits reads the result again and compares.
type editor struct {
	d *document
	// front writes new fields before the first of a block instead of after the last: the place that is right even
	// where the last one ends in a way that can not be told.
	front bool
	// removing lets entries of mappings be removed.
	removing bool
	edits    []edit

	newline string
	unit    int  // columns by which a nested block is indented
	wide    bool // lists are indented below their key
}

func newEditor(d *document, front bool) *editor {
	e := &editor{d: d, front: front, newline: "\n", unit: 2}
	if i := strings.IndexByte(string(d.text), '\n'); i > 0 && d.text[i-1] == '\r' {
		e.newline = "\r\n"
	}
	var unit, list bool
	for _, r := range d.roots {
		e.style(r, &unit, &list, 0)
	}
	return e
}

// style takes the first nested mapping and the first list for the habit of the whole document.
func (e *editor) style(n *yaml.Node, unit, list *bool, depth int) {
	if n.Kind == yaml.MappingNode && !isFlow(n) && depth < maxDepth {
		for i := 0; i+1 < len(n.Content); i += 2 {
			k, v := n.Content[i], n.Content[i+1]
			if len(v.Content) == 0 || isFlow(v) {
				continue
			}
			switch {
			case v.Kind == yaml.MappingNode && !*unit && v.Content[0].Column > k.Column:
				e.unit, *unit = v.Content[0].Column-k.Column, true
			case v.Kind == yaml.SequenceNode && !*list:
				e.wide, *list = v.Column > k.Column, true
			}
			e.style(v, unit, list, depth+1)
		}
	}
	if n.Kind == yaml.SequenceNode && depth < maxDepth {
		for _, c := range n.Content {
			e.style(c, unit, list, depth+1)
		}
	}
}

func (e *editor) replace(start, end int, text string, depth int) {
	e.edits = append(e.edits, edit{start, end, text, depth})
}

// apply gives the edited text.
func (e *editor) apply() ([]byte, error) {
	slices.SortStableFunc(e.edits, func(a, b edit) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(b.depth, a.depth))
	})
	var out []byte
	pos := 0
	for _, ed := range e.edits {
		if ed.start < pos || ed.end < ed.start || ed.end > len(e.d.text) {
			return nil, errors.New("two changes meet at one place of the text")
		}
		out = append(append(out, e.d.text[pos:ed.start]...), ed.text...)
		pos = ed.end
	}
	return append(out, e.d.text[pos:]...), nil
}

func isFlow(n *yaml.Node) bool { return n.Style&yaml.FlowStyle != 0 }

// shared tells why a node can not be edited where it stands, empty where it can.
func shared(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.AliasNode:
		return fmt.Sprintf("is the alias '*%s'; write it out to have it mended", n.Value)
	case n.Anchor != "" && n.Kind == yaml.ScalarNode:
		return fmt.Sprintf("has the anchor '&%s'; write it out to have it mended", n.Anchor)
	case n.Style&yaml.TaggedStyle != 0 && n.Kind == yaml.ScalarNode:
		return "has a tag; write it without one to have it mended"
	}
	return ""
}

// change edits the text of node n, which is found at path and in the context of a flow collection or not, from the
// value before to the value after; both are as encoding/json gives them.
func (e *editor) change(n *yaml.Node, path string, before, after any) *nodeError {
	if reflect.DeepEqual(before, after) {
		return nil
	}
	if why := shared(n); why != "" {
		return &nodeError{n, why}
	}
	switch a := after.(type) {
	case map[string]any:
		b, ok := before.(map[string]any)
		if n.Kind == yaml.MappingNode && (ok || before == nil) {
			return e.changeMap(n, path, b, a)
		}
	case []any:
		b, ok := before.([]any)
		if n.Kind == yaml.SequenceNode && (ok || before == nil) {
			return e.changeList(n, path, b, a)
		}
	default:
		if n.Kind == yaml.ScalarNode {
			start, end, err := e.scalarSpan(n)
			if err != nil {
				return &nodeError{n, err.Error()}
			}
			e.set(start, end, e.inline(after, e.quoteLike(n)))
			return nil
		}
	}
	return &nodeError{n, "can not be changed to another type"}
}

// set puts text where a scalar stands, or where none does: right behind a colon or a dash.
func (e *editor) set(start, end int, text string) {
	if start == end && start > 0 && strings.IndexByte(":-?", e.d.text[start-1]) >= 0 {
		text = " " + text
	}
	e.replace(start, end, text, 0)
}

func (e *editor) changeMap(n *yaml.Node, path string, before, after map[string]any) *nodeError {
	gone, err := e.removals(n, before, after)
	if err != nil {
		return err
	}
	if len(gone) > 0 && isFlow(n) {
		return e.removeFlow(n, gone, before, after)
	}
	fresh := map[string]any{}
	for _, k := range slices.Sorted(maps.Keys(after)) {
		was, had := before[k]
		if had && reflect.DeepEqual(was, after[k]) {
			continue
		}
		key, v, ok := lookup(n, k)
		switch {
		case !ok && had && merges(n):
			return &nodeError{n, fmt.Sprintf("field '%s' comes from a merge key; write it out to have it mended", k)}
		case !ok: // or one that only the JSON of the type has, such as an empty spec
			fresh[k] = after[k]
		case isCollection(after[k]) && hollow(v):
			if err := e.fill(n, key, v, after[k]); err != nil {
				return err
			}
		default:
			if err := e.change(v, path+"."+k, was, after[k]); err != nil {
				return err
			}
		}
	}
	if len(gone) > 0 {
		written, err := e.remove(gone, n, fresh)
		if err != nil || written {
			return err
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	return e.addFields(n, fresh)
}

func merges(n *yaml.Node) bool {
	for i := 0; i < len(n.Content); i += 2 {
		if isMerge(n.Content[i]) {
			return true
		}
	}
	return false
}

func isCollection(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return true
	}
	return false
}

// hollow tells that a node is null, {} or [].
func hollow(n *yaml.Node) bool {
	switch n.Kind {
	case yaml.ScalarNode:
		return n.ShortTag() == "!!null"
	case yaml.MappingNode, yaml.SequenceNode:
		return len(n.Content) == 0
	}
	return false
}

// fill writes a collection in the place of a hollow node.
func (e *editor) fill(parent, key, v *yaml.Node, value any) *nodeError {
	if why := shared(v); why != "" {
		return &nodeError{v, why}
	}
	if v.Anchor != "" {
		return &nodeError{v, fmt.Sprintf("has the anchor '&%s'; write it out to have it mended", v.Anchor)}
	}
	start, end, err := e.span(v)
	if err != nil {
		return &nodeError{v, err.Error()}
	}
	if isFlow(parent) {
		e.set(start, end, e.flow(value, parent, e.flowIndent(parent)))
		return nil
	}
	column := key.Column - 1
	block := e.block(value, e.childIndent(value, column))
	eol := e.d.lines.lineEnd(end)
	if strings.TrimSpace(string(e.d.text[end:eol])) == "" {
		// Nothing follows: blanks before the hollow value go with it.
		for start > 0 && (e.d.text[start-1] == ' ' || e.d.text[start-1] == '\t') {
			start--
		}
		e.replace(start, eol, e.newline+block, column)
		return nil
	}
	if start != end {
		e.replace(start, end, "", 0)
	}
	e.replace(eol, eol, e.newline+block, column)
	return nil
}

// childIndent is the indentation of a collection below a key that stands at column.
func (e *editor) childIndent(value any, column int) int {
	if _, list := value.([]any); list && !e.wide {
		return column
	}
	return column + e.unit
}

func (e *editor) addFields(n *yaml.Node, fresh map[string]any) *nodeError {
	if isFlow(n) {
		sep, colon := e.flowIndent(n), ": "
		var parts []string
		for _, k := range slices.Sorted(maps.Keys(fresh)) {
			parts = append(parts, e.inline(k, e.quoteIn(n))+colon+e.flow(fresh[k], n, sep))
		}
		return e.addFlow(n, parts, sep)
	}
	if len(n.Content) == 0 {
		return &nodeError{n, "is a mapping in a style that can not be edited"}
	}
	first := n.Content[0]
	if first.Column > 1000 {
		return &nodeError{n, "is nested too deep to be edited"}
	}
	block := e.block(fresh, first.Column-1)
	if e.front {
		off, err := e.d.offset(first)
		if err != nil {
			return &nodeError{n, err.Error()}
		}
		indent := strings.Repeat(" ", first.Column-1)
		e.replace(off, off, strings.TrimPrefix(block, indent)+e.newline+indent, first.Column-1)
		return nil
	}
	return e.addBlock(n, block, first.Column-1)
}

// addBlock writes lines after the last line of a block collection.
func (e *editor) addBlock(n *yaml.Node, block string, column int) *nodeError {
	end, err := e.blockEnd(n, column)
	if err != nil {
		return &nodeError{n, err.Error()}
	}
	e.replace(end, end, e.newline+block, column)
	return nil
}

// addFlow writes items behind the last of a flow collection, each on a line of its own where the others are.
func (e *editor) addFlow(n *yaml.Node, parts []string, sep string) *nodeError {
	start, err := e.d.offset(n)
	if err != nil {
		return &nodeError{n, err.Error()}
	}
	open := start
	for open < len(e.d.text) && e.d.text[open] != '{' && e.d.text[open] != '[' {
		open++ // an anchor or a tag stands before the bracket
	}
	joined := strings.Join(parts, ","+sep)
	if len(n.Content) == 0 {
		e.replace(open+1, open+1, joined, 0)
		return nil
	}
	_, end, err := e.span(n.Content[len(n.Content)-1])
	if err != nil {
		return &nodeError{n, err.Error()}
	}
	e.replace(end, end, ","+sep+joined, 0)
	return nil
}

// flowIndent is what stands between the items of a flow collection: a blank, or a line break and the indentation.
func (e *editor) flowIndent(n *yaml.Node) string {
	if len(n.Content) == 0 || n.Content[0].Line == n.Line {
		return " "
	}
	off, err := e.d.offset(n.Content[0])
	if err != nil {
		return " "
	}
	start := off
	for start > 0 && (e.d.text[start-1] == ' ' || e.d.text[start-1] == '\t') {
		start--
	}
	return e.newline + string(e.d.text[start:off])
}

func (e *editor) changeList(n *yaml.Node, path string, before, after []any) *nodeError {
	if len(after) < len(before) || len(before) != len(n.Content) {
		return &nodeError{n, "items of the list would have to be removed"}
	}
	for i := range before {
		if err := e.change(n.Content[i], fmt.Sprintf("%s[%d]", path, i), before[i], after[i]); err != nil {
			return err
		}
	}
	if len(after) == len(before) {
		return nil
	}
	fresh := after[len(before):]
	if isFlow(n) {
		sep := e.flowIndent(n)
		var parts []string
		for _, v := range fresh {
			parts = append(parts, e.flow(v, n, sep))
		}
		return e.addFlow(n, parts, sep)
	}
	return e.addBlock(n, e.block(fresh, n.Column-1), n.Column-1)
}

// blockEnd is the end of the last line that belongs to a block collection whose keys or dashes stand at column.
// Comments behind it do not belong to it.
func (e *editor) blockEnd(n *yaml.Node, column int) (int, error) {
	last := n
	for len(last.Content) > 0 && !isFlow(last) {
		last = last.Content[len(last.Content)-1]
	}
	if last.Kind == yaml.ScalarNode && last.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0 || last.Kind == yaml.AliasNode || isFlow(last) {
		_, end, err := e.span(last)
		if err == nil {
			return trimCR(e.d.text, e.d.lines.lineEnd(end)), nil
		}
	}
	// A scalar of several lines: everything that is indented more than the collection itself.
	start, err := e.d.offset(last)
	if err != nil {
		return 0, err
	}
	end := e.d.lines.lineEnd(start)
	block := last.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0
	for pos := nextLine(e.d.text, end); pos < len(e.d.text); {
		eol := e.d.lines.lineEnd(pos)
		line := e.d.text[pos:eol]
		trimmed := strings.TrimLeft(string(line), " ")
		blank := strings.TrimSpace(trimmed) == ""
		if !blank && (len(line)-len(trimmed) <= column || !block && trimmed[0] == '#') {
			break
		}
		if !blank {
			end = eol
		}
		pos = nextLine(e.d.text, eol)
	}
	return trimCR(e.d.text, end), nil
}

func nextLine(text []byte, eol int) int {
	if eol < len(text) && text[eol] == '\r' {
		eol++
		if eol < len(text) && text[eol] == '\n' {
			eol++
		}
		return eol
	}
	return min(eol+1, len(text))
}

func trimCR(text []byte, end int) int {
	for end > 0 && text[end-1] == '\r' {
		end--
	}
	return end
}

// generic is an object as encoding/json sees it.
func generic(v any) (map[string]any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var out map[string]any
	dec := json.NewDecoder(strings.NewReader(string(text)))
	dec.UseNumber()
	return out, dec.Decode(&out)
}
