package intent

var protocols = map[string]string{
	"http": "http", "https": "https", "h2c": "h2c", "grpc": "grpc", "grpcs": "grpcs",
}

// own spells drawbridge's keys under a prefix.
func own(prefix string) []Key {
	return []Key{
		{Annotation: prefix + "upstream-vhost", Wish: WishHost, Before: "rewrite:"},
		{Annotation: prefix + "preserve-host", Wish: WishHost, Values: boolHost},
		{Annotation: prefix + "backend-protocol", Wish: WishProtocol, Values: protocols},
		{Annotation: prefix + "secure-backends", Wish: WishProtocol, Values: boolHTTPS},
		{Annotation: prefix + "tls-verify", Wish: WishVerify, Values: onOff},
		{Annotation: prefix + "tls-server-name", Wish: WishServerName},
		{Annotation: prefix + "tls-ca-secret", Wish: WishCASecret},
		{Annotation: prefix + "tls-client-secret", Wish: WishClientCert},
		{Annotation: prefix + "rewrite-target", Wish: WishRewrite},
	}
}

var ownKeys = own(Prefix)

// Drawbridge is the dialect of drawbridge's own class and of Ingresses without a class: the keys that the Traffic
// Server controller brought into use, ingress.kubernetes.io/*.
var Drawbridge = &Dialect{
	Name:        "drawbridge",
	Title:       "drawbridge",
	Controllers: []string{"drawbridge.dev/ingress"},
	Classes:     []string{"", "drawbridge"},
	Class:       "drawbridge",
	Prefixes:    []string{"ingress.kubernetes.io/", Prefix},
	Keys:        own("ingress.kubernetes.io/"),
	Spellings: []Spelling{
		{WishHost, "node", []Annotation{{OnIngress, "ingress.kubernetes.io/preserve-host", "false"}}},
		{WishHost, "pass", []Annotation{{OnIngress, "ingress.kubernetes.io/preserve-host", "true"}}},
		{WishHost, "rewrite", []Annotation{{OnIngress, "ingress.kubernetes.io/upstream-vhost", "$name"}}},
		{WishProtocol, "http", []Annotation{{OnIngress, "ingress.kubernetes.io/backend-protocol", "HTTP"}}},
		{WishProtocol, "https", []Annotation{{OnIngress, "ingress.kubernetes.io/backend-protocol", "HTTPS"}}},
		{WishProtocol, "h2c", []Annotation{{OnIngress, "ingress.kubernetes.io/backend-protocol", "H2C"}}},
		{WishProtocol, "grpc", []Annotation{{OnIngress, "ingress.kubernetes.io/backend-protocol", "GRPC"}}},
		{WishProtocol, "h2", []Annotation{{OnIngress, "ingress.kubernetes.io/backend-protocol", "GRPCS"}}},
		{WishProtocol, "grpcs", []Annotation{{OnIngress, "ingress.kubernetes.io/backend-protocol", "GRPCS"}}},
		{WishVerify, "*", []Annotation{{OnIngress, "ingress.kubernetes.io/tls-verify", "$value"}}},
		{WishServerName, "*", []Annotation{{OnIngress, "ingress.kubernetes.io/tls-server-name", "$value"}}},
		{WishCASecret, "*", []Annotation{{OnIngress, "ingress.kubernetes.io/tls-ca-secret", "$value"}}},
		{WishClientCert, "*", []Annotation{{OnIngress, "ingress.kubernetes.io/tls-client-secret", "$value"}}},
		{WishRewrite, "*", []Annotation{{OnIngress, "ingress.kubernetes.io/rewrite-target", "$value"}}},
	},
	References: []Reference{
		{Annotation: "ingress.kubernetes.io/tls-ca-secret", Kind: "Secret"},
		{Annotation: "ingress.kubernetes.io/tls-client-secret", Kind: "Secret"},
		{Annotation: Prefix + "tls-ca-secret", Kind: "Secret"},
		{Annotation: Prefix + "tls-client-secret", Kind: "Secret"},
	},
	Texts:     ownTexts(),
	Pairs:     ownPairs(),
	Restricts: ownRestricts,
	Unserved:  ownUnserved,
	Shares:    []string{"ingress.kubernetes.io/canary"},
	Cannot: []Limit{
		{WishRegex, "matches prefixes and whole paths", "write the path as a prefix"},
	},
	Passthrough: []string{"ingress.kubernetes.io/" + passthrough},
	Aliases:     Aliases{State: AliasServed},
}

func ownTexts() map[string]Grammar {
	texts := map[string]Grammar{}
	for _, p := range [...]string{Prefix, "ingress.kubernetes.io/"} {
		texts[p+"upstream-vhost"] = plainHost
		texts[p+"tls-server-name"] = plainHost
		texts[p+"rewrite-target"] = pathTarget
	}
	return texts
}

func ownPairs() []Pair {
	var list []Pair
	for _, p := range [...]string{"ingress.kubernetes.io/", Prefix} {
		var needs []Condition
		for _, at := range [...]string{Prefix, "ingress.kubernetes.io/"} {
			needs = append(needs, Condition{at + "backend-protocol", "HTTPS"}, Condition{at + "backend-protocol", "GRPCS"}, Condition{at + "secure-backends", "true"})
		}
		list = append(list, Pair{
			Annotations: prefixed([]string{p}, "tls-verify", "tls-server-name", "tls-ca-secret", "tls-client-secret"),
			Needs:       needs,
			Ports:       true,
			Why:         "has no effect on an upstream that is spoken to without TLS",
			Write:       "add `ingress.kubernetes.io/backend-protocol`: 'HTTPS'",
		})
	}
	return list
}
