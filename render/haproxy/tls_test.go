package haproxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drawbridge.dev/drawbridge/render/model"
)

// TestUpstreamTLS holds what an upstream's certificate is verified against, and that nothing gets around it.
func TestUpstreamTLS(t *testing.T) {
	r := run(t, nil)
	trusted := authority(t)
	named := tlsSite(t, trusted, "right.test", echo("right"))
	wild := tlsSite(t, trusted, "*.wild.test", echo("wild"))
	ip := tlsSite(t, trusted, "127.0.0.1", echo("ip"))
	over := func(host, serverName string, a netip.AddrPort) model.Upstream {
		u := to("team-a/x", a)
		u.Protocol, u.Host, u.ServerName = model.HTTPS, host, serverName
		return u
	}
	many := over("", "", named)
	many.Addresses = append(many.Addresses, named)
	r.serve(&model.Model{
		Hosts: []model.Host{
			host("", prefix("/any", over("", "", named)), prefix("/ip", over("", "", ip))),
			host("*.wild.test", prefix("/", over("", "", wild))),
			host("other.test", prefix("/", over("", "right.test", named))),
			host("right.test", prefix("/", over("", "", named))),
			host("sent.test", prefix("/", over("right.test", "right.test", named))),
		},
		Default: over("", "", named),
	}, nil)
	const refused = "503 team-a/x: certificate verification failed\n"
	for _, test := range []struct{ name, request, site, body string }{
		{"the client's Host", "GET / HTTP/1.1\r\nHost: right.test\r\nConnection: close\r\n\r\n", "right", ""},
		{"with port and dot", "GET / HTTP/1.1\r\nHost: RIGHT.test.:8080\r\nConnection: close\r\n\r\n", "right", ""},
		{"a wildcard", "GET / HTTP/1.1\r\nHost: a.wild.test\r\nConnection: close\r\n\r\n", "wild", ""},
		{"another name for SNI", "GET / HTTP/1.1\r\nHost: other.test\r\nConnection: close\r\n\r\n", "right", ""},
		{"another Host", "GET / HTTP/1.1\r\nHost: sent.test\r\nConnection: close\r\n\r\n", "right", ""},
		{"any host, right", "GET /any HTTP/1.1\r\nHost: right.test:80\r\nConnection: close\r\n\r\n", "right", ""},
		{"any host, wrong", "GET /any HTTP/1.1\r\nHost: wrong.test\r\nConnection: close\r\n\r\n", "", refused},
		{"no Host at all", "GET / HTTP/1.0\r\n\r\n", "", refused},
		{"empty Host", "GET / HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n", "", refused},
		{"a port for Host", "GET / HTTP/1.1\r\nHost: :80\r\nConnection: close\r\n\r\n", "", refused},
		{"dots for Host", "GET / HTTP/1.1\r\nHost: ...\r\nConnection: close\r\n\r\n", "", refused},
		{"an address for Host", "GET / HTTP/1.1\r\nHost: 127.0.0.2\r\nConnection: close\r\n\r\n", "", refused},
		{"an IPv6 address for Host", "GET / HTTP/1.1\r\nHost: [::1]\r\nConnection: close\r\n\r\n", "", refused},
	} {
		t.Run(test.name, func(t *testing.T) {
			// Twice: a connection, or a session of TLS, that is used again is no way around either.
			for range 2 {
				got := r.raw(test.request)
				if got.header.Get("X-Site") != test.site || test.site == "" && got.body != test.body {
					t.Errorf("got %d %q from %q, want %q %q", got.status, got.body, got.header.Get("X-Site"), test.site, test.body)
				}
			}
		})
	}
}

