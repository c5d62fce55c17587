package intent

// Contour is projectcontour/contour, which reads what concerns an upstream on the Service.
//
// internal/annotation/annotations.go: ParseUpstreamProtocols, in which of a port that stands in several lists tls wins,
// then h2c. It finds its Ingresses by the name of the class, and no controller string is its own; those in use begin as
// below. An upstream's certificate is verified by an HTTPProxy only.
var Contour = &Dialect{
	Name:        "contour",
	Title:       "Contour",
	Controllers: []string{"projectcontour.io/"},
	Classes:     []string{"contour"},
	Class:       "contour",
	Prefixes:    []string{"projectcontour.io/", "contour.heptio.com/"},
	Keys: []Key{
		{Annotation: "projectcontour.io/upstream-protocol.tls", On: OnService, Per: PerPorts, Wish: WishProtocol, Value: "https"},
		{Annotation: "projectcontour.io/upstream-protocol.h2c", On: OnService, Per: PerPorts, Wish: WishProtocol, Value: "h2c"},
		{Annotation: "projectcontour.io/upstream-protocol.h2", On: OnService, Per: PerPorts, Wish: WishProtocol, Value: "h2"},
	},
	Spellings: []Spelling{
		{WishHost, "pass", nil},
		{WishProtocol, "http", nil},
		{WishProtocol, "https", []Annotation{{OnService, "projectcontour.io/upstream-protocol.tls", "$port"}}},
		{WishProtocol, "h2", []Annotation{{OnService, "projectcontour.io/upstream-protocol.h2", "$port"}}},
		{WishProtocol, "grpcs", []Annotation{{OnService, "projectcontour.io/upstream-protocol.h2", "$port"}}},
		{WishProtocol, "h2c", []Annotation{{OnService, "projectcontour.io/upstream-protocol.h2c", "$port"}}},
		{WishProtocol, "grpc", []Annotation{{OnService, "projectcontour.io/upstream-protocol.h2c", "$port"}}},
		{WishVerify, "off", nil},
	},
	// Access control stands in an HTTPProxy, no Ingress can ask for it.
	Unserved: []string{"ingress.kubernetes.io/force-ssl-redirect", "projectcontour.io/num-retries"},
	Cannot: []Limit{
		{WishHost, "passes the client's Host", "write an HTTPProxy whose route sets `requestHeadersPolicy.set` with the name Host"},
		{WishVerify, "does not verify an upstream that an Ingress names", "write an HTTPProxy with `services[].validation`"},
		{WishServerName, "takes the server name from the Service's external name", "write an HTTPProxy with `services[].validation.subjectName`"},
		{WishCASecret, "knows no CA from an Ingress", "write an HTTPProxy with `services[].validation.caSecret`"},
		{WishClientCert, "has one client certificate for all upstreams", "set `tls.envoy-client-certificate` in Contour's configuration"},
		{WishRewrite, "does not rewrite a path of an Ingress", "write an HTTPProxy with `pathRewritePolicy`"},
		{WishRegex, "takes a regular expression by pathType ImplementationSpecific", "write `pathType: ImplementationSpecific`"},
	},
	PortNames:  true,
	NeedsPort:  true,
	Unverified: true,
	Aliases: Aliases{
		State:   AliasOff,
		Flag:    "enableExternalNameService: true",
		Instead: "write a Service without selector and an EndpointSlice",
		Source:  "https://github.com/projectcontour/contour/security/advisories/GHSA-5ph6-qq5x-7jwc",
	},
	Source: "https://github.com/projectcontour/contour/blob/main/internal/annotation/annotations.go",
}
