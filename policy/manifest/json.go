package manifest

import (
	"encoding/json"
	"errors"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

var errJSON = errors.New("is no JSON")

// parseJSON reads a stream of JSON values from off on into nodes like those that the YAML library makes, with the
// same count of lines and columns. It takes exactly what JSON allows, so that YAML remains for everything else.
func parseJSON(text []byte, off int, lines *lineTable) ([]*yaml.Node, error) {
	p := jsonParser{text: text, pos: off, lines: lines}
	for p.line+1 < len(lines.starts) && lines.starts[p.line+1] <= off {
		p.line++
	}
	p.counted = lines.starts[p.line]
	var roots []*yaml.Node
	for {
		p.space()
		if p.pos == len(p.text) {
			return roots, nil
		}
		n, err := p.value(0)
		if err != nil {
			return nil, err
		}
		roots = append(roots, n)
	}
}

type jsonParser struct {
	text  []byte
	pos   int
	lines *lineTable
	line  int // index of the line that counted is on
	// counted is an offset whose column, from 0, is column.
	counted, column int
}

func (p *jsonParser) node(kind yaml.Kind, tag string) *yaml.Node {
	for p.line+1 < len(p.lines.starts) && p.lines.starts[p.line+1] <= p.pos {
		p.line++
		p.counted, p.column = p.lines.starts[p.line], 0
	}
	p.column += utf8.RuneCount(p.text[p.counted:p.pos])
	p.counted = p.pos
	return &yaml.Node{Kind: kind, Tag: tag, Line: p.line + 1, Column: p.column + 1}
}

func (p *jsonParser) space() {
	for p.pos < len(p.text) {
		switch p.text[p.pos] {
		case ' ', '\t', '\r', '\n':
			p.pos++
		default:
			return
		}
	}
}

func (p *jsonParser) next(c byte) bool {
	p.space()
	if p.pos < len(p.text) && p.text[p.pos] == c {
		p.pos++
		return true
	}
	return false
}

func (p *jsonParser) value(depth int) (*yaml.Node, error) {
	if depth > maxDepth+8 {
		return nil, errJSON
	}
	p.space()
	if p.pos == len(p.text) {
		return nil, errJSON
	}
	switch p.text[p.pos] {
	case '{':
		n := p.node(yaml.MappingNode, "!!map")
		n.Style = yaml.FlowStyle
		p.pos++
		if p.next('}') {
			return n, nil
		}
		for {
			p.space()
			if p.pos == len(p.text) || p.text[p.pos] != '"' {
				return nil, errJSON
			}
			k, err := p.str()
			if err != nil || !p.next(':') {
				return nil, errJSON
			}
			v, err := p.value(depth + 1)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, k, v)
			if p.next(',') {
				continue
			}
			if p.next('}') {
				return n, nil
			}
			return nil, errJSON
		}
	case '[':
		n := p.node(yaml.SequenceNode, "!!seq")
		n.Style = yaml.FlowStyle
		p.pos++
		if p.next(']') {
			return n, nil
		}
		for {
			v, err := p.value(depth + 1)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, v)
			if p.next(',') {
				continue
			}
			if p.next(']') {
				return n, nil
			}
			return nil, errJSON
		}
	case '"':
		return p.str()
	}
	return p.literal()
}

func (p *jsonParser) str() (*yaml.Node, error) {
	n := p.node(yaml.ScalarNode, "!!str")
	n.Style = yaml.DoubleQuotedStyle
	end := quotedEnd(p.text, p.pos)
	if end < 0 || json.Unmarshal(p.text[p.pos:end], &n.Value) != nil {
		return nil, errJSON
	}
	p.pos = end
	return n, nil
}

func (p *jsonParser) literal() (*yaml.Node, error) {
	end := p.pos
	for end < len(p.text) {
		c := p.text[end]
		if c != '-' && c != '+' && c != '.' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			break
		}
		end++
	}
	token := p.text[p.pos:end]
	if !json.Valid(token) {
		return nil, errJSON
	}
	tag := "!!int"
	switch token[0] {
	case 't', 'f':
		tag = "!!bool"
	case 'n':
		tag = "!!null"
	default:
		for _, c := range token {
			if c == '.' || c == 'e' || c == 'E' {
				tag = "!!float"
			}
		}
	}
	n := p.node(yaml.ScalarNode, tag)
	n.Value = string(token)
	p.pos = end
	return n, nil
}