// TestConnectionsAreNotMixed alternates on one connection between hosts whose upstream is the same address: the
// connection that was verified for one name is not used for another.
func TestConnectionsAreNotMixed(t *testing.T) {
	r := run(t, nil)
	a := tlsSite(t, authority(t), "right.test", echo("tls"))
	over := func(serverName string) model.Upstream {
		u := to("n/"+serverName, a)
		u.Protocol, u.Host, u.ServerName = model.HTTPS, serverName, serverName
		return u
	}
	r.serve(&model.Model{Hosts: []model.Host{host("a.test", prefix("/", over("right.test"))), host("b.test", prefix("/", over("wrong.test")))}}, nil)
	conn, err := net.Dial("tcp", r.http)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	reader := bufio.NewReader(conn)
	for i := range 60 {
		name, want := "a.test", http.StatusOK
		if i%3 == 2 {
			name, want = "b.test", http.StatusServiceUnavailable
		}
		fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", name)
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		if response.StatusCode != want {
			t.Fatalf("request %d to %s: got %d, want %d", i, name, response.StatusCode, want)
		}
	}
}

// TestServerNameIsSent sees what the upstream is asked for.
func TestServerNameIsSent(t *testing.T) {
	r := run(t, nil)
	pair := authority(t).issue(t, "kept.test", "named.test")
	names := make(chan string, 10)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		names <- h.ServerName
		return &pair, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: echo("sni"), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	a := netip.MustParseAddrPort(l.Addr().String())
	kept, named := to("n/kept", a), to("n/named", a)
	kept.Protocol, named.Protocol = model.HTTPS, model.HTTPS
	named.Host, named.ServerName = "sent.test:444", "named.test"
	r.serve(&model.Model{Hosts: []model.Host{host("kept.test", prefix("/", kept)), host("public.test", prefix("/", named))}}, nil)
	for _, test := range []struct{ host, sni, sent string }{
		{"KEPT.test.:8080", "kept.test", "KEPT.test.:8080"},
		{"public.test", "named.test", "sent.test:444"},
	} {
		got := r.get(test.host, "/")
		if got.status != 200 || !strings.Contains(got.body, "GET "+test.sent+" /\n") {
			t.Fatalf("%s: got %d %q", test.host, got.status, got.body)
		}
		if sni := <-names; sni != test.sni {
			t.Errorf("%s: asked for %q, want %q", test.host, sni, test.sni)
		}
	}
}

func TestProtocols(t *testing.T) {
	r := run(t, nil)
	trusted := authority(t)
	h2c := to("n/h2c", h2cSite(t, echo("h2c")))
	h2c.Protocol = model.H2C
	h2 := to("n/h2", tlsSite(t, trusted, "h2.test", echo("h2"), "h2"))
	h2.Protocol = model.H2
	wrong := to("n/wrong", tlsSite(t, trusted, "elsewhere.test", echo("wrong"), "h2"))
	wrong.Protocol = model.H2
	h1 := to("n/h1", tlsSite(t, trusted, "h1.test", echo("h1"), "h2", "http/1.1"))
	h1.Protocol = model.HTTPS
	r.serve(&model.Model{Hosts: []model.Host{
		host("h1.test", prefix("/", h1)), host("h2.test", prefix("/", h2)), host("h2c.test", prefix("/", h2c)), host("wrong.test", prefix("/", wrong)),
	}}, nil)
	for name, want := range map[string]string{"h2c.test": "HTTP/2.0", "h2.test": "HTTP/2.0", "h1.test": "HTTP/1.1"} {
		for range 3 {
			got := r.get(name, "/x?y")
			if got.status != 200 || !strings.Contains(got.body, "GET "+name+" /x?y\n") || !strings.Contains(got.body, "proto: "+want) {
				t.Errorf("%s: got %d %q", name, got.status, got.body)
			}
		}
	}
	if got := r.get("wrong.test", "/"); got.body != "503 n/wrong: certificate verification failed\n" {
		t.Errorf("a wrong name over HTTP/2: got %d %q", got.status, got.body)
	}
}

