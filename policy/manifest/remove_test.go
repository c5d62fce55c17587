package manifest

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"

	"drawbridge.dev/drawbridge/policy"
)

// TestRewrite holds what the text becomes where annotations are taken away and others come.
func TestRewrite(t *testing.T) {
	const head = "apiVersion: networking.k8s.io/v1\nkind: Ingress\n"
	for name, c := range map[string]struct {
		text  string
		gone  []string
		come  map[string]string
		class string
		want  string
		err   string
	}{
		"one of two": {text: head + "metadata:\n  name: x\n  annotations:\n    # why\n    a: b # because\n    c: d\nspec: {}\n", gone: []string{"a"},
			want: head + "metadata:\n  name: x\n  annotations:\n    # why\n    c: d\nspec: {}\n"},
		"another in its place": {text: head + "metadata:\n  name: x\n  annotations:\n    a: b # because\n    c: d\nspec: {}\n", gone: []string{"a"}, come: map[string]string{"z": "1", "e": "f"},
			want: head + "metadata:\n  name: x\n  annotations:\n    e: f\n    z: \"1\"\n    c: d\nspec: {}\n"},
		"the last one, with the others after it": {text: head + "metadata:\n  annotations:\n    a: b\n  name: x\nspec: {}\n", gone: []string{"a"},
			want: head + "metadata:\n  name: x\nspec: {}\n"},
		"the last one of the document": {text: head + "spec: {}\nmetadata:\n  name: x\n  annotations:\n    a: b", gone: []string{"a"},
			want: head + "spec: {}\nmetadata:\n  name: x\n"},
		"text of several lines": {text: head + "metadata:\n  name: x\n  annotations:\n    a: |\n      b\n\n      # no comment\n    c: >-\n      d\n      e\nspec: {}\n", gone: []string{"a"},
			want: head + "metadata:\n  name: x\n  annotations:\n    c: >-\n      d\n      e\nspec: {}\n"},
		"text of several lines, the last": {text: head + "metadata:\n  name: x\n  annotations:\n    c: d\n    a: |\n      b\n\n# the end\n---\n", gone: []string{"a"},
			want: head + "metadata:\n  name: x\n  annotations:\n    c: d\n\n# the end\n---\n"},
		"quoted over lines": {text: head + "metadata:\n  name: x\n  annotations:\n    a: \"b\n      c\"\n    c: d\n", gone: []string{"a"},
			want: head + "metadata:\n  name: x\n  annotations:\n    c: d\n"},
		"an empty text": {text: head + "metadata:\n  name: x\n  annotations:\n    a: \"\"\n    c: d\n", gone: []string{"a"}, want: head + "metadata:\n  name: x\n  annotations:\n    c: d\n"},
		"in braces":     {text: head + "metadata: {name: x, annotations: {a: b, c: d, e: f}}\n", gone: []string{"a", "e"}, want: head + "metadata: {name: x, annotations: {c: d}}\n"},
		"all in braces": {text: head + "metadata: {name: x, annotations: {a: b}, labels: {l: m}}\n", gone: []string{"a"}, want: head + "metadata: {name: x, labels: {l: m}}\n"},
		"carriage returns": {text: strings.ReplaceAll(head+"metadata:\n  name: x\n  annotations:\n    a: b\n    c: d\n", "\n", "\r\n"), gone: []string{"a"}, come: map[string]string{"e": "f"},
			want: strings.ReplaceAll(head+"metadata:\n  name: x\n  annotations:\n    e: f\n    c: d\n", "\n", "\r\n")},
		"a class with it": {text: head + "metadata:\n  name: x\n  annotations:\n    kubernetes.io/ingress.class: nginx\nspec:\n  rules: []\n", gone: []string{"kubernetes.io/ingress.class"}, class: "new",
			want: head + "metadata:\n  name: x\nspec:\n  rules: []\n  ingressClassName: new\n"},
		"JSON": {text: `{"apiVersion":"networking.k8s.io/v1","kind":"Ingress","metadata":{"name":"x","annotations":{"a":"b","c":"d"}}}`, gone: []string{"a"}, come: map[string]string{"e": "f"},
			want: `{"apiVersion":"networking.k8s.io/v1","kind":"Ingress","metadata":{"name":"x","annotations":{"c":"d", "e": "f"}}}`},
		"braces over lines": {text: head + "metadata:\n  name: x\n  annotations: {\n    a: b,\n    c: d\n  }\n", gone: []string{"a"}, come: map[string]string{"e": "f"},
			want: head + "metadata:\n  name: x\n  annotations: {\n    c: d,\n    e: f\n  }\n"},
		"changed and taken away":         {text: head + "metadata: {name: x, annotations: {a: b, c: d}}\n", gone: []string{"a"}, come: map[string]string{"c": "e"}, want: head + "metadata: {name: x, annotations: {c: e}}\n"},
		"an anchor that others may need": {text: head + "metadata:\n  name: x\n  annotations:\n    a: &b b\n    c: *b\n", gone: []string{"a"}, err: "anchor"},
		"an alias":                       {text: head + "metadata:\n  name: x\n  annotations:\n    c: &b b\n    a: *b\n", gone: []string{"a"}, want: head + "metadata:\n  name: x\n  annotations:\n    c: &b b\n"},
		"a merge key":                    {text: head + "metadata:\n  name: x\n  labels: &b {a: b}\n  annotations:\n    <<: *b\n    c: d\n", gone: []string{"a"}, err: "merge key"},
	} {
		f := Read("f", []byte(c.text), Options{})
		if len(f.Errors) > 0 || len(f.Objects) != 1 {
			t.Fatalf("%s: %v", name, f.Errors)
		}
		o := f.Objects[0]
		after := o.Object.DeepCopyObject().(*networkingv1.Ingress)
		for _, key := range c.gone {
			delete(after.Annotations, key)
		}
		for key, text := range c.come {
			after.Annotations[key] = text
		}
		if c.class != "" {
			after.Spec.IngressClassName = &c.class
		}
		got, errs := f.Rewrite(map[*Object]policy.Object{o: after})
		if c.err != "" {
			if len(errs) != 1 || !strings.Contains(errs[0].Error(), c.err) || string(got) != c.text {
				t.Errorf("%s: %v", name, errs)
			}
			continue
		}
		if len(errs) > 0 {
			t.Errorf("%s: %v", name, errs)
		}
		if diff := cmp.Diff(c.want, string(got)); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
		if len(c.gone) > 0 {
			if _, errs := f.Mend(map[*Object]policy.Object{o: after}); len(errs) == 0 {
				t.Errorf("%s: Mend removes", name)
			}
		}
	}
}
