package haproxy

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"drawbridge.dev/drawbridge/render/model"
)

// TestPathTable is the table of the Kubernetes documentation on path types, "Ingress: examples", as data.
func TestPathTable(t *testing.T) {
	type rule struct {
		match model.Match
		path  string
	}
	const e, p = model.Exact, model.Prefix
	tests := []struct {
		rules   []rule
		request string
		want    string // the rule's path, empty for no route
	}{
		{[]rule{{p, "/"}}, "/any/path", "/"},
		{[]rule{{e, "/foo"}}, "/foo", "/foo"},
		{[]rule{{e, "/foo"}}, "/bar", ""},
		{[]rule{{e, "/foo"}}, "/foo/", ""},
		{[]rule{{e, "/foo/"}}, "/foo", ""},
		{[]rule{{p, "/foo"}}, "/foo", "/foo"},
		{[]rule{{p, "/foo"}}, "/foo/", "/foo"},
		{[]rule{{p, "/aaa/bb"}}, "/aaa/bbb", ""},
		{[]rule{{p, "/aaa/bbb"}}, "/aaa/bbb", "/aaa/bbb"},
		{[]rule{{p, "/aaa/bbb"}}, "/aaa/bbb/", "/aaa/bbb"},
		{[]rule{{p, "/aaa/bbb"}}, "/aaa/bbb/ccc", "/aaa/bbb"},
		{[]rule{{p, "/aaa/bbb"}}, "/aaa/bbbxyz", ""},
		{[]rule{{p, "/"}, {p, "/aaa"}}, "/aaa/ccc", "/aaa"},
		{[]rule{{p, "/"}, {p, "/aaa"}, {p, "/aaa/bbb"}}, "/aaa/bbb", "/aaa/bbb"},
		{[]rule{{p, "/"}, {p, "/aaa"}, {p, "/aaa/bbb"}}, "/ccc", "/"},
		{[]rule{{p, "/aaa"}}, "/ccc", ""},
		{[]rule{{p, "/foo"}, {e, "/foo"}}, "/foo", "=/foo"},
		// Beside the table: the forms that a path may be hidden in.
		{[]rule{{p, "/public"}, {p, "/admin"}}, "/public/../admin", "/admin"},
		{[]rule{{p, "/public"}, {p, "/admin"}}, "/public/%2e%2E/admin", "/admin"},
		{[]rule{{p, "/public"}, {p, "/admin"}}, "//admin", "/admin"},
		{[]rule{{p, "/public"}, {p, "/admin"}}, "/./admin", "/admin"},
		{[]rule{{p, "/public"}, {p, "/admin"}}, "/%61dmin", "/admin"},
		{[]rule{{p, "/public"}, {p, "/admin"}}, "/../../admin?x=/public", "/admin"},
		{[]rule{{p, "/caf%C3%A9"}}, "/caf%c3%a9/x", "/caf%C3%A9"},
		{[]rule{{e, "/a;b=c,d/$&'()*+:@!~"}}, "/a;b=c,d/$&'()*+:@!~", "=/a;b=c,d/$&'()*+:@!~"},
	}
	r := run(t, nil)
	sites := map[string]netip.AddrPort{}
	m := &model.Model{}
	for i, test := range tests {
		h := model.Host{Name: fmt.Sprintf("h%02d.test", i)}
		for _, rule := range test.rules {
			name := rule.path
			if rule.match == model.Exact && strings.HasPrefix(test.want, "=") {
				name = "=" + name
			}
			if !sites[name].IsValid() {
				sites[name] = site(t, echo(name))
			}
			h.Routes = append(h.Routes, model.Route{Path: rule.path, Match: rule.match, Upstream: to("n/s", sites[name])})
		}
		m.Hosts = append(m.Hosts, h)
	}
	r.serve(m, nil)
	for i, test := range tests {
		got := r.get(m.Hosts[i].Name, test.request)
		want := 200
		if test.want == "" {
			want = 404
		}
		if got.status != want || got.header.Get("X-Site") != test.want {
			t.Errorf("%v: %s: got %d %q, want %q", test.rules, test.request, got.status, got.header.Get("X-Site"), test.want)
		}
	}
}