// TestUpgrade speaks through an upgraded connection, as WebSockets do.
func TestUpgrade(t *testing.T) {
	r := run(t, nil)
	a := site(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") || !strings.EqualFold(r.Header.Get("Connection"), "upgrade") {
			http.Error(w, fmt.Sprint(r.Header), http.StatusBadRequest)
			return
		}
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
		_, _ = io.Copy(conn, buffered)
	}))
	r.serve(&model.Model{Hosts: []model.Host{host("ws.test", prefix("/", to("n/ws", a)))}}, nil)
	conn, err := net.Dial("tcp", r.http)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(conn, "GET /chat HTTP/1.1\r\nHost: ws.test\r\nConnection: keep-alive, Upgrade, X-Forwarded-For\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(response.Body)
		t.Fatalf("got %d %q", response.StatusCode, body)
	}
	for _, word := range []string{"one\n", "two\n"} {
		_, _ = io.WriteString(conn, word)
		if got, err := reader.ReadString('\n'); got != word || err != nil {
			t.Errorf("got %q, %v, want %q", got, err, word)
		}
	}
}

// shown is the certificate that a client gets for a name: its first DNS name and its serial number.
func (r *running) shown(name string) (string, string) {
	r.t.Helper()
	// Who the test talks to is what it asks, whatever the certificate says.
	dialer := &tls.Dialer{Config: &tls.Config{ServerName: name, InsecureSkipVerify: true}} //nolint:gosec // see above
	conn, err := dialer.DialContext(r.t.Context(), "tcp", r.https)
	if err != nil {
		r.t.Fatalf("%s: %v", name, err)
	}
	defer conn.Close()
	leaf := conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
	return leaf.DNSNames[0], leaf.SerialNumber.String()
}

func TestCertificates(t *testing.T) {
	r := run(t, nil)
	trusted := authority(t)
	a := site(t, echo("a"))
	secured := func(name, id string) model.Host {
		h := host(name, prefix("/", to("n/s", a)))
		h.Certificate = id
		return h
	}
	cert := func(id string, text model.Secret) model.Certificate { return model.Certificate{ID: id, PEM: text} }
	one, two, wild := trusted.issuePEM(t, "one.test"), trusted.issuePEM(t, "two.test"), trusted.issuePEM(t, "*.wild.test")
	expect := func(name, want string) {
		t.Helper()
		if got, _ := r.shown(name); got != want {
			t.Errorf("%s: shown %q, want %q", name, got, want)
		}
	}
	pid := workerPID(t, r)
	expect("one.test", "default.invalid")
	m := &model.Model{Hosts: []model.Host{secured("*.wild.test", "n/wild"), secured("one.test", "n/one")}, Certificates: []model.Certificate{cert("n/one", one), cert("n/wild", wild)}}
	r.serve(m, nil)
	expect("one.test", "one.test")
	expect("x.wild.test", "*.wild.test")
	expect("x.y.wild.test", "default.invalid")
	expect("two.test", "default.invalid")

	// Renewed, and one more.
	_, before := r.shown("one.test")
	one = trusted.issuePEM(t, "one.test", "two.test")
	m.Certificates = []model.Certificate{cert("n/one", one), cert("n/two", two), cert("n/wild", wild)}
	m.Hosts = append(m.Hosts, secured("two.test", "n/two"))
	if change := r.serve(m, nil); !change.Live || change.Certificates != 2 {
		t.Errorf("renewal: %+v", change)
	}
	if _, after := r.shown("one.test"); after == before {
		t.Error("the renewed certificate is not shown")
	}
	expect("two.test", "two.test")
	if change := r.serve(m, nil); change.Live {
		t.Errorf("the same once more: %+v", change)
	}

	// A Secret that two hosts share, then the first certificate goes.
	m.Hosts = []model.Host{secured("one.test", "n/one"), secured("two.test", "n/one")}
	m.Certificates = []model.Certificate{cert("n/one", one)}
	r.serve(m, nil)
	expect("two.test", "one.test")
	expect("x.wild.test", "default.invalid")
	if files, _ := os.ReadDir(filepath.Join(r.options.RunDir, "certs")); len(files) != 1 || files[0].Name() != "n_one.pem" {
		t.Errorf("files left: %v", files)
	}
	info, err := os.Stat(filepath.Join(r.options.RunDir, "certs", "n_one.pem"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the file: %v, %v", info, err)
	}

	// A certificate of rules without a host serves its own names, but no other's.
	m.Hosts = []model.Host{{Name: "", Certificate: "n/any", Routes: m.Hosts[0].Routes}, m.Hosts[0]}
	m.Certificates = []model.Certificate{cert("n/any", trusted.issuePEM(t, "any.test", "one.test", "also.test")), cert("n/one", one)}
	r.serve(m, nil)
	expect("also.test", "any.test")
	expect("one.test", "one.test")

	// A client that verifies, over HTTP/2.
	pool := x509.NewCertPool()
	pool.AddCert(trusted.cert)
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", r.https)
		},
	}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Get("https://one.test/x")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	if response.ProtoMajor != 2 || !strings.Contains(string(body), "X-Forwarded-Proto: https\nX-Forwarded-Port: 443\n") {
		t.Errorf("got %s %q", response.Proto, body)
	}

	// None at all, and no reload on the way.
	r.serve(&model.Model{}, nil)
	expect("one.test", "default.invalid")
	if now := workerPID(t, r); now != pid || len(r.Counters().Reloads) != 0 {
		t.Errorf("the worker changed from %d to %d: %v", pid, now, r.Counters())
	}
}

