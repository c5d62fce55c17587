package haproxy

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"drawbridge.dev/drawbridge/render/model"
)

const program = "/usr/sbin/haproxy"

// running is a HAProxy of the test's own, on ports and in a folder of its own.
type running struct {
	*Proxy
	t           testing.TB
	http, https string
	options     ProxyOptions
}

// run starts HAProxy; change alters its options before.
func run(t testing.TB, change func(*ProxyOptions)) *running {
	t.Helper()
	dir := shortDir(t)
	o := ProxyOptions{
		Binary: program,
		Options: Options{
			RunDir: dir, HTTP: []string{freePort(t)}, HTTPS: []string{freePort(t)}, Threads: 2,
			ConnectTimeout: 500 * time.Millisecond, ServerTimeout: 2 * time.Second, HardStopAfter: 2 * time.Second,
			CAFile: filepath.Join(dir, "ca.pem"),
		},
		Log: slog.New(slog.NewTextHandler(testWriter{t}, nil)),
	}
	if err := os.WriteFile(o.CAFile, authority(t).pem, 0o600); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&o)
	}
	p, err := NewProxy(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := p.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	r := &running{Proxy: p, t: t, options: o}
	if len(o.HTTP) > 0 {
		r.http = o.HTTP[0]
	}
	if len(o.HTTPS) > 0 {
		r.https = o.HTTPS[0]
	}
	return r
}

// shortDir is a folder for sockets, whose paths have at most 95 bytes.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "haproxy") //nolint:usetesting // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// serve renders a model and applies it; nothing of it may be a problem.
func (r *running) serve(m *model.Model, table model.Table) Change {
	r.t.Helper()
	s, problems := Render(m, table)
	if len(problems) > 0 {
		r.t.Fatalf("problems: %v", problems)
	}
	change, err := r.Apply(r.t.Context(), s)
	if err != nil {
		r.t.Fatal(err)
	}
	if len(change.Problems) > 0 {
		r.t.Fatalf("problems: %v", change.Problems)
	}
	return change
}

var (
	portsMu sync.Mutex
	ports   = map[string]bool{}
)

// freePort is an address that nobody listens on yet. It is on a loopback address of this process's own: another test
// that runs beside this one could take the port before HAProxy does.
func freePort(t testing.TB) string {
	t.Helper()
	pid := os.Getpid()
	own := net.IPv4(127, byte(1+pid>>16&0x3f), byte(pid>>8), byte(1+pid%250)).String()
	portsMu.Lock()
	defer portsMu.Unlock()
	for {
		l, err := net.Listen("tcp", net.JoinHostPort(own, "0"))
		if err != nil {
			t.Fatal(err)
		}
		address := l.Addr().String()
		_ = l.Close()
		if !ports[address] {
			ports[address] = true
			return address
		}
	}
}

// answer is what a client got.
type answer struct {
	status int
	body   string
	header http.Header
}

// get sends a request as it is written: the path isn't cleaned.
func (r *running) get(host, path string, headers ...string) answer {
	r.t.Helper()
	text := "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n"
	for _, h := range headers {
		text += h + "\r\n"
	}
	return r.raw(text + "\r\n")
}

func (r *running) raw(request string) answer {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.http)
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		r.t.Fatal(err)
	}
	return readAnswer(r.t, conn)
}

func readAnswer(t testing.TB, conn io.Reader) answer {
	t.Helper()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, string(body), response.Header}
}

// echo is a site that says its name and what of the request reached it.
func echo(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Site", name)
		fmt.Fprintf(w, "%s %s %s %s\n", name, r.Method, r.Host, r.RequestURI)
		for _, h := range []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Server", "Forwarded", "Proxy", "Connection", "Upgrade"} {
			for _, v := range r.Header.Values(h) {
				fmt.Fprintf(w, "%s: %s\n", h, v)
			}
		}
		fmt.Fprintf(w, "proto: %s\n", r.Proto)
	})
}

// site starts an upstream and returns its address.
func site(t testing.TB, h http.Handler) netip.AddrPort {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return netip.MustParseAddrPort(s.Listener.Addr().String())
}

// tlsSite starts an upstream with a certificate of the authority for the name.
func tlsSite(t testing.TB, ca *ca, name string, h http.Handler, protocols ...string) netip.AddrPort {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	pair := ca.issue(t, name)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: protocols, MinVersion: tls.VersionTLS12}
	s.EnableHTTP2 = len(protocols) > 0 && protocols[0] == "h2"
	s.StartTLS()
	t.Cleanup(s.Close)
	return netip.MustParseAddrPort(s.Listener.Addr().String())
}

func h2cSite(t testing.TB, h http.Handler) netip.AddrPort {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return netip.MustParseAddrPort(s.Listener.Addr().String())
}

type ca struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

var (
	authorityOnce sync.Once
	authorityCA   *ca
)

// authority is the CA that HAProxy trusts in all tests.
func authority(t testing.TB) *ca {
	authorityOnce.Do(func() { authorityCA = newCA(t) })
	return authorityCA
}

func newCA(t testing.TB) *ca {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &ca{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

func (c *ca) issue(t testing.TB, names ...string) tls.Certificate {
	t.Helper()
	text := c.issuePEM(t, names...)
	pair, err := tls.X509KeyPair([]byte(text), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func (c *ca) issuePEM(t testing.TB, names ...string) model.Secret {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<60))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, c.cert, key.Public(), c.key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return model.Secret(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})) +
		model.Secret(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

// to is an upstream with addresses.
func to(service string, addresses ...netip.AddrPort) model.Upstream {
	return model.Upstream{Service: service, Addresses: addresses}
}

// host is a host with routes.
func host(name string, routes ...model.Route) model.Host {
	return model.Host{Name: name, Routes: routes}
}

func prefix(path string, u model.Upstream) model.Route {
	return model.Route{Path: path, Match: model.Prefix, Upstream: u}
}

func exact(path string, u model.Upstream) model.Route {
	return model.Route{Path: path, Match: model.Exact, Upstream: u}
}
