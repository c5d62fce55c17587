package slices

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"drawbridge.dev/drawbridge/policy"
)

var updateField = flag.Bool("update-field", false, "write testdata/field.golden anew")

// TestField shows of which Endpoints that are found in the field drawbridge would make slices, and why not of the
// others: those of people, and of no program that would notice. It reads the files of TestField of policy/rules.
func TestField(t *testing.T) {
	paths, err := filepath.Glob("../../policy/rules/testdata/field/*.yaml")
	if err != nil || len(paths) < 40 {
		t.Fatalf("%d files: %v", len(paths), err)
	}
	var got strings.Builder
	for _, path := range paths {
		services := map[string]*corev1.Service{}
		var endpoints []*corev1.Endpoints
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		manager := "kubectl-client-side-apply"
		docs := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
		for {
			doc, err := docs.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(doc)) {
				if strings.HasPrefix(line, "# user: ") {
					manager = "kubectl-client-side-apply"
				}
				if name, ok := strings.CutPrefix(line, "# manager: "); ok {
					manager = strings.TrimSpace(name)
				}
			}
			var meta metav1.TypeMeta
			if err := yaml.Unmarshal(doc, &meta); err != nil {
				t.Fatal(err)
			}
			switch meta.Kind {
			case "Service":
				svc := &corev1.Service{}
				if err := yaml.UnmarshalStrict(doc, svc); err != nil {
					t.Fatal(err)
				}
				services[svc.Namespace+"/"+svc.Name] = svc
			case "Endpoints":
				ep := &corev1.Endpoints{}
				if err := yaml.UnmarshalStrict(doc, ep); err != nil {
					t.Fatal(err)
				}
				fields := `{"f:metadata":{}}`
				if len(ep.Subsets) > 0 {
					fields = `{"f:subsets":{}}`
				}
				ep.ManagedFields = []metav1.ManagedFieldsEntry{{
					Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, Time: new(metav1.Now()),
					FieldsV1: metav1.NewFieldsV1(fields),
				}}
				endpoints = append(endpoints, ep)
			}
		}
		for _, ep := range endpoints {
			name := ep.Namespace + "/" + ep.Name
			in, why := InScope(ep, services[name], policy.DefaultConfig(), true)
			if in {
				why = "SLICES"
			}
			if in && len(ep.OwnerReferences) > 0 {
				t.Errorf("%s: slices are made of %s, which has an owner", path, name)
			}
			fmt.Fprintf(&got, "%s %s: %s\n", strings.TrimSuffix(filepath.Base(path), ".yaml"), name, why)
		}
	}
	const golden = "testdata/field.golden"
	if *updateField {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("-want +got (go test ./render/slices -run TestField -update-field writes it):\n%s", diff)
	}
}
