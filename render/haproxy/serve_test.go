package haproxy

import (
	"strings"
	"testing"

	"drawbridge.dev/drawbridge/render/model"
)

func TestHostAndForwardedHeaders(t *testing.T) {
	r := run(t, nil)
	a := site(t, echo("a"))
	kept, set := to("team-a/kept", a), to("team-a/set", a)
	set.Host = "www.site.test:8443"
	r.serve(&model.Model{Hosts: []model.Host{host("kept.test", prefix("/", kept)), host("set.test", prefix("/", set))}}, nil)

	got := r.get("kept.test", "/a//b/../c?d=e")
	want := "a GET kept.test /a//b/../c?d=e\nX-Forwarded-For: 127.0.0.1\nX-Forwarded-Host: kept.test\nX-Forwarded-Proto: http\nX-Forwarded-Port: 80\nproto: HTTP/1.1\n"
	if got.status != 200 || got.body != want {
		t.Errorf("got %d:\n%swant:\n%s", got.status, got.body, want)
	}
	got = r.get("SET.test.:8080", "/", "X-Forwarded-For: 1.2.3.4", "x-forwarded-host: evil", "X-Forwarded-Proto: https", "X-Forwarded-Port: 1",
		"X-Forwarded-Server: evil", "Forwarded: for=1.2.3.4", "Proxy: evil", "Connection: X-Forwarded-For, x-other", "Upgrade: h2c")
	want = "a GET www.site.test:8443 /\nX-Forwarded-For: 127.0.0.1\nX-Forwarded-Host: SET.test.:8080\nX-Forwarded-Proto: http\nX-Forwarded-Port: 8080\nproto: HTTP/1.1\n"
	if got.status != 200 || got.body != want {
		t.Errorf("got %d:\n%swant:\n%s", got.status, got.body, want)
	}
}

func TestRequestsThatAreNone(t *testing.T) {
	r := run(t, nil)
	a := site(t, echo("a"))
	r.serve(&model.Model{
		Hosts:   []model.Host{host("", prefix("/any", to("n/any", a))), host("*.wild.test", prefix("/", to("n/wild", a)))},
		Default: to("n/default", a),
	}, nil)
	for _, test := range []struct {
		name, request string
		status        int
	}{
		{"asterisk", "OPTIONS * HTTP/1.1\r\nHost: a.wild.test\r\n\r\n", 400},
		{"connect", "CONNECT a.wild.test:80 HTTP/1.1\r\nHost: a.wild.test:80\r\n\r\n", 400},
		{"absolute form", "GET http://a.wild.test/x HTTP/1.1\r\nHost: a.wild.test\r\nConnection: close\r\n\r\n", 200},
		{"absolute form of another host", "GET http://b.wild.test/x HTTP/1.1\r\nHost: a.wild.test\r\nConnection: close\r\n\r\n", 400},
		{"two hosts", "GET / HTTP/1.1\r\nHost: a.wild.test\r\nHost: b.wild.test\r\nConnection: close\r\n\r\n", 400},
		{"no host", "GET / HTTP/1.0\r\n\r\n", 200},
		{"empty host", "GET / HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n", 200},
		{"IPv6 host", "GET / HTTP/1.1\r\nHost: [fd00::1]:80\r\nConnection: close\r\n\r\n", 200},
		{"a key for host", "GET / HTTP/1.1\r\nHost: W*.wild.test\r\nConnection: close\r\n\r\n", 400},
		{"a wildcard for host", "GET / HTTP/1.1\r\nHost: *.wild.test\r\nConnection: close\r\n\r\n", 400},
		{"a path for host", "GET / HTTP/1.1\r\nHost: P/any/\r\nConnection: close\r\n\r\n", 400},
		{"default for host", "GET / HTTP/1.1\r\nHost: DEFAULT\r\nConnection: close\r\n\r\n", 200},
		{"underscore", "GET / HTTP/1.1\r\nHost: a_b.wild.test\r\nConnection: close\r\n\r\n", 400},
		{"empty label", "GET / HTTP/1.1\r\nHost: .wild.test\r\nConnection: close\r\n\r\n", 400},
		{"quote", "GET / HTTP/1.1\r\nHost: a'b.wild.test\r\nConnection: close\r\n\r\n", 400},
		{"fragment", "GET /any/#/../x HTTP/1.1\r\nHost: x.test\r\nConnection: close\r\n\r\n", 400},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := r.raw(test.request); got.status != test.status {
				t.Errorf("%q: got %d %q, want %d", test.request, got.status, got.body, test.status)
			}
		})
	}
	if got := r.get("DEFAULT", "/"); !strings.HasPrefix(got.body, "a GET DEFAULT / ") && !strings.HasPrefix(got.body, "a GET DEFAULT /\n") {
		t.Errorf("DEFAULT as a host: %q", got.body)
	}
}
