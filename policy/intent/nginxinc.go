package intent

// NginxInc is nginx/kubernetes-ingress, of NGINX Inc.
//
// Its annotations: internal/configs/annotations.go. proxy-set-headers can not set the Host: the template
// nginx.ingress.tmpl writes "proxy_set_header Host $host" beside it, so that the upstream gets two. Its lists of Services
// are not trimmed by the controller, whose validation refuses spaces.
var NginxInc = &Dialect{
	Name:        "nginx-inc",
	Title:       "NGINX Inc.'s controller",
	Controllers: []string{"nginx.org/ingress-controller"},
	Class:       "nginx",
	Prefixes:    []string{"nginx.org/", "nginx.com/"},
	Keys: []Key{
		{Annotation: "nginx.org/grpc-services", Per: PerServices, Wish: WishProtocol, Value: "grpcs", With: []Condition{{"nginx.org/ssl-services", ""}}},
		{Annotation: "nginx.org/grpc-services", Per: PerServices, Wish: WishProtocol, Value: "grpc"},
		{Annotation: "nginx.org/ssl-services", Per: PerServices, Wish: WishProtocol, Value: "https"},
		{Annotation: "nginx.org/rewrites", Per: PerRewrites, Wish: WishRewrite},
		{Annotation: "nginx.org/path-regex", Wish: WishRegex, Values: map[string]string{
			"case_sensitive": "on", "case_insensitive": "on", "exact": "off",
		}},
	},
	Spellings: []Spelling{
		{WishHost, "pass", nil},
		{WishProtocol, "http", nil},
		{WishProtocol, "https", []Annotation{{OnIngress, "nginx.org/ssl-services", "$service"}}},
		{WishProtocol, "grpc", []Annotation{{OnIngress, "nginx.org/grpc-services", "$service"}}},
		{WishProtocol, "grpcs", []Annotation{
			{OnIngress, "nginx.org/grpc-services", "$service"}, {OnIngress, "nginx.org/ssl-services", "$service"},
		}},
		{WishVerify, "off", nil},
		{WishRewrite, "*", []Annotation{{OnIngress, "nginx.org/rewrites", "serviceName=$service rewrite=$value"}}},
		{WishRegex, "on", []Annotation{{OnIngress, "nginx.org/path-regex", "case_sensitive"}}},
	},
	Pairs: []Pair{{
		Annotations: []string{"nginx.org/proxy-redirect-to"},
		Needs:       []Condition{{"nginx.org/proxy-redirect-from", ""}},
		Why:         "does nothing without `nginx.org/proxy-redirect-from`",
		Write:       "add `nginx.org/proxy-redirect-from`: 'URL'",
	}},
	References: []Reference{
		{Annotation: "nginx.org/basic-auth-secret", Kind: "Secret"},
		{Annotation: "nginx.com/jwt-key", Kind: "Secret"},
		{Annotation: "nginx.org/policies", Kind: "Policy", List: true},
	},
	Texts: map[string]Grammar{
		"nginx.org/rewrites": rewriteList,
		"nginx.org/rewrite-target": matching("a path", "a path with captures such as '$1', without spaces, quotes, ';' and braces",
			`/(?:`+uriChar+`|\$[0-9])*`),
		"nginx.org/proxy-set-headers":   listOf(matching("headers", "'NAME' or 'NAME: VALUE', separated by commas", `[A-Za-z0-9\-_]+[ \t]*(?::[ \t]*[^"\\$\p{Cc}]*)?`)),
		"nginx.org/proxy-hide-headers":  headers,
		"nginx.org/proxy-pass-headers":  headers,
		"nginx.org/proxy-redirect-from": redirectFrom,
		"nginx.org/proxy-redirect-to":   urlWithVariables,
		"nginx.org/app-root":            plainPath,
		"nginx.org/basic-auth-realm":    quotable,
		"nginx.com/jwt-realm":           quotable,
		"nginx.com/jwt-token":           variables,
		"nginx.com/jwt-login-url":       urlWithVariables,
		"nginx.org/limit-req-key":       variables,
		"nginx.org/ssl-ciphers":         matching("ciphers", "names of ciphers, separated by ':'", `[A-Za-z0-9+:_\-!@=., ]*`),
		"nginx.org/ssl-services":        serviceNames,
		"nginx.org/grpc-services":       serviceNames,
		"nginx.org/websocket-services":  serviceNames,
	},
	Snippets:  []string{"nginx.org/location-snippets", "nginx.org/server-snippets"},
	Restricts: nginxIncRestricts,
	Unserved:  nginxIncUnserved,
	Cannot: []Limit{
		{WishHost, "passes the client's Host, and `nginx.org/proxy-set-headers` adds a second one", "write a VirtualServer with `requestHeaders`"},
		{WishProtocol, "speaks HTTP/1.1 or gRPC to an upstream", "use gRPC where the upstream speaks it"},
		{WishVerify, "does not verify an upstream's certificate by annotation", "write a Policy with `egressMTLS` and name it in a VirtualServer or in `nginx.org/policies`"},
		{WishServerName, "sends no server name (SNI)", "write a Policy with `egressMTLS`, its `serverName: true` and `sslName`"},
		{WishCASecret, "knows no CA by annotation", "write a Policy with `egressMTLS` and its `trustedCertSecret`"},
		{WishClientCert, "knows no client certificate by annotation", "write a Policy with `egressMTLS` and its `tlsSecret`"},
	},
	Unverified: true,
	Aliases: Aliases{
		State:   AliasOff,
		Flag:    "NGINX Plus and resolver-addresses in its ConfigMap",
		Instead: "write a Service without selector and an EndpointSlice",
		Source:  "https://github.com/nginx/kubernetes-ingress/issues/262",
	},
	Source: "https://github.com/nginx/kubernetes-ingress/blob/main/internal/configs/annotations.go",
}

var (
	serviceNames = listOf(matching("Services", "names of Services, separated by commas", `[a-z0-9](?:[a-z0-9\-]*[a-z0-9])?`))
	rewriteList  = matching("rewrites", "'serviceName=NAME rewrite=PATH', separated by ';'",
		`[ \t]*(?:`+rewriteEntry+`)(?:[ \t]*;[ \t]*(?:`+rewriteEntry+`))*[ \t]*;?[ \t]*`)
)

const rewriteEntry = `serviceName=[a-z0-9\-]+[ \t]+rewrite=/[^\s{};$"'\\]*`
