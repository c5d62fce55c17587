package intent

import (
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// source is where annotations are read: those of the Ingress, and the Service and port of one backend.
type source struct {
	ingress map[string]string
	service *corev1.Service
	port    networkingv1.ServiceBackendPort
}

func (s *source) annotations(on Place) map[string]string {
	if on == OnIngress {
		return s.ingress
	}
	if s.service == nil {
		return nil
	}
	return s.service.Annotations
}

// text is what a key says of the backend. Of a list it is the entry that means the backend; set is false where no
// entry does, or there is no backend to be meant.
func (s *source) text(k *Key) (text string, set bool) {
	text, set = s.annotations(k.On)[k.Annotation]
	if !set || k.Per == PerObject {
		return strings.TrimSpace(text), set
	}
	if s.service == nil {
		return "", false
	}
	if k.Per == PerRewrites {
		return rewriteOf(text, s.service.Name)
	}
	for entry := range strings.SplitSeq(text, ",") {
		entry = strings.TrimSpace(entry)
		if k.Per == PerServices && entry == s.service.Name || k.Per == PerPorts && s.isPort(entry) {
			return entry, true
		}
	}
	return "", false
}

// rewriteOf finds the path of a Service among entries "serviceName=NAME rewrite=PATH".
func rewriteOf(text, service string) (path string, set bool) {
	for entry := range strings.SplitSeq(text, ";") {
		name, rest, _ := strings.Cut(strings.TrimSpace(entry), " ")
		if name == "serviceName="+service {
			return strings.CutPrefix(strings.TrimSpace(rest), "rewrite=")
		}
	}
	return "", false
}

// isPort tells whether an entry of a list of ports means the backend's.
func (s *source) isPort(entry string) bool {
	if entry == "" {
		return false
	}
	if entry == s.port.Name || entry == strconv.Itoa(int(s.port.Number)) {
		return true
	}
	sp := portOf(s.service, s.port)
	return sp != nil && (entry == sp.Name || entry == strconv.Itoa(int(sp.Port)))
}

// holds tells whether a condition does.
func (s *source) holds(d *Dialect, c Condition) bool {
	for _, on := range [...]Place{OnService, OnIngress} {
		text, set := s.annotations(on)[c.Annotation]
		if !set {
			continue
		}
		text = strings.TrimSpace(text)
		if c.Text != "" {
			return strings.EqualFold(text, c.Text)
		}
		for i := range d.Keys {
			if k := &d.Keys[i]; k.Annotation == c.Annotation && k.On == on && k.Per != PerObject {
				_, listed := s.text(k)
				return listed
			}
		}
		return asks(text)
	}
	return false
}

// asks tells whether a text says anything but no.
func asks(text string) bool {
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "", "false", "off":
		return false
	}
	return true
}

// Read reads the annotations of an Ingress in a dialect: what they say of all its backends. drawbridge's own keys,
// drawbridge.dev/*, come before it under every class; annotations of other dialects mean nothing: what was inert under
// one controller must not come alive under another.
func Read(d *Dialect, annotations map[string]string) Wishes {
	return read(d, &source{ingress: annotations})
}

// ReadBackend reads what holds for one backend: the annotations of the Ingress, its lists of Services, and the
// annotations of the Service with their lists of ports, in the order of precedence that the controller has. svc is nil
// where it is not known; the Ingress alone speaks then.
func ReadBackend(d *Dialect, annotations map[string]string, svc *corev1.Service, port networkingv1.ServiceBackendPort) Wishes {
	return read(d, &source{ingress: annotations, service: svc, port: port})
}

func read(d *Dialect, s *source) Wishes {
	w := Wishes{}
	if len(s.ingress) == 0 && (s.service == nil || len(s.service.Annotations) == 0) {
		return w
	}
	for i := range ownKeys {
		w.read(d, &ownKeys[i], s)
	}
	for i := range d.Keys {
		w.read(d, &d.Keys[i], s)
	}
	return w
}

