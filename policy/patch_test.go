package policy

import (
	"encoding/json"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestPatch(t *testing.T) {
	change := func(f func(*corev1.Endpoints)) (before, after *corev1.Endpoints) {
		before = &corev1.Endpoints{Subsets: []corev1.EndpointSubset{{Ports: make([]corev1.EndpointPort, 12)}}}
		after = before.DeepCopy()
		f(after)
		return before, after
	}
	for name, c := range map[string]struct {
		change func(*corev1.Endpoints)
		want   string
	}{
		"nothing": {func(*corev1.Endpoints) {}, `null`},
		// An empty map is written as none is.
		"nothing that shows": {func(e *corev1.Endpoints) { e.Labels = map[string]string{} }, `null`},
		"a first annotation": {func(e *corev1.Endpoints) { e.Annotations = map[string]string{"a/b~c": ""} },
			`[{"op":"add","path":"/metadata/annotations","value":{"a/b~c":""}}]`},
		"in the order of numbers": {func(e *corev1.Endpoints) {
			for _, i := range []int{10, 2, 9} {
				e.Subsets[0].Ports[i].Name = "x"
			}
			e.Subsets[0].Ports = append(e.Subsets[0].Ports, corev1.EndpointPort{Port: 1}, corev1.EndpointPort{Port: 2})
		}, `[{"op":"add","path":"/subsets/0/ports/2/name","value":"x"},{"op":"add","path":"/subsets/0/ports/9/name","value":"x"},` +
			`{"op":"add","path":"/subsets/0/ports/10/name","value":"x"},{"op":"add","path":"/subsets/0/ports/12","value":{"port":1}},` +
			`{"op":"add","path":"/subsets/0/ports/13","value":{"port":2}}]`},
		"a value": {func(e *corev1.Endpoints) { e.Subsets[0].Ports[0].Port = 7 }, `[{"op":"replace","path":"/subsets/0/ports/0/port","value":7}]`},
	} {
		before, after := change(c.change)
		for range 5 { // maps are walked in any order
			ops, err := Patch(before, after)
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.Marshal(ops)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != c.want {
				t.Errorf("%s:\n%s, want\n%s", name, got, c.want)
			}
		}
	}
	before, after := change(func(e *corev1.Endpoints) { e.Subsets[0].Ports = e.Subsets[0].Ports[:3] })
	if ops, err := Patch(before, after); err == nil {
		t.Errorf("a patch that removes: %v", ops)
	}
}
