package intent

import "strings"

const kongPrefix = "konghq.com/"

// Kong is Kong/kubernetes-ingress-controller, which reads a route's annotations on the Ingress and an upstream's on the
// Service.
//
// internal/annotations/annotations.go and internal/dataplane/kongstate: route.go, service.go, upstream.go. The Host of
// host-header is sent where preserve-host is "false" only; without it that sends the target's name (Kong's
// runloop/balancer, set_host_header). What it verifies is the name that it sends.
var Kong = &Dialect{
	Name:        "kong",
	Title:       "Kong",
	Controllers: []string{"ingress-controllers.konghq.com/kong"},
	Classes:     []string{"kong"},
	Class:       "kong",
	Prefixes:    []string{kongPrefix},
	Keys: []Key{
		{Annotation: kongPrefix + "host-header", On: OnService, Wish: WishHost, Before: "rewrite:", With: []Condition{{kongPrefix + "preserve-host", "false"}}},
		{Annotation: kongPrefix + "preserve-host", Wish: WishHost, Values: boolHost},
		{Annotation: kongPrefix + "protocol", On: OnService, Wish: WishProtocol, Values: map[string]string{
			"http": "http", "https": "https", "grpc": "grpc", "grpcs": "grpcs", "ws": "http", "wss": "https",
			"tcp": "", "tls": "", "tls_passthrough": "", "udp": "",
		}},
		{Annotation: kongPrefix + "tls-verify", On: OnService, Wish: WishVerify, Values: onOff},
		{Annotation: kongPrefix + "ca-certificates-secrets", On: OnService, Wish: WishCASecret},
		{Annotation: kongPrefix + "client-cert", On: OnService, Wish: WishClientCert},
		// The prefix is cut off, and the path of the Service put before the rest.
		{Annotation: kongPrefix + "path", On: OnService, Wish: WishRewrite, With: []Condition{{kongPrefix + "strip-path", "true"}}},
		{Annotation: kongPrefix + "strip-path", Wish: WishRewrite, Values: map[string]string{"true": "/", "false": ""}},
	},
	Spellings: []Spelling{
		{WishHost, "pass", []Annotation{{OnIngress, kongPrefix + "preserve-host", "true"}}},
		{WishHost, "node", []Annotation{{OnIngress, kongPrefix + "preserve-host", "false"}}},
		{WishHost, "rewrite", []Annotation{{OnIngress, kongPrefix + "preserve-host", "false"}, {OnService, kongPrefix + "host-header", "$name"}}},
		{WishProtocol, "http", []Annotation{{OnService, kongPrefix + "protocol", "http"}}},
		{WishProtocol, "https", []Annotation{{OnService, kongPrefix + "protocol", "https"}}},
		{WishProtocol, "grpc", []Annotation{{OnService, kongPrefix + "protocol", "grpc"}}},
		{WishProtocol, "grpcs", []Annotation{{OnService, kongPrefix + "protocol", "grpcs"}}},
		{WishVerify, "on", []Annotation{{OnService, kongPrefix + "tls-verify", "true"}}},
		{WishVerify, "off", []Annotation{{OnService, kongPrefix + "tls-verify", "false"}}},
		{WishCASecret, "*", []Annotation{{OnService, kongPrefix + "ca-certificates-secrets", "$value"}}},
		{WishClientCert, "*", []Annotation{{OnService, kongPrefix + "client-cert", "$value"}}},
		{WishRewrite, "/", []Annotation{{OnIngress, kongPrefix + "strip-path", "true"}}},
		{WishRewrite, "*", []Annotation{{OnIngress, kongPrefix + "strip-path", "true"}, {OnService, kongPrefix + "path", "$value"}}},
	},
	Pairs: []Pair{
		{
			Annotations: []string{kongPrefix + "host-header"},
			Needs:       []Condition{{kongPrefix + "preserve-host", "false"}},
			Why:         "is not sent while the Ingress passes the client's Host",
			Write:       "add `" + kongPrefix + "preserve-host`: 'false' to the Ingress",
		},
		{
			Annotations: []string{kongPrefix + "tls-verify", kongPrefix + "ca-certificates-secrets", kongPrefix + "client-cert"},
			Needs:       []Condition{{kongPrefix + "protocol", "https"}, {kongPrefix + "protocol", "grpcs"}, {kongPrefix + "protocol", "wss"}, {kongPrefix + "protocol", "tls"}},
			Why:         "has no effect on an upstream that is spoken to without TLS",
			Write:       "add `" + kongPrefix + "protocol`: 'https' to the Service",
		},
		{
			Annotations: []string{kongPrefix + "ca-certificates-secrets", kongPrefix + "tls-verify-depth"},
			Needs:       []Condition{{kongPrefix + "tls-verify", "true"}},
			Why:         "verifies nothing without `" + kongPrefix + "tls-verify`",
			Write:       "add `" + kongPrefix + "tls-verify`: 'true' to the Service",
		},
	},
	References: []Reference{
		{Annotation: kongPrefix + "client-cert", On: OnService, Kind: "Secret"},
		{Annotation: kongPrefix + "ca-certificates-secrets", On: OnService, Kind: "Secret", List: true},
		{Annotation: kongPrefix + "ca-certificates-configmaps", On: OnService, Kind: "ConfigMap", List: true},
		{Annotation: kongPrefix + "plugins", Kind: "KongPlugin", Separator: ":", List: true},
	},
	Texts: map[string]Grammar{
		kongPrefix + "host-header":  plainHost,
		kongPrefix + "path":         plainPath,
		kongPrefix + "host-aliases": listOf(matching("hosts", "host names or wildcards, separated by commas", `[A-Za-z0-9\-._*]+`)),
		// It becomes a template of the plugin request-transformer, which runs Lua.
		kongPrefix + "rewrite": {Name: "a path", Says: "a path with captures such as '$1', without '$(' and spaces", Valid: kongRewrite},
	},
	// A plugin may be any, and override names an object that may say methods and headers.
	Restricts:          prefixed([]string{kongPrefix}, "plugins", "override"),
	Shares:             prefixed([]string{kongPrefix}, "methods", "headers.", "snis"),
	RestrictsOnService: true,
	Unserved:           prefixed([]string{kongPrefix}, "protocols", "host-aliases", "rewrite", "https-redirect-status-code"),
	Cannot: []Limit{
		{WishProtocol, "speaks HTTP/1.1 or gRPC to an upstream", "use 'grpc' where the upstream speaks gRPC"},
		{WishServerName, "takes the server name from the Host that it sends", "send the name as Host: `" + kongPrefix + "host-header` on the Service and `" + kongPrefix + "preserve-host`: 'false' on the Ingress"},
		{WishRegex, "takes a regular expression by the path's first characters", "write the path as '/~...'"},
	},
	PortNames:  true,
	NeedsPort:  true,
	Unverified: true,
	Aliases: Aliases{
		State:   AliasServed,
		Instead: "write a Service without selector and an EndpointSlice",
		Source:  "https://github.com/Kong/kubernetes-ingress-controller/issues/2316",
	},
	Source: "https://github.com/Kong/kubernetes-ingress-controller/blob/main/internal/annotations/annotations.go",
}

var kongPath = matching("a path", "", `/(?:`+uriChar+`|\$[0-9])*`)

func kongRewrite(text string) bool { return kongPath.Valid(text) && !strings.Contains(text, "$(") }
