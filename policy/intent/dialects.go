package intent

import (
	"maps"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
)

var (
	boolHost  = map[string]string{"true": "pass", "false": "node"}
	boolHTTPS = map[string]string{"true": "https", "false": "http"}
	onOff     = map[string]string{"true": "on", "on": "on", "false": "off", "off": "off"}
	protocols = map[string]string{
		"http": "http", "https": "https", "h2c": "h2c", "grpc": "grpc", "grpcs": "grpcs",
	}
)

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
	Controllers: []string{"drawbridge.dev/ingress"},
	Classes:     []string{"", "drawbridge"},
	Keys:        own("ingress.kubernetes.io/"),
	Spellings: []Spelling{
		{WishHost, "node", "ingress.kubernetes.io/preserve-host", "false"},
		{WishProtocol, "https", "ingress.kubernetes.io/backend-protocol", "HTTPS"},
	},
	Passthrough: []string{"ingress.kubernetes.io/" + passthrough},
}

// IngressNginx is kubernetes/ingress-nginx. Its annotations: docs/user-guide/nginx-configuration/annotations.md; its
// way with ExternalName: internal/ingress/controller, getEndpointsFromSlices and externalNamePorts.
var IngressNginx = &Dialect{
	Name:        "ingress-nginx",
	Controllers: []string{"k8s.io/ingress-nginx"},
	Classes:     []string{"nginx"},
	Keys: []Key{
		{Annotation: "nginx.ingress.kubernetes.io/upstream-vhost", Wish: WishHost, Before: "rewrite:"},
		{Annotation: "nginx.ingress.kubernetes.io/backend-protocol", Wish: WishProtocol, Values: map[string]string{
			"http": "http", "https": "https", "grpc": "grpc", "grpcs": "grpcs", "auto_http": "http",
		}},
		{Annotation: "nginx.ingress.kubernetes.io/proxy-ssl-verify", Wish: WishVerify, Values: onOff},
		{Annotation: "nginx.ingress.kubernetes.io/proxy-ssl-name", Wish: WishServerName},
		{Annotation: "nginx.ingress.kubernetes.io/proxy-ssl-secret", Wish: WishCASecret},
		{Annotation: "nginx.ingress.kubernetes.io/rewrite-target", Wish: WishRewrite},
		{Annotation: "nginx.ingress.kubernetes.io/use-regex", Wish: WishRegex, Values: onOff},
	},
	Spellings: []Spelling{
		{WishHost, "node", "nginx.ingress.kubernetes.io/upstream-vhost", "$name"},
		{WishProtocol, "https", "nginx.ingress.kubernetes.io/backend-protocol", "HTTPS"},
	},
	Rewrite:     RewritePath,
	TargetPort:  true,
	PortNames:   true,
	Passthrough: []string{"nginx.ingress.kubernetes.io/" + passthrough},
	Opaque:      []string{"nginx.ingress.kubernetes.io/configuration-snippet", "nginx.ingress.kubernetes.io/server-snippet"},
	Unverified:  true,
}

// Dialects is the table of every dialect that drawbridge knows.
var Dialects = []*Dialect{Drawbridge, IngressNginx}

// Of finds the dialect of an Ingress: by the controller of its IngressClass where that is known, else by the name of
// the class. ok is false where the table does not know the class; the Ingress is then nobody's to mend, and the
// dialect returned reads drawbridge's own keys only.
func Of(ing *networkingv1.Ingress, class func(name string) *networkingv1.IngressClass) (d *Dialect, ok bool) {
	name := ClassName(ing)
	var ic *networkingv1.IngressClass
	if name != "" && class != nil {
		ic = class(name)
	}
	for _, d := range Dialects {
		if ic == nil && slices.Contains(d.Classes, name) || ic != nil && slices.Contains(d.Controllers, ic.Spec.Controller) {
			return d, true
		}
	}
	return &Dialect{Name: "unknown"}, false
}

// Spell is the annotation by which the dialect says a wish; name is the Host that is meant. ok is false where the
// dialect can not say it.
func (d *Dialect) Spell(wish Wish, value, name string) (annotation, text string, ok bool) {
	for _, s := range d.Spellings {
		if s.Wish == wish && s.Value == value {
			return s.Annotation, strings.ReplaceAll(s.Text, "$name", name), true
		}
	}
	return "", "", false
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
