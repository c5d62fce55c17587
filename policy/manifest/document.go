package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// document is one stretch of a file between document markers, and what was parsed from it. YAML reserves a line that
// begins with "---" or "..." for the markers whatever stands around it, so that text is split before it is parsed:
// one broken document does not take the others with it, and its edits can not touch theirs.
type document struct {
	// text begins with the document's marker where it has one; start and end are its offsets in the file.
	text       []byte
	start, end int
	// firstLine is the line of the file that the document begins on, from 1.
	firstLine int
	// json tells that text is one or more JSON values.
	json bool
	// roots are the values of the document: one, or any number of JSON objects; none where there are only comments.
	roots  []*yaml.Node
	failed bool

	lines *lineTable
}

var bom = []byte("\xef\xbb\xbf")

func readable(source []byte) error {
	switch {
	case len(source) > MaxSize:
		return fmt.Errorf("is larger than %d MiB", MaxSize>>20)
	case !utf8.Valid(source):
		return errors.New("must be UTF-8 text")
	}
	return nil
}

// split cuts a file into documents. Every byte but a byte order mark belongs to one; what comes before the first
// marker is a document of its own unless it is blank, comments or directives, which belong to the next.
func split(source []byte) []*document {
	var docs []*document
	pos := 0
	if bytes.HasPrefix(source, bom) {
		pos = len(bom)
	}
	start, startLine, line := pos, 1, 1
	content := false // whether something but comments and directives stands since start
	cut := func(end int) {
		if end > start {
			docs = append(docs, &document{text: source[start:end:end], start: start, end: end, firstLine: startLine})
		}
		start, startLine, content = end, line, false
	}
	for pos < len(source) {
		next := len(source)
		if i := bytes.IndexByte(source[pos:], '\n'); i >= 0 {
			next = pos + i + 1
		}
		text := source[pos:next]
		switch {
		case marker(text, "---"):
			if content {
				cut(pos)
			}
			content = true
		case marker(text, "..."):
			line++
			pos = next
			cut(next)
			continue
		case !content:
			t := bytes.TrimSpace(text)
			content = len(t) > 0 && t[0] != '#' && text[0] != '%'
		}
		line++
		pos = next
	}
	cut(len(source))
	return docs
}

func marker(line []byte, m string) bool {
	if !bytes.HasPrefix(line, []byte(m)) {
		return false
	}
	rest := line[len(m):]
	return len(rest) == 0 || strings.IndexByte(" \t\r\n", rest[0]) >= 0
}

// bodyEnd is where the line "..." that ends a document begins, or the end of the text.
func bodyEnd(text []byte) int {
	last := bytes.LastIndexByte(bytes.TrimRight(text, "\r\n"), '\n') + 1
	if marker(text[last:], "...") {
		return last
	}
	return len(text)
}

