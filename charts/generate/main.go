// Command generate writes what of the chart is made from its values.yaml: README.md and values.schema.json. It also
// copies the default policy into the chart, because a chart can read no file outside its folder.
//
//	go run ./charts/generate charts/drawbridge
//
// Each value that is not a group of others must have a comment above it, which becomes its description in both files.
// The type is that of the default. A comment line "# @schema {...}" is merged into the value's JSON schema; that of the
// value policy is made of the policy's own parser and of the rules that there are.
package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/yaml"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/rules"
)

//go:generate go run . ../drawbridge

//go:embed README.md.in
var readmeText string

const generated = "<!-- Written by charts/generate from README.md.in and values.yaml: run 'make generate'. -->\n\n"

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: generate CHART")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(chart string) error {
	text, err := os.ReadFile(filepath.Join(chart, "values.yaml"))
	if err != nil {
		return err
	}
	values, err := read(text)
	if err != nil {
		return fmt.Errorf("values.yaml: %w", err)
	}
	if err := values.describe("policy", policySchema()); err != nil {
		return fmt.Errorf("values.yaml: %w", err)
	}
	schema, err := schemaJSON(values)
	if err != nil {
		return err
	}
	table, err := table(values)
	if err != nil {
		return err
	}
	readme := generated + strings.Replace(readmeText, "@VALUES@\n", table, 1)
	for name, content := range map[string]string{
		"README.md":          readme,
		"values.schema.json": schema,
		"files/policy.yaml":  policy.DefaultYAML,
	} {
		if err := os.WriteFile(filepath.Join(chart, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// A value is one key of values.yaml with what stands above it.
type value struct {
	path   string // a.b.c; empty for the whole file
	text   string // its comment in one line
	schema map[string]any
	node   *yaml.Node
	fields []value // of a group: a map that is not empty and not described by a schema of its own
}

// read parses values.yaml. It refuses a value without comment and a schema line that is not a map.
func read(text []byte) (value, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return value{}, err
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return value{}, errors.New("must be a map")
	}
	return readValue("", doc.HeadComment, doc.Content[0])
}

func readValue(path, comment string, node *yaml.Node) (value, error) {
	v := value{path: path, node: node}
	var err error
	if v.text, v.schema, err = splitComment(comment); err != nil {
		return v, fmt.Errorf("%s: %w", path, err)
	}
	if node.Kind == yaml.MappingNode && len(node.Content) > 0 && v.schema == nil {
		for i := 0; i < len(node.Content); i += 2 {
			key := node.Content[i]
			above := key.HeadComment
			if path == "" && i == 0 && above == "" {
				above = comment
			}
			field, err := readValue(strings.TrimPrefix(path+"."+key.Value, "."), above, node.Content[i+1])
			if err != nil {
				return v, err
			}
			v.fields = append(v.fields, field)
		}
		return v, nil
	}
	if v.text == "" {
		return v, fmt.Errorf("%s: must have a comment above it", path)
	}
	return v, nil
}

// policySchema is what the policy's own parser takes, with the rules that there are.
func policySchema() map[string]any {
	var ids []string
	for _, i := range rules.All().Infos() {
		ids = append(ids, i.ID)
	}
	slices.Sort(ids)
	return policy.JSONSchema(ids)
}

// describe gives a value of the file a schema.
func (v *value) describe(path string, schema map[string]any) error {
	i := slices.IndexFunc(v.fields, func(f value) bool { return f.path == path })
	if i < 0 {
		return fmt.Errorf("%s: must be there", path)
	}
	v.fields[i].schema = schema
	return nil
}

// splitComment takes the schema line out of a comment and joins the others.
func splitComment(comment string) (text string, schema map[string]any, err error) {
	var words []string
	for line := range strings.Lines(comment) {
		line = strings.TrimSpace(strings.TrimLeft(line, "#"))
		source, isSchema := strings.CutPrefix(line, "@schema ")
		if !isSchema {
			words = append(words, strings.Fields(line)...)
			continue
		}
		if err := yaml.Unmarshal([]byte(source), &schema); err != nil {
			return "", nil, fmt.Errorf("@schema: %w", err)
		}
		if schema == nil {
			return "", nil, errors.New("@schema: must be a map")
		}
	}
	return strings.Join(words, " "), schema, nil
}

// schemaJSON is the JSON schema of the values: nothing that values.yaml does not name is accepted, so that a misspelled
// value is an error and not silence.
func schemaJSON(values value) (string, error) {
	schema, err := schemaOf(values)
	if err != nil {
		return "", err
	}
	schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	schema["title"] = "Values of the chart drawbridge"
	// Helm hands these two to every chart that is a part of another.
	schema["properties"].(map[string]any)["global"] = map[string]any{"type": "object"}
	return encode(schema, "  ")
}

func schemaOf(v value) (map[string]any, error) {
	schema := map[string]any{}
	if v.text != "" {
		schema["description"] = v.text
	}
	if v.fields != nil {
		properties := map[string]any{}
		for _, field := range v.fields {
			s, err := schemaOf(field)
			if err != nil {
				return nil, err
			}
			properties[field.path[strings.LastIndex(field.path, ".")+1:]] = s
		}
		schema["type"] = "object"
		schema["properties"] = properties
		schema["additionalProperties"] = false
		return schema, nil
	}
	types := map[string]string{
		"!!map": "object", "!!seq": "array", "!!str": "string", "!!int": "integer", "!!float": "number", "!!bool": "boolean",
	}
	kind, known := types[v.node.ShortTag()]
	if !known {
		return nil, fmt.Errorf("%s: a default of type %s has no JSON schema type", v.path, v.node.ShortTag())
	}
	schema["type"] = kind
	for key, constraint := range v.schema {
		schema[key] = constraint
	}
	return schema, nil
}

// table is the Markdown table of the values, in the order of the file.
func table(values value) (string, error) {
	var out strings.Builder
	out.WriteString("| value | default | what it is |\n| --- | --- | --- |\n")
	var walk func(value) error
	walk = func(v value) error {
		if v.fields != nil {
			if v.text != "" {
				fmt.Fprintf(&out, "| `%s` | | %s |\n", v.path, cell(v.text))
			}
			for _, field := range v.fields {
				if err := walk(field); err != nil {
					return err
				}
			}
			return nil
		}
		var data any
		if err := v.node.Decode(&data); err != nil {
			return fmt.Errorf("%s: %w", v.path, err)
		}
		shown, err := encode(data, "")
		if err != nil {
			return fmt.Errorf("%s: %w", v.path, err)
		}
		fmt.Fprintf(&out, "| `%s` | `%s` | %s |\n", v.path, cell(strings.TrimSpace(shown)), cell(v.text))
		return nil
	}
	err := walk(values)
	return out.String(), err
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

func encode(data any, indent string) (string, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", indent)
	err := encoder.Encode(data)
	return out.String(), err
}
