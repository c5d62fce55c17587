package intent

const traefikPrefix = "traefik.ingress.kubernetes.io/"

// Traefik is traefik/traefik, its provider kubernetesIngress, which reads what concerns an upstream on the Service.
//
// pkg/provider/kubernetes/ingress: annotations.go, and kubernetes.go, where loadService takes the Service's port and
// getProtocol says https for port 443 and for a port whose name begins with https. A TLS upstream is verified, against
// the name or address in its URL.
var Traefik = &Dialect{
	Name:        "traefik",
	Title:       "Traefik",
	Controllers: []string{"traefik.io/ingress-controller"},
	Classes:     []string{"traefik"},
	Class:       "traefik",
	Prefixes:    []string{traefikPrefix},
	Keys: []Key{
		{Annotation: traefikPrefix + "service.passhostheader", On: OnService, Wish: WishHost, Values: map[string]string{
			"true": "pass", "t": "pass", "1": "pass", "false": "node", "f": "node", "0": "node",
		}},
		{Annotation: traefikPrefix + "service.serversscheme", On: OnService, Wish: WishProtocol, Values: map[string]string{
			"http": "http", "https": "https", "h2c": "h2c",
		}},
		// The transport is an object that may say any of these.
		{Annotation: traefikPrefix + "service.serverstransport", On: OnService, Wish: WishVerify, Parse: understood},
		{Annotation: traefikPrefix + "service.serverstransport", On: OnService, Wish: WishServerName, Parse: understood},
		{Annotation: traefikPrefix + "service.serverstransport", On: OnService, Wish: WishCASecret, Parse: understood},
		{Annotation: traefikPrefix + "service.serverstransport", On: OnService, Wish: WishClientCert, Parse: understood},
	},
	Spellings: []Spelling{
		{WishHost, "node", []Annotation{{OnService, traefikPrefix + "service.passhostheader", "false"}}},
		{WishHost, "pass", []Annotation{{OnService, traefikPrefix + "service.passhostheader", "true"}}},
		{WishProtocol, "http", []Annotation{{OnService, traefikPrefix + "service.serversscheme", "http"}}},
		{WishProtocol, "https", []Annotation{{OnService, traefikPrefix + "service.serversscheme", "https"}}},
		// Over TLS it speaks HTTP/2 where the upstream does.
		{WishProtocol, "h2", []Annotation{{OnService, traefikPrefix + "service.serversscheme", "https"}}},
		{WishProtocol, "grpcs", []Annotation{{OnService, traefikPrefix + "service.serversscheme", "https"}}},
		{WishProtocol, "h2c", []Annotation{{OnService, traefikPrefix + "service.serversscheme", "h2c"}}},
		{WishProtocol, "grpc", []Annotation{{OnService, traefikPrefix + "service.serversscheme", "h2c"}}},
		{WishVerify, "on", nil},
	},
	References: []Reference{
		{Annotation: traefikPrefix + "service.serverstransport", On: OnService, Kind: "ServersTransport", Resource: true},
		{Annotation: traefikPrefix + "router.middlewares", Kind: "Middleware", Resource: true, List: true},
		{Annotation: traefikPrefix + "router.tls.options", Kind: "TLSOption", Resource: true},
	},
	Texts: map[string]Grammar{
		traefikPrefix + "router.middlewares":       listOf(matching("middlewares", "names such as 'NAMESPACE-NAME@kubernetescrd', separated by commas", `[A-Za-z0-9\-._]+(?:@[A-Za-z0-9\-._]+)?`)),
		traefikPrefix + "service.serverstransport": matching("a transport", "a name such as 'NAMESPACE-NAME@kubernetescrd'", `[A-Za-z0-9\-._]+(?:@[A-Za-z0-9\-._]+)?`),
		traefikPrefix + "router.tls.options":       matching("TLS options", "a name such as 'NAMESPACE-NAME@kubernetescrd'", `[A-Za-z0-9\-._]+(?:@[A-Za-z0-9\-._]+)?`),
		// It is written before "(`PATH`)" into the router's rule, where a host could be claimed.
		traefikPrefix + "router.pathmatcher": matching("a matcher", "the name of a matcher such as 'PathPrefix' or 'PathRegexp'", `[A-Za-z]+`),
		traefikPrefix + "router.entrypoints": listOf(word),
	},
	// A middleware may be any, and TLS options may ask for a client certificate.
	Restricts: prefixed([]string{traefikPrefix}, "router.middlewares", "router.tls.options"),
	// drawbridge serves every host at all of its ports.
	Unserved: prefixed([]string{traefikPrefix}, "router.entrypoints"),
	Cannot: []Limit{
		{WishHost, "sends the client's Host or the Service's own name, no other", "write a Middleware with `headers.customRequestHeaders.Host` and name it in `" + traefikPrefix + "router.middlewares`"},
		{WishVerify, "verifies unless a ServersTransport says otherwise", "write a ServersTransport with `insecureSkipVerify` and name it in `" + traefikPrefix + "service.serverstransport`"},
		{WishServerName, "takes the server name from the URL of the upstream", "write a ServersTransport with `serverName` and name it in `" + traefikPrefix + "service.serverstransport`"},
		{WishCASecret, "knows the system's authorities only", "write a ServersTransport with `rootCAs` and name it in `" + traefikPrefix + "service.serverstransport`"},
		{WishClientCert, "sends no client certificate", "write a ServersTransport with `certificatesSecrets` and name it in `" + traefikPrefix + "service.serverstransport`"},
		{WishRewrite, "does not rewrite a path by annotation", "write a Middleware with `replacePathRegex` or `stripPrefix` and name it in `" + traefikPrefix + "router.middlewares`"},
		{WishRegex, "takes regular expressions as a matcher", "write `" + traefikPrefix + "router.pathmatcher`: 'PathRegexp', which version 3 of Traefik knows"},
	},
	PortNames:  true,
	NeedsPort:  true,
	SecurePort: true,
	Aliases: Aliases{
		State:   AliasOff,
		Flag:    "--providers.kubernetesIngress.allowExternalNameServices=true",
		Instead: "write a Service without selector and an EndpointSlice",
		Source:  "https://github.com/traefik/traefik/pull/8261",
	},
	Source: "https://github.com/traefik/traefik/blob/master/pkg/provider/kubernetes/ingress/annotations.go",
}

// understood reads a text that says nothing of a wish's value, though it may decide it.
func understood(string) (string, bool) { return "", true }
