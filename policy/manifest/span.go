package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"

	"go.yaml.in/yaml/v3"
)

var errSpan = errors.New("stands in the text in a way that can not be edited; write it on one line")

// span is the stretch of text that a scalar, an alias or a flow collection takes.
func (e *editor) span(n *yaml.Node) (start, end int, err error) {
	switch {
	case n.Kind == yaml.ScalarNode:
		return e.scalarSpan(n)
	case n.Kind == yaml.AliasNode:
		start, err = e.d.offset(n)
		if err != nil {
			return 0, 0, err
		}
		end = start + 1 + len(n.Value)
		if end > len(e.d.text) || string(e.d.text[start:end]) != "*"+n.Value {
			return 0, 0, errSpan
		}
		return start, end, nil
	case isFlow(n):
		start, err = e.d.offset(n)
		if err != nil {
			return 0, 0, err
		}
		end = flowEnd(e.d.text, start)
		if end < 0 {
			return 0, 0, errSpan
		}
		return start, end, nil
	}
	return 0, 0, errSpan
}

// scalarSpan is the stretch of a scalar on one line, without anchor or tag; start and end are the same where it is
// empty.
func (e *editor) scalarSpan(n *yaml.Node) (start, end int, err error) {
	start, err = e.d.offset(n)
	if err != nil {
		return 0, 0, err
	}
	text := e.d.text
	switch {
	case n.Style&yaml.TaggedStyle != 0 || n.Anchor != "":
		return 0, 0, errSpan
	case n.Style&yaml.DoubleQuotedStyle != 0 || n.Style&yaml.SingleQuotedStyle != 0:
		end = quotedEnd(text, start)
		if end < 0 {
			return 0, 0, errSpan
		}
		return start, end, nil
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return 0, 0, errSpan
	case n.Value == "":
		return start, start, nil
	}
	// A plain scalar of one line is its value, letter by letter.
	end = start + len(n.Value)
	if end > len(text) || string(text[start:end]) != n.Value {
		return 0, 0, errSpan
	}
	return start, end, nil
}

// quotedEnd is the offset behind the quote that closes the one at start, -1 where none does.
func quotedEnd(text []byte, start int) int {
	if start >= len(text) {
		return -1
	}
	quote := text[start]
	if quote != '"' && quote != '\'' {
		return -1
	}
	for i := start + 1; i < len(text); i++ {
		switch {
		case text[i] == '\\' && quote == '"':
			i++
		case text[i] != quote:
		case quote == '\'' && i+1 < len(text) && text[i+1] == '\'':
			i++
		default:
			return i + 1
		}
	}
	return -1
}

// flowEnd is the offset behind the bracket that closes the flow collection at start, -1 where none does.
func flowEnd(text []byte, start int) int {
	depth := 0
	fresh := true // a quote or a comment could begin here
	for i := start; i < len(text); i++ {
		switch c := text[i]; c {
		case '{', '[':
			depth++
			fresh = true
		case '}', ']':
			depth--
			if depth == 0 {
				return i + 1
			}
			if depth < 0 {
				return -1
			}
			fresh = true
		case '"', '\'':
			if !fresh {
				continue // inside a plain scalar
			}
			end := quotedEnd(text, i)
			if end < 0 {
				return -1
			}
			i = end - 1
			fresh = true
		case '#':
			if i > 0 && strings.IndexByte(" \t\r\n", text[i-1]) >= 0 {
				for i+1 < len(text) && text[i+1] != '\n' {
					i++
				}
				continue
			}
			fresh = false
		case ',', ':', ' ', '\t', '\r', '\n':
			// A quote after a blank inside a plain scalar of several words is taken for a quoted one here; what
			// comes of it is caught when the result is read again.
			fresh = true
		default:
			if depth == 0 && c != '&' && c != '!' {
				return -1
			}
			if depth == 0 { // an anchor or a tag before the bracket
				for i+1 < len(text) && strings.IndexByte(" \t\r\n", text[i+1]) < 0 {
					i++
				}
			}
			fresh = false
		}
	}
	return -1
}

