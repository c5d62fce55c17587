package intent

import (
	"maps"
	"slices"
	"strings"
	"sync"
)

// Restricting are the annotations, of an Ingress or of a Service by on, by which the dialect restricts who is served, or
// may: those of [Dialect.Restricts] that say anything but no, in order of the key. The zero Dialect, that of a class that
// nobody knows, has none; see [AnyDialect].
func (d *Dialect) Restricting(annotations map[string]string, on Place) []string {
	if on == OnService && !d.RestrictsOnService {
		return nil
	}
	list := said(d.Restricts, annotations)
	if strings.TrimSpace(annotations[nginxPrefix+"canary"]) == "true" {
		// ingress-nginx takes them from the Ingress that the canary is beside.
		list = slices.DeleteFunc(list, func(key string) bool { return strings.HasPrefix(key, nginxPrefix) })
	}
	return list
}

// Sharing are the annotations, of an Ingress or of a Service by on, by which a route takes only some of the requests for
// its host and path, those of [Dialect.Shares], in order of the key.
func (d *Dialect) Sharing(annotations map[string]string, on Place) []string {
	if on == OnService && !d.RestrictsOnService {
		return nil
	}
	return said(d.Shares, annotations)
}

// AnyDialect has what every dialect lists of Restricts and Shares, and nothing else: for an Ingress that may have been
// written for any of them, because its class is not known or it has none.
var AnyDialect = sync.OnceValue(func() *Dialect {
	all := &Dialect{Name: "any", RestrictsOnService: true}
	for _, d := range Dialects {
		all.Restricts = append(all.Restricts, d.Restricts...)
		all.Shares = append(all.Shares, d.Shares...)
	}
	return all
})

// Missing are the annotations of an Ingress that change what the dialect's controller serves, and that drawbridge's proxy
// does not do: those of [Dialect.Unserved] that say anything but no, in order of the key.
func (d *Dialect) Missing(annotations map[string]string) []string {
	return said(d.Unserved, annotations)
}

// IsRestriction tells whether an annotation with that text is one of [Dialect.Restricting], on whichever object.
func (d *Dialect) IsRestriction(annotation, text string) bool {
	return asks(text) && !admitsAll(annotation, text) && named(d.Restricts, annotation)
}

// IsShare tells whether an annotation with that text is one of [Dialect.Sharing], on whichever object.
func (d *Dialect) IsShare(annotation, text string) bool {
	return asks(text) && named(d.Shares, annotation)
}

func said(keys []string, annotations map[string]string) []string {
	if len(keys) == 0 {
		return nil
	}
	var list []string
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		if asks(annotations[key]) && !admitsAll(key, annotations[key]) && named(keys, key) {
			list = append(list, key)
		}
	}
	return list
}

// admitsAll tells of an allow list that restricts nobody: cert-manager puts one on the Ingresses by which it answers the
// challenges of certificate authorities, lest a default of the controller lock them out.
func admitsAll(annotation, text string) bool {
	_, name, _ := strings.Cut(annotation, "/")
	if !strings.HasPrefix(name, "allow") && !strings.HasPrefix(name, "white") {
		return false
	}
	entries := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
	return slices.Contains(entries, "0.0.0.0/0") && slices.Contains(entries, "::/0")
}

// named tells whether an annotation is listed; an entry that ends in "." stands for all that begin with it.
func named(keys []string, annotation string) bool {
	return slices.ContainsFunc(keys, func(k string) bool {
		return k == annotation || strings.HasSuffix(k, ".") && strings.HasPrefix(annotation, k)
	})
}

// The keys of ingress-nginx, by their names in annotations-risk.md, those that it had before, and those that it has under
// two names. Not listed is what only goes with another key (auth-realm with auth-type), what only tunes (timeouts,
// buffers, keepalive) or logs, and what has a wish of its own.
var (
	nginxRestricts = prefixed([]string{nginxPrefix},
		"auth-url", "enable-global-auth", "auth-type", "auth-secret", "auth-tls-secret",
		"whitelist-source-range", "allowlist-source-range", "denylist-source-range",
		"enable-modsecurity", "enable-owasp-core-rules",
	)
	// A canary is for some of the requests of another Ingress.
	nginxShares   = prefixed([]string{nginxPrefix}, "canary")
	nginxUnserved = prefixed([]string{nginxPrefix},
		"permanent-redirect", "temporal-redirect", "from-to-www-redirect", "app-root", "ssl-redirect", "force-ssl-redirect",
		"preserve-trailing-slash", "server-alias", "custom-headers", "custom-http-errors", "default-backend",
		"enable-cors", "mirror-target", "affinity", "session-cookie-name", "load-balance", "upstream-hash-by", "x-forwarded-prefix",
		"limit-connections", "limit-rps", "limit-rpm", "limit-rate", "limit-rate-after",
		"global-rate-limit", "proxy-body-size", "proxy-cookie-domain", "proxy-cookie-path", "proxy-redirect-from", "proxy-redirect-to",
		"proxy-next-upstream", "connection-proxy-header", "fastcgi-index", "fastcgi-params-configmap",
		"ssl-ciphers", "http2-push-preload",
	)
)

