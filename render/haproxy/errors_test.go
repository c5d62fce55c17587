package haproxy

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"drawbridge.dev/drawbridge/render/model"
)

// TestFailures pins what a client reads when an upstream fails: the Service and the kind, and nothing that tells
// where it is.
func TestFailures(t *testing.T) {
	r := run(t, nil)
	junk, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer junk.Close()
	go func() {
		for {
			conn, err := junk.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 1000))
			_, _ = io.WriteString(conn, "this is no HTTP\r\n\r\n")
			_ = conn.Close()
		}
	}()
	slow := site(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-time.After(10 * time.Second):
		}
	}))
	trusted := authority(t)
	named := tlsSite(t, trusted, "right.test", echo("tls"))
	unknown := tlsSite(t, newCA(t), "right.test", echo("unknown"))
	plain := site(t, echo("plain"))
	over := func(p model.Protocol, name string, a netip.AddrPort) model.Upstream {
		u := to("team-a/x", a)
		u.Protocol, u.ServerName = p, name
		return u
	}
	closed := netip.MustParseAddrPort(freePort(t))
	m := &model.Model{}
	tests := []struct {
		host string
		u    model.Upstream
		want string
	}{
		{"none.test", to("team-a/external-service"), "503 team-a/external-service: no address\n"},
		{"name.test", model.Upstream{Service: "team-a/x", Name: "gone.test", Port: 80}, "503 team-a/x: no address\n"},
		{"refused.test", to("team-a/x", closed), "503 team-a/x: connection failed\n"},
		{"full.test", to("team-a/x", full(t)), "503 team-a/x: connection failed\n"},
		{"junk.test", to("team-a/x", netip.MustParseAddrPort(junk.Addr().String())), "502 team-a/x: bad response\n"},
		{"slow.test", to("team-a/x", slow), "504 team-a/x: timeout\n"},
		{"right.test", over(model.HTTPS, "right.test", named), ""},
		{"wrong.test", over(model.HTTPS, "wrong.test", named), "503 team-a/x: certificate verification failed\n"},
		{"unknown.test", over(model.HTTPS, "right.test", unknown), "503 team-a/x: certificate verification failed\n"},
		{"plain.test", over(model.HTTPS, "right.test", plain), "503 team-a/x: TLS handshake failed\n"},
	}
	for _, test := range tests {
		m.Hosts = append(m.Hosts, host(test.host, prefix("/", test.u)))
	}
	r.serve(m, nil)
	for _, test := range tests {
		got := r.get(test.host, "/")
		if test.want == "" {
			if got.status != 200 {
				t.Errorf("%s: got %d %q", test.host, got.status, got.body)
			}
			continue
		}
		if got.body != test.want || got.header.Get("Content-Type") != "text/plain" {
			t.Errorf("%s: got %d %q %v, want %q", test.host, got.status, got.body, got.header, test.want)
		}
		if strconv.Itoa(got.status) != test.want[:3] {
			t.Errorf("%s: got status %d for %q", test.host, got.status, test.want)
		}
	}
	if got := r.get("nobody.test", "/"); got.status != 404 || got.body != "404 no route\n" {
		t.Errorf("no route: got %d %q", got.status, got.body)
	}
}

// full is an address whose queue of connections is full, so that a connect gets no answer.
func full(t *testing.T) netip.AddrPort {
	t.Helper()
	l := listenWithoutQueue(t)
	address := netip.MustParseAddrPort(l.Addr().String())
	for range 8 {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address.String())
		cancel()
		if err != nil {
			return address
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	t.Fatal("the queue of connections does not fill")
	return address
}