// reference is what the map and haproxy.cfg come to, in the plainest words. Hosts and paths are in their own form.
func reference(m *model.Model, name, request string) *model.Upstream {
	clean := path.Clean(request)
	if strings.HasSuffix(request, "/") && clean != "/" {
		clean += "/"
	}
	label, rest, _ := strings.Cut(name, ".")
	levels := []string{name, "*." + rest, ""}
	if label == "" || rest == "" {
		levels = []string{name, ""}
	}
	for _, level := range levels {
		var best *model.Route
		for i := range m.Hosts {
			if m.Hosts[i].Name != level {
				continue
			}
			for j := range m.Hosts[i].Routes {
				r := &m.Hosts[i].Routes[j]
				switch r.Match {
				case model.Exact:
					if clean == r.Path {
						return &r.Upstream
					}
				case model.Prefix:
					elements := strings.TrimSuffix(r.Path, "/")
					if (clean == elements || strings.HasPrefix(clean, elements+"/")) && (best == nil || len(r.Path) > len(best.Path)) {
						best = r
					}
				}
			}
		}
		if best != nil {
			return &best.Upstream
		}
	}
	if m.Default.Service != "" {
		return &m.Default
	}
	return nil
}

// TestRoutingAgainstReference sends requests at random to models at random, and changes the models on the way.
func TestRoutingAgainstReference(t *testing.T) {
	const seed = 20260101
	random := rand.New(rand.NewPCG(seed, 1))
	pick := func(from ...string) string { return from[random.IntN(len(from))] }
	name := func() string {
		return pick("a", "b", "c", "a.b", "x.a.b", "y.x.a") + pick(".test", ".test", ".example")
	}
	element := func() string { return pick("a", "b", "aa", "ab", "a-b", "a.b", "%2F", "A") }
	aPath := func() string {
		var b strings.Builder
		for range random.IntN(4) {
			b.WriteString("/" + element())
		}
		if b.Len() == 0 {
			return "/"
		}
		return b.String()
	}
	// One listener tells by its address who was meant: all of 127.0.0.0/8 is ours.
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Context().Value(http.LocalAddrContextKey).(net.Addr).String())
	}), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	next := 0
	upstream := func() model.Upstream {
		next++
		u := to(fmt.Sprintf("n/s%d", next), netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, byte(next >> 8), byte(next)}), port))
		if random.IntN(3) == 0 {
			next++
			u.Addresses = append(u.Addresses, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, byte(next >> 8), byte(next)}), port))
		}
		return u
	}
	build := func() *model.Model {
		m := &model.Model{}
		if random.IntN(2) == 0 {
			m.Default = upstream()
		}
		used := map[string]bool{}
		for range 3 + random.IntN(10) {
			n := name()
			switch random.IntN(5) {
			case 0:
				n = "*." + n
			case 1:
				if random.IntN(3) == 0 {
					n = ""
				}
			}
			if used[n] {
				continue
			}
			used[n] = true
			h := model.Host{Name: n}
			if random.IntN(3) == 0 {
				h.Routes = []model.Route{prefix("/", upstream())}
			} else {
				paths := map[string]bool{}
				for range 1 + random.IntN(5) {
					p := aPath()
					r := model.Route{Path: p, Match: model.Match(random.IntN(2)), Upstream: upstream()}
					if r.Match == model.Exact && p != "/" && random.IntN(4) == 0 {
						r.Path += "/"
					}
					if k := fmt.Sprint(r.Match, r.Path); !paths[k] {
						paths[k] = true
						h.Routes = append(h.Routes, r)
					}
				}
			}
			m.Hosts = append(m.Hosts, h)
		}
		return m
	}

	r := run(t, nil)
	client, err := net.Dial("tcp", r.http)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_ = client.SetDeadline(time.Now().Add(2 * time.Minute))
	reader := bufio.NewReader(client)
	pid := workerPID(t, r)
	for round := range 40 {
		next = 0
		m := build()
		r.serve(m, nil)
		for range 100 {
			host, path := name(), aPath()
			if random.IntN(3) == 0 && path != "/" {
				path += "/"
			}
			written := path
			switch random.IntN(6) {
			case 0:
				written = "/z/.." + path
			case 1:
				written = "/." + path
			case 2:
				written = strings.ReplaceAll(path, "a", "%61") + "?q=/a/b"
			}
			want := reference(m, host, path)
			fmt.Fprintf(client, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", written, pick(host, strings.ToUpper(host), host+".", host+":8080"))
			response, err := http.ReadResponse(reader, nil)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			if want == nil {
				if response.StatusCode != http.StatusNotFound {
					t.Fatalf("round %d: %s%s: got %d %s, want no route of %+v", round, host, written, response.StatusCode, body, m)
				}
				continue
			}
			ok := false
			for _, a := range want.Addresses {
				ok = ok || a.String() == string(body)
			}
			if !ok {
				t.Fatalf("round %d: %s%s: got %d %s, want %v of %+v", round, host, written, response.StatusCode, body, want.Addresses, m)
			}
		}
	}
	if now := workerPID(t, r); now != pid {
		t.Errorf("the worker changed from %d to %d", pid, now)
	}
	if c := r.Counters(); len(c.Reloads) != 0 {
		t.Errorf("reloads: %v", c.Reloads)
	}
}

