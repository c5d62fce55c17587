package intent

import "regexp"

const apisixPrefix = "k8s.apisix.apache.org/"

// Apisix is apache/apisix-ingress-controller.
//
// internal/adc/translator/annotations. Of an Ingress it serves ExternalName since version 2 (internal/adc/translator/
// ingress.go, resolveIngressUpstream): by the port of the Service that matches, else by port 80. Version 1 did not
// (apache/apisix-ingress-controller#2170). A BackendTrafficPolicy of the Service says what annotations can not.
var Apisix = &Dialect{
	Name:        "apisix",
	Title:       "APISIX",
	Controllers: []string{"apisix.apache.org/apisix-ingress-controller"},
	Classes:     []string{"apisix"},
	Class:       "apisix",
	Prefixes:    []string{apisixPrefix},
	Keys: []Key{
		{Annotation: apisixPrefix + "upstream-scheme", Wish: WishProtocol, Values: map[string]string{
			"http": "http", "https": "https", "grpc": "grpc", "grpcs": "grpcs",
		}},
		{Annotation: apisixPrefix + "rewrite-target", Wish: WishRewrite},
		{Annotation: apisixPrefix + "use-regex", Wish: WishRegex, Values: onOff},
	},
	Spellings: []Spelling{
		{WishHost, "pass", nil},
		{WishProtocol, "http", []Annotation{{OnIngress, apisixPrefix + "upstream-scheme", "http"}}},
		{WishProtocol, "https", []Annotation{{OnIngress, apisixPrefix + "upstream-scheme", "https"}}},
		{WishProtocol, "grpc", []Annotation{{OnIngress, apisixPrefix + "upstream-scheme", "grpc"}}},
		{WishProtocol, "grpcs", []Annotation{{OnIngress, apisixPrefix + "upstream-scheme", "grpcs"}}},
		{WishVerify, "off", nil},
		{WishRewrite, "*", []Annotation{{OnIngress, apisixPrefix + "rewrite-target", "$value"}}},
		{WishRegex, "on", []Annotation{{OnIngress, apisixPrefix + "use-regex", "true"}}},
	},
	Pairs: []Pair{
		{
			Annotations: []string{apisixPrefix + "rewrite-target-regex"},
			Needs:       []Condition{{apisixPrefix + "rewrite-target-regex-template", ""}},
			Why:         "does nothing without `" + apisixPrefix + "rewrite-target-regex-template`",
			Write:       "add `" + apisixPrefix + "rewrite-target-regex-template`: '/$1'",
		},
		{
			Annotations: []string{apisixPrefix + "rewrite-target-regex-template"},
			Needs:       []Condition{{apisixPrefix + "rewrite-target-regex", ""}},
			Why:         "does nothing without `" + apisixPrefix + "rewrite-target-regex`",
			Write:       "add `" + apisixPrefix + "rewrite-target-regex`: '/path/(.*)'",
		},
	},
	References: []Reference{
		{Annotation: apisixPrefix + "plugin-config-name", Kind: "ApisixPluginConfig"},
		{Annotation: apisixPrefix + "svc-namespace", Kind: "Service", Namespace: true},
	},
	// internal/adc/translator/annotations/plugins/forward-auth.go; http-redirect is for the browser.
	Fetches: []Fetch{{Annotation: apisixPrefix + "auth-uri"}},
	Texts: map[string]Grammar{
		apisixPrefix + "rewrite-target":                urlWithVariables,
		apisixPrefix + "rewrite-target-regex-template": pathTarget,
		apisixPrefix + "rewrite-target-regex": {Name: "a regular expression", Says: "a regular expression", Valid: func(text string) bool {
			_, err := regexp.Compile(text)
			return err == nil
		}},
		apisixPrefix + "http-redirect": urlWithVariables,
		apisixPrefix + "auth-uri":      urlWithVariables,
	},
	Restricts: apisixRestricts,
	Unserved:  apisixUnserved,
	Cannot: []Limit{
		{WishHost, "passes the client's Host", "write a BackendTrafficPolicy for the Service with `passHost: node`"},
		{WishProtocol, "speaks http, https, grpc or grpcs to an upstream", "use 'grpc' where the upstream speaks gRPC"},
		{WishVerify, "does not verify an upstream's certificate by annotation", "serve the host by a class that verifies"},
		{WishServerName, "takes the server name from the Host that it sends", "write a BackendTrafficPolicy for the Service with `passHost: rewrite` and `upstreamHost`"},
		{WishCASecret, "knows no CA by annotation", "serve the host by a class that verifies"},
		{WishClientCert, "knows no client certificate by annotation", "write an ApisixUpstream with `tlsSecret`"},
	},
	Rewrite: RewritePath,
	PrefixRewrite: []Annotation{
		{OnIngress, apisixPrefix + "rewrite-target-regex", `^$prefix/?(.*)`},
		{OnIngress, apisixPrefix + "rewrite-target-regex-template", `$to/$1`},
	},
	PortNames:  true,
	NeedsPort:  true,
	Unverified: true,
	Aliases: Aliases{
		State:   AliasServed,
		Instead: "write a Service without selector and an EndpointSlice",
		Source:  "https://github.com/apache/apisix-ingress-controller/blob/master/internal/adc/translator/ingress.go",
	},
	Source: "https://github.com/apache/apisix-ingress-controller/blob/master/internal/adc/translator/annotations/types.go",
}
