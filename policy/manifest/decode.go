package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	extensionsv1beta1 "k8s.io/api/extensions/v1beta1"
	networkingv1 "k8s.io/api/networking/v1"
	networkingv1beta1 "k8s.io/api/networking/v1beta1"
	kjson "sigs.k8s.io/json"

	"drawbridge.dev/drawbridge/policy"
)

type typeMeta struct{ apiVersion, kind string }

// reader makes an empty object to decode into, and what the object becomes.
type reader struct {
	fresh  func() policy.Object
	modern func(policy.Object) policy.Object // nil where it is of the current version
	judged bool
	global bool // has no namespace
}

// groups are the API group of each kind that is read; a kind of the same name in another group is another kind.
var groups = map[string][]string{
	"Service":       {""},
	"Endpoints":     {""},
	"EndpointSlice": {"discovery.k8s.io"},
	"Ingress":       {"networking.k8s.io", "extensions"},
	"IngressClass":  {"networking.k8s.io"},
	"Secret":        {""},
	"ConfigMap":     {""},
	"Namespace":     {""},
}

var readers = map[typeMeta]reader{
	{"v1", "Service"}:                        {fresh: func() policy.Object { return new(corev1.Service) }, judged: true},
	{"v1", "Endpoints"}:                      {fresh: func() policy.Object { return new(corev1.Endpoints) }, judged: true},
	{"discovery.k8s.io/v1", "EndpointSlice"}: {fresh: func() policy.Object { return new(discoveryv1.EndpointSlice) }, judged: true},
	{"networking.k8s.io/v1", "Ingress"}:      {fresh: func() policy.Object { return new(networkingv1.Ingress) }, judged: true},
	{"networking.k8s.io/v1beta1", "Ingress"}: {
		fresh: func() policy.Object { return new(networkingv1beta1.Ingress) }, modern: modernIngress, judged: true,
	},
	{"extensions/v1beta1", "Ingress"}: {
		fresh: func() policy.Object { return new(extensionsv1beta1.Ingress) }, modern: modernIngress, judged: true,
	},
	{"networking.k8s.io/v1", "IngressClass"}: {fresh: func() policy.Object { return new(networkingv1.IngressClass) }, global: true},
	{"networking.k8s.io/v1beta1", "IngressClass"}: {
		fresh: func() policy.Object { return new(networkingv1beta1.IngressClass) }, modern: modernClass, global: true,
	},
	{"v1", "Secret"}:    {fresh: func() policy.Object { return new(corev1.Secret) }},
	{"v1", "ConfigMap"}: {fresh: func() policy.Object { return new(corev1.ConfigMap) }},
	{"v1", "Namespace"}: {fresh: func() policy.Object { return new(corev1.Namespace) }, global: true},
}

// current is the version to write instead of one that is not read.
var current = map[string]string{"": "v1", "discovery.k8s.io": "discovery.k8s.io/v1", "networking.k8s.io": "networking.k8s.io/v1", "extensions": "networking.k8s.io/v1"}

func known(kind, group string) bool {
	for _, g := range groups[kind] {
		if g == group {
			return true
		}
	}
	return false
}

func groupOf(apiVersion string) string {
	group, _, ok := strings.Cut(apiVersion, "/")
	if !ok {
		return ""
	}
	return group
}

// readNode reads an object, or every object of a list. meta is what a typed list leaves its items to take for
// granted.
func (f *File) readNode(d *document, index int, n, list *yaml.Node, meta typeMeta, depth int) {
	if n.Kind != yaml.MappingNode {
		if n.Kind == yaml.AliasNode {
			f.fail(d, d.position(n), "", "an object must not be an alias", nil)
		} else if list != nil {
			f.fail(d, d.position(n), "", "an item of a list must be an object", nil)
		}
		return
	}
	if _, v, ok := lookup(n, "apiVersion"); ok && deref(v).Kind == yaml.ScalarNode {
		meta.apiVersion = deref(v).Value
	}
	if _, v, ok := lookup(n, "kind"); ok && deref(v).Kind == yaml.ScalarNode {
		meta.kind = deref(v).Value
	}
	group := groupOf(meta.apiVersion)
	if item, ok := strings.CutSuffix(meta.kind, "List"); ok && (item == "" && meta.apiVersion == "v1" || known(item, group)) {
		f.readList(d, index, n, typeMeta{meta.apiVersion, item}, depth)
		return
	}
	if !known(meta.kind, group) && (meta.apiVersion != "" || groups[meta.kind] == nil) {
		f.Passed++
		return
	}
	if meta.apiVersion == "" {
		f.fail(d, d.position(n), "apiVersion", fmt.Sprintf("must be set; %s is of '%s'", meta.kind, current[groups[meta.kind][0]]), nil)
		return
	}
	r, ok := readers[meta]
	if !ok {
		f.fail(d, d.position(locate(n, "apiVersion")), "apiVersion",
			fmt.Sprintf("'%s' has no %s that drawbridge reads; write '%s'", meta.apiVersion, meta.kind, current[group]), nil)
		return
	}
	f.readObject(d, index, n, list, meta, r)
}