// TestOldTLSIsRefused holds TLS 1.2 as the least.
func TestOldTLSIsRefused(t *testing.T) {
	r := run(t, nil)
	dialer := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}} //nolint:gosec // it is what must fail
	if conn, err := dialer.DialContext(t.Context(), "tcp", r.https); err == nil {
		_ = conn.Close()
		t.Error("TLS 1.1 was accepted")
	}
}

// TestRefusedCertificate gives HAProxy what Go took for a certificate and OpenSSL does not: it becomes a Problem, is
// not tried again, leaves no file that would keep HAProxy from starting, and the one that works is still served.
func TestRefusedCertificate(t *testing.T) {
	r := run(t, nil)
	trusted := authority(t)
	u := to("n/s", site(t, echo("a")))
	m := &model.Model{
		Hosts: []model.Host{
			{Name: "new.test", Certificate: "n/new", Routes: []model.Route{prefix("/", u)}},
			{Name: "old.test", Certificate: "n/old", Routes: []model.Route{prefix("/", u)}},
		},
		Certificates: []model.Certificate{
			{ID: "n/new", PEM: trusted.issuePEM(t, "new.test"), Origin: model.Origin{Kind: "Ingress", Namespace: "n", Name: "new"}},
			{ID: "n/old", PEM: trusted.issuePEM(t, "old.test"), Origin: model.Origin{Kind: "Ingress", Namespace: "n", Name: "old"}},
		},
	}
	first := *m
	first.Certificates = m.Certificates[1:]
	r.serve(&first, nil)
	_, before := r.shown("old.test")

	s, problems := Render(m, nil)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	// The key of one with the certificate of the other.
	other := trusted.issuePEM(t, "old.test")
	_, key, _ := strings.Cut(string(other), "-----END CERTIFICATE-----\n")
	for i := range s.certificates {
		chain, _, _ := strings.Cut(string(s.certificates[i].text), "-----BEGIN PRIVATE")
		s.certificates[i].text = model.Secret(chain + key)
	}
	for range 2 {
		change, err := r.Apply(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		if len(change.Problems) != 2 || change.Problems[0].Origin.Name != "new" || change.Problems[1].Origin.Name != "old" || change.Certificates != 0 {
			t.Errorf("got %+v", change)
		}
	}
	if name, after := r.shown("old.test"); name != "old.test" || after != before {
		t.Errorf("shown %q, %s, before %s", name, after, before)
	}
	if output, err := runHAProxy("-c", "-f", filepath.Join(r.options.RunDir, "haproxy.cfg")); err != nil {
		t.Errorf("the files: %v: %s", err, output)
	}
	if change := r.serve(m, nil); change.Certificates != 1 {
		t.Errorf("the right ones: %+v", change)
	}
	if name, _ := r.shown("new.test"); name != "new.test" {
		t.Errorf("shown %q", name)
	}
}
