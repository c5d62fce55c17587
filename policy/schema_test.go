package policy

import (
	"encoding/json"
	"testing"

	"github.com/xeipuuv/gojsonschema"
	"go.yaml.in/yaml/v3"
)

// What the parser takes the schema takes, and it refuses what is wrong in the keys, types and choices.
func TestJSONSchema(t *testing.T) {
	schema, err := gojsonschema.NewSchema(gojsonschema.NewGoLoader(JSONSchema([]string{"ingress-preserve-host", "service-external-name-ip"})))
	if err != nil {
		t.Fatal(err)
	}
	valid := func(text string) bool {
		t.Helper()
		var value any
		if err := yaml.Unmarshal([]byte(text), &value); err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		result, err := schema.Validate(gojsonschema.NewBytesLoader(raw))
		if err != nil {
			t.Fatal(err)
		}
		return result.Valid()
	}
	for _, text := range []string{
		DefaultYAML, wholePolicy, "{}", "profile: strict", "rules: {ingress-preserve-host: false}", "slices: {scope: false}",
		"namespaces: [{names: [a], rules: {ingress-preserve-host: false}}]",
	} {
		if !valid(text) {
			t.Errorf("refused:\n%s", text)
		}
	}
	for _, text := range []string{
		"profil: strict", "profile: lax", "rules: {nope: warn}", "rules: {ingress-preserve-host: true}", "rules: []",
		"namespaces: [{names: [a], rules: {nope: warn}}]", "namespaces: [{profile: strict}]", "namespaces: {}", "namespaces: [{names: []}]",
		"exemptions: [{rules: [nope], reason: x}]", "exemptions: [{rules: [ingress-preserve-host]}]",
		"grants: [{from: [a], to: [b], kinds: [Services]}]", "classes: [{class: a, dialect: nope}]",
		"classes: [{class: a, controller: b, dialect: drawbridge}]", "inject: [Host]", "inject: [host, host]",
		"destinations: {allowed: [{ports: [1]}]}", "destinations: {allowed: [{hosts: [a], ports: [1.5]}]}", "version: x", "slices: {scope: true}",
	} {
		if valid(text) {
			t.Errorf("let in:\n%s", text)
		}
	}
}
