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
	// Port is as the Ingress gives it.
	Port networkingv1.ServiceBackendPort
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
	port := t.Port.Name
	if port == "" {
		port = strconv.Itoa(int(t.Port.Number))
	}
	fill := strings.NewReplacer("$namespace", t.Namespace, "$name", host, "$value", value, "$service", t.Service, "$port", port)
	for _, a := range s.Write {
		a.Text = fill.Replace(a.Text)
		written = append(written, a)
	}
	return written, true
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
	return true
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
