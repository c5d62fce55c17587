// Package intent knows what an Ingress and its Services ask of a proxy, in the spelling of each Ingress controller.
//
// Every controller has annotations for the same few wishes. A [Dialect] is data: which annotation says which wish,
// and what it writes. [Read] makes [Wishes] of an Ingress, [Wishes.For] completes them for one backend with the
// defaults that suit an external service; [Dialect.Spell] says a wish in the dialect, and [Inject] writes it.
package intent

import (
	"strconv"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
)

// Prefix begins drawbridge's own annotations, which count under every Ingress class.
const Prefix = "drawbridge.dev/"

// Wish is one thing that an annotation can ask for.
type Wish uint8

// The wishes, and the form of their values as Wishes holds them.
const (
	// WishHost is "pass", "node" or "rewrite:NAME".
	WishHost Wish = iota + 1
	// WishProtocol is a Protocol.
	WishProtocol
	// WishVerify is "on" or "off".
	WishVerify
	// WishServerName is the DNS name that the upstream's certificate must bear.
	WishServerName
	// WishRewrite is the path that replaces the matched prefix, or the whole path, as Dialect.Rewrite says.
	WishRewrite
	// WishCASecret names the Secret whose ca.crt verifies the upstream.
	WishCASecret
	// WishClientCert names the Secret with the client certificate.
	WishClientCert
	// WishRegex is "on" where paths are regular expressions.
	WishRegex
)

// Protocol is how an upstream is spoken to.
type Protocol string

// The protocols. GRPC is H2C and GRPCS is H2 but for what health checks and errors look like.
const (
	HTTP  Protocol = "http"
	HTTPS Protocol = "https"
	H2C   Protocol = "h2c"
	H2    Protocol = "h2"
	GRPC  Protocol = "grpc"
	GRPCS Protocol = "grpcs"
)

// TLS tells whether the protocol runs over TLS.
func (p Protocol) TLS() bool { return p == HTTPS || p == H2 || p == GRPCS }

// DefaultPort is the port that a Host header leaves out.
func (p Protocol) DefaultPort() int32 {
	if p.TLS() {
		return 443
	}
	return 80
}

// Key is one annotation of a dialect.
type Key struct {
	Annotation string
	Wish       Wish
	// Values maps what may be written, in lower case, to the value of the wish. Nil means that the text itself is the
	// value, with Before in front.
	Values map[string]string
	Before string
}

// Spelling is how a dialect writes a wish.
type Spelling struct {
	Wish Wish
	// Value is the value of the wish; "node" also stands for the name that it comes to.
	Value string
	// Annotation is written with Text, in which "$name" stands for the Host that is sent.
	Annotation string
	Text       string
}

// Rewrite says what a dialect's rewrite-target replaces.
type Rewrite uint8

// RewritePrefix replaces the matched prefix and keeps the rest; RewritePath replaces the whole path.
const (
	RewritePrefix Rewrite = iota
	RewritePath
)

// Dialect is how one Ingress controller spells its wishes. It is data only: a controller is added by adding a value
// to Dialects.
type Dialect struct {
	Name string
	// Controllers are the values of IngressClass.spec.controller that it goes by.
	Controllers []string
	// Classes are the class names that mean it where there is no IngressClass of that name.
	Classes []string
	// Keys are read in this order; the first that is set and understood decides a wish.
	Keys []Key
	// Spellings say how to inject.
	Spellings []Spelling
	Rewrite   Rewrite
	// TargetPort tells that the port of an ExternalName is the matching Service port's targetPort, where the Service
	// declares one; else it is the number that the Ingress gives.
	TargetPort bool
	// PortNames tells that the controller resolves a port name of an ExternalName that the Service declares.
	PortNames bool
	// Passthrough are the annotations that, unless "false", hand TLS through to the backend unread.
	Passthrough []string
	// Opaque are annotations of raw configuration, which may say any wish in words that nobody reads.
	Opaque []string
	// Unverified tells that the controller does not verify upstreams unless asked to.
	Unverified bool
}

// Wish is a value and where it was read.
type wishValue struct {
	Value      string
	Annotation string
}

// Invalid is an annotation of the dialect whose value means nothing to it.
type Invalid struct {
	Annotation string
	Value      string
	// Allowed lists the values that it can have; nil where it is free text.
	Allowed []string
}

// Wishes is what the annotations of one Ingress say.
type Wishes struct {
	values  map[Wish]wishValue
	Invalid []Invalid
}

// Get is the value of a wish and the annotation that said it; both are empty where nothing did.
func (w Wishes) Get(wish Wish) (value, annotation string) {
	v := w.values[wish]
	return v.Value, v.Annotation
}

// Read reads annotations in a dialect. drawbridge's own keys, drawbridge.dev/*, come before it under every class;
// annotations of other dialects mean nothing: what was inert under one controller must not come alive under another.
func Read(d *Dialect, annotations map[string]string) Wishes {
	w := Wishes{values: map[Wish]wishValue{}}
	if len(annotations) == 0 {
		return w
	}
	for i := range ownKeys {
		w.read(&ownKeys[i], annotations)
	}
	for i := range d.Keys {
		w.read(&d.Keys[i], annotations)
	}
	return w
}

