package manifest

import (
	"encoding/json"
	"fmt"
	"math"
	"sort"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// nodeError is what is wrong with a node of the text.
type nodeError struct {
	node   *yaml.Node
	detail string
}

func (e *nodeError) Error() string { return e.detail }

// encoder writes a node as JSON, as kubectl would read it: aliases and merge keys expanded, keys as strings, the
// plain words of YAML 1.1 ("yes", "off") as booleans. Duplicate keys are an error.
type encoder struct {
	buf []byte
	// expanded counts the nodes that were come to by an alias, in the whole file.
	expanded *int
	// starts and nodes tell which node each stretch of buf comes from.
	starts []int
	nodes  []*yaml.Node
	dups   []*nodeError
}

// encode gives the JSON of a node; duplicate keys come apart, as the text can be read but for them.
func encode(n *yaml.Node, expanded *int) (*encoder, *nodeError) {
	e := &encoder{expanded: expanded}
	if err := e.value(n, n, 0); err != nil {
		return nil, err
	}
	return e, nil
}

// nodeAt is the node whose JSON ends at or surrounds an offset.
func (e *encoder) nodeAt(off int) *yaml.Node {
	i := sort.SearchInts(e.starts, off)
	if i == 0 {
		return nil
	}
	return e.nodes[i-1]
}

// visit holds the bounds; at is the node to blame, and what is inside an alias is blamed on the alias.
func (e *encoder) visit(n, at *yaml.Node, depth int) *nodeError {
	if n != at || at.Kind == yaml.AliasNode {
		*e.expanded++
	}
	switch {
	case depth > maxDepth:
		return &nodeError{at, fmt.Sprintf("is nested deeper than %d levels", maxDepth)}
	case *e.expanded > maxExpanded, len(e.buf) > MaxSize:
		return &nodeError{at, "expands to more than drawbridge reads; write less by aliases"}
	}
	return nil
}

func (e *encoder) value(n, at *yaml.Node, depth int) *nodeError {
	if err := e.visit(n, at, depth); err != nil {
		return err
	}
	for n.Kind == yaml.AliasNode {
		n = n.Alias
		depth++
		if err := e.visit(n, at, depth); err != nil {
			return err
		}
	}
	e.starts, e.nodes = append(e.starts, len(e.buf)), append(e.nodes, at)
	// Inside an alias every position is that of the alias: the text stands elsewhere.
	child := func(c *yaml.Node) *yaml.Node {
		if n != at && at.Kind == yaml.AliasNode {
			return at
		}
		return c
	}
	switch n.Kind {
	case yaml.ScalarNode:
		text, err := scalar(n)
		if err != "" {
			return &nodeError{at, err}
		}
		e.buf = append(e.buf, text...)
	case yaml.SequenceNode:
		e.buf = append(e.buf, '[')
		for i, c := range n.Content {
			if i > 0 {
				e.buf = append(e.buf, ',')
			}
			if err := e.value(c, child(c), depth+1); err != nil {
				return err
			}
		}
		e.buf = append(e.buf, ']')
	case yaml.MappingNode:
		entries, err := e.entries(n, at, depth, child)
		if err != nil {
			return err
		}
		e.buf = append(e.buf, '{')
		for i, en := range entries {
			if i > 0 {
				e.buf = append(e.buf, ',')
			}
			e.buf = append(appendString(e.buf, en.name), ':')
			if err := e.value(en.value, en.at, depth+1); err != nil {
				return err
			}
		}
		e.buf = append(e.buf, '}')
	default:
		return &nodeError{at, "can not be read"}
	}
	return nil
}

type entry struct {
	name      string
	value, at *yaml.Node
}

// entries lists a mapping with its merge keys expanded: what a mapping says itself comes before what it merges, and
// an earlier merged mapping before a later one.
func (e *encoder) entries(n, at *yaml.Node, depth int, child func(*yaml.Node) *yaml.Node) ([]entry, *nodeError) {
	if err := e.visit(n, at, depth); err != nil {
		return nil, err
	}
	var list []entry
	seen := make(map[string]bool, len(n.Content)/2)
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if n != at {
			*e.expanded++
		}
		if isMerge(k) {
			merges = append(merges, v)
			continue
		}
		name, err := keyName(k)
		if err != "" {
			return nil, &nodeError{child(k), err}
		}
		if seen[name] {
			if len(e.dups) < maxDuplicates {
				e.dups = append(e.dups, &nodeError{child(k), fmt.Sprintf("duplicate field '%s'", name)})
			}
			continue
		}
		seen[name] = true
		list = append(list, entry{name, v, child(v)})
	}
	merge := func(src, from *yaml.Node) *nodeError {
		for src.Kind == yaml.AliasNode {
			src = src.Alias
		}
		if src.Kind != yaml.MappingNode {
			return &nodeError{from, "a merge key takes a mapping, or a list of them"}
		}
		more, err := e.entries(src, from, depth+1, func(*yaml.Node) *yaml.Node { return from })
		if err != nil {
			return err
		}
		for _, en := range more {
			if !seen[en.name] {
				seen[en.name] = true
				list = append(list, en)
			}
		}
		return nil
	}
	for _, m := range merges {
		from := child(m)
		src := m
		for src.Kind == yaml.AliasNode {
			src = src.Alias
		}
		if src.Kind != yaml.SequenceNode {
			if err := merge(src, from); err != nil {
				return nil, err
			}
			continue
		}
		for _, item := range src.Content {
			if err := merge(item, from); err != nil {
				return nil, err
			}
		}
	}
	return list, nil
}

