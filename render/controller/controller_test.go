package controller_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/live"
	"drawbridge.dev/drawbridge/policy/rules"
	"drawbridge.dev/drawbridge/render"
	"drawbridge.dev/drawbridge/render/controller"
	"drawbridge.dev/drawbridge/render/haproxy"
	"drawbridge.dev/drawbridge/render/resolve"
)

// world is a proxy over a folder, with a DNS server of its own, on loopback.
type world struct {
	t      *testing.T
	folder string
	http   string
	zone   *zone
	proxy  *haproxy.Proxy
	loop   *controller.Controller
	policy *live.Policy
}

// allow puts a policy in force that allows these ranges beside what it allows by default; the test's sites are on
// loopback.
func (w *world) allow(ranges ...string) {
	w.t.Helper()
	if err := w.policy.Load(fmt.Appendf(nil, "version: 1\naddresses: {allowed: [%s]}\n", strings.Join(ranges, ", "))); err != nil {
		w.t.Fatal(err)
	}
}

func start(t *testing.T, files map[string]string) *world {
	t.Helper()
	binary, err := exec.LookPath("haproxy")
	if err != nil {
		t.Fatal("HAProxy is missing; `make test` installs it")
	}
	run, err := os.MkdirTemp("/tmp", "dbc") //nolint:usetesting // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(run) })
	w := &world{t: t, folder: t.TempDir(), http: freeAddress(t), zone: serveZone(t), policy: live.New(func(text []byte) (*policy.Config, error) { return policy.ParseConfig(text, rules.Known) }, nil)}
	w.allow("127.0.0.0/8")
	for name, text := range files {
		w.write(name, text)
	}
	log := slog.New(slog.NewTextHandler(testWriter{t}, nil))
	facts, err := controller.NewFacts()
	if err != nil {
		t.Fatal(err)
	}
	resolver, err := resolve.New(resolve.Options{
		Servers: []string{w.zone.address}, Check: facts.Judge(w.policy.Current()), Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.proxy, err = haproxy.NewProxy(haproxy.ProxyOptions{
		Options: haproxy.Options{RunDir: run, HTTP: []string{w.http}}, Binary: binary, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.loop = controller.New(controller.Options{
		Source: controller.Folder{Paths: []string{w.folder}, Log: log}, Policy: w.policy, Resolver: resolver, Proxy: w.proxy,
		Facts: facts, Render: render.Options{Book: rules.All(), Classless: true}, Log: log,
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.loop.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if err := w.proxy.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return w
}

func (w *world) write(name, text string) {
	w.t.Helper()
	path := filepath.Join(w.folder, name)
	if err := os.WriteFile(path+".tmp", []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		w.t.Fatal(err)
	}
}

// get asks the proxy for a path of a host, and gives status and body.
func (w *world) get(host, path string) (int, string) {
	req, err := http.NewRequest(http.MethodGet, "http://"+w.http+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Host = host
	req.Close = true // an idle connection would have the proxy's end wait for it
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(body)
}

// sees waits until the proxy answers as it ought to.
func (w *world) sees(host, path string, status int, body string) {
	w.t.Helper()
	var gotStatus int
	var gotBody string
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if gotStatus, gotBody = w.get(host, path); gotStatus == status && strings.Contains(gotBody, body) {
			return
		}
	}
	w.t.Fatalf("GET %s%s: %d %q, want %d %q", host, path, gotStatus, gotBody, status, body)
}

// site is an upstream that tells its name and the Host that it got.
func site(t *testing.T, name, address string) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", address+":0")
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s %s %s", name, r.Host, r.URL.Path)
	}))
	_ = s.Listener.Close()
	s.Listener = l
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	s.Start()
	t.Cleanup(s.Close)
	return l.Addr().(*net.TCPAddr).Port
}

// freeAddress is one that nobody listens on yet, on a loopback address of this process's own: another test that runs
// beside this one could take the port before HAProxy does.
func freeAddress(t *testing.T) string {
	t.Helper()
	pid := os.Getpid()
	l, err := net.Listen("tcp", net.JoinHostPort(net.IPv4(127, byte(1+pid>>16&0x3f), byte(pid>>8), byte(1+pid%250)).String(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// zone is a DNS server whose records a test changes.
type zone struct {
	address string
	mu      sync.Mutex
	a       map[string]string
}

func (z *zone) set(name, address string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.a[dns.Fqdn(name)] = address
}

func serveZone(t *testing.T) *zone {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	z := &zone{address: conn.LocalAddr().String(), a: map[string]string{}}
	server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		z.mu.Lock()
		defer z.mu.Unlock()
		name := strings.ToLower(q.Question[0].Name)
		if strings.HasPrefix(name, "silent") {
			return
		}
		switch address, ok := z.a[name]; {
		case !ok:
			// The SOA says for how long there is no such name (RFC 2308).
			m.Rcode = dns.RcodeNameError
			m.Ns = []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: "test.", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 1}, Ns: "ns.test.", Mbox: "a.test.", Minttl: 1}}
		case q.Question[0].Qtype == dns.TypeA:
			m.Answer = append(m.Answer, &dns.A{
				Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: net.ParseIP(address),
			})
		}
		_ = w.WriteMsg(m)
	})}
	go server.ActivateAndServe()
	t.Cleanup(func() { _ = server.Shutdown() })
	return z
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", strings.TrimSpace(string(p)))
	return len(p), nil
}