func (w *Wishes) read(k *Key, annotations map[string]string) {
	text, ok := annotations[k.Annotation]
	if !ok {
		return
	}
	text = strings.TrimSpace(text)
	value := k.Before + text
	if k.Values != nil {
		if value, ok = k.Values[strings.ToLower(text)]; !ok {
			w.Invalid = append(w.Invalid, Invalid{k.Annotation, text, sortedKeys(k.Values)})
			return
		}
	} else if text == "" {
		return
	}
	if _, done := w.values[k.Wish]; !done {
		w.values[k.Wish] = wishValue{value, k.Annotation}
	}
}

// Says tells whether an annotation of the dialect, or of drawbridge's own, is about a wish: understood or not, and
// raw configuration among them. Nothing is injected beside it.
func (d *Dialect) Says(wish Wish, annotations map[string]string) bool {
	if len(annotations) == 0 {
		return false
	}
	for _, keys := range [...][]Key{ownKeys, d.Keys} {
		for i := range keys {
			if keys[i].Wish == wish {
				if _, set := annotations[keys[i].Annotation]; set {
					return true
				}
			}
		}
	}
	for _, key := range d.Opaque {
		if _, set := annotations[key]; set {
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

// Kind says what stands behind a backend.
type Kind uint8

// A backend is unknown while its Service is; Pods has a selector; ExternalName an alias; Addresses hand-written
// endpoints.
const (
	Unknown Kind = iota
	Pods
	ExternalName
	Addresses
)

// Backend is what is known of one backend of an Ingress.
type Backend struct {
	Kind Kind
	// Name is the external name, lower case and without its last dot.
	Name string
	// Internal tells that Name is under the cluster's domain.
	Internal bool
	// Port is the number that will be connected to, 0 where it is not known.
	Port int32
	// PortName and AppProtocol are those of the Service port.
	PortName    string
	AppProtocol string
}

// External tells that the backend is outside the cluster.
func (b Backend) External() bool { return b.Kind == ExternalName || b.Kind == Addresses }

// Secure tells that the port is one where everybody speaks TLS: 443, or named https, or with appProtocol https.
func (b Backend) Secure() bool {
	return b.Port == 443 || b.PortName == "https" || strings.EqualFold(b.AppProtocol, "https")
}

// Upstream is what is to be done for one backend, complete.
type Upstream struct {
	// Host is the Host header to send; empty keeps the client's.
	Host     string
	Protocol Protocol
	// ServerName is the name for SNI and verification; empty means the Host that is sent, without its port.
	ServerName string
	Verify     bool
	Rewrite    string // path, empty for none
}

// For completes the wishes for one backend. Where nothing was said: a public external name gets its own name as Host
// (it does not know the client's), everything else keeps the client's; the protocol follows appProtocol and the port;
// TLS is verified.
func (w Wishes) For(b Backend) Upstream {
	u := Upstream{Protocol: w.protocol(b), Verify: true}
	host, _ := w.Get(WishHost)
	if host == "" {
		host = "pass"
		if b.Kind == ExternalName && !b.Internal {
			host = "node"
		}
	}
	switch {
	case host == "node" && b.Kind == ExternalName:
		u.Host = withPort(b.Name, b.Port, u.Protocol)
	case strings.HasPrefix(host, "rewrite:"):
		u.Host = strings.TrimPrefix(host, "rewrite:")
	}
	u.ServerName, _ = w.Get(WishServerName)
	if v, _ := w.Get(WishVerify); v == "off" {
		u.Verify = false
	}
	u.Rewrite, _ = w.Get(WishRewrite)
	return u
}

func (w Wishes) protocol(b Backend) Protocol {
	if v, _ := w.Get(WishProtocol); v != "" {
		return Protocol(v)
	}
	switch strings.ToLower(b.AppProtocol) {
	case "http", "kubernetes.io/ws":
		return HTTP
	case "https", "kubernetes.io/wss":
		return HTTPS
	case "kubernetes.io/h2c":
		return H2C
	case "grpc":
		return GRPC
	}
	if b.External() && b.Secure() {
		return HTTPS
	}
	return HTTP
}

// withPort is the Host header for a name (RFC 9110, section 7.2): the port is left out where it is the protocol's own.
func withPort(name string, port int32, p Protocol) string {
	if port == 0 || port == p.DefaultPort() {
		return name
	}
	return name + ":" + strconv.Itoa(int(port))
}

// ClassName is the class that an Ingress names: its field, else the annotation that came before it; empty for none.
func ClassName(ing *networkingv1.Ingress) string {
	if ing.Spec.IngressClassName != nil {
		return *ing.Spec.IngressClassName
	}
	return ing.Annotations["kubernetes.io/ingress.class"]
}