// ownRestricts are keys under the prefix that drawbridge shares with older controllers, by which those restrict.
var ownRestricts = prefixed([]string{"ingress.kubernetes.io/"},
	"auth-url", "auth-type", "auth-secret", "auth-tls-secret", "auth-address-list", "oauth",
	"whitelist-source-range", "allowlist-source-range", "denylist-source-range",
	"allow-list", "deny-list", "whitelist", "blacklist", "waf",
)

var ownUnserved = prefixed([]string{"ingress.kubernetes.io/"},
	"ssl-redirect", "force-ssl-redirect", "app-root", "permanent-redirect", "temporal-redirect", "redirect-to", "request-redirect",
	"follow-redirects", "server-alias", "enable-cors", "cors-enable", "affinity", "limit-connections", "limit-rps",
	"rate-limit-requests", "proxy-body-size", "hsts",
)

// The keys of jcmoraisjr/haproxy-ingress, of docs/content/en/docs/configuration/keys.md: they stand on the
// Service too.
var (
	jcmoraisjrRestricts = prefixed(jcmoraisjrPrefixes,
		"auth-url", "auth-type", "auth-secret", "auth-tls-secret", "oauth", "waf",
		"whitelist-source-range", "allowlist-source-range", "denylist-source-range",
	)
	jcmoraisjrShares   = prefixed(jcmoraisjrPrefixes, "http-header-match", "http-header-match-regex")
	jcmoraisjrUnserved = prefixed(jcmoraisjrPrefixes,
		"ssl-redirect", "redirect-to", "redirect-from", "redirect-from-regex", "app-root", "server-alias", "server-alias-regex",
		"cors-enable", "affinity", "limit-connections", "limit-rps", "proxy-body-size", "hsts", "blue-green-deploy", "blue-green-balance",
		"balance-algorithm", "send-proxy-protocol",
	)
)

// The keys of haproxytech/kubernetes-ingress; route-acl stands on the Service, and says which requests it is for.
var (
	haproxytechRestricts = prefixed(haproxytechPrefixes,
		"auth-type", "auth-secret", "allow-list", "whitelist", "deny-list", "blacklist",
	)
	haproxytechShares   = prefixed(haproxytechPrefixes, "route-acl")
	haproxytechUnserved = prefixed(haproxytechPrefixes,
		"ssl-redirect", "request-redirect", "request-set-header", "response-set-header", "cors-enable",
		"rate-limit-requests", "pod-maxconn", "load-balance", "send-proxy-protocol", "src-ip-header",
	)
)

// The keys of NGINX Inc.'s controller. What a minion does not say its master says.
var (
	nginxIncRestricts = []string{
		"nginx.org/policies", "nginx.com/policies", "nginx.org/basic-auth-secret",
		"nginx.com/jwt-key", "nginx.com/jwt-realm", "nginx.com/jwt-token", "nginx.com/jwt-login-url",
		"appprotect.f5.com/app-protect-enable", "appprotect.f5.com/app-protect-policy", "appprotectdos.f5.com/app-protect-dos-resource",
		"nsm.nginx.com/internal-route", "nginx.org/mergeable-ingress-type",
	}
	nginxIncUnserved = []string{
		"nginx.org/redirect-to-https", "nginx.org/ssl-redirect", "ingress.kubernetes.io/ssl-redirect", "nginx.org/hsts",
		"nginx.org/app-root", "nginx.org/proxy-set-headers", "nginx.org/proxy-hide-headers", "nginx.org/proxy-pass-headers", "nginx.org/add-header",
		"nginx.org/proxy-redirect-from", "nginx.org/client-max-body-size", "nginx.org/lb-method", "nginx.org/listen-ports", "nginx.org/listen-ports-ssl",
		"nginx.org/limit-req-rate", "nginx.com/sticky-cookie-services", "nginx.org/ssl-ciphers",
	}
)

// The keys of APISIX: a plugin config may hold any plugin.
var (
	apisixRestricts = prefixed([]string{apisixPrefix},
		"auth-type", "auth-uri", "allowlist-source-range", "blocklist-source-range", "http-allow-methods", "http-block-methods",
		"enable-csrf", "plugin-config-name",
	)
	apisixUnserved = prefixed([]string{apisixPrefix},
		"enable-cors", "http-to-https", "http-redirect", "enable-response-rewrite", "svc-namespace",
	)
)
