package intent

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestGrammars holds that everyday texts pass and that those of the known injections do not.
func TestGrammars(t *testing.T) {
	const n = nginxPrefix
	for _, c := range []struct {
		key, text string
		want      bool
	}{
		{n + "rewrite-target", "/", true},
		{n + "rewrite-target", "/$1", true},
		{n + "rewrite-target", "/$2?a=b&c=%20d", true},
		{n + "rewrite-target", "https://www.example.com/$1", true},
		{n + "rewrite-target", "/foo/${name}", true},
		{n + "rewrite-target", "/;}\nlocation /x {", false},
		{n + "rewrite-target", `/"x`, false},
		{n + "rewrite-target", "/x y", false},
		{n + "rewrite-target", "/x\n", false},
		{n + "permanent-redirect", "https://www.example.com$request_uri", true},
		{n + "permanent-redirect", "https://www.example.com/#/login", true},
		{n + "permanent-redirect", "https://x/;return 200 $secret", false},
		{n + "permanent-redirect", "https://x/{", false},
		{n + "auth-url", "https://$host/oauth2/auth", true},
		{n + "auth-url", "http://auth.svc.cluster.local:8080/check?uri=$escaped_request_uri", true},
		{n + "auth-signin", "https://$host/oauth2/start?rd=$escaped_request_uri", true},
		{n + "auth-url", "http://example.com/#;}}}\nssl_engine x;\n", false},
		{n + "auth-url", "http://example.com/\r\nfoo", false},
		{n + "auth-method", "POST", true},
		{n + "auth-method", "GET; return 200", false},
		{n + "auth-tls-match-cn", "CN=client-(a|b)", true},
		{n + "auth-tls-match-cn", "CN=My Company", true},
		{n + "auth-tls-match-cn", "CN=abc #(\n){}\n }}\nssl_engine ../x.so;", false},
		{n + "mirror-target", "https://mirror.example.com$request_uri", true},
		{n + "mirror-target", "fake\n}\n", false},
		{n + "mirror-host", "$host", true},
		{n + "mirror-host", "h;#}", false},
		{n + "server-alias", "www.example.com, *.example.com", true},
		{n + "server-alias", `~^www\d+\.example\.com$`, true},
		{n + "server-alias", "a.example;}", false},
		{n + "proxy-redirect-from", "off", true},
		{n + "proxy-redirect-from", `~^http://[^/]+(/.*)$`, true},
		{n + "proxy-redirect-to", "https://$host/", true},
		{n + "proxy-redirect-to", "x; proxy_pass http://evil", false},
		{n + "proxy-ssl-name", "api.example.com", true},
		{n + "proxy-ssl-name", "$host", true},
		{n + "proxy-ssl-name", "a b", false},
		{n + "upstream-vhost", "$service_name.$namespace.svc.cluster.local", true},
		{n + "upstream-vhost", "www.example.com:8443", true},
		{n + "upstream-vhost", `x";}`, false},
		{n + "upstream-hash-by", "$request_uri$host", true},
		{n + "auth-realm", "Authentication Required - ok; really", true},
		{n + "auth-realm", `a"b`, false},
		{n + "x-forwarded-prefix", "/$1", true},
		{"nginx.org/rewrites", "serviceName=tea-svc rewrite=/;serviceName=coffee-svc rewrite=/beans/", true},
		{"nginx.org/rewrites", "serviceName=tea-svc rewrite=/{", false},
		{"nginx.org/proxy-set-headers", "X-A, X-B: c; d", true},
		{"nginx.org/proxy-set-headers", "X-A: $secret", false},
		{"nginx.org/ssl-services", "a,b", true},
		{"nginx.org/ssl-services", "a\nb", false},
		{"haproxy.org/path-rewrite", "/", true},
		{"haproxy.org/path-rewrite", `([^?]*)(\?(.*))? \1/foo\2`, true},
		{"haproxy.org/path-rewrite", "/foo/(.*) /\\1\n/bar/(.*) /baz/\\1\n", true},
		{"haproxy.org/path-rewrite", "/%[path,lower]", true},
		{"haproxy.org/path-rewrite", "/%[env(SECRET)]", false},
		{"haproxy.org/path-rewrite", `/ "x`, false},
		{"haproxy.org/path-rewrite", "/a /b /c", false},
		{"haproxy.org/request-set-header", `Ingress-ID "hello $#"`, true},
		{"haproxy.org/response-set-header", `Content-Security-Policy "default-src 'self'; img-src *"`, true},
		{"haproxy.org/response-set-header", "Cache-Control no-store,no-cache,private\nStrict-Transport-Security max-age=31536000", true},
		{"haproxy.org/request-set-header", "X-A %[env(SECRET)]", false},
		{"haproxy.org/request-set-header", `X-A "open`, false},
		{"haproxy.org/set-host", "example.com:8443", true},
		{"haproxy.org/set-host", "a b", false},
		{"haproxy.org/check-http", "HEAD /health HTTP/1.1", true},
		{"haproxy.org/check-http", "/\n server x", false},
		{"haproxy.org/route-acl", "cookie(staging) -m found", true},
		{"haproxy.org/route-acl", "TRUE } deny if { TRUE", false},
		{jcm + "headers", "x-path: /\nhost: %[service].%[namespace].svc.cluster.local", true},
		{jcm + "rewrite-target", "/", true},
		{jcm + "rewrite-target", "/ \nserver x", false},
		{jcm + "auth-url", "svc://auth:8080/check", true},
		{jcm + "agent-check-send", "hello there", true},
		{jcm + "agent-check-send", "a\nb", false},
		{kongPrefix + "rewrite", "/api/$1", true},
		{kongPrefix + "rewrite", "/$(os.execute('x'))", false},
		{kongPrefix + "host-header", "api.example.com", true},
		{traefikPrefix + "router.middlewares", "team-a-strip@kubernetescrd, auth@file", true},
		{traefikPrefix + "router.pathmatcher", "PathRegexp", true},
		{traefikPrefix + "router.pathmatcher", "Host(`victim.example`) || PathPrefix", false},
		{apisixPrefix + "rewrite-target-regex", "/app/(.*)", true},
		{apisixPrefix + "rewrite-target-regex", "(", false},
		{apisixPrefix + "http-redirect", "/anything$uri", true},
		{"ingress.kubernetes.io/upstream-vhost", "www.example.com:8443", true},
		{"ingress.kubernetes.io/upstream-vhost", "$host", false},
	} {
		g, _, ok := GrammarOf(c.key)
		if !ok || g.Name == "" || g.Says == "" {
			t.Errorf("%s has no grammar", c.key)
			continue
		}
		if got := g.Valid(c.text); got != c.want {
			t.Errorf("%s: %q is %t, want %t", c.key, c.text, got, c.want)
		}
	}
	for _, key := range []string{"alb.ingress.kubernetes.io/actions.redirect", n + "proxy-body-size", n + "configuration-snippet"} {
		if _, _, ok := GrammarOf(key); ok {
			t.Errorf("%s is judged", key)
		}
	}
	for text, want := range map[string]bool{
		"": true, "/": true, "/foo(/|$)(.*)": true, `/v\d{1,3}/(?<rest>.*)`: true, "/straße/*": true, "/a%20b/~x/@y": true,
		"/x y": false, "/x;v=1": false, "/x{": false, "/x}": false, `/"`: false, "/x\n": false, "/#": false, "/x{1": false,
	} {
		if Path.Valid(text) != want {
			t.Errorf("the path %q is %t", text, !want)
		}
	}
	for text, want := range map[string]bool{
		"": true, "a.example": true, "*.a.example": true, "localhost": true, "A.example": false, "a..b": false, "-a.b": false, "a.b:80": false,
		"a.*.b": false, "*": false, "a_b": false, "a.example\n": false, "a.example;": false,
	} {
		if HostName.Valid(text) != want {
			t.Errorf("the host %q is %t", text, !want)
		}
	}
}