func (f *File) readList(d *document, index int, n *yaml.Node, item typeMeta, depth int) {
	_, items, ok := lookup(n, "items")
	switch {
	case !ok || deref(items).Tag == "!!null":
		return
	case depth > 8:
		f.fail(d, d.position(n), "items", "lists are nested too deep", nil)
		return
	case items.Kind != yaml.SequenceNode:
		f.fail(d, d.position(items), "items", "must be a list", nil)
		return
	}
	if item.kind == "" {
		item = typeMeta{}
	}
	for _, c := range items.Content {
		f.readNode(d, index, c, items, item, depth+1)
	}
}

func (f *File) readObject(d *document, index int, n, list *yaml.Node, meta typeMeta, r reader) {
	enc, nerr := encode(n, &f.expanded)
	if nerr != nil {
		f.fail(d, d.position(nerr.node), pathTo(n, nerr.node), nerr.detail, nil)
		return
	}
	bad := false
	for _, dup := range enc.dups {
		bad = true
		f.fail(d, d.position(dup.node), pathTo(n, dup.node), dup.detail, nil)
	}
	fresh := r.fresh()
	strict, err := kjson.UnmarshalStrict(enc.buf, fresh, kjson.DisallowUnknownFields)
	if err != nil {
		node, detail := typeError(enc, err)
		if node == nil {
			node = n
		}
		f.fail(d, d.position(node), pathTo(n, node), detail, err)
		return
	}
	for _, e := range strict {
		bad = true
		path := ""
		if fe, ok := e.(kjson.FieldError); ok {
			path = fe.FieldPath()
		}
		detail := "unknown field"
		if path == "MANIFEST" || path == "NOTES" { // the headings of `helm install --dry-run`
			detail += "; read what 'helm template' prints instead"
		}
		f.fail(d, d.position(locate(n, path)), path, detail, e)
	}
	if bad {
		return
	}
	o := &Object{
		Object: fresh, APIVersion: meta.apiVersion, Kind: meta.kind, File: f.Name, Document: index,
		Judged: r.judged || holdsPolicy(fresh), Legacy: r.modern != nil, doc: d, node: n, parent: list,
	}
	if r.modern != nil {
		o.Object = r.modern(fresh)
	}
	o.Object.GetObjectKind().SetGroupVersionKind(gvk(o))
	if !r.global && o.Object.GetNamespace() == "" {
		o.Object.SetNamespace(f.opts.namespace())
	}
	f.Objects = append(f.Objects, o)
}

// holdsPolicy tells that an object is the ConfigMap of the policy, by its name.
func holdsPolicy(o policy.Object) bool {
	cm, ok := o.(*corev1.ConfigMap)
	return ok && cm.Name == policy.ConfigMapName
}

// typeError finds the node that could not be decoded and says it in the words of YAML.
func typeError(enc *encoder, err error) (*yaml.Node, string) {
	var te *json.UnmarshalTypeError
	if !errors.As(err, &te) {
		return nil, "can not be read: " + err.Error()
	}
	var node *yaml.Node
	if te.Field != "" { // else it is of a decoder inside the decoder, whose offsets are its own
		node = enc.nodeAt(int(te.Offset))
	}
	want := "another type"
	if te.Type != nil {
		t := te.Type
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		switch t.Kind() {
		case reflect.String:
			want = "a string"
		case reflect.Bool:
			want = "true or false"
		case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
			want = "a whole number of type " + t.Kind().String()
		case reflect.Float32, reflect.Float64:
			want = "a number"
		case reflect.Slice:
			want = "a list"
		case reflect.Map, reflect.Struct:
			want = "a mapping"
		}
	}
	got := te.Value
	switch {
	case strings.HasPrefix(got, "bool"):
		got = "a boolean"
	case strings.HasPrefix(got, "number"):
		got = "the " + got
		if got == "the number" {
			got = "a number"
		}
	case got == "array":
		got = "a list"
	case got == "object":
		got = "a mapping"
	case got == "string":
		got = "a string"
	}
	detail := "must be " + want + ", not " + got
	if want == "a string" && (got == "a boolean" || strings.Contains(got, "number")) {
		detail += "; put it in quotes"
	}
	return node, detail
}