func alias(name, target, host string, port int) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: %[1]s}
spec: {type: ExternalName, externalName: %[2]s}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: %[1]s}
spec:
  rules:
  - host: %[3]s
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: %[1]s, port: {number: %[4]d}}}}
`, name, target, host, port)
}

func TestFolder(t *testing.T) {
	one := site(t, "one", "127.0.0.1")
	two := site(t, "two", "127.0.0.1")
	w := start(t, map[string]string{
		"first.yaml": alias("first", "first.test", "first.example", one),
		// No endpoint may be a loopback address, whatever the policy says: the API server would refuse the slice.
		"by-address.yaml": fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: ip}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: ip}
subsets:
- addresses: [{ip: 127.0.0.1}]
  ports: [{port: %d}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: ip}
spec:
  rules:
  - host: ip.example
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: ip, port: {number: 80}}}}
`, one),
	})
	w.zone.set("first.test", "127.0.0.1")
	w.sees("first.example", "/x", 200, fmt.Sprintf("one first.test:%d /x", one))
	w.sees("ip.example", "/", 503, "default/ip: no address")
	w.sees("other.example", "/", 404, "")
	if !w.loop.Ready() {
		t.Error("Ready is false while traffic flows")
	}

	t.Run("a new file is served", func(t *testing.T) {
		w.zone.set("two.test", "127.0.0.1")
		w.write("by-name.yaml", alias("name", "two.test", "name.example", two))
		w.sees("name.example", "/", 200, fmt.Sprintf("two two.test:%d /", two))
		w.sees("first.example", "/", 200, "one")
	})
	t.Run("a changed file is followed", func(t *testing.T) {
		w.zone.set("new.test", "127.0.0.1")
		w.write("by-name.yaml", alias("name", "new.test", "name.example", one))
		w.sees("name.example", "/", 200, "one new.test")
	})
	t.Run("a name without address harms its own route only", func(t *testing.T) {
		w.write("bad-name.yaml", alias("lost", "lost.test", "lost.example", one))
		w.sees("lost.example", "/", 503, "default/lost: no address")
		w.sees("name.example", "/", 200, "one new.test")
	})
	t.Run("and is served once it resolves", func(t *testing.T) {
		w.zone.set("lost.test", "127.0.0.1")
		w.sees("lost.example", "/", 200, "one lost.test")
	})
	t.Run("a file that can not be read harms nothing else", func(t *testing.T) {
		w.write("broken.yaml", "kind: Ingress\napiVersion: networking.k8s.io/v1\nspec: [\n")
		w.write("more.yaml", alias("more", "two.test", "more.example", two))
		w.sees("more.example", "/", 200, "two two.test")
		w.sees("name.example", "/", 200, "one")
	})
	t.Run("a file that was good keeps its routes while it is broken", func(t *testing.T) {
		w.write("more.yaml", alias("more", "two.test", "more.example", two)+"---\nkind: [\n")
		w.write("mark.yaml", alias("mark", "two.test", "mark.example", two))
		w.sees("mark.example", "/", 200, "two two.test")
		w.sees("more.example", "/", 200, "two two.test")
	})
	t.Run("a deleted file is gone", func(t *testing.T) {
		if err := os.Remove(filepath.Join(w.folder, "more.yaml")); err != nil {
			t.Fatal(err)
		}
		w.sees("more.example", "/", 404, "")
		w.sees("name.example", "/", 200, "one")
	})
	t.Run("a policy that no longer allows an address ends its route", func(t *testing.T) {
		w.allow()
		w.sees("name.example", "/", 503, "default/name: no address")
		w.sees("first.example", "/", 503, "default/first: no address")
		if n := w.loop.Problems(); n["name"] == 0 {
			t.Errorf("Problems() = %v, want some of a name", n)
		}
	})
	t.Run("and one that does brings it back", func(t *testing.T) {
		w.allow("127.0.0.0/8")
		w.sees("name.example", "/", 200, "one")
		w.sees("first.example", "/", 200, "one")
	})
	if n := w.proxy.Counters(); n.LiveChanges == 0 || len(n.Reloads) != 0 {
		t.Errorf("Counters() = %+v, want live changes and no reload", n)
	}
}

