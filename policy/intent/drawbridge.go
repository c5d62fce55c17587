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
		{WishProtocol, "grpcs", []Annotation{{OnIngress, "ingress.kubernetes.io/backend-protocol", "GRPCS"}}},
		{WishVerify, "*", []Annotation{{OnIngress, "ingress.kubernetes.io/tls-verify", "$value"}}},
		{WishServerName, "*", []Annotation{{OnIngress, "ingress.kubernetes.io/tls-server-name", "$value"}}},
		{WishCASecret, "*", []Annotation{{OnIngress, "ingress.kubernetes.io/tls-ca-secret", "$value"}}},
		{WishClientCert, "*", []Annotation{{OnIngress, "ingress.kubernetes.io/tls-client-secret", "$value"}}},
		{WishRewrite, "*", []Annotation{{OnIngress, "ingress.kubernetes.io/rewrite-target", "$value"}}},
	},
	Passthrough: []string{"ingress.kubernetes.io/" + passthrough},
	Aliases:     Aliases{State: AliasServed},
}
