package intent

import "strings"

// jcmoraisjrPrefixes are the default of --annotations-prefix; of a key that stands under both the first counts.
var jcmoraisjrPrefixes = []string{"haproxy-ingress.github.io/", "ingress.kubernetes.io/"}

// Jcmoraisjr is jcmoraisjr/haproxy-ingress. Keys of its scopes Backend and Path stand on the Ingress or on the Service,
// which wins.
//
// docs/content/en/docs/configuration/keys.md; pkg/converters/ingress/annotations/backend.go: buildBackendProtocol, which
// reads what concerns TLS only where the protocol or secure-backends ask for it, and buildBackendHeaders, by which a
// Host is set; pkg/converters/ingress/ingress.go, addBackendWithClass; that the port of an ExternalName is the matching
// targetPort: pkg/converters/utils/services.go.
var Jcmoraisjr = &Dialect{
	Name:        "jcmoraisjr",
	Title:       "HAProxy Ingress (jcmoraisjr)",
	Controllers: []string{"haproxy-ingress.github.io/controller", "haproxy-ingress.github.io/controller/"},
	// The class "haproxy" is haproxytech's too: without an IngressClass it is nobody's.
	Class:    "haproxy",
	Prefixes: []string{"haproxy-ingress.github.io/"},
	Keys:     jcmoraisjrKeys(),
	Spellings: []Spelling{
		{WishHost, "pass", nil},
		{WishHost, "node", []Annotation{{OnIngress, jcm + "headers", "Host: $name"}}},
		{WishHost, "rewrite", []Annotation{{OnIngress, jcm + "headers", "Host: $name"}}},
		{WishProtocol, "http", []Annotation{{OnIngress, jcm + "backend-protocol", "h1"}}},
		{WishProtocol, "https", []Annotation{{OnIngress, jcm + "backend-protocol", "h1-ssl"}}},
		{WishProtocol, "h2c", []Annotation{{OnIngress, jcm + "backend-protocol", "h2"}}},
		{WishProtocol, "grpc", []Annotation{{OnIngress, jcm + "backend-protocol", "grpc"}}},
		{WishProtocol, "h2", []Annotation{{OnIngress, jcm + "backend-protocol", "h2-ssl"}}},
		{WishProtocol, "grpcs", []Annotation{{OnIngress, jcm + "backend-protocol", "grpcs"}}},
		{WishVerify, "off", nil},
		{WishServerName, "*", []Annotation{{OnIngress, jcm + "secure-sni", "$value"}, {OnIngress, jcm + "secure-verify-hostname", "$value"}}},
		{WishCASecret, "*", []Annotation{{OnIngress, jcm + "secure-verify-ca-secret", "$value"}}},
		{WishClientCert, "*", []Annotation{{OnIngress, jcm + "secure-crt-secret", "$value"}}},
		{WishRewrite, "*", []Annotation{{OnIngress, jcm + "rewrite-target", "$value"}}},
		{WishRegex, "on", []Annotation{{OnIngress, jcm + "path-type", "regex"}}},
	},
	Pairs:              jcmoraisjrPairs(),
	References:         jcmoraisjrReferences(),
	Fetches:            jcmoraisjrFetches(),
	Texts:              jcmoraisjrTexts(),
	Snippets:           prefixed(jcmoraisjrPrefixes, "config-backend", "config-backend-early", "config-backend-late", "config-tcp-service"),
	Restricts:          jcmoraisjrRestricts,
	RestrictsOnService: true,
	Unserved:           jcmoraisjrUnserved,
	Shares:             jcmoraisjrShares,
	Cannot: []Limit{
		{WishVerify, "verifies an upstream only against a CA that it is given", "add `" + jcm + "secure-verify-ca-secret`"},
	},
	TargetPort:  true,
	PortNames:   true,
	Passthrough: prefixed(jcmoraisjrPrefixes, passthrough),
	Unverified:  true,
	Aliases: Aliases{
		State:   AliasServed,
		Flag:    "--disable-external-name",
		Instead: "write a Service without selector and an EndpointSlice",
		Source:  "https://haproxy-ingress.github.io/docs/configuration/command-line/#disable-external-name",
	},
	Source: "https://haproxy-ingress.github.io/docs/configuration/keys/",
}

const jcm = "haproxy-ingress.github.io/"

func jcmoraisjrKeys() []Key {
	var keys []Key
	for _, on := range [...]Place{OnService, OnIngress} {
		for _, p := range jcmoraisjrPrefixes {
			secure := []Condition{{p + "secure-backends", "true"}}
			keys = append(keys,
				Key{Annotation: p + "headers", On: on, Wish: WishHost, Parse: hostHeader, Allowed: []string{"NAME: VALUE"}},
				Key{Annotation: p + "backend-protocol", On: on, Wish: WishProtocol, Values: jcmoraisjrSecure, With: secure},
				Key{Annotation: p + "backend-protocol", On: on, Wish: WishProtocol, Values: jcmoraisjrProtocols},
				Key{Annotation: p + "secure-backends", On: on, Wish: WishProtocol, Values: map[string]string{"true": "https", "false": ""}},
				Key{Annotation: p + "secure-verify-ca-secret", On: on, Wish: WishVerify, Parse: given("on"), Allowed: secretAllowed},
				Key{Annotation: p + "secure-verify-ca-secret", On: on, Wish: WishCASecret},
				Key{Annotation: p + "secure-verify-hostname", On: on, Wish: WishServerName},
				Key{Annotation: p + "secure-sni", On: on, Wish: WishServerName, Parse: serverName, Allowed: []string{"sni", "host", "HOST"}},
				Key{Annotation: p + "secure-crt-secret", On: on, Wish: WishClientCert},
				Key{Annotation: p + "rewrite-target", On: on, Wish: WishRewrite},
				Key{Annotation: p + "path-type", On: on, Wish: WishRegex, Values: map[string]string{"regex": "on", "begin": "", "prefix": "", "exact": ""}},
			)
		}
	}
	return keys
}

