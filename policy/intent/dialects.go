package intent

import (
	"maps"
	"slices"
	"strings"
	"sync"

	networkingv1 "k8s.io/api/networking/v1"
)

var (
	boolHost  = map[string]string{"true": "pass", "false": "node"}
	boolHTTPS = map[string]string{"true": "https", "false": "http"}
	onOff     = map[string]string{"true": "on", "on": "on", "false": "off", "off": "off"}
)

// Dialects is the table of every dialect that drawbridge knows, and of controllers known for their way with
// ExternalName only.
var Dialects = append([]*Dialect{
	Drawbridge, IngressNginx, NginxInc, Traefik, Contour, Kong, Haproxytech, Jcmoraisjr, Apisix, TrafficServer, ApacheTrafficServer,
}, others...)

// Of finds the dialect of an Ingress: by the controller of its IngressClass where that is known, else by the name of
// the class. ok is false where the table does not know the class; the Ingress is then nobody's to mend, and the
// dialect returned reads drawbridge's own keys only.
func Of(ing *networkingv1.Ingress, class func(name string) *networkingv1.IngressClass) (d *Dialect, ok bool) {
	name := ClassName(ing)
	var ic *networkingv1.IngressClass
	if name != "" && class != nil {
		ic = class(name)
	}
	for _, d := range Dialects {
		if ic == nil && slices.Contains(d.Classes, name) || ic != nil && d.Controls(ic.Spec.Controller) {
			return d, true
		}
	}
	return &Dialect{Name: "unknown"}, false
}

// Controls tells whether the dialect is that of an IngressClass's controller.
func (d *Dialect) Controls(controller string) bool {
	for _, c := range d.Controllers {
		if c == controller || strings.HasSuffix(c, "/") && strings.HasPrefix(controller, c) {
			return true
		}
	}
	return false
}

// Named is the dialect of that Name, nil where there is none.
func Named(name string) *Dialect {
	for _, d := range Dialects {
		if d.Name == name {
			return d
		}
	}
	return nil
}

// KeyOwners lists the dialects that read an annotation as a wish, in the order of the table; nil where none does, and
// for drawbridge.dev/*, which every class reads.
func KeyOwners(annotation string) []*Dialect { return tables().owners[annotation] }

// OnlyOnService tells whether the dialect reads an annotation, and on the Service only.
func (d *Dialect) OnlyOnService(annotation string) bool {
	owned := false
	for i := range d.Keys {
		if d.Keys[i].Annotation == annotation {
			if d.Keys[i].On == OnIngress {
				return false
			}
			owned = true
		}
	}
	return owned
}

// GrammarOf is what the text of an annotation may be, and whose it is, whichever controller serves the Ingress that
// bears it. ok is false for an annotation that is not known to reach a proxy's configuration.
func GrammarOf(annotation string) (g Grammar, d *Dialect, ok bool) {
	t, ok := tables().texts[annotation]
	return t.Grammar, t.dialect, ok
}

// ReferenceOf is the object that an annotation names, whichever controller serves the Ingress that bears it.
func ReferenceOf(annotation string) (r Reference, d *Dialect, ok bool) {
	t, ok := tables().references[annotation]
	return t.Reference, t.dialect, ok
}

// FetchOf says how an annotation tells where the proxy itself sends requests, and whose it is, whichever controller
// serves the Ingress that bears it. ok is false for one that does not, or not on an object of that kind.
func FetchOf(annotation string, on Place) (f Fetch, d *Dialect, ok bool) {
	t, ok := tables().fetches[placed{annotation, on}]
	return t.Fetch, t.dialect, ok
}

// SnippetOf is the dialect in which an annotation is raw configuration, nil where it is in none.
func SnippetOf(annotation string) *Dialect { return tables().snippets[annotation] }

type index struct {
	owners     map[string][]*Dialect
	texts      map[string]textOf
	references map[string]referenceOf
	fetches    map[placed]fetchOf
	snippets   map[string]*Dialect
	spelled    map[string]bool
}

type textOf struct {
	Grammar
	dialect *Dialect
}

type referenceOf struct {
	Reference
	dialect *Dialect
}

type fetchOf struct {
	Fetch
	dialect *Dialect
}

// placed is an annotation and where it stands.
type placed struct {
	annotation string
	on         Place
}

// tables turns the dialects around, once: by annotation. Of dialects that share one the first counts.
var tables = sync.OnceValue(func() *index {
	x := &index{map[string][]*Dialect{}, map[string]textOf{}, map[string]referenceOf{}, map[placed]fetchOf{}, map[string]*Dialect{}, map[string]bool{}}
	for _, d := range Dialects {
		for i := range d.Keys {
			if key := d.Keys[i].Annotation; !slices.Contains(x.owners[key], d) {
				x.owners[key] = append(x.owners[key], d)
			}
		}
		for key, g := range d.Texts {
			if _, had := x.texts[key]; !had {
				x.texts[key] = textOf{g, d}
			}
		}
		for _, r := range d.References {
			if _, had := x.references[r.Annotation]; !had {
				x.references[r.Annotation] = referenceOf{r, d}
			}
		}
		for _, f := range d.Fetches {
			if _, had := x.fetches[placed{f.Annotation, f.On}]; !had {
				x.fetches[placed{f.Annotation, f.On}] = fetchOf{f, d}
			}
		}
		for _, key := range d.Snippets {
			if x.snippets[key] == nil {
				x.snippets[key] = d
			}
		}
		for _, s := range d.Spellings {
			for _, a := range s.Write {
				x.spelled[a.Key] = true
			}
		}
	}
	return x
})

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
