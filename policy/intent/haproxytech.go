package intent

import "strings"

// haproxytechPrefixes are read alike; documentation/annotations.md.
var haproxytechPrefixes = []string{"haproxy.org/", "haproxy.com/", "ingress.kubernetes.io/"}

// Haproxytech is haproxytech/kubernetes-ingress. Its annotations stand on the Ingress and, those about servers, on the
// Service, which wins.
//
// documentation/annotations.md (version 3.2), pkg/annotations/service/{ssl,ca,crt,proto}.go: server-ca alone switches TLS
// on and verifies; server-ssl alone does not verify. pkg/store: the controller string, to which --ingress.class adds its
// name. There is no annotation for SNI, nor for the name that is verified.
var Haproxytech = &Dialect{
	Name:        "haproxytech",
	Title:       "HAProxy Technologies' ingress controller",
	Controllers: []string{"haproxy.org/ingress-controller", "haproxy.org/ingress-controller/"},
	// The class "haproxy" is jcmoraisjr's too: without an IngressClass it is nobody's.
	Class:    "haproxy",
	Prefixes: []string{"haproxy.org/", "haproxy.com/"},
	Keys:     haproxytechKeys(),
	Spellings: []Spelling{
		{WishHost, "pass", nil},
		{WishHost, "node", []Annotation{{OnIngress, "haproxy.org/set-host", "$name"}}},
		{WishHost, "rewrite", []Annotation{{OnIngress, "haproxy.org/set-host", "$name"}}},
		{WishProtocol, "http", []Annotation{{OnIngress, "haproxy.org/server-ssl", "false"}}},
		{WishProtocol, "https", []Annotation{{OnIngress, "haproxy.org/server-ssl", "true"}}},
		// Its ALPN offers h2 first.
		{WishProtocol, "h2", []Annotation{{OnIngress, "haproxy.org/server-ssl", "true"}, {OnIngress, "haproxy.org/server-proto", "h2"}}},
		{WishProtocol, "grpcs", []Annotation{{OnIngress, "haproxy.org/server-ssl", "true"}, {OnIngress, "haproxy.org/server-proto", "h2"}}},
		{WishProtocol, "h2c", []Annotation{{OnIngress, "haproxy.org/server-proto", "h2"}}},
		{WishProtocol, "grpc", []Annotation{{OnIngress, "haproxy.org/server-proto", "h2"}}},
		{WishVerify, "off", nil},
		{WishCASecret, "*", []Annotation{{OnIngress, "haproxy.org/server-ca", "$value"}}},
		{WishClientCert, "*", []Annotation{{OnIngress, "haproxy.org/server-crt", "$value"}}},
		{WishRewrite, "*", []Annotation{{OnIngress, "haproxy.org/path-rewrite", "$value"}}},
	},
	Pairs: []Pair{
		{
			Annotations: []string{"haproxy.org/server-crt"},
			Needs:       []Condition{{"haproxy.org/server-ssl", "true"}, {"haproxy.org/server-ca", ""}},
			Why:         "has no effect on an upstream that is spoken to without TLS",
			Write:       "add `haproxy.org/server-ssl`: 'true'",
		},
	},
	References:         haproxytechReferences(),
	Texts:              haproxytechTexts(),
	Snippets:           prefixed(haproxytechPrefixes, "backend-config-snippet"),
	Restricts:          haproxytechRestricts,
	RestrictsOnService: true,
	Unserved:           haproxytechUnserved,
	Shares:             haproxytechShares,
	Cannot: []Limit{
		{WishVerify, "verifies an upstream only against a CA that it is given", "add `haproxy.org/server-ca`: 'NAMESPACE/SECRET', a Secret with the CA's certificate"},
		{WishServerName, "has no annotation for the server name (SNI)", "use `haproxy.org/backend-config-snippet` where it is allowed, or a class that can"},
		{WishRegex, "takes regular expressions in `haproxy.org/path-rewrite` only", "write the path as a prefix"},
	},
	Rewrite:       RewritePath,
	PrefixRewrite: []Annotation{{OnIngress, "haproxy.org/path-rewrite", `^$prefix/?(.*) $to/\1`}},
	NeedsPort:     true,
	PortNames:     true,
	Passthrough:   prefixed(haproxytechPrefixes, passthrough),
	Unverified:    true,
	Aliases: Aliases{
		State:   AliasServed,
		Flag:    "--disable-service-external-name",
		Instead: "write a Service without selector and an EndpointSlice",
		Source:  "https://github.com/haproxytech/kubernetes-ingress/issues/100",
	},
	Source: "https://github.com/haproxytech/kubernetes-ingress/blob/master/documentation/annotations.md",
}

