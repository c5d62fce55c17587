package lab

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestMain(m *testing.M) { Main(m) }

// The ground of everything else: kubectl applies to a real API server, in a namespace that reaches nothing outside.
func TestKubectlApplies(t *testing.T) {
	plane := Shared(t)
	ns := plane.Namespace(t)
	plane.Apply(t, ns, `
apiVersion: v1
kind: Service
metadata:
  name: external-service
spec:
  ports:
  - name: http
    port: 80
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: external-service-1
  labels:
    kubernetes.io/service-name: external-service
addressType: IPv4
endpoints:
- addresses: ["1.2.3.4"]
ports:
- name: http
  port: 80
`)
	stdout, stderr, err := plane.Kubectl(t, "get", "endpointslice", "-n", ns, "external-service-1", "-o", "jsonpath={.endpoints[0].addresses[0]}")
	if err != nil || stdout != "1.2.3.4" {
		t.Errorf("kubectl get: %q, %v\n%s", stdout, err, stderr)
	}
	stdout, _, err = plane.Kubectl(t, "version", "-o", "json")
	var version struct {
		Client struct{ GitVersion string } `json:"clientVersion"`
		Server struct{ GitVersion string } `json:"serverVersion"`
	}
	if err != nil || json.Unmarshal([]byte(stdout), &version) != nil || version.Client.GitVersion != "v1.36.3" || version.Server.GitVersion != "v1.36.3" {
		t.Errorf("kubectl version: %v\n%s", err, stdout)
	}
	_, stderr, err = plane.KubectlIn(t, "apiVersion: v1\nkind: Service\nmetadata: {name: UPPER}\n", "apply", "-n", ns, "-f", "-")
	if err == nil || !strings.Contains(stderr, "UPPER") {
		t.Errorf("an invalid name was taken: %v\n%s", err, stderr)
	}
	if n := plane.FailOpenCount(t); n != 0 {
		t.Errorf("fail-open count %d without any webhook", n)
	}
}

func TestIdentities(t *testing.T) {
	plane := Shared(t)
	ns := plane.Namespace(t)
	tests := []struct{ name, kubeconfig, want string }{
		{"administrator", plane.Kubeconfig, "admin"},
		{"user", plane.User(t, "jane", "team-a"), "jane"},
		{"service account", plane.ServiceAccountKubeconfig(t, ns, "robot"), "system:serviceaccount:" + ns + ":robot"},
	}
	for _, test := range tests {
		stdout, stderr, err := plane.KubectlAs(t, test.kubeconfig, "", "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}")
		if err != nil || stdout != test.want {
			t.Errorf("%s: %q, want %q: %v\n%s", test.name, stdout, test.want, err, stderr)
		}
	}
	if _, stderr, err := plane.KubectlAs(t, tests[1].kubeconfig, "", "get", "services", "-n", ns); err == nil || !strings.Contains(stderr, "Forbidden") {
		t.Errorf("a user without roles may list Services: %v\n%s", err, stderr)
	}
}

// The real mirroring controller copies Endpoints to a slice, as its own ServiceAccount.
func TestControllerManager(t *testing.T) {
	plane := Shared(t)
	ns := plane.Namespace(t)
	plane.StartControllerManager(t, "endpointslice-mirroring-controller")
	plane.Apply(t, ns, `
apiVersion: v1
kind: Service
metadata: {name: mirrored}
spec:
  ports: [{port: 80}]
---
apiVersion: v1
kind: Endpoints
metadata: {name: mirrored}
subsets:
- addresses: [{ip: 1.2.3.4}]
  ports: [{port: 80}]
`)
	Eventually(t, 30*time.Second, func() error {
		slices, err := plane.clientset.DiscoveryV1().EndpointSlices(ns).List(t.Context(), metav1.ListOptions{
			LabelSelector: "endpointslice.kubernetes.io/managed-by=endpointslicemirroring-controller.k8s.io",
		})
		if err != nil {
			return err
		}
		if len(slices.Items) != 1 || slices.Items[0].Endpoints[0].Addresses[0] != "1.2.3.4" {
			return fmt.Errorf("%d mirrored slices", len(slices.Items))
		}
		return nil
	})
}

