package intent

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestAccessLists holds that no annotation is in two of the lists, nor in one and a wish too, and that every dialect of
// Ingresses has lists unless it has no annotation to restrict with.
func TestAccessLists(t *testing.T) {
	for _, d := range Dialects {
		seen := map[string]bool{}
		for _, list := range [][]string{d.Restricts, d.Shares, d.Unserved} {
			for _, key := range list {
				if seen[key] {
					t.Errorf("%s: %s is listed twice", d.Name, key)
				}
				seen[key] = true
				if slices.ContainsFunc(d.Keys, func(k Key) bool { return k.Annotation == key }) || slices.Contains(d.Passthrough, key) {
					t.Errorf("%s: %s is read as a wish too", d.Name, key)
				}
			}
		}
		if d.Speaks() && len(d.Restricts) == 0 && d != Contour && d != ApacheTrafficServer {
			t.Errorf("%s restricts by nothing", d.Name)
		}
		// What asks somebody, or names passwords, restricts.
		for _, f := range d.Fetches {
			if strings.Contains(f.Annotation, "auth-u") && !slices.Contains(d.Restricts, f.Annotation) {
				t.Errorf("%s: %s does not restrict", d.Name, f.Annotation)
			}
		}
		for _, r := range d.References {
			if strings.Contains(r.Annotation, "auth") && r.Kind == "Secret" && !slices.Contains(d.Restricts, r.Annotation) {
				t.Errorf("%s: %s does not restrict", d.Name, r.Annotation)
			}
		}
	}
}

func TestRestricting(t *testing.T) {
	for _, c := range []struct {
		name string
		d    *Dialect
		on   Place
		said map[string]string
		want []string
	}{
		{"nginx", IngressNginx, OnIngress, map[string]string{
			nginxPrefix + "auth-url": "https://auth.example.com/", nginxPrefix + "allowlist-source-range": "10.0.0.0/8",
			nginxPrefix + "enable-modsecurity": "true", nginxPrefix + "auth-realm": "staff", "ingress.kubernetes.io/auth-type": "basic",
		}, []string{nginxPrefix + "allowlist-source-range", nginxPrefix + "auth-url", nginxPrefix + "enable-modsecurity"}},
		{"no", IngressNginx, OnIngress, map[string]string{
			nginxPrefix + "auth-url": " ", nginxPrefix + "enable-global-auth": "False", nginxPrefix + "enable-modsecurity": "off",
		}, nil},
		{"everybody is allowed", IngressNginx, OnIngress, map[string]string{nginxPrefix + "whitelist-source-range": "0.0.0.0/0,::/0"}, nil},
		{"everybody of one family is", IngressNginx, OnIngress, map[string]string{nginxPrefix + "whitelist-source-range": "0.0.0.0/0"},
			[]string{nginxPrefix + "whitelist-source-range"}},
		{"nobody is", IngressNginx, OnIngress, map[string]string{nginxPrefix + "denylist-source-range": "0.0.0.0/0, ::/0"},
			[]string{nginxPrefix + "denylist-source-range"}},
		{"a Service is not read", IngressNginx, OnService, map[string]string{nginxPrefix + "auth-url": "https://auth.example.com/"}, nil},
		{"a Service is read", Kong, OnService, map[string]string{kongPrefix + "plugins": "key-auth"}, []string{kongPrefix + "plugins"}},
		{"whoever it is", AnyDialect(), OnIngress, map[string]string{nginxPrefix + "auth-url": "x", kongPrefix + "plugins": "key-auth", "other.example.com/auth-url": "x"},
			[]string{kongPrefix + "plugins", nginxPrefix + "auth-url"}},
	} {
		if diff := cmp.Diff(c.want, c.d.Restricting(c.said, c.on)); diff != "" {
			t.Errorf("%s: -want +got\n%s", c.name, diff)
		}
	}
	if got := Kong.Sharing(map[string]string{kongPrefix + "headers.x-team": "a", kongPrefix + "headers-separator": ";"}, OnIngress); !slices.Equal(got, []string{kongPrefix + "headers.x-team"}) {
		t.Errorf("headers that Kong matches: %v", got)
	}
}
