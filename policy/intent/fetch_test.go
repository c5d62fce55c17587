package intent

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestFetchOf holds that each dialect's annotation by which a proxy sends requests is found where it stands, and no other.
func TestFetchOf(t *testing.T) {
	n := 0
	for _, d := range Dialects {
		for _, f := range d.Fetches {
			n++
			got, owner, ok := FetchOf(f.Annotation, f.On)
			if !ok || got.Port != f.Port || owner.Name != d.Name {
				t.Errorf("%s: %s on %s: %v", d.Name, f.Annotation, f.On, ok)
			}
			if !slices.ContainsFunc(append(slices.Clone(d.Prefixes), jcmoraisjrPrefixes[1], "zalando.org/"), func(p string) bool {
				return strings.HasPrefix(f.Annotation, p)
			}) {
				t.Errorf("%s: %s is not its own", d.Name, f.Annotation)
			}
		}
	}
	if n < 10 {
		t.Errorf("%d annotations", n)
	}
	for _, key := range []string{nginxPrefix + "auth-signin", jcm + "auth-signin", jcm + "oauth", "nginx.com/jwt-login-url"} {
		if _, _, ok := FetchOf(key, OnIngress); ok {
			t.Errorf("%s is for the browser", key)
		}
	}
	if _, _, ok := FetchOf(nginxPrefix+"auth-url", OnService); ok {
		t.Error("ingress-nginx reads nothing of a Service")
	}
}

// TestEskipURLs holds what is asked by the routes and filters of Skipper.
func TestEskipURLs(t *testing.T) {
	for text, want := range map[string][]string{
		``: nil,
		`redirectTo(308, "https://a.example") -> corsOrigin("https://b.example")`:  nil,
		`webhook("https://a.example/auth", "X-A")`:                                 {"https://a.example/auth"},
		"tee( `https://a.example` ) -> Tee(\n // why\n \"https:\\/\\/b.example\")": {"https://a.example", "https://b.example"},
		`oauthTokenintrospectionAnyClaims("https://a.example", "c")`:               {"https://a.example"},
		`secureOauthTokenintrospectionAllKV("https://a.example", "", "")`:          {"https://a.example"},
		`oauthOidcAnyClaims("https://a.example", "id")`:                            {"https://a.example"},
		`setDynamicBackendUrl("https://a.example")`:                                {"https://a.example"},
		`a: Path("/a") -> setPath("/b") -> "http://a.example"; b: * -> <shunt>`:    {"http://a.example"},
		`* -> <random, "http://a.example", "http://b.example">`:                    {"http://a.example", "http://b.example"},
		`mytee("https://a.example")`:                                               nil,
		`webhook("https://a.example`:                                               nil,
	} {
		if diff := cmp.Diff(want, eskipURLs(text)); diff != "" {
			t.Errorf("%s: -want +got\n%s", text, diff)
		}
	}
	start := time.Now()
	for _, part := range []string{`->"`, `<"`, `webhook(`, `webhook(//`, `->"a"`, "tee(`", `<>`, `"\`} {
		eskipURLs(strings.Repeat(part, (256<<10)/len(part)))
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("took %v", d)
	}
}
