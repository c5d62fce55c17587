package intent

const torchboxPrefix = "ingress.kubernetes.io/"

// TrafficServer is torchbox/k8s-ts-ingress, a plugin of Traffic Server: docs/external.md and docs/annotations.md. The
// certificate of an upstream is not verified by the image that it ships (docker/records.config).
var TrafficServer = &Dialect{
	Name:     "trafficserver",
	Title:    "torchbox's controller of Traffic Server",
	Classes:  []string{"trafficserver"},
	Class:    "trafficserver",
	Prefixes: []string{torchboxPrefix},
	Keys: []Key{
		{Annotation: torchboxPrefix + "preserve-host", Wish: WishHost, Values: boolHost},
		{Annotation: torchboxPrefix + "secure-backends", Wish: WishProtocol, Values: boolHTTPS},
		{Annotation: torchboxPrefix + "rewrite-target", Wish: WishRewrite},
	},
	Spellings: []Spelling{
		{WishHost, "node", []Annotation{{OnIngress, torchboxPrefix + "preserve-host", "false"}}},
		{WishHost, "pass", []Annotation{{OnIngress, torchboxPrefix + "preserve-host", "true"}}},
		{WishProtocol, "https", []Annotation{{OnIngress, torchboxPrefix + "secure-backends", "true"}}},
		{WishProtocol, "http", []Annotation{{OnIngress, torchboxPrefix + "secure-backends", "false"}}},
		{WishVerify, "off", nil},
		{WishRewrite, "*", []Annotation{{OnIngress, torchboxPrefix + "rewrite-target", "$value"}}},
	},
	Texts: map[string]Grammar{
		torchboxPrefix + "rewrite-target": plainPath,
		torchboxPrefix + "app-root":       plainPath,
	},
	References: []Reference{{Annotation: torchboxPrefix + "auth-secret", Kind: "Secret"}},
	Restricts:  ownRestricts,
	Unserved:   ownUnserved,
	Shares:     []string{"ingress.kubernetes.io/canary"},
	Cannot: []Limit{
		{WishHost, "sends the client's Host or the Service's own name, no other", "write an ExternalName Service of that name"},
		{WishProtocol, "speaks HTTP/1.1 to an upstream", "serve the host by a class that speaks HTTP/2"},
		{WishVerify, "verifies by Traffic Server's own configuration", "set `proxy.config.ssl.client.verify.server` in records.config"},
		{WishServerName, "sends the Host as server name", "send that Host"},
		{WishCASecret, "knows one CA for all upstreams", "set `proxy.config.ssl.client.CA.cert.filename` in records.config"},
		{WishClientCert, "knows one client certificate for all upstreams", "set `proxy.config.ssl.client.cert.filename` in records.config"},
		{WishRegex, "matches prefixes", "write the path as a prefix"},
	},
	Unverified: true,
	Aliases: Aliases{
		State:   AliasServed,
		Instead: "write a Service without selector and Endpoints",
		Source:  "https://github.com/torchbox/k8s-ts-ingress/blob/master/docs/external.md",
	},
	Source: "https://github.com/torchbox/k8s-ts-ingress/blob/master/docs/annotations.md",
}

// ApacheTrafficServer is apache/trafficserver-ingress-controller: util/util.go, which knows a snippet and the class, and
// watcher/handlerEndpoint.go: what is served is the Endpoints, whose port name is the scheme of the upstream.
var ApacheTrafficServer = &Dialect{
	Name:     "apache-trafficserver",
	Title:    "the Traffic Server Ingress controller of Apache",
	Class:    "ats",
	Prefixes: []string{"ats.ingress.kubernetes.io/"},
	Spellings: []Spelling{
		{WishHost, "pass", nil},
		{WishVerify, "off", nil},
	},
	Snippets: []string{"ats.ingress.kubernetes.io/server-snippet"},
	Cannot: []Limit{
		{WishHost, "passes the client's Host", "serve the host by a class that can set it"},
		{WishProtocol, "takes the scheme from the name of the endpoints' port", "name the port of the endpoints 'https'"},
		{WishVerify, "verifies by Traffic Server's own configuration", "write a TrafficServer SNI policy with `verify_server_policy`"},
		{WishServerName, "has no annotation for the server name", "write a TrafficServer SNI policy"},
		{WishCASecret, "has no annotation for a CA", "configure the CA of Traffic Server"},
		{WishClientCert, "has no annotation for a client certificate", "configure the certificate of Traffic Server"},
		{WishRewrite, "does not rewrite paths", "serve the path by a class that can"},
		{WishRegex, "matches prefixes", "write the path as a prefix"},
	},
	Unverified: true,
	Aliases: Aliases{
		State:   AliasNever,
		Instead: "write a Service without selector and Endpoints whose port is named http or https",
		Source:  "https://github.com/apache/trafficserver-ingress-controller/blob/master/watcher/handlerEndpoint.go",
	},
	Source: "https://github.com/apache/trafficserver-ingress-controller/blob/master/util/util.go",
}