func isMerge(k *yaml.Node) bool {
	return k.Kind == yaml.ScalarNode && k.Value == "<<" && (k.Tag == "!!merge" || k.Tag == "")
}

// keyName is a mapping key as a string.
func keyName(k *yaml.Node) (name, problem string) {
	for k.Kind == yaml.AliasNode {
		k = k.Alias
	}
	if k.Kind != yaml.ScalarNode {
		return "", "a key must be a string"
	}
	text, problem := scalar(k)
	if problem != "" {
		return "", problem
	}
	switch {
	case text[0] == '"':
		if k.ShortTag() == "!!binary" {
			return "", "a key must be a string"
		}
		return k.Value, ""
	case string(text) == "null":
		return "", "a key must be a string, not null"
	}
	return string(text), ""
}

// yaml11 are the plain words that kubectl's YAML library takes for booleans and the one here does not.
var yaml11 = map[string]bool{
	"y": true, "Y": true, "yes": true, "Yes": true, "YES": true, "on": true, "On": true, "ON": true,
	"n": false, "N": false, "no": false, "No": false, "NO": false, "off": false, "Off": false, "OFF": false,
}

// scalar is the JSON of a scalar.
func scalar(n *yaml.Node) (text []byte, problem string) {
	quoted := n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
	switch tag := n.ShortTag(); tag {
	case "!!str", "!!timestamp", "!!merge":
		if b, ok := yaml11[n.Value]; ok && !quoted && n.Style&yaml.TaggedStyle == 0 {
			return strconv.AppendBool(nil, b), ""
		}
		return appendString(nil, n.Value), ""
	case "!!null":
		return []byte("null"), ""
	case "!!bool", "!!int", "!!float", "!!binary":
		var v any
		if err := n.Decode(&v); err != nil {
			return nil, fmt.Sprintf("is no %s", strings.TrimPrefix(tag, "!!"))
		}
		if f, ok := v.(float64); ok {
			if math.IsNaN(f) || math.IsInf(f, 0) {
				return nil, "must be a finite number"
			}
		}
		if s, ok := v.(string); ok {
			return appendString(nil, s), ""
		}
		text, err := json.Marshal(v)
		if err != nil {
			return nil, "can not be written as JSON"
		}
		return text, ""
	default:
		return nil, fmt.Sprintf("has the tag '%s', which Kubernetes does not know", tag)
	}
}

// appendString writes a JSON string.
func appendString(buf []byte, s string) []byte {
	text, err := json.Marshal(s)
	if err != nil {
		return append(buf, `""`...)
	}
	return append(buf, text...)
}

// lookup is the value of a key and the key's own node; ok is false where the mapping does not say it itself.
func lookup(n *yaml.Node, name string) (key, value *yaml.Node, ok bool) {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil, nil, false
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		if isMerge(k) {
			continue
		}
		if s, problem := keyName(k); problem == "" && s == name {
			return k, n.Content[i+1], true
		}
	}
	return nil, nil, false
}