var (
	jcmoraisjrProtocols = map[string]string{
		"h1": "http", "http": "http", "h1-ssl": "https", "https": "https",
		"h2": "h2c", "grpc": "grpc", "h2-ssl": "h2", "grpcs": "grpcs",
	}
	jcmoraisjrSecure = map[string]string{
		"h1": "https", "http": "https", "h1-ssl": "https", "https": "https",
		"h2": "h2", "grpc": "grpcs", "h2-ssl": "h2", "grpcs": "grpcs",
	}
)

// hostHeader finds the Host among headers, one on each line.
func hostHeader(text string) (string, bool) {
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(line)
		i := strings.IndexAny(line, ": ")
		if i <= 0 || !strings.EqualFold(line[:i], "host") {
			continue
		}
		if value := strings.TrimSpace(line[i+1:]); value != "" && !strings.Contains(value, "%") {
			return "rewrite:" + value, true
		}
		return "", true
	}
	return "", true
}

// serverName reads a fixed name; the others follow the request.
func serverName(text string) (string, bool) {
	switch text {
	case "", "sni", "host":
		return "", true
	}
	return text, true
}

func jcmoraisjrPairs() []Pair {
	var list []Pair
	for _, p := range jcmoraisjrPrefixes {
		needs := []Condition{{p + "secure-backends", "true"}}
		for _, text := range [...]string{"h1-ssl", "https", "h2-ssl", "grpcs"} {
			needs = append(needs, Condition{p + "backend-protocol", text})
		}
		list = append(list,
			Pair{
				Annotations: prefixed([]string{p}, "secure-sni", "secure-verify-hostname", "secure-verify-ca-secret", "secure-crt-secret"),
				Needs:       needs,
				Why:         "has no effect on an upstream that is spoken to without TLS",
				Write:       "add `" + p + "backend-protocol`: 'h1-ssl'",
			},
			Pair{
				Annotations: []string{p + "secure-verify-hostname"},
				Needs:       []Condition{{p + "secure-verify-ca-secret", ""}},
				Why:         "verifies nothing without `" + p + "secure-verify-ca-secret`",
				Write:       "add `" + p + "secure-verify-ca-secret`: 'SECRET', a Secret with ca.crt",
			})
	}
	return list
}

func jcmoraisjrReferences() []Reference {
	var list []Reference
	for _, p := range jcmoraisjrPrefixes {
		for _, on := range [...]Place{OnIngress, OnService} {
			for _, key := range [...]string{"secure-verify-ca-secret", "secure-crt-secret", "auth-secret"} {
				list = append(list, Reference{Annotation: p + key, On: on, Kind: "Secret"})
			}
		}
		list = append(list, Reference{Annotation: p + "auth-tls-secret", Kind: "Secret"})
	}
	return list
}

// jcmoraisjrFetches are the keys by which HAProxy sends requests of its own: auth-url, a URL that may be
// svc://NAMESPACE/SERVICE:PORT (pkg/converters/ingress/annotations/backend.go, setAuthExternal, and utils.go, ParseURL),
// and the addresses of checks (buildBackendHealthCheck, buildBackendAgentCheck), whose answer decides what is served.
// oauth and oauth-uri-prefix name a path of the same host, auth-signin is for the browser, and auth-proxy is global.
func jcmoraisjrFetches() []Fetch {
	var list []Fetch
	for _, p := range jcmoraisjrPrefixes {
		for _, on := range [...]Place{OnIngress, OnService} {
			list = append(list,
				Fetch{Annotation: p + "auth-url", On: on},
				Fetch{Annotation: p + "health-check-addr", On: on, Port: p + "health-check-port"},
				Fetch{Annotation: p + "agent-check-addr", On: on, Port: p + "agent-check-port"})
		}
	}
	return list
}

func jcmoraisjrTexts() map[string]Grammar {
	texts := map[string]Grammar{}
	for _, p := range jcmoraisjrPrefixes {
		for key, g := range map[string]Grammar{
			"rewrite-target":         haproxyURL,
			"app-root":               haproxyURL,
			"redirect-to":            haproxyURL,
			"redirect-from":          plainHost,
			"auth-url":               haproxyURL,
			"auth-signin":            haproxyURL,
			"auth-method":            method,
			"auth-realm":             quotable,
			"headers":                headerLines,
			"server-alias":           plainHost,
			"secure-sni":             word,
			"secure-verify-hostname": word,
			"session-cookie-name":    word,
			"health-check-uri":       checkLine,
			"agent-check-send":       oneLine,
		} {
			texts[p+key] = g
		}
	}
	return texts
}