// Policies that come one right after the other: the last counts, however busy the loop is.
func TestPolicyChanges(t *testing.T) {
	port := site(t, "one", "127.0.0.1")
	w := start(t, map[string]string{"a.yaml": alias("one", "one.test", "one.example", port)})
	w.zone.set("one.test", "127.0.0.1")
	w.sees("one.example", "/", 200, "one")
	for range 20 {
		w.allow()
		time.Sleep(time.Millisecond)
		w.allow("127.0.0.0/8")
		w.sees("one.example", "/", 200, "one")
		w.allow()
		w.sees("one.example", "/", 503, "no address")
	}
}

// A name whose record changes is followed, with nothing built or reloaded.
func TestRecordChanges(t *testing.T) {
	port := site(t, "first", "127.0.0.1")
	second, err := net.Listen("tcp", fmt.Sprintf("127.0.0.2:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	other := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, "second ", r.Host)
	})}
	go other.Serve(second)
	t.Cleanup(func() { _ = other.Close() })

	w := start(t, map[string]string{"a.yaml": alias("moving", "moving.test", "moving.example", port)})
	w.zone.set("moving.test", "127.0.0.1")
	w.sees("moving.example", "/", 200, "first moving.test")
	w.zone.set("moving.test", "127.0.0.2")
	w.sees("moving.example", "/", 200, "second moving.test")
	if n := w.proxy.Counters(); len(n.Reloads) != 0 {
		t.Errorf("Counters() = %+v, want no reload", n)
	}
}

// An address as external name, which an author may exempt from its rule, reaches no further than a name: anyone who may
// write Services could otherwise borrow the proxy's way to another tenant's.
func TestAddressAsExternalName(t *testing.T) {
	port := site(t, "one", "127.0.0.1")
	exempt := func(name, address string) string {
		return strings.Replace(alias(name, "\""+address+"\"", name+".example", port), "{name: "+name+"}",
			"{name: "+name+", annotations: {drawbridge.dev/allow-service-external-name-ip: because}}", 1)
	}
	w := start(t, map[string]string{
		"allowed.yaml": exempt("allowed", "127.0.0.1"),
		"taken.yaml":   exempt("taken", "203.0.113.7"),
		"other.yaml":   "apiVersion: v1\nkind: Service\nmetadata: {name: other, namespace: team-b}\nspec: {clusterIP: 203.0.113.7, clusterIPs: [203.0.113.7], ports: [{port: 80}]}\n",
	})
	w.sees("allowed.example", "/", 200, "one")
	w.sees("taken.example", "/", 503, "default/taken: no address")
	if n := w.loop.Problems(); n["name"] == 0 {
		t.Errorf("Problems() = %v, want one of an address", n)
	}
}

// A host that several Ingresses share is not held up for longer than the first answer of a name may take, however often
// one of them names another that nobody answers for.
func TestSlowNamesDoNotHoldUpTheirHost(t *testing.T) {
	port := site(t, "one", "127.0.0.1")
	slow := func(n int) string {
		return strings.Replace(alias("slow", fmt.Sprintf("silent%d.test", n), "shared.example", port), "{path: /,", "{path: /slow,", 1)
	}
	w := start(t, map[string]string{"good.yaml": alias("good", "good.test", "shared.example", port), "slow.yaml": slow(0)})
	w.zone.set("good.test", "127.0.0.1")
	w.zone.set("other.test", "127.0.0.1")
	w.sees("shared.example", "/", 200, "one good.test")
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for n := 1; ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Second):
				w.write("slow.yaml", slow(n))
			}
		}
	}()
	defer func() { close(stop); <-done }()
	time.Sleep(1500 * time.Millisecond)
	w.write("good.yaml", alias("good", "other.test", "shared.example", port))
	w.sees("shared.example", "/", 200, "one other.test")
	w.sees("shared.example", "/slow", 503, "default/slow: no address")
}