func BenchmarkGrammars(b *testing.B) {
	for _, key := range []string{nginxPrefix + "rewrite-target", nginxPrefix + "server-alias", "haproxy.org/path-rewrite", "haproxy.org/request-set-header", jcm + "auth-url"} {
		g, _, _ := GrammarOf(key)
		for _, text := range []string{"/foo/$1", strings.Repeat("a/", 2000)} {
			b.Run(fmt.Sprintf("%s/%d", key, len(text)), func(b *testing.B) {
				for b.Loop() {
					g.Valid(text)
				}
			})
		}
	}
}

// FuzzGrammars holds that no text that a grammar lets pass can end the line that it is written on, and that judging it
// takes no longer than its length allows.
func FuzzGrammars(f *testing.F) {
	for _, text := range []string{"/$1", "CN=a", "a\nb", "/x;}", `"`, "%[env(A)]", strings.Repeat("a,", 500), strings.Repeat("((", 500)} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for key, owned := range tables().texts {
			start := time.Now()
			valid := owned.Valid(text)
			if took := time.Since(start); took > time.Second && len(text) < 1<<16 {
				t.Errorf("%s: %d bytes took %s", key, len(text), took)
			}
			if !valid {
				continue
			}
			for i, line := range strings.Split(text, "\n") {
				if i > 0 && !strings.Contains(key, "headers") && !strings.Contains(key, "header") && !strings.Contains(key, "path-rewrite") &&
					!strings.Contains(key, "request-capture") && !strings.HasSuffix(key, "rewrites") && !strings.HasSuffix(key, "rewrite-target-regex") {
					t.Errorf("%s: %q has a second line", key, text)
				}
				if strings.ContainsAny(line, "\x00\r") && !strings.HasSuffix(key, "rewrite-target-regex") {
					t.Errorf("%s: %q steers", key, text)
				}
			}
		}
		for _, g := range []Grammar{HostName, Path} {
			if g.Valid(text) && strings.ContainsAny(text, "\n\r\x00\"'`;# ") {
				t.Errorf("%s %q", g.Name, text)
			}
		}
	})
}
