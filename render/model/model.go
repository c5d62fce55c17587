// Package model holds what a proxy serves: plain values that know nothing of Kubernetes and nothing of HAProxy.
//
// A model is slices and values only, sorted by whoever builds it, so that reflect.DeepEqual is equality and a golden
// file shows all there is.
package model

import (
	"net/netip"
)

// Model is everything that is served, sorted by host name. A host without a name is the catch-all.
type Model struct {
	Hosts []Host
	// Default answers what no route matches; its Service is empty where there is none.
	Default Upstream
	// Certificates are those that the hosts use, sorted by ID, each once.
	Certificates []Certificate
}

// Host is all that is served under one host name.
type Host struct {
	// Name is lower case: "a.example.com", "*.example.com" for one label in front, or "" for every host.
	Name string
	// Certificate is the ID of the certificate, empty where the host is served without TLS.
	Certificate string
	// Routes is sorted: by path, Exact before Prefix.
	Routes []Route
}

// Match says how a route's path is compared.
type Match uint8

// Exact compares the whole path; Prefix element by element.
const (
	Exact Match = iota
	Prefix
)

// Route leads the requests for one path to one upstream.
type Route struct {
	// Path begins with a slash. A Prefix has no slash at its end, but for "/" itself.
	Path     string
	Match    Match
	Rewrite  Rewrite
	Upstream Upstream
	Origin   Origin
}

// RewriteMode says what of the path is replaced.
type RewriteMode uint8

// KeepPath replaces nothing, ReplacePrefix the part that matched, ReplacePath everything but the query.
const (
	KeepPath RewriteMode = iota
	ReplacePrefix
	ReplacePath
)

// Rewrite changes the path of a request on its way to the upstream.
type Rewrite struct {
	Mode RewriteMode
	Path string
}

// Protocol is how an upstream is spoken to.
type Protocol uint8

// The protocols, in clear and over TLS.
const (
	HTTP Protocol = iota
	HTTPS
	H2C
	H2
)

// TLS tells whether the protocol runs over TLS.
func (p Protocol) TLS() bool { return p == HTTPS || p == H2 }

// Upstream is where requests go, and how they look there.
type Upstream struct {
	// Service says "namespace/name", for messages and metrics.
	Service  string
	Protocol Protocol
	// Name is a DNS name to resolve, absolute and without its last dot, or an IP address that is to be checked as one
	// that a name resolved to; empty where Addresses says it all.
	Name string
	// Port is the port of Name; Addresses bring their own.
	Port uint16
	// Addresses are sorted, each once.
	Addresses []netip.AddrPort
	// Host is the Host header that is sent, with a port where it needs one; empty keeps the client's.
	Host string
	// ServerName is the name for SNI, against which the certificate is verified; empty means the client's Host.
	ServerName string
}

// Origin is the object and the field that something came from.
type Origin struct {
	Kind      string
	Namespace string
	Name      string
	Field     string
}

// Certificate is a certificate with its key, for the hosts that name its ID.
type Certificate struct {
	// ID says "namespace/secret".
	ID  string
	PEM Secret
	// Origin is the Ingress that asks for it.
	Origin Origin
}

// Secret is text that no log and no golden file shows.
type Secret string

// String hides the text.
func (Secret) String() string { return "(hidden)" }

// GoString hides the text.
func (Secret) GoString() string { return "(hidden)" }

// MarshalText hides the text.
func (Secret) MarshalText() ([]byte, error) { return []byte("(hidden)"), nil }

// Table is what names resolve to: the addresses that are allowed and alive, sorted, by name. A name that is missing
// or has none can not be served.
type Table map[string][]netip.Addr
