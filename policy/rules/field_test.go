package rules

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"drawbridge.dev/drawbridge/policy"
)

// fieldDir holds what is found in clusters, a file for each project that writes it. Each tells on top what writes it, who
// owns it, and where that is documented. All documents of a file and of cluster.yaml make one World.
const fieldDir = "testdata/field"

// fieldObject is an object of the field and who writes it.
type fieldObject struct {
	policy.Object
	// user is what the last comment "# user: name" before or in the document says; a person where there is none.
	user string
}

// fieldObjects decodes a file strictly.
func fieldObjects(t testing.TB, path string) []fieldObject {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	user := "alice"
	var list []fieldObject
	docs := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(doc)) {
			if name, ok := strings.CutPrefix(line, "# user: "); ok {
				user = strings.TrimSpace(name)
			}
		}
		var meta metav1.TypeMeta
		if err := yaml.Unmarshal(doc, &meta); err != nil {
			t.Fatalf("%s: %v in:\n%s", path, err, doc)
		}
		o := map[string]policy.Object{
			"Service": &corev1.Service{}, "Endpoints": &corev1.Endpoints{}, "EndpointSlice": &discoveryv1.EndpointSlice{},
			"Ingress": &networkingv1.Ingress{}, "IngressClass": &networkingv1.IngressClass{},
			"Node": &corev1.Node{}, "ServiceCIDR": &networkingv1.ServiceCIDR{},
		}[meta.Kind]
		if o == nil {
			t.Fatalf("%s: unknown kind %q", path, meta.Kind)
		}
		if err := yaml.UnmarshalStrict(doc, o); err != nil {
			t.Fatalf("%s: %v in:\n%s", path, err, doc)
		}
		list = append(list, fieldObject{o, user})
	}
}

// fieldCase is a file of the field.
type fieldCase struct {
	name    string
	objects []fieldObject
	world   policy.World
}

func fieldCases(t testing.TB) []fieldCase {
	t.Helper()
	paths, err := filepath.Glob(fieldDir + "/*.yaml")
	if err != nil || len(paths) < 40 {
		t.Fatalf("%d files of the field: %v", len(paths), err)
	}
	cluster := fieldObjects(t, fieldDir+"/cluster.yaml")
	var list []fieldCase
	for _, path := range paths {
		c := fieldCase{name: strings.TrimSuffix(filepath.Base(path), ".yaml"), objects: fieldObjects(t, path)}
		var world []policy.Object
		for _, o := range append(cluster[:len(cluster):len(cluster)], c.objects...) {
			world = append(world, o.Object)
		}
		c.world = policy.NewIndex(world...)
		list = append(list, c)
	}
	return list
}

// unasked tells that admission is not asked about a user: what he wrote is only seen in the audit and by the proxy.
func unasked(user string) bool {
	return user == "system:apiserver" || strings.HasPrefix(user, "system:serviceaccount:kube-system:")
}

// owned tells whether an object is somebody's who would undo what drawbridge did to it: a controller's, another
// manager's, or a controller's of Ingresses of which no dialect is known.
func owned(o policy.Object, w policy.World) bool {
	if ing, ok := o.(*networkingv1.Ingress); ok {
		if _, known := policy.DefaultConfig().DialectOf(ing, w.IngressClass); !known {
			return true
		}
	}
	if metav1.GetControllerOfNoCopy(o) != nil {
		return true
	}
	labels := o.GetLabels()
	return labels[discoveryv1.LabelManagedBy] != "" || labels["endpoints.kubernetes.io/managed-by"] != ""
}

// TestField holds that the default policy raises no false alarm: nothing that is found in the field is denied, as a
// request or as it is stored, with all of its neighbors known or none, and nothing that has an owner is changed. What is
// warned of and mended stands in warnings.golden, and what the strict profile would deny in strict.golden: each new line
// there must be read and have its reason. With -update they are written.
func TestField(t *testing.T) {
	strict := policy.DefaultConfig().WithProfile(policy.Strict)
	var warnings, denials strings.Builder
	for _, c := range fieldCases(t) {
		fmt.Fprintf(&warnings, "== %s\n", c.name)
		fmt.Fprintf(&denials, "== %s\n", c.name)
		for _, o := range c.objects {
			title := fmt.Sprintf("%s %s/%s", o.GetObjectKind().GroupVersionKind().Kind, o.GetNamespace(), o.GetName())
			stored := unasked(o.user)
			req := policy.Request{Object: o.Object, World: c.world, User: o.user, Stored: stored, NoFix: stored}
			if stored {
				req.User = ""
			}
			alone, asStored, asStrict := req, req, req
			alone.World = policy.Nothing{}
			asStored.Stored, asStored.NoFix, asStored.User = true, true, ""
			asStrict.Config = strict
			for how, req := range map[string]policy.Request{"": req, ", alone": alone, ", stored": asStored} {
				res := All().Review(req)
				for _, f := range res.Denied {
					t.Errorf("%s: %s%s is denied, a false alarm: a rule may warn of it at most (who writes it stands in the file): %s", c.name, title, how, f.Message())
				}
				if res.Object != o.Object && owned(o.Object, c.world) {
					t.Errorf("%s: %s%s has an owner and is changed: %v", c.name, title, how, res.Fixed)
				}
			}
			res := All().Review(req)
			for _, f := range append(res.Fixed, res.Warned...) {
				fmt.Fprintf(&warnings, "%s: %s: %s\n", title, f.Level, f.Message())
			}
			for _, f := range All().Review(asStrict).Denied {
				fmt.Fprintf(&denials, "%s: %s\n", title, f.Message())
			}
		}
	}
	for name, got := range map[string]string{"warnings.golden": warnings.String(), "strict.golden": denials.String()} {
		path := filepath.Join(fieldDir, name)
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s -want +got (go test ./policy/rules -run TestField -update writes it; read it then):\n%s", path, diff)
		}
	}
}