type parseError struct {
	line   int
	detail string
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?`)

// parse fills roots. A document that begins like JSON is read as JSON, where tabs, escapes and a stream of several
// values are what JSON has them to be, and as YAML where that fails.
func (d *document) parse() *parseError {
	d.lines = newLineTable(d.text)
	body := d.text
	if marker(body, "---") {
		body = body[3:]
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	if t := bytes.TrimLeft(body, " \t\r\n"); len(t) > 0 && t[0] == '{' {
		if roots, err := parseJSON(d.text[:bodyEnd(d.text)], len(d.text)-len(body), d.lines); err == nil {
			d.roots, d.json = roots, true
			return nil
		}
	}
	dec := yaml.NewDecoder(bytes.NewReader(d.text))
	var n yaml.Node
	switch err := dec.Decode(&n); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return d.yamlError(err)
	}
	var more yaml.Node
	if err := dec.Decode(&more); err == nil {
		return &parseError{d.firstLine, "holds a second document without a '---' before it"}
	} else if !errors.Is(err, io.EOF) {
		return d.yamlError(err)
	}
	if n.Kind == yaml.DocumentNode && len(n.Content) == 1 {
		d.roots = []*yaml.Node{n.Content[0]}
	}
	return nil
}

func (d *document) yamlError(err error) *parseError {
	text := err.Error()
	m := yamlLine.FindStringSubmatch(text)
	line := d.firstLine
	if n, e := strconv.Atoi(m[1]); e == nil && n > 0 {
		line += d.lines.userLine(n) - 1
	}
	detail := "is no YAML: " + text[len(m[0]):]
	if bytes.Contains(d.text, []byte("{{")) {
		detail += "; of a template read what it renders: helm template CHART | drawbridge check -"
	}
	return &parseError{line, detail}
}

// position is where a node stands in the file.
func (d *document) position(n *yaml.Node) Position {
	if n == nil || n.Line == 0 {
		return Position{d.firstLine, 1}
	}
	return Position{d.firstLine + d.lines.userLine(n.Line) - 1, n.Column + d.lines.lead(n.Line)}
}

// maxSpanColumn bounds the search for the end of a field in its line, which is as long as the line.
const maxSpanColumn = 4096

// spanEnd is the end of a field that begins at from: of its value where that is on the same line, else of its name.
func (d *document) spanEnd(at, value *yaml.Node, from Position) Position {
	if at.Column > maxSpanColumn || value.Column > maxSpanColumn {
		return Position{}
	}
	e := &editor{d: d}
	start, err := d.offset(at)
	if err != nil {
		return Position{}
	}
	end := -1
	if value.Line == at.Line && (value.Kind == yaml.ScalarNode || value.Kind == yaml.AliasNode) {
		if _, to, err := e.span(value); err == nil {
			end = to
		}
	}
	if end < start && at.Kind == yaml.ScalarNode {
		if _, to, err := e.span(at); err == nil {
			end = to
		}
	}
	if end <= start || end-start > 2*maxSpanColumn || bytes.ContainsAny(d.text[start:end], "\r\n") {
		return Position{}
	}
	return Position{from.Line, from.Column + utf8.RuneCount(d.text[start:end])}
}

// offset is the offset of a node in the document's text.
func (d *document) offset(n *yaml.Node) (int, error) {
	off, ok := d.lines.offset(n.Line, n.Column)
	if !ok {
		return 0, fmt.Errorf("position %d:%d is outside the text", n.Line, n.Column)
	}
	return off, nil
}

// lineTable turns lines and columns, as the YAML library counts them, into offsets. To YAML 1.1 a line also ends with
// a lone carriage return and three characters of Unicode, at which no editor counts a line.
type lineTable struct {
	text   []byte
	starts []int
	user   []int // the line by newlines alone, where it differs from the index anywhere; else nil
	leads  []int // how many characters of the same line by newlines stand before, where user is set

	memoLine, memoColumn, memoOffset int
}

func newLineTable(text []byte) *lineTable {
	t := &lineTable{text: text, starts: []int{0}}
	user, odd := []int{1}, false
	add := func(next int, newline bool) {
		t.starts = append(t.starts, next)
		n := user[len(user)-1]
		if newline {
			n++
		} else {
			odd = true
		}
		user = append(user, n)
	}
	for i := range text {
		switch c := text[i]; {
		case c == '\n':
			add(i+1, true)
		case c == '\r' && i+1 < len(text) && text[i+1] == '\n':
		case c == '\r':
			add(i+1, false)
		case c == 0xc2 && i+1 < len(text) && text[i+1] == 0x85:
			add(i+2, false)
		case c == 0xe2 && i+2 < len(text) && text[i+1] == 0x80 && text[i+2]&^1 == 0xa8:
			add(i+3, false)
		}
	}
	if odd {
		t.user = user
		t.leads = make([]int, len(user))
		for i := 1; i < len(user); i++ {
			if user[i] == user[i-1] {
				t.leads[i] = t.leads[i-1] + utf8.RuneCount(text[t.starts[i-1]:t.starts[i]])
			}
		}
	}
	return t
}

// lead is how many characters stand before a line in the line that an editor shows.
func (t *lineTable) lead(line int) int {
	if line < 1 || line > len(t.leads) {
		return 0
	}
	return t.leads[line-1]
}

func (t *lineTable) userLine(line int) int {
	if t.user == nil || line < 1 || line > len(t.user) {
		return line
	}
	return t.user[line-1]
}

// offset counts characters from the start of the line. The last answer is kept, because a document may be one long
// line.
func (t *lineTable) offset(line, column int) (int, bool) {
	if line < 1 || line > len(t.starts) || column < 1 {
		return 0, false
	}
	off, col := t.starts[line-1], 1
	if line == t.memoLine && column >= t.memoColumn {
		off, col = t.memoOffset, t.memoColumn
	}
	for ; col < column; col++ {
		if off >= len(t.text) {
			return 0, false
		}
		_, n := utf8.DecodeRune(t.text[off:])
		off += n
	}
	t.memoLine, t.memoColumn, t.memoOffset = line, column, off
	return off, true
}

// lineEnd is the offset of the first line break at or after off, or the end of the text.
func (t *lineTable) lineEnd(off int) int {
	for i := off; i < len(t.text); i++ {
		switch t.text[i] {
		case '\n':
			return i
		case '\r':
			return i
		}
	}
	return len(t.text)
}
