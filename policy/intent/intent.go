// Package intent knows what an Ingress and its Services ask of a proxy, in the spelling of each Ingress controller.
//
// Every controller has annotations for the same few wishes. A [Dialect] is data: which annotation says which wish, on
// the Ingress or on the Service, and what it writes. [Read] makes [Wishes] of an Ingress and [ReadBackend] of one
// backend; [Wishes.For] completes them with the defaults that suit an external service; [Dialect.Spell] says a wish in
// the dialect, and [Inject] writes it.
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

	wishes
)

// AllWishes lists every wish.
func AllWishes() []Wish {
	list := make([]Wish, 0, wishes-1)
	for w := Wish(1); w < wishes; w++ {
		list = append(list, w)
	}
	return list
}

var wishNames = [wishes]string{"", "host", "protocol", "verify", "server-name", "rewrite", "ca-secret", "client-secret", "regex"}

// String names the wish: host, protocol, verify, server-name, rewrite, ca-secret, client-secret or regex.
func (w Wish) String() string {
	if w < wishes {
		return wishNames[w]
	}
	return ""
}

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

// wishValue is a value and where it was read.
type wishValue struct {
	Value      string
	Annotation string
	On         Place
}

// Invalid is an annotation of the dialect whose value means nothing to it.
type Invalid struct {
	Annotation string
	Value      string
	// Allowed lists the values that it can have; nil where it is free text.
	Allowed []string
	On      Place
}

// Wishes is what the annotations say: of all backends of an Ingress, or of one.
type Wishes struct {
	values  [wishes]wishValue
	Invalid []Invalid
}

// Get is the value of a wish and the annotation that said it; both are empty where nothing did.
func (w Wishes) Get(wish Wish) (value, annotation string) {
	v := w.values[wish]
	return v.Value, v.Annotation
}

// Place is the object on which a wish was said; the Ingress where nothing said it.
func (w Wishes) Place(wish Wish) Place { return w.values[wish].On }

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
