package haproxy

import (
	"net/http"
	"strings"
	"testing"

	"drawbridge.dev/drawbridge/render/model"
)

// TestHostThatIsTwo sends Host headers that a proxy and an upstream could read differently: the route must not be found
// by one part of the header while the upstream, and X-Forwarded-Host, get another.
func TestHostThatIsTwo(t *testing.T) {
	r := run(t, nil)
	a := site(t, echo("a"))
	r.serve(&model.Model{Hosts: []model.Host{
		host("a.test", prefix("/", to("n/a", a))),
		host("b.test", prefix("/x", to("n/a", a)), prefix("/y", to("n/a", a))),
		host("*.wild.test", prefix("/", to("n/a", a))),
		host("", prefix("/", to("n/a", a))),
	}}, nil)
	for _, bad := range []string{
		"evil.example,a.test", "a.test,evil.example", "evil.example,b.test", "evil.example,x.wild.test",
		"a.test:evil.example", "b.test:evil", "x.wild.test:8o", "a.test:-1", "a.test:123456", "[::1]:x",
	} {
		if got := r.get(bad, "/x"); got.status != http.StatusBadRequest {
			t.Errorf("%s: got %d %q", bad, got.status, got.body)
		}
	}
	for _, good := range []string{"a.test", "a.test:", "a.test:8080", "A.test.:80", "b.test:443", "x.wild.test:65535", "[::1]", "[::1]:8080", "192.0.2.1:80"} {
		if got := r.get(good, "/x"); got.status != http.StatusOK || !strings.Contains(got.body, "X-Forwarded-Host: "+good+"\n") {
			t.Errorf("%s: got %d %q", good, got.status, got.body)
		}
	}
}