// quote says how strings are written: plain where that is safe, or always in double quotes.
type quote uint8

const (
	quoteNeeded quote = iota
	quoteAlways
	quoteJSON
)

func (e *editor) quoteLike(n *yaml.Node) quote {
	switch {
	case e.d.json:
		return quoteJSON
	case n.Style&yaml.DoubleQuotedStyle != 0:
		return quoteAlways
	}
	return quoteNeeded
}

// quoteIn is the habit of a flow collection: that of its first key or item.
func (e *editor) quoteIn(n *yaml.Node) quote {
	if len(n.Content) > 0 {
		return e.quoteLike(n.Content[0])
	}
	return e.quoteLike(n)
}

// inline writes a scalar.
func (e *editor) inline(v any, q quote) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return strconv.FormatBool(v)
	case json.Number:
		return v.String()
	case string:
		if q == quoteNeeded && plain(v) {
			return v
		}
		return quoted(v, q == quoteJSON)
	}
	return fmt.Sprint(v)
}

// plain tells whether a string reads back as itself without quotes, in and outside of flow collections.
func plain(s string) bool {
	if s == "" || len(s) > 512 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || i == len(s)-1 && c != '/' || strings.IndexByte("._-/", c) < 0) {
			return false
		}
	}
	if _, ok := yaml11[s]; ok {
		return false
	}
	n := yaml.Node{Kind: yaml.ScalarNode, Value: s}
	return n.ShortTag() == "!!str"
}

// quoted writes a string in double quotes, so that both YAML and, where asked, JSON read it back.
func quoted(s string, asJSON bool) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == ' ' || unicode.IsPrint(r) && r != 0xfeff:
			b.WriteRune(r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		case asJSON:
			hi, lo := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, hi, lo)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// flow writes a value inside a flow collection whose items are parted by sep, nesting by the same style.
func (e *editor) flow(v any, in *yaml.Node, sep string) string {
	inner, outer := "", ""
	if strings.Contains(sep, "\n") {
		unit := strings.Repeat(" ", e.unit)
		if strings.HasSuffix(sep, "\t") {
			unit = "\t"
		}
		inner, outer = sep+unit, sep
	}
	next := inner
	if next == "" {
		next = " "
	}
	var parts []string
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			return "{}"
		}
		for _, k := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, e.inline(k, e.quoteIn(in))+": "+e.flow(v[k], in, next))
		}
		return "{" + inner + strings.Join(parts, ","+next) + outer + "}"
	case []any:
		if len(v) == 0 {
			return "[]"
		}
		for _, item := range v {
			parts = append(parts, e.flow(item, in, next))
		}
		return "[" + inner + strings.Join(parts, ","+next) + outer + "]"
	}
	return e.inline(v, e.quoteIn(in))
}

// block writes a collection as lines indented by indent blanks, without the last line break.
func (e *editor) block(v any, indent int) string {
	pad := strings.Repeat(" ", indent)
	var lines []string
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			key := pad + e.inline(k, quoteNeeded) + ":"
			switch {
			case !isCollection(v[k]):
				key += " " + e.inline(v[k], quoteNeeded)
			case emptyCollection(v[k]) != "":
				key += " " + emptyCollection(v[k])
			default:
				key += e.newline + e.block(v[k], e.childIndent(v[k], indent))
			}
			lines = append(lines, key)
		}
	case []any:
		for _, item := range v {
			switch {
			case !isCollection(item):
				lines = append(lines, pad+"- "+e.inline(item, quoteNeeded))
			case emptyCollection(item) != "":
				lines = append(lines, pad+"- "+emptyCollection(item))
			default:
				lines = append(lines, pad+"- "+strings.TrimLeft(e.block(item, indent+2), " "))
			}
		}
	}
	return strings.Join(lines, e.newline)
}

func emptyCollection(v any) string {
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			return "{}"
		}
	case []any:
		if len(v) == 0 {
			return "[]"
		}
	}
	return ""
}