// The real cert-manager issues a certificate from a CA of its own and puts that CA into a webhook's configuration.
func TestCertManager(t *testing.T) {
	plane := Shared(t)
	ns := plane.Namespace(t)
	plane.StartCertManager(t)
	plane.Apply(t, ns, strings.ReplaceAll(`
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: self-signed}
spec: {selfSigned: {}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: ca}
spec: {isCA: true, commonName: test CA, secretName: ca, issuerRef: {name: self-signed}}
---
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: ca}
spec: {ca: {secretName: ca}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: leaf}
spec: {dnsNames: [webhook.example.org], secretName: leaf, issuerRef: {name: ca}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata:
  name: NAMESPACE
  annotations: {cert-manager.io/inject-ca-from: NAMESPACE/leaf}
webhooks:
- name: webhook.example.org
  admissionReviewVersions: [v1]
  sideEffects: None
  clientConfig: {url: "https://webhook.example.org/"}
`, "NAMESPACE", ns))
	t.Cleanup(func() {
		if _, stderr, err := plane.Kubectl(t, "delete", "validatingwebhookconfiguration", ns); err != nil {
			t.Error(stderr)
		}
	})
	Eventually(t, 60*time.Second, func() error {
		hook, err := plane.clientset.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(t.Context(), ns, metav1.GetOptions{})
		if err != nil {
			return err
		}
		secret, err := plane.clientset.CoreV1().Secrets(ns).Get(t.Context(), "leaf", metav1.GetOptions{})
		if err != nil {
			return err
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(hook.Webhooks[0].ClientConfig.CABundle) {
			return errors.New("no caBundle yet")
		}
		pair, err := tls.X509KeyPair(secret.Data["tls.crt"], secret.Data["tls.key"])
		if err != nil {
			return err
		}
		_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "webhook.example.org"})
		return err
	})
}

func TestDNS(t *testing.T) {
	server := StartDNS(t)
	server.Set("External.Example.org", 7, "1.2.3.4", "5.6.7.8", "2001:db8::1")
	server.SetCNAME("alias.example.org", 3, "external.example.org")
	server.SetCNAME("dangling.example.org", 3, "nowhere.example.org")
	server.SetCNAME("loop.example.org", 3, "loop.example.org")
	server.Set("empty.example.org", 5)
	server.Fail("broken.example.org")
	var many []string
	for i := range 60 {
		many = append(many, fmt.Sprintf("1.2.3.%d", i))
	}
	server.Set("many.example.org", 1, many...)

	tests := []struct {
		name      string
		kind      uint16
		net       string
		answers   int
		rcode     int
		truncated bool // then as many answers as fit
	}{
		{"external.example.org", dns.TypeA, "udp", 2, dns.RcodeSuccess, false},
		{"external.example.org", dns.TypeAAAA, "tcp", 1, dns.RcodeSuccess, false},
		{"external.example.org", dns.TypeTXT, "udp", 0, dns.RcodeSuccess, false},
		{"alias.example.org", dns.TypeA, "udp", 3, dns.RcodeSuccess, false},
		{"dangling.example.org", dns.TypeA, "udp", 1, dns.RcodeNameError, false},
		{"loop.example.org", dns.TypeA, "udp", 8, dns.RcodeSuccess, false},
		{"empty.example.org", dns.TypeA, "udp", 0, dns.RcodeSuccess, false},
		{"broken.example.org", dns.TypeA, "udp", 0, dns.RcodeServerFailure, false},
		{"unknown.example.org", dns.TypeA, "udp", 0, dns.RcodeNameError, false},
		{"many.example.org", dns.TypeA, "udp", 0, dns.RcodeSuccess, true},
		{"many.example.org", dns.TypeA, "tcp", 60, dns.RcodeSuccess, false},
	}
	for _, test := range tests {
		query := new(dns.Msg).SetQuestion(dns.Fqdn(test.name), test.kind)
		reply, _, err := (&dns.Client{Net: test.net}).ExchangeContext(t.Context(), query, server.Address)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if test.truncated {
			if len(reply.Answer) == 0 || !reply.Truncated {
				t.Errorf("%s over %s: got\n%v", test.name, test.net, reply)
			}
			continue
		}
		if len(reply.Answer) != test.answers || reply.Rcode != test.rcode || !reply.Authoritative || reply.Truncated {
			t.Errorf("%s over %s: got\n%v", test.name, test.net, reply)
		}
	}
	if n := server.Queries("EXTERNAL.example.org."); n != 3 {
		t.Errorf("%d queries counted, want 3", n)
	}
	// The system's own resolver asks this server, and sees a change at once.
	server.Set("external.example.org", 7, "9.8.7.6")
	got, err := net.DefaultResolver.LookupHost(t.Context(), "alias.example.org")
	if err != nil || len(got) != 1 || got[0] != "9.8.7.6" {
		t.Errorf("look-up through resolv.conf: %v, %v", got, err)
	}
	server.Remove("external.example.org")
	var missing *net.DNSError
	if _, err := net.DefaultResolver.LookupHost(t.Context(), "external.example.org"); !errors.As(err, &missing) || !missing.IsNotFound {
		t.Errorf("look-up of a removed name: %v", err)
	}
}

