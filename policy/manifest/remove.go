package manifest

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"drawbridge.dev/drawbridge/policy"
)

// Rewrite is Mend for objects from which fields may be removed, too: an entry of a mapping goes with the lines that it
// stands on, and what comes in its place stands where it stood. Items of lists are not removed.
func (f *File) Rewrite(want map[*Object]policy.Object) (text []byte, errs []*Error) {
	return f.mend(want, true)
}

// removals are the keys of before that after has not, in the order of the text. A field may be removed only where that
// was asked for.
func (e *editor) removals(n *yaml.Node, before, after map[string]any) ([]string, *nodeError) {
	var gone []string
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		k := n.Content[i].Value
		_, had := before[k]
		if _, stays := after[k]; had && !stays && !slices.Contains(gone, k) {
			gone = append(gone, k)
		}
	}
	for k := range before {
		if _, stays := after[k]; stays || slices.Contains(gone, k) {
			continue
		}
		return nil, &nodeError{n, fmt.Sprintf("field '%s' comes from a merge key and would have to be removed; write it out to have it mended", k)}
	}
	if len(gone) > 0 && !e.removing {
		return nil, &nodeError{n, fmt.Sprintf("field '%s' would have to be removed", slices.Min(gone))}
	}
	return gone, nil
}

// remove takes entries out of a block mapping. In the place of the first it writes the fresh ones, if there are any; written
// tells that it did.
func (e *editor) remove(gone []string, n *yaml.Node, fresh map[string]any) (written bool, failed *nodeError) {
	for _, k := range gone {
		key, v, ok := lookup(n, k)
		if !ok {
			return false, &nodeError{n, fmt.Sprintf("field '%s' can not be removed where it stands", k)}
		}
		if why := shared(v); why != "" && v.Kind != yaml.AliasNode || v.Anchor != "" {
			return false, &nodeError{v, fmt.Sprintf("has the anchor '&%s'; write it out to have it mended", v.Anchor)}
		}
		start, offErr := e.d.offset(key)
		if offErr != nil {
			return false, &nodeError{key, offErr.Error()}
		}
		line := start
		for line > 0 && e.d.text[line-1] != '\n' && e.d.text[line-1] != '\r' {
			line--
		}
		if strings.TrimSpace(string(e.d.text[line:start])) != "" {
			return false, &nodeError{key, fmt.Sprintf("field '%s' stands behind something else on its line and can not be removed", k)}
		}
		end, endErr := e.entryEnd(key, v)
		if endErr != nil {
			return false, &nodeError{v, endErr.Error()}
		}
		if len(fresh) > 0 && !written {
			e.replace(line, end, e.block(fresh, key.Column-1), key.Column-1)
			written = true
			continue
		}
		e.replace(line, nextLine(e.d.text, e.d.lines.lineEnd(end)), "", 0)
	}
	return written, nil
}

// removeFlow writes what is between the brackets of a flow mapping anew: the text of each entry that stays, changed
// where it changes, and those that come.
func (e *editor) removeFlow(n *yaml.Node, gone []string, before, after map[string]any) *nodeError {
	start, end, err := e.span(n)
	if err != nil {
		return &nodeError{n, err.Error()}
	}
	open := start + strings.IndexByte(string(e.d.text[start:end]), '{')
	if open < start || e.d.text[end-1] != '}' {
		return &nodeError{n, "is a mapping in a style that can not be edited"}
	}
	sep := e.flowIndent(n)
	var parts []string
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, v := n.Content[i], n.Content[i+1]
		k := key.Value
		if slices.Contains(gone, k) {
			if v.Anchor != "" {
				return &nodeError{v, fmt.Sprintf("has the anchor '&%s'; write it out to have it mended", v.Anchor)}
			}
			continue
		}
		if was, had := before[k]; had && !reflect.DeepEqual(was, after[k]) {
			if why := shared(v); why != "" {
				return &nodeError{v, why}
			}
			parts = append(parts, e.inline(k, e.quoteLike(key))+": "+e.flow(after[k], n, sep))
			continue
		}
		from, offErr := e.d.offset(key)
		if offErr != nil {
			return &nodeError{key, offErr.Error()}
		}
		_, to, spanErr := e.span(v)
		if spanErr != nil {
			return &nodeError{v, spanErr.Error()}
		}
		parts = append(parts, string(e.d.text[from:to]))
	}
	for _, k := range slices.Sorted(maps.Keys(after)) {
		_, _, stands := lookup(n, k)
		if was, had := before[k]; stands || had && reflect.DeepEqual(was, after[k]) {
			continue
		}
		parts = append(parts, e.inline(k, e.quoteIn(n))+": "+e.flow(after[k], n, sep))
	}
	lead, tail := "", ""
	if sep != " " {
		lead, tail = sep, e.newline+strings.Repeat(" ", max(0, len(sep)-len(e.newline)-e.unit))
	}
	e.replace(open+1, end-1, lead+strings.Join(parts, ","+sep)+tail, 0)
	return nil
}

// entryEnd is the end of the last line of an entry of a block mapping, with what stands behind its value.
func (e *editor) entryEnd(key, v *yaml.Node) (int, error) {
	if hollow(v) && v.Kind == yaml.ScalarNode {
		off, err := e.d.offset(key)
		if err != nil {
			return 0, err
		}
		return trimCR(e.d.text, e.d.lines.lineEnd(off)), nil
	}
	return e.blockEnd(v, key.Column-1)
}