func (w *Wishes) read(d *Dialect, k *Key, s *source) {
	text, ok := s.text(k)
	if !ok {
		return
	}
	value := k.Before + text
	switch {
	case k.Per == PerServices || k.Per == PerPorts:
		value = k.Value
	case k.Parse != nil:
		if value, ok = k.Parse(text); !ok {
			w.invalid(Invalid{k.Annotation, text, k.Allowed, k.On})
			return
		}
	case k.Values != nil:
		if value, ok = k.Values[strings.ToLower(text)]; !ok {
			w.invalid(Invalid{k.Annotation, text, sortedKeys(k.Values), k.On})
			return
		}
	case text == "":
		return
	}
	if value == "" {
		return
	}
	for _, c := range k.With {
		if !s.holds(d, c) {
			return
		}
	}
	if w.values[k.Wish].Annotation == "" {
		w.values[k.Wish] = wishValue{value, k.Annotation, k.On}
	}
}

// invalid keeps one entry for an annotation that is read for several wishes.
func (w *Wishes) invalid(i Invalid) {
	for _, had := range w.Invalid {
		if had.Annotation == i.Annotation && had.On == i.On {
			return
		}
	}
	w.Invalid = append(w.Invalid, i)
}

// Says tells whether an annotation of the Ingress, of the dialect or drawbridge's own, is about a wish: understood or
// not, and raw configuration among them. Nothing is injected beside it.
func (d *Dialect) Says(wish Wish, annotations map[string]string) bool {
	return d.says(wish, &source{ingress: annotations})
}

// SaysBackend tells the same of one backend, the annotations of its Service among them. A list says something of the
// backends that stand in it.
func (d *Dialect) SaysBackend(wish Wish, annotations map[string]string, svc *corev1.Service, port networkingv1.ServiceBackendPort) bool {
	return d.says(wish, &source{ingress: annotations, service: svc, port: port})
}

func (d *Dialect) says(wish Wish, s *source) bool {
	if len(s.ingress) == 0 && (s.service == nil || len(s.service.Annotations) == 0) {
		return false
	}
	for _, keys := range [...][]Key{ownKeys, d.Keys} {
		for i := range keys {
			if keys[i].Wish == wish {
				if _, set := s.text(&keys[i]); set {
					return true
				}
			}
		}
	}
	for _, key := range d.Snippets {
		for _, on := range [...]Place{OnIngress, OnService} {
			if _, set := s.annotations(on)[key]; set {
				return true
			}
		}
	}
	return false
}

// Half is an annotation that needs another one beside it, and has not got it.
type Half struct {
	*Pair
	Annotation string
	On         Place
}

// Halves lists the annotations of the dialect that do nothing as they stand, for one backend; svc is nil where it is
// not known. b is what is known of the backend.
func (d *Dialect) Halves(annotations map[string]string, svc *corev1.Service, port networkingv1.ServiceBackendPort, b Backend) []Half {
	s := &source{ingress: annotations, service: svc, port: port}
	var list []Half
	for i := range d.Pairs {
		p := &d.Pairs[i]
		if whole(d, s, p, b) {
			continue
		}
		for _, key := range p.Annotations {
			for _, on := range [...]Place{OnIngress, OnService} {
				if text, set := s.annotations(on)[key]; set && asks(text) && !misspelled(d, s, p) {
					list = append(list, Half{p, key, on})
				}
			}
		}
	}
	return list
}

// misspelled tells whether what a pair needs is there, with a value that means nothing: then that is what is wrong.
func misspelled(d *Dialect, s *source, p *Pair) bool {
	for _, bad := range read(d, s).Invalid {
		for _, c := range p.Needs {
			if c.Annotation == bad.Annotation {
				return true
			}
		}
	}
	return false
}

func whole(d *Dialect, s *source, p *Pair, b Backend) bool {
	if p.Ports && b.Secure() {
		return true
	}
	for _, c := range p.Needs {
		if s.holds(d, c) {
			return true
		}
	}
	return false
}

// PassesTLS tells whether TLS goes through to the backend unread, so that nothing of a request can be changed.
func (d *Dialect) PassesTLS(annotations map[string]string) bool {
	for _, keys := range [...][]string{{Prefix + passthrough}, d.Passthrough} {
		for _, key := range keys {
			if text, set := annotations[key]; set && !strings.EqualFold(strings.TrimSpace(text), "false") {
				return true
			}
		}
	}
	return false
}

const passthrough = "ssl-passthrough"
