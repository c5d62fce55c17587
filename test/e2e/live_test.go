package e2e

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"drawbridge.dev/drawbridge/test/lab"
)

// pid is the process id of the HAProxy worker that serves now.
func (p *proxy) pid(t *testing.T) string {
	t.Helper()
	conn, err := net.DialTimeout("unix", filepath.Join(p.dir, "haproxy.sock"), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, "show info\n"); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if pid, ok := strings.CutPrefix(line, "Pid: "); ok {
			return strings.TrimSpace(pid)
		}
	}
	t.Fatalf("HAProxy does not tell its pid: %s", text)
	return ""
}

// unreloaded asserts that HAProxy still is the process that it was, and that the proxy counts no reload.
func (p *proxy) unreloaded(t *testing.T, pid string) {
	t.Helper()
	if now := p.pid(t); now != pid {
		t.Errorf("HAProxy was process %s and is %s", pid, now)
	}
	text, err := fetch("http://" + p.address + ":9100/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "drawbridge_reloads_total") && !strings.HasSuffix(strings.TrimSpace(line), " 0") {
			t.Errorf("a reload: %s", line)
		}
	}
	if !strings.Contains(text, "drawbridge_live_changes_total ") || strings.Contains(text, "drawbridge_live_changes_total 0\n") {
		t.Errorf("drawbridge_live_changes_total does not count:\n%s", text)
	}
}

