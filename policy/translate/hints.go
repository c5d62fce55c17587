package translate

import "drawbridge.dev/drawbridge/policy/intent"

// hints tell what takes the place of annotations that say nothing of a backend's Host, protocol, TLS or path. They are
// by the name without its prefix; "" is any other dialect.
var hints = map[string]map[string]string{
	"ssl-redirect": {
		"traefik":       "write a Middleware with `redirectScheme`, or set `entryPoints.web.http.redirections`",
		"haproxytech":   "write `haproxy.org/ssl-redirect`",
		"jcmoraisjr":    "write `haproxy-ingress.github.io/ssl-redirect`",
		"kong":          "write `konghq.com/protocols`: 'https' and `konghq.com/https-redirect-status-code`",
		"nginx-inc":     "write `nginx.org/ssl-redirect`",
		"apisix":        "write `k8s.apisix.apache.org/http-to-https`",
		"contour":       "it is what Contour does where the Ingress has TLS; `ingress.kubernetes.io/force-ssl-redirect` asks for it else",
		"trafficserver": "write `ingress.kubernetes.io/ssl-redirect`",
	},
	"force-ssl-redirect": {
		"traefik":    "write a Middleware with `redirectScheme`",
		"kong":       "write `konghq.com/protocols`: 'https'",
		"contour":    "write `ingress.kubernetes.io/force-ssl-redirect`",
		"apisix":     "write `k8s.apisix.apache.org/http-to-https`",
		"jcmoraisjr": "write `haproxy-ingress.github.io/ssl-redirect`",
	},
	"proxy-body-size": {
		"traefik":    "write a Middleware with `buffering.maxRequestBodyBytes`; there is no bound by default",
		"jcmoraisjr": "write `haproxy-ingress.github.io/proxy-body-size`",
		"nginx-inc":  "write `nginx.org/client-max-body-size`",
		"kong":       "write a KongPlugin `request-size-limiting`; there is no bound by default",
		"":           "there is no bound by default",
	},
	"proxy-connect-timeout": timeouts, "proxy-read-timeout": timeouts, "proxy-send-timeout": timeouts,
	"whitelist-source-range": ranges, "allowlist-source-range": ranges, "allow-list": ranges, "whitelist": ranges,
	"denylist-source-range": ranges,
	"auth-url": {
		"traefik": "write a Middleware with `forwardAuth`",
		"kong":    "write a KongPlugin for it",
		"apisix":  "write `k8s.apisix.apache.org/auth-uri`",
		"contour": "write an HTTPProxy with `virtualhost.authorization`",
	},
	"auth-type": {
		"traefik":     "write a Middleware with `basicAuth`",
		"haproxytech": "write `haproxy.org/auth-type` and `haproxy.org/auth-secret`",
		"kong":        "write a KongPlugin `basic-auth`",
	},
	"auth-secret": {
		"traefik":     "write a Middleware with `basicAuth.secret`",
		"haproxytech": "write `haproxy.org/auth-secret`",
		"jcmoraisjr":  "write `haproxy-ingress.github.io/auth-secret`",
	},
	"permanent-redirect": {
		"traefik":     "write a Middleware with `redirectRegex` and `permanent: true`",
		"haproxytech": "write `haproxy.org/request-redirect` and its code",
		"jcmoraisjr":  "write `haproxy-ingress.github.io/redirect-to` and its code",
		"kong":        "write a KongPlugin `redirect`",
		"apisix":      "write `k8s.apisix.apache.org/http-redirect` and its code",
	},
	"enable-cors": {
		"traefik":     "write a Middleware with `headers.accessControlAllowOriginList` and the like",
		"haproxytech": "write `haproxy.org/cors-enable` and the like",
		"jcmoraisjr":  "write `haproxy-ingress.github.io/cors-enable` and the like",
		"kong":        "write a KongPlugin `cors`",
		"apisix":      "write `k8s.apisix.apache.org/enable-cors` and the like",
	},
	"affinity": {
		"traefik":     "write `traefik.ingress.kubernetes.io/service.sticky.cookie` on the Service",
		"haproxytech": "write `haproxy.org/cookie-persistence` on the Service",
		"jcmoraisjr":  "write `haproxy-ingress.github.io/affinity`",
	},
	"service-upstream": {
		"traefik":    "write `traefik.ingress.kubernetes.io/service.nativelb`: 'true' on the Service",
		"jcmoraisjr": "write `haproxy-ingress.github.io/service-upstream`",
		"kong":       "write `ingress.kubernetes.io/service-upstream`: 'true' on the Service",
		"nginx-inc":  "write `nginx.org/use-cluster-ip`: 'true'",
	},
	"app-root": {
		"traefik":    "write a Middleware with `redirectRegex`",
		"jcmoraisjr": "write `haproxy-ingress.github.io/app-root`",
		"nginx-inc":  "write `nginx.org/app-root`",
	},
}

var timeouts = map[string]string{
	"traefik":     "write a ServersTransport with `forwardingTimeouts` and name it on the Service",
	"haproxytech": "write `haproxy.org/timeout-server`, and `timeout-connect` in its ConfigMap",
	"jcmoraisjr":  "write `haproxy-ingress.github.io/timeout-connect` and `timeout-server`",
	"kong":        "write `konghq.com/connect-timeout`, `read-timeout` and `write-timeout` on the Service, in milliseconds",
	"contour":     "write `projectcontour.io/response-timeout`",
	"nginx-inc":   "write it under `nginx.org/`",
	"apisix":      "write `k8s.apisix.apache.org/upstream-read-timeout` and the like",
	"drawbridge":  "the proxy has timeouts of its own for all upstreams",
}

var ranges = map[string]string{
	"traefik":     "write a Middleware with `ipAllowList`",
	"haproxytech": "write `haproxy.org/allow-list` or `haproxy.org/deny-list`",
	"jcmoraisjr":  "write `haproxy-ingress.github.io/allowlist-source-range` or `denylist-source-range`",
	"kong":        "write a KongPlugin `ip-restriction`",
	"contour":     "write an HTTPProxy with `ipAllowPolicy`",
	"nginx-inc":   "write a Policy with `accessControl`",
	"apisix":      "write `k8s.apisix.apache.org/allowlist-source-range` or `blocklist-source-range`",
}

// hint is what to use instead of an annotation, "" where it is not known.
func hint(name string, to *intent.Dialect) string {
	by := hints[name]
	if text := by[to.Name]; text != "" {
		return text
	}
	return by[""]
}