func workerPID(t *testing.T, r *running) int {
	t.Helper()
	p, err := r.workers(t.Context())
	if err != nil || p.worker == 0 {
		t.Fatalf("workers: %+v, %v", p, err)
	}
	return p.worker
}

func TestRewrites(t *testing.T) {
	r := run(t, nil)
	a := site(t, echo("a"))
	long := "/" + strings.Repeat("abcdefghi/", 100) + "x"
	tests := []struct {
		match   model.Match
		path    string
		mode    model.RewriteMode
		target  string
		request string
		want    string
	}{
		{model.Prefix, "/app", model.ReplacePrefix, "/", "/app", "/"},
		{model.Prefix, "/app", model.ReplacePrefix, "/", "/app/", "/"},
		{model.Prefix, "/app", model.ReplacePrefix, "/", "/app/x/y/?q=1&r=/app", "/x/y/?q=1&r=/app"},
		{model.Prefix, "/app", model.ReplacePrefix, "/v2", "/app", "/v2"},
		{model.Prefix, "/app", model.ReplacePrefix, "/v2", "/app/", "/v2/"},
		{model.Prefix, "/app", model.ReplacePrefix, "/v2/", "/app/x", "/v2/x"},
		{model.Prefix, "/app", model.ReplacePrefix, "/v2/", "/app", "/v2/"},
		{model.Prefix, "/app", model.ReplacePrefix, "/v2", "/app/../app/x", "/v2/x"},
		{model.Prefix, "/", model.ReplacePrefix, "/base", "/x", "/base/x"},
		{model.Prefix, "/", model.ReplacePrefix, "/base", "/", "/base/"},
		{model.Prefix, "/", model.ReplacePrefix, "/base", "/../admin", "/base/admin"},
		{model.Prefix, "/", model.ReplacePrefix, "/base", "/%2e%2e/admin", "/base/admin"},
		{model.Prefix, "/a/b/c", model.ReplacePrefix, "/d", "/a/b/c/e?x", "/d/e?x"},
		{model.Prefix, long, model.ReplacePrefix, "/short", long + "/y", "/short/y"},
		{model.Exact, "/one", model.ReplacePrefix, "/other", "/one?q", "/other?q"},
		{model.Prefix, "/app", model.ReplacePath, "/index.html", "/app/x/y?q=1", "/index.html?q=1"},
		{model.Prefix, "/", model.ReplacePath, "/", "/anything", "/"},
		{model.Exact, "/one", model.ReplacePath, "/%7B$1%25;a", "/one", "/%7B$1%25;a"},
		{model.Prefix, "/app", model.KeepPath, "", "/app//x", "/app/x"},
		{model.Prefix, "/app", model.KeepPath, "", "/app/%61?q=%61&c=%c3&d=100%", "/app/a?q=%61&c=%c3&d=100%"},
		{model.Prefix, "/app", model.KeepPath, "", "/app/%c3?", "/app/%C3?"},
		{model.Prefix, "/", model.KeepPath, "", "/%61//x?q=100%", "/%61//x?q=100%"},
	}
	m := &model.Model{}
	for i, test := range tests {
		m.Hosts = append(m.Hosts, host(fmt.Sprintf("h%02d.test", i), model.Route{
			Path: test.path, Match: test.match, Rewrite: model.Rewrite{Mode: test.mode, Path: test.target}, Upstream: to("n/s", a),
		}))
	}
	r.serve(m, nil)
	for i, test := range tests {
		got := r.get(m.Hosts[i].Name, test.request)
		line, _, _ := strings.Cut(got.body, "\n")
		if want := "a GET " + m.Hosts[i].Name + " " + test.want; line != want {
			t.Errorf("%+v: got %d %q", test, got.status, line)
		}
	}
}

