package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const sample = `# How many.
# Two lines | one cell.
# @schema {minimum: 1}
replicas: 2

image:
  # Where it is.
  repository: x
  # A group with a word of its own.
  pull:
    # When.
    # @schema {enum: [Always, Never]}
    policy: Always
# Anything goes.
# @schema {additionalProperties: true}
resources:
  limits: {memory: 1Gi}
# A list.
list: []
`

func TestTable(t *testing.T) {
	values, err := read([]byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	got, err := table(values)
	if err != nil {
		t.Fatal(err)
	}
	want := "| value | default | what it is |\n| --- | --- | --- |\n" +
		"| `replicas` | `2` | How many. Two lines \\| one cell. |\n" +
		"| `image.repository` | `\"x\"` | Where it is. |\n" +
		"| `image.pull` | | A group with a word of its own. |\n" +
		"| `image.pull.policy` | `\"Always\"` | When. |\n" +
		"| `resources` | `{\"limits\":{\"memory\":\"1Gi\"}}` | Anything goes. |\n" +
		"| `list` | `[]` | A list. |\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSchema(t *testing.T) {
	values, err := read([]byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	text, err := schemaJSON(values)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"$schema":              "https://json-schema.org/draft/2020-12/schema",
		"title":                "Values of the chart drawbridge",
		"type":                 "object",
		"additionalProperties": false,
		"properties": map[string]any{
			"global":   map[string]any{"type": "object"},
			"replicas": map[string]any{"type": "integer", "minimum": 1.0, "description": "How many. Two lines | one cell."},
			"image": map[string]any{"type": "object", "additionalProperties": false, "properties": map[string]any{
				"repository": map[string]any{"type": "string", "description": "Where it is."},
				"pull": map[string]any{
					"type": "object", "additionalProperties": false, "description": "A group with a word of its own.",
					"properties": map[string]any{
						"policy": map[string]any{"type": "string", "enum": []any{"Always", "Never"}, "description": "When."},
					},
				},
			}},
			"resources": map[string]any{"type": "object", "additionalProperties": true, "description": "Anything goes."},
			"list":      map[string]any{"type": "array", "description": "A list."},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestReadRefuses(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"no comment":        {"# A.\na: 1\n\nb: {}\n", "b: must have a comment"},
		"no map":            {"- a\n", "must be a map"},
		"nothing":           {"", "must be a map"},
		"no YAML":           {"a: [", "did not find"},
		"a list of schemas": {"# A.\n# @schema [a]\na: 1\n", "@schema"},
		"an empty schema":   {"# A.\n# @schema ~\na: 1\n", "@schema: must be a map"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := read([]byte(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("must be refused with %q, got %v", tt.want, err)
			}
		})
	}
	values, err := read([]byte("# A.\na: ~\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := schemaJSON(values); err == nil || !strings.Contains(err.Error(), "no JSON schema type") {
		t.Errorf("a default of null must be refused, got %v", err)
	}
}