func TestStrictSite(t *testing.T) {
	ca := NewCA(t)
	StartDNS(t).Set("external.example.org", 60, "1.2.3.4", "2001:db8::4")
	plain := StartSite(t, SiteOptions{Name: "plain", Address: "1.2.3.4:80", Hosts: []string{"external.example.org"}})
	secure := StartSite(t, SiteOptions{
		Name: "secure", Address: "[2001:db8::4]:443", Hosts: []string{"external.example.org"},
		TLS: ca.Issue("external.example.org"), RequireSNI: true,
	})
	get := func(url, host, sni string) (int, Request, error) {
		transport := &http.Transport{
			TLSClientConfig:   &tls.Config{RootCAs: ca.Pool(), ServerName: sni},
			ForceAttemptHTTP2: true, DisableKeepAlives: true,
		}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = host
		response, err := (&http.Client{Transport: transport}).Do(request)
		if err != nil {
			return 0, Request{}, err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		var seen Request
		if response.StatusCode == http.StatusOK {
			if err := json.Unmarshal(body, &seen); err != nil {
				t.Fatalf("%v: %s", err, body)
			}
		}
		return response.StatusCode, seen, nil
	}

	status, seen, err := get("http://external.example.org/a%2Fb?c=d", "", "")
	if err != nil || status != 200 || seen.Site != "plain" || seen.Host != "external.example.org" || seen.Path != "/a%2Fb" ||
		seen.Query != "c=d" || seen.Local != "1.2.3.4:80" || seen.TLS {
		t.Errorf("plain: %d %+v %v", status, seen, err)
	}
	if status, _, err := get("http://1.2.3.4/", "", ""); err != nil || status != 404 {
		t.Errorf("plain under another Host: %d %v", status, err)
	}
	status, seen, err = get("https://[2001:db8::4]/", "external.example.org", "external.example.org")
	if err != nil || status != 200 || seen.SNI != "external.example.org" || !seen.TLS || seen.Proto != "HTTP/2.0" {
		t.Errorf("secure: %d %+v %v", status, seen, err)
	}
	if status, _, err := get("https://external.example.org/", "proxy.example.net", ""); err != nil || status != 421 {
		t.Errorf("secure under another Host: %d %v", status, err)
	}
	if status, _, err := get("https://[2001:db8::4]/", "external.example.org", "2001:db8::4"); err == nil {
		t.Errorf("secure without a server name: %d", status)
	}
	if got := plain.Requests(); len(got) != 2 || got[0].Status != 200 || got[1].Status != 404 {
		t.Errorf("plain saw %+v", got)
	}
	if got := secure.Requests(); len(got) != 3 || got[2].Status != 0 {
		t.Errorf("secure saw %+v", got)
	}
	secure.Stop()
	if _, _, err := get("https://external.example.org/", "", ""); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a stopped site: %v", err)
	}
}

