package haproxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"drawbridge.dev/drawbridge/render/model"
)

// traffic sends requests for a host, from clients that keep their connections, until stop is called, which returns
// how many were answered well and the first answer that was not.
func traffic(t *testing.T, r *running, host string) (stop func() (uint64, string)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var good atomic.Uint64
	var bad atomic.Pointer[string]
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "tcp", r.http)
			}}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport, Timeout: 5 * time.Second}
			for ctx.Err() == nil {
				response, err := client.Get("http://" + host + "/x")
				text := fmt.Sprint(err)
				if err == nil {
					body, _ := io.ReadAll(response.Body)
					_ = response.Body.Close()
					if response.StatusCode == http.StatusOK {
						good.Add(1)
						continue
					}
					text = response.Status + " " + string(body)
				}
				bad.CompareAndSwap(nil, &text)
			}
		})
	}
	return func() (uint64, string) {
		cancel()
		wg.Wait()
		if text := bad.Load(); text != nil {
			return good.Load(), *text
		}
		return good.Load(), ""
	}
}

// TestLiveChanges adds, changes and removes hosts under traffic: no reload, no failed request, and the files, the map
// that HAProxy shows and the model agree after each step.
func TestLiveChanges(t *testing.T) {
	r := run(t, nil)
	a, b := site(t, echo("a")), site(t, echo("b"))
	steady := host("steady.test", prefix("/", to("n/steady", a)))
	base := &model.Model{Hosts: []model.Host{steady}}
	r.serve(base, nil)
	pid := workerPID(t, r)
	stop := traffic(t, r, "steady.test")
	steps := []struct {
		name   string
		hosts  []model.Host
		change Change
		path   string
		want   string
	}{
		{"add", []model.Host{host("x.test", prefix("/", to("n/x", a)))}, Change{Live: true, Added: 1}, "/", "a"},
		{"again", []model.Host{host("x.test", prefix("/", to("n/x", a)))}, Change{}, "/", "a"},
		{"another address", []model.Host{host("x.test", prefix("/", to("n/x", b)))}, Change{Live: true, Changed: 1}, "/", "b"},
		{"paths", []model.Host{host("x.test", exact("/e", to("n/x", a)), prefix("/p", to("n/x", b)))}, Change{Live: true, Added: 2, Changed: 1}, "/p/q", "b"},
		{"one more path", []model.Host{host("x.test", exact("/e", to("n/x", a)), prefix("/p", to("n/x", b)), prefix("/p/q", to("n/x", a)))}, Change{Live: true, Added: 1}, "/p/q", "a"},
		{"two addresses", []model.Host{host("x.test", prefix("/p", to("n/x", b, b)))}, Change{Live: true, Removed: 2}, "/p", "b"},
		{"really two", []model.Host{host("x.test", prefix("/p", to("n/x", b, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.9"), b.Port()))))}, Change{Live: true, Changed: 1}, "", ""},
		{"gone", nil, Change{Live: true, Removed: 2}, "/p", ""},
	}
	for _, step := range steps {
		m := &model.Model{Hosts: append(append([]model.Host{}, base.Hosts...), step.hosts...)}
		if change := r.serve(m, nil); !reflect.DeepEqual(change, step.change) {
			t.Errorf("%s: got %+v, want %+v", step.name, change, step.change)
		}
		if step.path == "" {
			agree(t, r, m)
			continue
		}
		if got := r.get("x.test", step.path); got.header.Get("X-Site") != step.want {
			t.Errorf("%s: got %d %q, want %q", step.name, got.status, got.body, step.want)
		}
		agree(t, r, m)
	}
	// Many hosts in more than one command, then other addresses for all of them at once.
	for _, site := range []netip.AddrPort{a, b, a} {
		m := &model.Model{Hosts: []model.Host{steady}}
		for i := range 2000 {
			m.Hosts = append(m.Hosts, host(fmt.Sprintf("h%04d.test", i), prefix("/", to("n/many", site))))
		}
		r.serve(m, nil)
		agree(t, r, m)
	}
	time.Sleep(100 * time.Millisecond)
	good, bad := stop()
	if good < 100 || bad != "" {
		t.Errorf("traffic: %d well, first failure %q", good, bad)
	}
	if now := workerPID(t, r); now != pid || len(r.Counters().Reloads) != 0 || r.Counters().LiveChanges != 11 {
		t.Errorf("the worker was %d and is %d: %+v", pid, now, r.Counters())
	}
}

// agree checks that the file and HAProxy's own 'show map' read back to the model.
func agree(t *testing.T, r *running, m *model.Model) {
	t.Helper()
	want := settled(t, m, nil)
	file, err := os.ReadFile(filepath.Join(r.options.RunDir, "routes.map"))
	if err != nil {
		t.Fatal(err)
	}
	shown, err := r.worker.send(t.Context(), "show map "+filepath.Join(r.options.RunDir, "routes.map"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"the file": string(file), "show map": shown} {
		got, err := Parse([]byte(text))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%s reads back to\n%+v\nwant\n%+v", name, got, want)
		}
	}
}

func TestReloadForOtherOptions(t *testing.T) {
	r := run(t, nil)
	a := site(t, echo("a"))
	m := &model.Model{Hosts: []model.Host{host("x.test", prefix("/", to("n/x", a)))}}
	r.serve(m, nil)
	pid := workerPID(t, r)
	before, err := os.ReadFile(filepath.Join(r.options.RunDir, "haproxy.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	attach := func(change func(*ProxyOptions)) (*running, error) {
		o := r.options
		o.Attach = true
		change(&o)
		p, err := NewProxy(o)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		return &running{Proxy: p, t: t, http: o.HTTP[0], options: o}, p.Start(ctx)
	}

	t.Run("bad, by haproxy -c", func(t *testing.T) {
		_, err := attach(func(o *ProxyOptions) { o.CAFile = filepath.Join(o.RunDir, "no-such-ca.pem") })
		if err == nil || !strings.Contains(err.Error(), "haproxy -c") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("bad, by the master", func(t *testing.T) {
		_, err := attach(func(o *ProxyOptions) { o.Binary, o.CAFile = "", filepath.Join(o.RunDir, "no-such-ca.pem") })
		if err == nil || !strings.Contains(err.Error(), "the old one goes on") {
			t.Errorf("got %v", err)
		}
	})
	after, err := os.ReadFile(filepath.Join(r.options.RunDir, "haproxy.cfg"))
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the last good haproxy.cfg isn't there: %v", err)
	}
	if got := r.get("x.test", "/"); got.status != 200 || workerPID(t, r) != pid {
		t.Errorf("after bad options: got %d %q, worker %d was %d", got.status, got.body, workerPID(t, r), pid)
	}
	t.Run("good", func(t *testing.T) {
		stop := traffic(t, r, "x.test")
		more := freePort(t)
		other, err := attach(func(o *ProxyOptions) { o.HTTP = append([]string{more}, o.HTTP...) })
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		if good, bad := stop(); good < 20 || bad != "" {
			t.Errorf("traffic: %d well, first failure %q", good, bad)
		}
		if got := other.get("x.test", "/"); got.status != 200 || workerPID(t, r) == pid {
			t.Errorf("on the new address: got %d %q", got.status, got.body)
		}
		if n := other.Counters().Reloads["config"]; n != 1 {
			t.Errorf("reloads: %v", other.Counters())
		}
		other.serve(m, nil)
		agree(t, other, m)
		// Once more in the same interval is too soon.
		other.mu.Lock()
		err = other.reload(t.Context(), causeConfig)
		other.mu.Unlock()
		var deferred *ReloadDeferred
		if !errors.As(err, &deferred) || deferred.After <= 0 {
			t.Errorf("a second reload: %v", err)
		}
	})
}

// TestRestart ends HAProxy in the middle of everything: it comes back with what the files hold, and the next Apply
// brings what changed meanwhile.
func TestRestart(t *testing.T) {
	r := run(t, nil)
	a, b := site(t, echo("a")), site(t, echo("b"))
	text := authority(t).issuePEM(t, "x.test")
	m := &model.Model{
		Hosts:        []model.Host{{Name: "x.test", Certificate: "n/x", Routes: []model.Route{prefix("/", to("n/x", a))}}},
		Certificates: []model.Certificate{{ID: "n/x", PEM: text}},
	}
	r.serve(m, nil)
	crash := func() {
		t.Helper()
		old, err := r.worker.identity(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(workerPID(t, r), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		deadline := time.Now().Add(10 * time.Second)
		for {
			now, err := r.worker.identity(t.Context())
			if err == nil && now != old {
				if err := r.wait(t.Context()); err != nil {
					t.Fatal(err)
				}
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("HAProxy didn't come back: %v", err)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	crash()
	if got := r.get("x.test", "/"); got.header.Get("X-Site") != "a" {
		t.Errorf("after a crash: got %d %q", got.status, got.body)
	}
	if name, _ := r.shown("x.test"); name != "x.test" {
		t.Errorf("after a crash: shown %q", name)
	}
	if change := r.serve(m, nil); !change.Restarted || change.Live {
		t.Errorf("the first Apply after a crash: %+v", change)
	}

	// While it is down and comes back, things change.
	crash()
	m.Hosts[0].Routes = []model.Route{prefix("/", to("n/x", b))}
	m.Certificates[0].PEM = authority(t).issuePEM(t, "x.test", "again.test")
	_, before := r.shown("x.test")
	if change := r.serve(m, nil); !change.Restarted || !change.Live || change.Certificates != 1 || change.Changed != 1 {
		t.Errorf("a change after a crash: %+v", change)
	}
	if _, after := r.shown("x.test"); after == before {
		t.Error("the renewed certificate isn't shown")
	}
	if got := r.get("x.test", "/"); got.header.Get("X-Site") != "b" {
		t.Errorf("after a change: got %d %q", got.status, got.body)
	}
	agree(t, r, m)
}

// TestAgentRestart attaches a second agent to a HAProxy that goes on, with nothing but the files and the sockets.
func TestAgentRestart(t *testing.T) {
	r := run(t, nil)
	a := site(t, echo("a"))
	secured := func(name string) model.Host {
		return model.Host{Name: name, Certificate: "n/" + name, Routes: []model.Route{prefix("/", to("n/x", a))}}
	}
	one, two := authority(t).issuePEM(t, "one.test"), authority(t).issuePEM(t, "two.test")
	m := &model.Model{Hosts: []model.Host{secured("one.test"), secured("two.test")}, Certificates: []model.Certificate{{ID: "n/one.test", PEM: one}, {ID: "n/two.test", PEM: two}}}
	r.serve(m, nil)
	o := r.options
	o.Attach, o.Binary = true, ""
	p, err := NewProxy(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := &running{Proxy: p, t: t, http: r.http, https: r.https, options: o}
	if change := second.serve(m, nil); change.Live || change.Reload != "" || change.Restarted {
		t.Errorf("the same state: %+v", change)
	}
	agree(t, second, m)

	// The files were lost meanwhile; the same state writes them anew.
	for _, name := range []string{mapFile, listFile} {
		if err := os.Remove(r.dir.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	if p, err = NewProxy(o); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	second.Proxy = p
	if change := second.serve(m, nil); change.Live {
		t.Errorf("lost files: %+v", change)
	}
	agree(t, second, m)
	if list, err := os.ReadFile(r.dir.path(listFile)); err != nil || !strings.Contains(string(list), "n_two.test.pem two.test\n") {
		t.Errorf("the list of certificates: %s %v", list, err)
	}
	m.Hosts, m.Certificates = m.Hosts[:1], m.Certificates[:1]
	if change := second.serve(m, nil); change.Removed != 1 || change.Certificates != 1 {
		t.Errorf("one host less: %+v", change)
	}
	if name, _ := second.shown("two.test"); name != "default.invalid" {
		t.Errorf("two.test: shown %q", name)
	}
	agree(t, second, m)
}

// TestBrokenFiles starts on files that HAProxy can not read.
func TestBrokenFiles(t *testing.T) {
	r := run(t, func(o *ProxyOptions) {
		if err := os.WriteFile(filepath.Join(o.RunDir, "crt-list"), []byte("/no/such.pem x.test\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	m := &model.Model{Hosts: []model.Host{host("x.test", prefix("/", to("n/x", site(t, echo("a")))))}}
	r.serve(m, nil)
	if got := r.get("x.test", "/"); got.status != 200 {
		t.Errorf("got %d %q", got.status, got.body)
	}
}

// TestLiveChangeThatFails takes the map away from the running HAProxy's view: what can't be done live is done by a
// reload.
func TestLiveChangeThatFails(t *testing.T) {
	r := run(t, nil)
	a := site(t, echo("a"))
	m := &model.Model{Hosts: []model.Host{host("x.test", prefix("/", to("n/x", a)))}}
	r.serve(m, nil)
	pid := workerPID(t, r)
	// A path that HAProxy knows no map by.
	dir := r.dir
	if err := os.Symlink(string(dir), string(dir)+".link"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(string(dir) + ".link") })
	r.dir = folder(string(dir) + ".link")
	m.Hosts = append(m.Hosts, host("y.test", prefix("/", to("n/y", a))))
	s, _ := Render(m, nil)
	change, err := r.Apply(t.Context(), s)
	if err != nil || change.Reload != causeFailed {
		t.Fatalf("got %+v, %v", change, err)
	}
	if got := r.get("y.test", "/"); got.status != 200 || workerPID(t, r) == pid || r.Counters().Reloads[causeFailed] != 1 {
		t.Errorf("got %d %q, %+v", got.status, got.body, r.Counters())
	}
	r.dir = dir
	if change := r.serve(m, nil); change.Live || change.Reload != "" {
		t.Errorf("the same state: %+v", change)
	}
	agree(t, r, m)
}

// TestConfigIsAccepted lets HAProxy read haproxy.cfg with every option set.
func TestConfigIsAccepted(t *testing.T) {
	dir := shortDir(t)
	o := Options{
		RunDir: dir, HTTP: []string{":18080", "[::1]:18081"}, HTTPS: []string{"127.0.0.1:18443"}, Metrics: "127.0.0.1:19100", Threads: 4,
		HardStopAfter: time.Minute, ConnectTimeout: time.Second, ClientTimeout: time.Second, ServerTimeout: time.Second, TunnelTimeout: time.Second, AccessLog: true,
	}
	text, err := Config(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := folder(dir).prepare(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	output, err := exec.Command(program, "-c", "-f", file).CombinedOutput()
	if err != nil || bytes.Contains(output, []byte("WARNING")) {
		t.Errorf("%v: %s", err, output)
	}
}

// TestNothingBetweenTwoStates changes the very host that traffic goes to: a request that began its lookups before a
// change and ends them after it finds one of the two states.
func TestNothingBetweenTwoStates(t *testing.T) {
	r := run(t, nil)
	a, b, c := site(t, echo("a")), site(t, echo("b")), site(t, echo("c"))
	forms := []model.Host{
		host("x.test", prefix("/", to("n/x", a))),
		host("x.test", prefix("/", to("n/x", a, b, c))),
		host("x.test", prefix("/", to("n/x", a, b, c)), exact("/other", to("n/x", a))),
		host("x.test", prefix("/x", to("n/x", a)), prefix("/y", to("n/x", b))),
		host("x.test", prefix("/", to("n/x", b))),
		host("x.test", prefix("/x", to("n/x", a, b))),
	}
	r.serve(&model.Model{Hosts: forms[:1]}, nil)
	stop := traffic(t, r, "x.test")
	for i := range 200 {
		h := forms[(i*7+i/6)%len(forms)]
		s, _ := Render(&model.Model{Hosts: []model.Host{h}}, nil)
		if _, err := r.Apply(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	good, bad := stop()
	t.Logf("%d requests", good)
	if good < 100 || bad != "" {
		t.Errorf("traffic: %d well, first failure %q", good, bad)
	}
}

// In a pod the agent comes first: what it leaves in the folder is all that HAProxy needs to serve from its first moment.
func TestFirstFiles(t *testing.T) {
	for _, c := range []struct {
		name   string
		binary string
		status int // of TLS
	}{
		{"checked by haproxy -c", program, 200},
		{"nobody can check certificates", "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := authority(t).issuePEM(t, "one.test")
			m := &model.Model{
				Hosts:        []model.Host{{Name: "one.test", Certificate: "n/one", Routes: []model.Route{prefix("/", to("n/x", site(t, echo("a"))))}}},
				Certificates: []model.Certificate{{ID: "n/one", PEM: text}},
			}
			s, problems := Render(m, nil)
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			o := ProxyOptions{Options: Options{RunDir: shortDir(t), HTTP: []string{freePort(t)}, HTTPS: []string{freePort(t)}}, Attach: true, Binary: c.binary}
			p, err := NewProxy(o)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.Apply(t.Context(), s); err == nil {
				t.Fatal("Apply succeeds where no HAProxy runs")
			}
			child := exec.Command(program, "-W", "-db", "-S", folder(o.RunDir).path(masterSocket), "-f", folder(o.RunDir).path(configFile))
			child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = child.Process.Signal(syscall.SIGTERM)
				_ = child.Wait()
			})
			if err := p.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			r := &running{Proxy: p, t: t, http: o.HTTP[0], https: o.HTTPS[0], options: o}
			if got := r.get("one.test", "/"); got.status != 200 {
				t.Errorf("HTTP: %+v", got)
			}
			if got := r.presented(t, "one.test"); (got == "one.test") != (c.status == 200) {
				t.Errorf("TLS presents a certificate for %q", got)
			}
			// Live, what was not in the files is put right, and what was is not touched.
			change, err := p.Apply(t.Context(), s)
			if err != nil || change.Added+change.Changed+change.Removed > 0 || (change.Certificates > 0) != (c.status != 200) {
				t.Errorf("Apply: %+v %v", change, err)
			}
			if got := r.presented(t, "one.test"); got != "one.test" {
				t.Errorf("in the end TLS presents a certificate for %q", got)
			}
		})
	}
}

// presented is the first name of the certificate that a client of a server name gets.
func (r *running) presented(t *testing.T, name string) string {
	t.Helper()
	conn, err := tls.Dial("tcp", r.https, &tls.Config{ServerName: name, InsecureSkipVerify: true}) //nolint:gosec // which one comes is the question
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if names := conn.ConnectionState().PeerCertificates[0].DNSNames; len(names) > 0 {
		return names[0]
	}
	return ""
}

// A request that is under way when the agent is told to end is answered.
func TestCloseDrains(t *testing.T) {
	arrived := make(chan struct{})
	slow := site(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		time.Sleep(700 * time.Millisecond)
		_, _ = io.WriteString(w, "late")
	}))
	r := run(t, nil)
	r.serve(&model.Model{Hosts: []model.Host{host("slow.test", prefix("/", to("n/x", slow)))}}, nil)
	got := make(chan answer, 1)
	go func() { got <- r.get("slow.test", "/") }()
	<-arrived
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if a := <-got; a.status != 200 || a.body != "late" {
		t.Errorf("a request under way while the proxy closes: %+v", a)
	}
}
