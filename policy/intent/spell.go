package intent

import (
	"strconv"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
)

// Target is the backend that a wish is written for.
type Target struct {
	// Host is the Host header that is meant.
	Host string
	// Namespace and Service name the backend; Service may be a list by commas, for annotations that take one.
	Namespace, Service string
	// Ports are the backend's, by name or number as the Ingress gives them; of several, a list by commas.
	Ports string
}

// PortText is a port as an Ingress gives it: its name, else its number.
func PortText(p networkingv1.ServiceBackendPort) string {
	if p.Name != "" {
		return p.Name
	}
	return strconv.Itoa(int(p.Number))
}

// Spell is how the dialect says a wish: every annotation to write, and where. ok is false where it can not say it.
func (d *Dialect) Spell(wish Wish, value string, t Target) (written []Annotation, ok bool) {
	s := d.spelling(wish, value)
	if s == nil {
		return nil, false
	}
	host := t.Host
	if name, rewrites := strings.CutPrefix(value, "rewrite:"); rewrites {
		host = name
	}
	for _, a := range s.Write {
		v := value
		if r := d.reference(a); r != nil {
			v = r.Name(value, t.Namespace)
		}
		if strings.IndexByte(a.Text, '$') >= 0 { // most texts say nothing of the backend, and a Replacer costs more than they do
			a.Text = strings.NewReplacer("$name", host, "$value", v, "$service", t.Service, "$port", t.Ports).Replace(a.Text)
		}
		written = append(written, a)
	}
	return written, true
}

func (d *Dialect) reference(a Annotation) *Reference {
	for i := range d.References {
		if r := &d.References[i]; r.Annotation == a.Key && r.On == a.On {
			return r
		}
	}
	return nil
}

// Name is how the annotation names an object, NAME or NAMESPACE/NAME, for an object in a namespace: with the namespace
// where it must stand or is another one.
func (r *Reference) Name(object, namespace string) string {
	ns, name, qualified := strings.Cut(object, "/")
	if !qualified {
		ns, name = namespace, object
	}
	if ns == namespace && !r.Qualified || ns == "" {
		return name
	}
	separator := r.Separator
	if separator == "" {
		separator = "/"
	}
	return ns + separator + name
}

func (d *Dialect) spelling(wish Wish, value string) *Spelling {
	rewrites := strings.HasPrefix(value, "rewrite:")
	for i := range d.Spellings {
		s := &d.Spellings[i]
		if s.Wish == wish && (s.Value == value || s.Value == "*" || rewrites && s.Value == "rewrite") {
			return s
		}
	}
	return nil
}

// PerService tells whether what Spell writes for a wish holds for one Service alone, so that it can not disturb
// another backend of the Ingress: it stands on the Service, or in a list of Services.
func (d *Dialect) PerService(wish Wish, value string) bool {
	s := d.spelling(wish, value)
	if s == nil {
		return false
	}
	for _, a := range s.Write {
		if a.On != OnService && !strings.Contains(a.Text, "$service") {
			return false
		}
	}
	return len(s.Write) > 0
}

// WritesOn tells whether the dialect writes a wish on the Service rather than on the Ingress.
func (d *Dialect) WritesOn(wish Wish, value string) Place {
	if s := d.spelling(wish, value); s != nil {
		for _, a := range s.Write {
			if a.On == OnService {
				return OnService
			}
		}
	}
	return OnIngress
}