func haproxytechKeys() []Key {
	var keys []Key
	for _, on := range [...]Place{OnService, OnIngress} {
		for _, p := range haproxytechPrefixes {
			keys = append(keys,
				Key{Annotation: p + "server-proto", On: on, Wish: WishProtocol, Values: map[string]string{"h2": "h2", "h1": ""}, With: []Condition{{p + "server-ssl", "true"}}},
				Key{Annotation: p + "server-proto", On: on, Wish: WishProtocol, Values: map[string]string{"h2": "h2", "h1": ""}, With: []Condition{{p + "server-ca", ""}}},
				Key{Annotation: p + "server-proto", On: on, Wish: WishProtocol, Values: map[string]string{"h2": "h2c", "h1": ""}},
				Key{Annotation: p + "server-ca", On: on, Wish: WishProtocol, Parse: given("https"), Allowed: secretAllowed},
				Key{Annotation: p + "server-ssl", On: on, Wish: WishProtocol, Values: haproxytechBool("https", "http")},
				Key{Annotation: p + "server-ca", On: on, Wish: WishVerify, Parse: given("on"), Allowed: secretAllowed},
				Key{Annotation: p + "server-ca", On: on, Wish: WishCASecret},
				Key{Annotation: p + "server-crt", On: on, Wish: WishClientCert},
			)
			if on == OnIngress {
				keys = append(keys,
					Key{Annotation: p + "set-host", Wish: WishHost, Before: "rewrite:"},
					Key{Annotation: p + "path-rewrite", Wish: WishRewrite, Parse: onePath, Allowed: []string{"a path", "a regular expression and a path"}},
				)
			}
		}
	}
	return keys
}

// haproxytechBool are the texts that utils.GetBoolValue knows.
func haproxytechBool(yes, no string) map[string]string {
	return map[string]string{"true": yes, "1": yes, "t": yes, "on": yes, "enabled": yes, "false": no, "0": no, "f": no, "off": no, "disabled": no}
}

var secretAllowed = []string{"SECRET", "NAMESPACE/SECRET"}

// given reads any text that is not empty as one value.
func given(value string) func(string) (string, bool) {
	return func(text string) (string, bool) {
		if text == "" {
			return "", true
		}
		return value, true
	}
}

// onePath reads a rewrite of the whole path; one by a regular expression says nothing that can be compared.
func onePath(text string) (string, bool) {
	if fields := strings.Fields(text); len(fields) == 1 && strings.HasPrefix(text, "/") && !strings.ContainsAny(text, `%\`) {
		return text, true
	}
	return "", true
}

func haproxytechReferences() []Reference {
	var list []Reference
	for _, p := range haproxytechPrefixes {
		for _, on := range [...]Place{OnIngress, OnService} {
			list = append(list,
				Reference{Annotation: p + "server-ca", On: on, Kind: "Secret", Qualified: true},
				Reference{Annotation: p + "server-crt", On: on, Kind: "Secret", Qualified: true})
		}
		list = append(list, Reference{Annotation: p + "auth-secret", Kind: "Secret"})
	}
	return list
}

func haproxytechTexts() map[string]Grammar {
	texts := map[string]Grammar{}
	for _, p := range haproxytechPrefixes {
		for key, g := range map[string]Grammar{
			"path-rewrite":        pathRewrite,
			"request-set-header":  headerLines,
			"response-set-header": headerLines,
			"set-host":            haproxyHost,
			"request-redirect":    plainHost,
			"src-ip-header":       word,
			"auth-realm":          quotable,
			"check-http":          checkLine,
			"request-capture":     sampleLines,
			"route-acl":           condition,
			"cookie-persistence":  word,
		} {
			texts[p+key] = g
		}
	}
	return texts
}

// prefixed is one key under each prefix.
func prefixed(prefixes []string, keys ...string) []string {
	var list []string
	for _, p := range prefixes {
		for _, key := range keys {
			list = append(list, p+key)
		}
	}
	return list
}