func TestSeveralAddresses(t *testing.T) {
	r := run(t, nil)
	a, b, c := site(t, echo("a")), site(t, echo("b")), site(t, echo("c"))
	r.serve(&model.Model{Hosts: []model.Host{host("many.test", prefix("/", to("n/many", a, b, c)))}}, nil)
	count := map[string]int{}
	for range 150 {
		count[r.get("many.test", "/x//y").header.Get("X-Site")]++
	}
	for _, name := range []string{"a", "b", "c"} {
		if count[name] < 20 {
			t.Errorf("site %s got %d of 150 requests: %v", name, count[name], count)
		}
	}
	// As many as there may be: each is drawn, and no other.
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var drawn sync.Map
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			drawn.Store(conn.LocalAddr().String(), true)
			_, _ = conn.Read(make([]byte, 1000))
			_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
			_ = conn.Close()
		}
	}()
	u := model.Upstream{Service: "n/most"}
	for i := range maxAddresses {
		u.Addresses = append(u.Addresses, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 2, 0, byte(i)}), uint16(l.Addr().(*net.TCPAddr).Port)))
	}
	r.serve(&model.Model{Hosts: []model.Host{host("many.test", prefix("/", to("n/many", a, b, c))), host("most.test", prefix("/", u))}}, nil)
	for range 6 * maxAddresses {
		if got := r.get("most.test", "/"); got.status != http.StatusNoContent {
			t.Fatalf("got %d %q", got.status, got.body)
		}
	}
	found := 0
	for _, a := range u.Addresses {
		if _, ok := drawn.Load(a.String()); ok {
			found++
		}
	}
	if found < maxAddresses*95/100 {
		t.Errorf("%d of %d addresses were drawn", found, maxAddresses)
	}
	u.Addresses = append(u.Addresses, a)
	if s, problems := Render(&model.Model{Hosts: []model.Host{host("most.test", prefix("/", u))}}, nil); len(problems) != 1 || s.Len() != 1 {
		t.Errorf("too many addresses: %v, %v", s, problems)
	}
	// The number of addresses makes no difference to the path that is sent.
	if got := r.get("many.test", "/x//y"); !strings.Contains(got.body, "GET many.test /x//y\n") {
		t.Errorf("got %q", got.body)
	}
}