// route is an ExternalName Service and the Ingress of class drawbridge in front of it, of one name.
func route(name, host, externalName string, port int) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: %[1]s}
spec: {type: ExternalName, externalName: %[3]s}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: %[1]s}
spec:
  ingressClassName: drawbridge
  tls: [{hosts: [%[2]s], secretName: %[1]s}]
  rules:
  - host: %[2]s
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: %[1]s, port: {number: %[4]d}}}}]}
`, name, host, externalName, port)
}

// TestLive changes what is served while it is served.
func TestLive(t *testing.T) {
	const name = "live-site.example.com"
	one := lab.StartSite(t, lab.SiteOptions{Address: "203.0.113.20:80", Name: "one", Hosts: []string{name}})
	lab.StartSite(t, lab.SiteOptions{Address: "203.0.113.21:80", Name: "two", Hosts: []string{name}})
	cluster.dns.Set(name, 2, "203.0.113.20")
	p := cluster.proxy
	namespace := cluster.Namespace(t)
	pid := p.pid(t)
	live := t // what lives until all are done

	t.Run("routes", func(t *testing.T) {
		shows(t, "Routes come, change and go in the running HAProxy: same process, no reload")
		cluster.Apply(t, namespace, route("a", "a.live.test", name, 80))
		expect(t, p.reaches(t, "http://a.live.test/", "one"), name, false, "")
		cluster.kubectl(t, "patch", "ingress", "a", "-n", namespace, "--type=json", "-p", `[{"op":"replace","path":"/spec/rules/0/host","value":"b.live.test"}]`)
		p.reaches(t, "http://b.live.test/", "one")
		p.gone(t, "http://a.live.test/")
		cluster.kubectl(t, "delete", "ingress", "a", "-n", namespace)
		p.gone(t, "http://b.live.test/")
		p.unreloaded(t, pid)
	})
	t.Run("certificates", func(t *testing.T) {
		shows(t, "A certificate is served as soon as its Secret comes, and changes with it: no reload")
		cluster.Apply(t, namespace, route("c", "c.live.test", name, 80))
		p.reaches(t, "http://c.live.test/", "one")
		var serials []string
		for range 2 {
			cluster.tlsSecret(live, namespace, "c", "c.live.test")
			lab.Eventually(t, patience, func() error {
				a, err := p.get("https://c.live.test/")
				if err != nil {
					return err
				}
				serial := a.leaf.SerialNumber.String()
				if slices.Contains(serials, serial) {
					return fmt.Errorf("still the old certificate")
				}
				serials = append(serials, serial)
				return nil
			})
		}
		p.unreloaded(t, pid)
	})
	t.Run("bad certificate", func(t *testing.T) {
		shows(t, "A Secret that holds no certificate harms the TLS of its own host only, and is told of in an Event")
		cluster.Apply(t, namespace, route("d", "d.live.test", name, 80))
		cluster.Apply(t, namespace, "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata: {name: d}\ndata: {tls.crt: bm9uZQ==, tls.key: bm9uZQ==}\n")
		t.Cleanup(func() { cluster.Kubectl(t, "delete", "secret", "d", "-n", namespace) })
		p.reaches(t, "http://d.live.test/", "one")
		cluster.notServed(t, namespace, "d", "certificate")
		p.reaches(t, "https://c.live.test/", "one")
		p.unreloaded(t, pid)
	})
	t.Run("records", func(t *testing.T) {
		shows(t, "A changed DNS record is followed within its TTL; while the servers fail, the last good addresses stay")
		p.reaches(t, "http://c.live.test/", "one")
		cluster.dns.Set(name, 2, "203.0.113.21")
		changed := time.Now()
		p.reaches(t, "http://c.live.test/", "two")
		// The TTL, and what a busy machine adds.
		if took := time.Since(changed); took > 7*time.Second {
			t.Errorf("a record of 2 s was followed after %s", took)
		}
		cluster.dns.Fail(name)
		asked := cluster.dns.Queries(name)
		lab.Eventually(t, patience, func() error {
			if cluster.dns.Queries(name) < asked+2 {
				return fmt.Errorf("the name is not asked for again")
			}
			return nil
		})
		p.reaches(t, "http://c.live.test/", "two")
		cluster.dns.Set(name, 2, "203.0.113.20")
		p.reaches(t, "http://c.live.test/", "one")
		p.unreloaded(t, pid)
	})
	t.Run("bad names", func(t *testing.T) {
		shows(t, "A name that does not exist, and one that leads to loopback, harm their own routes only")
		cluster.dns.Set("rebound.example.com", 2, "127.0.0.1")
		cluster.dns.Remove("lost.example.com")
		cluster.Apply(t, namespace, route("lost", "lost.live.test", "lost.example.com", 80))
		cluster.Apply(t, namespace, route("rebound", "rebound.live.test", "rebound.example.com", 80))
		p.answers(t, "http://lost.live.test/", 503, "503 "+namespace+"/lost: no address")
		p.answers(t, "http://rebound.live.test/", 503, "503 "+namespace+"/rebound: no address")
		cluster.notServed(t, namespace, "rebound", "'127.0.0.1'")
		p.reaches(t, "http://c.live.test/", "one")
		// Once it exists it is served.
		cluster.dns.Set("lost.example.com", 2, "203.0.113.22")
		lab.StartSite(t, lab.SiteOptions{Address: "203.0.113.22:80", Name: "lost", Hosts: []string{"lost.example.com"}})
		p.reaches(t, "http://lost.live.test/", "lost")
		p.unreloaded(t, pid)
	})
	t.Run("bad policy", func(t *testing.T) {
		shows(t, "A policy that can not be read is refused, by line and column, and the one in force stays")
		cluster.dns.Set("inside.example.com", 2, "203.0.113.23")
		lab.StartSite(t, lab.SiteOptions{Address: "203.0.113.23:80", Name: "inside", Hosts: []string{"inside.example.com"}})
		cluster.Apply(t, namespace, route("inside", "inside.live.test", "inside.example.com", 80))
		p.reaches(t, "http://inside.live.test/", "inside")
		cluster.policy(t, "version: 1\naddresses:\n  forbidden: [203.0.113.23/32]\n")
		p.answers(t, "http://inside.live.test/", 503, "no address")
		_, stderr, err := cluster.KubectlIn(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: drawbridge-policy, namespace: "+system+"}\n"+
			"data:\n  policy.yaml: |\n    version: 1\n    addresses:\n      denied: []\n", "apply", "--server-side", "--force-conflicts", "-f", "-")
		if err == nil || !strings.Contains(stderr, "line 3, column 3: unknown key 'addresses.denied'") {
			t.Errorf("a policy that can not be read: %v %s", err, stderr)
		}
		p.answers(t, "http://inside.live.test/", 503, "no address")
		p.reaches(t, "http://c.live.test/", "one")
		p.unreloaded(t, pid)
	})
	t.Run("failures", func(t *testing.T) {
		shows(t, "A site that is down is answered with 503 and a short body that names the Service, and no address, port, name or path")
		one.Stop()
		p.answers(t, "http://c.live.test/secret/path", 503, "503 "+namespace+"/c: ")
		a, err := p.get("http://c.live.test/secret/path")
		if err != nil {
			t.Fatal(err)
		}
		for _, detail := range []string{"203.0.113", name, "secret", ":80"} {
			if strings.Contains(a.body, detail) {
				t.Errorf("the answer holds %q: %q", detail, a.body)
			}
		}
	})
	cluster.failedOpen(t)
}

// TestRestarts ends processes that serve.
func TestRestarts(t *testing.T) {
	const name = "restart-site.example.com"
	cluster.dns.Set(name, 5, "203.0.113.25")
	lab.StartSite(t, lab.SiteOptions{Address: "203.0.113.25:80", Name: "site", Hosts: []string{name}})
	namespace := cluster.Namespace(t)
	cluster.Apply(t, namespace, route("a", "a.restart.test", name, 80))
	p := cluster.startProxy(t, "192.0.2.3")
	p.reaches(t, "http://a.restart.test/", "site")

	t.Run("haproxy", func(t *testing.T) {
		shows(t, "A HAProxy that dies is started again with what it served, changes since its start included")
		cluster.Apply(t, namespace, route("b", "b.restart.test", name, 80))
		p.reaches(t, "http://b.restart.test/", "site")
		pid := p.pid(t)
		n, err := strconv.Atoi(pid)
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(n, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		for _, host := range []string{"a", "b"} {
			p.reaches(t, "http://"+host+".restart.test/", "site")
		}
		if now := p.pid(t); now == pid {
			t.Errorf("HAProxy still is process %s", pid)
		}
		cluster.Apply(t, namespace, route("c", "c.restart.test", name, 80))
		p.reaches(t, "http://c.restart.test/", "site")
	})
}
