package intent

const nginxPrefix = "nginx.ingress.kubernetes.io/"

// nginxFlag reads a flag of nginx as proxyssl/main.go does: in these letters only. What is anything else counts as "off"
// there, and so "false" does what it says, and "true" does not.
func nginxFlag(text string) (value string, ok bool) {
	if text == "false" {
		return "off", true
	}
	return text, text == "on" || text == "off"
}

// IngressNginx is kubernetes/ingress-nginx.
//
// Its annotations: docs/user-guide/nginx-configuration/annotations.md and annotations-risk.md; that proxy-ssl-* do
// nothing without the Secret: internal/ingress/annotations/proxyssl/main.go, which returns before it reads the others;
// its way with ExternalName: internal/ingress/controller/endpointslices.go, which takes the targetPort.
var IngressNginx = &Dialect{
	Name:        "ingress-nginx",
	Title:       "ingress-nginx",
	Controllers: []string{"k8s.io/ingress-nginx"},
	Classes:     []string{"nginx"},
	Class:       "nginx",
	Prefixes:    []string{nginxPrefix},
	Keys: []Key{
		{Annotation: nginxPrefix + "upstream-vhost", Wish: WishHost, Before: "rewrite:"},
		{Annotation: nginxPrefix + "backend-protocol", Wish: WishProtocol, Values: map[string]string{
			"http": "http", "https": "https", "grpc": "grpc", "grpcs": "grpcs", "auto_http": "http", "fcgi": "",
		}},
		{Annotation: nginxPrefix + "proxy-ssl-verify", Wish: WishVerify, Parse: nginxFlag, Allowed: []string{"on", "off"}},
		{Annotation: nginxPrefix + "proxy-ssl-name", Wish: WishServerName},
		{Annotation: nginxPrefix + "proxy-ssl-secret", Wish: WishCASecret},
		{Annotation: nginxPrefix + "rewrite-target", Wish: WishRewrite},
		{Annotation: nginxPrefix + "use-regex", Wish: WishRegex, Values: onOff},
	},
	Spellings: []Spelling{
		{WishHost, "node", []Annotation{{OnIngress, nginxPrefix + "upstream-vhost", "$name"}}},
		{WishHost, "rewrite", []Annotation{{OnIngress, nginxPrefix + "upstream-vhost", "$name"}}},
		{WishHost, "pass", nil},
		{WishProtocol, "http", []Annotation{{OnIngress, nginxPrefix + "backend-protocol", "HTTP"}}},
		{WishProtocol, "https", []Annotation{{OnIngress, nginxPrefix + "backend-protocol", "HTTPS"}}},
		{WishProtocol, "grpc", []Annotation{{OnIngress, nginxPrefix + "backend-protocol", "GRPC"}}},
		{WishProtocol, "grpcs", []Annotation{{OnIngress, nginxPrefix + "backend-protocol", "GRPCS"}}},
		{WishVerify, "*", []Annotation{{OnIngress, nginxPrefix + "proxy-ssl-verify", "$value"}}},
		{WishServerName, "*", []Annotation{
			{OnIngress, nginxPrefix + "proxy-ssl-server-name", "on"},
			{OnIngress, nginxPrefix + "proxy-ssl-name", "$value"},
		}},
		{WishCASecret, "*", []Annotation{{OnIngress, nginxPrefix + "proxy-ssl-secret", "$value"}}},
		{WishClientCert, "*", []Annotation{{OnIngress, nginxPrefix + "proxy-ssl-secret", "$value"}}},
		{WishRewrite, "*", []Annotation{{OnIngress, nginxPrefix + "rewrite-target", "$value"}}},
		{WishRegex, "on", []Annotation{{OnIngress, nginxPrefix + "use-regex", "true"}}},
	},
	Pairs: []Pair{
		{
			Annotations: []string{nginxPrefix + "proxy-ssl-verify", nginxPrefix + "proxy-ssl-name", nginxPrefix + "proxy-ssl-server-name",
				nginxPrefix + "proxy-ssl-verify-depth", nginxPrefix + "proxy-ssl-protocols", nginxPrefix + "proxy-ssl-ciphers"},
			Needs: []Condition{{nginxPrefix + "proxy-ssl-secret", ""}},
			Why:   "is ignored by ingress-nginx without `" + nginxPrefix + "proxy-ssl-secret`: nothing is verified and no server name is sent",
			Write: "add `" + nginxPrefix + "proxy-ssl-secret`: 'NAMESPACE/SECRET', a Secret with ca.crt",
		},
		{
			Annotations: []string{nginxPrefix + "proxy-ssl-name"},
			Needs:       []Condition{{nginxPrefix + "proxy-ssl-server-name", "on"}},
			Why:         "is not sent as server name (SNI) without `" + nginxPrefix + "proxy-ssl-server-name`",
			Write:       "add `" + nginxPrefix + "proxy-ssl-server-name`: 'on'",
		},
		{
			Annotations: []string{nginxPrefix + "proxy-ssl-secret"},
			Needs:       []Condition{{nginxPrefix + "proxy-ssl-verify", "on"}, {nginxPrefix + "proxy-ssl-verify", "off"}, {nginxPrefix + "proxy-ssl-verify", "false"}},
			Why:         "does not verify the upstream: `" + nginxPrefix + "proxy-ssl-verify` is off unless it is set",
			Write:       "add `" + nginxPrefix + "proxy-ssl-verify`: 'on', or 'off' where the Secret is a client certificate only",
		},
		{
			Annotations: []string{nginxPrefix + "proxy-ssl-secret", nginxPrefix + "proxy-ssl-verify"},
			Needs:       []Condition{{nginxPrefix + "backend-protocol", "HTTPS"}, {nginxPrefix + "backend-protocol", "GRPCS"}},
			Why:         "has no effect on an upstream that is spoken to without TLS",
			Write:       "add `" + nginxPrefix + "backend-protocol`: 'HTTPS'",
		},
	},
	References: []Reference{
		{Annotation: nginxPrefix + "proxy-ssl-secret", Kind: "Secret", Qualified: true},
		{Annotation: nginxPrefix + "auth-tls-secret", Kind: "Secret", Qualified: true},
		{Annotation: nginxPrefix + "auth-secret", Kind: "Secret"},
		{Annotation: nginxPrefix + "auth-proxy-set-headers", Kind: "ConfigMap"},
		{Annotation: nginxPrefix + "custom-headers", Kind: "ConfigMap"},
		{Annotation: nginxPrefix + "fastcgi-params-configmap", Kind: "ConfigMap"},
		{Annotation: nginxPrefix + "default-backend", Kind: "Service"},
	},
	// internal/ingress/annotations/authreq/main.go and mirror/main.go: what they name is asked at each request. It is the
	// browser that goes where auth-signin leads, mirror-host is only the Host that is sent, and global-auth-url is a key
	// of the ConfigMap, which enable-global-auth can not change.
	Fetches: []Fetch{{Annotation: nginxPrefix + "auth-url"}, {Annotation: nginxPrefix + "mirror-target"}},
	// The keys of CVE-2023-5044, CVE-2025-1097, CVE-2025-1098, CVE-2025-24514, CVE-2026-1580 and those of the risks High
	// and Medium that are written into nginx.conf as they stand.
	Texts: map[string]Grammar{
		nginxPrefix + "rewrite-target":             pathTarget,
		nginxPrefix + "permanent-redirect":         urlWithVariables,
		nginxPrefix + "temporal-redirect":          urlWithVariables,
		nginxPrefix + "auth-url":                   urlWithVariables,
		nginxPrefix + "auth-signin":                urlWithVariables,
		nginxPrefix + "auth-request-redirect":      urlWithVariables,
		nginxPrefix + "auth-signin-redirect-param": word,
		nginxPrefix + "auth-method":                method,
		nginxPrefix + "auth-cache-key":             variables,
		nginxPrefix + "auth-response-headers":      headers,
		nginxPrefix + "auth-proxy-set-headers":     objectName,
		nginxPrefix + "auth-realm":                 quotable,
		nginxPrefix + "auth-tls-match-cn":          commonName,
		nginxPrefix + "auth-tls-error-page":        urlWithVariables,
		nginxPrefix + "mirror-target":              urlWithVariables,
		nginxPrefix + "mirror-host":                hostWithVariables,
		nginxPrefix + "server-alias":               serverNames,
		nginxPrefix + "proxy-redirect-from":        redirectFrom,
		nginxPrefix + "proxy-redirect-to":          urlWithVariables,
		nginxPrefix + "proxy-ssl-name":             hostWithVariables,
		nginxPrefix + "upstream-vhost":             hostWithVariables,
		nginxPrefix + "upstream-hash-by":           variables,
		nginxPrefix + "app-root":                   plainPath,
		nginxPrefix + "x-forwarded-prefix":         pathTarget,
		nginxPrefix + "modsecurity-transaction-id": variables,
	},
	Snippets: []string{
		nginxPrefix + "configuration-snippet", nginxPrefix + "server-snippet", nginxPrefix + "stream-snippet",
		nginxPrefix + "auth-snippet", nginxPrefix + "modsecurity-snippet",
	},
	Restricts: nginxRestricts,
	Unserved:  nginxUnserved,
	Shares:    nginxShares,
	Cannot: []Limit{
		{WishProtocol, "speaks HTTP/1.1 or gRPC to an upstream", "use GRPC or GRPCS where the upstream speaks gRPC"},
	},
	Rewrite:     RewritePath,
	TargetPort:  true,
	PortNames:   true,
	Passthrough: []string{nginxPrefix + passthrough},
	Unverified:  true,
	Aliases: Aliases{
		State:   AliasServed,
		Flag:    "--disable-svc-external-name",
		Instead: "write a Service without selector and an EndpointSlice",
		Source:  "https://github.com/kubernetes/ingress-nginx/pull/7314",
	},
	Source: "https://github.com/kubernetes/ingress-nginx/blob/main/docs/user-guide/nginx-configuration/annotations.md",
}
