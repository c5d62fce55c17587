package rules

import (
	"bufio"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"drawbridge.dev/drawbridge/policy"
)

// objects decodes a stream of YAML documents, strictly.
func objects(t testing.TB, text string) []policy.Object {
	t.Helper()
	var list []policy.Object
	docs := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	for {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		var meta metav1.TypeMeta
		if err := yaml.Unmarshal(doc, &meta); err != nil {
			t.Fatalf("%v in:\n%s", err, doc)
		}
		o := map[string]policy.Object{
			"Service": &corev1.Service{}, "Endpoints": &corev1.Endpoints{}, "EndpointSlice": &discoveryv1.EndpointSlice{},
			"Ingress": &networkingv1.Ingress{}, "IngressClass": &networkingv1.IngressClass{}, "ServiceCIDR": &networkingv1.ServiceCIDR{},
			"Namespace": &corev1.Namespace{}, "Node": &corev1.Node{}, "Secret": &corev1.Secret{}, "ConfigMap": &corev1.ConfigMap{},
		}[meta.Kind]
		if o == nil {
			t.Fatalf("unknown kind %q", meta.Kind)
		}
		if err := yaml.UnmarshalStrict(doc, o); err != nil {
			t.Fatalf("%v in:\n%s", err, doc)
		}
		list = append(list, o)
	}
}

// testCase is one txtar file: world/*.yaml, object.yaml and perhaps old.yaml, policy.yaml, options and request go in;
// findings and, where something was mended, mended.yaml and patch.json come out.
//
// options are the words nofix and stored. request has a word a line: status, user=NAME, group=NAME (as often as there
// are), and use=RULE for a rule that the user may exempt from.
type testCase struct {
	name  string
	path  string
	ar    *txtar.Archive
	world []policy.Object
	req   policy.Request
}

func cases(t testing.TB) []testCase {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no test cases: %v", err)
	}
	var list []testCase
	for _, path := range paths {
		ar, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		c := testCase{name: strings.TrimSuffix(filepath.Base(path), ".txtar"), path: path, ar: ar}
		for _, f := range ar.Files {
			text := string(f.Data)
			switch {
			case strings.HasPrefix(f.Name, "world/"):
				c.world = append(c.world, objects(t, text)...)
			case f.Name == "object.yaml":
				c.req.Object = objects(t, text)[0]
			case f.Name == "old.yaml":
				c.req.Old = objects(t, text)[0]
			case f.Name == "policy.yaml":
				if c.req.Config, err = policy.ParseConfig(f.Data, Known); err != nil {
					t.Fatalf("%s: %v", path, err)
				}
			case f.Name == "options":
				for _, word := range strings.Fields(text) {
					switch word {
					case "nofix":
						c.req.NoFix = true
					case "stored":
						c.req.Stored = true
					default:
						t.Fatalf("%s: unknown option %s", path, word)
					}
				}
			case f.Name == "request":
				c.request(t, text)
			case f.Name == "findings", f.Name == "mended.yaml", f.Name == "patch.json":
			default:
				t.Fatalf("%s: unknown part %s", path, f.Name)
			}
		}
		if c.req.Object == nil {
			t.Fatalf("%s: no object.yaml", path)
		}
		c.req.World = policy.NewIndex(c.world...)
		list = append(list, c)
	}
	return list
}

// request reads who writes what.
func (c *testCase) request(t testing.TB, text string) {
	t.Helper()
	var usable []string
	for _, word := range strings.Fields(text) {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "status":
			c.req.Status = true
		case "user":
			c.req.User = value
		case "group":
			c.req.Groups = append(c.req.Groups, value)
		case "use":
			if !Known(value) {
				t.Fatalf("%s: unknown rule %s", c.path, value)
			}
			usable = append(usable, value)
		default:
			t.Fatalf("%s: unknown word %s in request", c.path, word)
		}
	}
	if len(usable) > 0 {
		c.req.MayExempt = func(rule string) bool { return slices.Contains(usable, rule) }
	}
}

// ruleOf is the rule that a test case is about: the longest ID that its name begins with.
func ruleOf(name string) string {
	best := ""
	for _, i := range All().Infos() {
		if strings.HasPrefix(name, i.ID) && len(i.ID) > len(best) {
			best = i.ID
		}
	}
	return best
}