func deref(n *yaml.Node) *yaml.Node {
	for n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// locate is the node that a field path names: the key where it is a field of a mapping, the item where it is one of a
// list. Where the path leads on past the text it is the last node on the way. Keys are compared as the text has them,
// so that dots and brackets in the name of an annotation do no harm.
func locate(n *yaml.Node, path string) *yaml.Node {
	at, _ := locateValue(n, path, nil)
	return at
}

// keyIndex finds the keys of large mappings, so that many questions about one of them do not each read all of it.
type keyIndex map[*yaml.Node]*mappingKeys

type mappingKeys struct {
	// at is the index of a key's node.
	at map[string]int
	// odd tells that a key has a bracket in it, so that where it ends in a path can not be told without looking.
	odd bool
}

// manyKeys is from how many keys on a mapping is large.
const manyKeys = 32

func (x keyIndex) of(n *yaml.Node) *mappingKeys {
	if keys := x[n]; keys != nil {
		return keys
	}
	keys := &mappingKeys{at: make(map[string]int, len(n.Content)/2)}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if isMerge(n.Content[i]) {
			continue
		}
		if name, problem := keyName(n.Content[i]); problem == "" && name != "" {
			keys.odd = keys.odd || strings.ContainsRune(name, ']')
			if _, twice := keys.at[name]; !twice {
				keys.at[name] = i
			}
		}
	}
	x[n] = keys
	return keys
}

// key finds the key that a path in brackets begins with. known is false where it has to be looked for.
func (x keyIndex) key(n *yaml.Node, path string) (i int, rest string, known bool) {
	if x == nil || len(n.Content) < 2*manyKeys || !strings.HasPrefix(path, "[") {
		return 0, "", false
	}
	end := strings.IndexByte(path, ']')
	keys := x.of(n)
	if keys.odd || end < 0 {
		return 0, "", false
	}
	rest = path[end+1:]
	if i, ok := keys.at[path[1:end]]; ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
		return i, rest, true
	}
	return -1, path, true
}

// locateValue gives the node that locate does and the value of the last field on the way, which is the same node where
// it is an item of a list. index may be nil.
func locateValue(n *yaml.Node, path string, index keyIndex) (at, value *yaml.Node) {
	at = n
	rest := path
	for rest != "" {
		if n.Kind == yaml.AliasNode {
			// The text stands where the anchor is, but the person meant this place.
			return at, n
		}
		rest = strings.TrimPrefix(rest, ".")
		var found bool
		switch n.Kind {
		case yaml.MappingNode:
			i, tail, known := index.key(n, rest)
			switch {
			case !known:
				n, at, rest, found = step(n, at, rest)
			case i >= 0:
				n, at, rest, found = n.Content[i+1], n.Content[i], tail, true
			}
		case yaml.SequenceNode:
			end := strings.IndexByte(rest, ']')
			if end < 2 || rest[0] != '[' {
				return at, n
			}
			i, err := strconv.Atoi(rest[1:end])
			if err != nil || i < 0 || i >= len(n.Content) {
				return at, n
			}
			n, rest, found = n.Content[i], rest[end+1:], true
			at = n
		}
		if !found {
			return at, n
		}
	}
	return at, n
}

// step finds the longest key of a mapping that the path goes on with, bare or in brackets.
func step(n, at *yaml.Node, path string) (next, key *yaml.Node, rest string, ok bool) {
	best := -1
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		if isMerge(k) {
			continue
		}
		name, problem := keyName(k)
		if problem != "" || name == "" {
			continue
		}
		var tail string
		switch {
		case strings.HasPrefix(path, "["+name+"]"):
			tail = path[len(name)+2:]
		case strings.HasPrefix(path, name):
			tail = path[len(name):]
		default:
			continue
		}
		if (tail == "" || tail[0] == '.' || tail[0] == '[') && len(name) > best {
			best, next, key, rest = len(name), n.Content[i+1], k, tail
		}
	}
	if best < 0 {
		return n, at, path, false
	}
	return next, key, rest, true
}

// pathTo is the field path of a node under root, empty where it is not found.
func pathTo(root, target *yaml.Node) string {
	path, _ := findPath(root, target, "", 0)
	return path
}

func findPath(n, target *yaml.Node, path string, depth int) (string, bool) {
	if n == target {
		return path, true
	}
	if depth > maxDepth {
		return "", false
	}
	for i, c := range n.Content {
		var sub string
		switch {
		case n.Kind == yaml.SequenceNode:
			sub = fmt.Sprintf("%s[%d]", path, i)
		case i%2 == 0:
			if c != target {
				continue
			}
			sub = joinKey(path, c.Value)
		default:
			sub = joinKey(path, n.Content[i-1].Value)
		}
		if p, ok := findPath(c, target, sub, depth+1); ok {
			return p, true
		}
	}
	return "", false
}

func joinKey(path, key string) string {
	switch {
	case strings.ContainsAny(key, ".[]/ "):
		return path + "[" + key + "]"
	case path == "":
		return key
	}
	return path + "." + key
}
