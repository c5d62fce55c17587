package policy

import (
	"maps"
	"slices"
	"strings"
)

// JSONSchema is a JSON schema of policy.yaml, for tools that check values before they become one, such as Helm: the
// types, the names of keys and what stands for one of few, the IDs of rules among it. It does not ask for the version,
// which the text that values are merged into has, and lets some pass that ParseConfig refuses: what patterns, CIDRs and
// selectors must look like, and what must stand once.
func JSONSchema(rules []string) map[string]any {
	schema := policyShape.schema(rules)
	delete(schema, "required")
	return schema
}

func (s *shape) schema(rules []string) map[string]any {
	switch {
	case s.rules:
		return map[string]any{
			"type": "object", "additionalProperties": false,
			"patternProperties": map[string]any{
				"^(" + strings.Join(rules, "|") + ")$": map[string]any{"enum": []any{"off", "warn", "deny", "fix", false}},
			},
		}
	case s.keys != nil:
		properties := map[string]any{}
		for _, key := range slices.Sorted(maps.Keys(s.keys)) {
			properties[key] = s.keys[key].schema(rules)
		}
		schema := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
		if len(s.need) > 0 {
			schema["required"] = s.need
		}
		if len(s.some) > 0 {
			var each []any
			for _, key := range s.some {
				each = append(each, map[string]any{"required": []string{key}})
			}
			schema[map[bool]string{false: "anyOf", true: "oneOf"}[s.single]] = each
		}
		return schema
	case s.items != nil:
		schema := map[string]any{"type": "array", "items": s.items.schema(rules)}
		if s.filled {
			schema["minItems"] = 1
		}
		if s.once {
			schema["uniqueItems"] = true
		}
		return schema
	case s.rule:
		return map[string]any{"enum": rules}
	case s.values != nil:
		var values []any
		for _, v := range s.values {
			values = append(values, v)
		}
		if s.off {
			values = append(values, false)
		}
		return map[string]any{"enum": values}
	}
	var types []string
	for _, tag := range s.tags {
		types = append(types, map[string]string{"!!str": "string", "!!int": "integer"}[tag])
	}
	if len(types) == 1 {
		return map[string]any{"type": types[0]}
	}
	return map[string]any{"type": types}
}
