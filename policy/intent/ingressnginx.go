package intent

const nginxPrefix = "nginx.ingress.kubernetes.io/"

// IngressNginx is kubernetes/ingress-nginx. Its annotations: docs/user-guide/nginx-configuration/annotations.md; its
// way with ExternalName: internal/ingress/controller, getEndpointsFromSlices and externalNamePorts.
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
			"http": "http", "https": "https", "grpc": "grpc", "grpcs": "grpcs", "auto_http": "http",
		}},
		{Annotation: nginxPrefix + "proxy-ssl-verify", Wish: WishVerify, Values: onOff},
		{Annotation: nginxPrefix + "proxy-ssl-name", Wish: WishServerName},
		{Annotation: nginxPrefix + "proxy-ssl-secret", Wish: WishCASecret},
		{Annotation: nginxPrefix + "rewrite-target", Wish: WishRewrite},
		{Annotation: nginxPrefix + "use-regex", Wish: WishRegex, Values: onOff},
	},
	Spellings: []Spelling{
		{WishHost, "node", []Annotation{{OnIngress, nginxPrefix + "upstream-vhost", "$name"}}},
		{WishHost, "rewrite", []Annotation{{OnIngress, nginxPrefix + "upstream-vhost", "$name"}}},
		{WishProtocol, "https", []Annotation{{OnIngress, nginxPrefix + "backend-protocol", "HTTPS"}}},
		{WishProtocol, "grpc", []Annotation{{OnIngress, nginxPrefix + "backend-protocol", "GRPC"}}},
		{WishProtocol, "grpcs", []Annotation{{OnIngress, nginxPrefix + "backend-protocol", "GRPCS"}}},
	},
	Pairs: []Pair{{
		Annotations: []string{nginxPrefix + "proxy-ssl-verify", nginxPrefix + "proxy-ssl-name", nginxPrefix + "proxy-ssl-server-name",
			nginxPrefix + "proxy-ssl-verify-depth", nginxPrefix + "proxy-ssl-protocols", nginxPrefix + "proxy-ssl-ciphers"},
		Needs: []Condition{{nginxPrefix + "proxy-ssl-secret", ""}},
		Why:   "is ignored by ingress-nginx without `" + nginxPrefix + "proxy-ssl-secret`",
		Write: "add `" + nginxPrefix + "proxy-ssl-secret`: 'NAMESPACE/SECRET', a Secret with ca.crt",
	}},
	References:  []Reference{{Annotation: nginxPrefix + "proxy-ssl-secret", Kind: "Secret"}},
	Rewrite:     RewritePath,
	TargetPort:  true,
	PortNames:   true,
	Passthrough: []string{nginxPrefix + passthrough},
	Snippets:    []string{nginxPrefix + "configuration-snippet", nginxPrefix + "server-snippet"},
	Unverified:  true,
	Aliases:     Aliases{State: AliasServed, Flag: "--disable-svc-external-name"},
}