func TestWorldIsClosed(t *testing.T) {
	if !Inside() || os.Getpid() != 1 {
		t.Errorf("inside %t, process %d", Inside(), os.Getpid())
	}
	began := time.Now()
	if conn, err := net.DialTimeout("tcp", "8.8.8.8:53", 10*time.Second); !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("a dial to the outside: %v %v", conn, err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("it took %s to find that there is no route", took)
	}
	// Held twice, the address stays until the second holder's end.
	t.Run("first", func(t *testing.T) {
		AddAddress(t, "1.2.3.4")
		t.Run("second", func(t *testing.T) { AddAddress(t, "1.2.3.4") })
		listener, err := net.Listen("tcp", "1.2.3.4:443")
		if err != nil {
			t.Fatal(err)
		}
		listener.Close()
	})
	if listener, err := net.Listen("tcp", "1.2.3.4:443"); err == nil {
		listener.Close()
		t.Error("the address is still there")
	}
}

func TestProcess(t *testing.T) {
	failures := func(body func(TB)) string {
		err := Do(io.Discard, "process", body)
		if err == nil {
			return ""
		}
		return err.Error()
	}
	var pid int
	if got := failures(func(t TB) {
		r := Start(t, Process{Path: "/bin/sh", Args: []string{"-c", "echo out; echo err >&2; exec sleep 1000"}})
		pid = r.Pid()
		Eventually(t, 10*time.Second, func() error {
			if out := r.Output(); out != "out\nerr\n" {
				return fmt.Errorf("output %q", out)
			}
			return nil
		})
	}); got != "" {
		t.Error(got)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the process outlives its test: %v", err)
	}
	exits := Process{Path: "/bin/sh", Args: []string{"-c", "exit 3"}, Name: "exits"}
	body := func(t TB) {
		r := Start(t, exits)
		<-r.Done()
		if r.ExitCode() != 3 {
			t.Errorf("exit code %d", r.ExitCode())
		}
	}
	if got := failures(body); got != "exits ended by itself: exit status 3" {
		t.Errorf("got %q", got)
	}
	exits.MayExit = true
	if got := failures(body); got != "" {
		t.Error(got)
	}
}

func TestDo(t *testing.T) {
	var order []string
	var log strings.Builder
	err := Do(&log, "demo", func(t TB) {
		t.Cleanup(func() { order = append(order, "first") })
		t.Cleanup(func() { order = append(order, "second"); t.Errorf("late") })
		t.Logf("%s runs", t.Name())
		Eventually(t, 0, func() error { return errors.New("never") })
		order = append(order, "not reached")
	})
	if err == nil || err.Error() != "after 0s: never\nlate" || strings.Join(order, " ") != "second first" || log.String() != "demo runs\n" {
		t.Errorf("%v, %v, %q", err, order, log.String())
	}
	if err := Do(io.Discard, "panics", func(TB) { panic("here") }); err == nil || !strings.Contains(err.Error(), "panic: here") {
		t.Errorf("%v", err)
	}
	if err := Do(io.Discard, "passes", func(TB) {}); err != nil {
		t.Error(err)
	}
}

func TestBinNamesTheCommand(t *testing.T) {
	err := Do(io.Discard, "bin", func(t TB) { Bin(t, "no-such-part") })
	if err == nil || !strings.Contains(err.Error(), "make tools") {
		t.Errorf("%v", err)
	}
}

func TestSum(t *testing.T) {
	text := "# TYPE a counter\na{x=\"}\"} 2\na{x=\"y\"} 3\na_total 7\nb 1\n"
	for name, want := range map[string]float64{"a": 5, "b": 1, "c": 0} {
		if got, err := sum(text, name); err != nil || got != want {
			t.Errorf("%s: %v, want %v: %v", name, got, want, err)
		}
	}
}
