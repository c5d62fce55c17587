// Command demo shows drawbridge's main job in a world of its own: kubectl applies the examples to a real API server,
// drawbridge rejects or mends them, generates EndpointSlices, and a real HAProxy serves them from two sites outside.
//
// It checks all that it shows, and fails where something is not as it should be. With KEEP=1 in its environment it goes
// on running until it is interrupted.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"sigs.k8s.io/yaml"

	"drawbridge.dev/drawbridge/test/lab"
	"drawbridge.dev/drawbridge/webhook"
)

const (
	system    = "drawbridge-system"
	namespace = "shop"
	// Two addresses that stand for the world outside, of the ranges that are kept for documentation (RFC 5737).
	plainSite = "198.51.100.10"
	tlsSite   = "203.0.113.20"
)

func main() {
	os.Exit(lab.Within(func() int {
		if err := lab.Do(os.Stderr, "demo", func(t lab.TB) { run(t) }); err != nil {
			fmt.Fprintln(os.Stderr, "demo: FAILED:", err)
			return 1
		}
		return 0
	}))
}

func run(t lab.TB) *demo {
	d := &demo{TB: t, out: os.Stdout, began: time.Now(), applied: map[string]bool{}}
	d.say("A world of its own: no packet leaves this machine. Starting etcd and kube-apiserver ...")
	d.plane = lab.StartControlPlane(t, lab.ControlPlaneOptions{})
	d.outside()
	d.install()

	d.head("1. What can not work is rejected, with what to write instead")
	d.kubectl(fails, "apply", "-f", "examples/rejected/ip-in-external-name.yaml").
		shows(`Invalid value: "198.51.100.10"`, "service-external-name-ip").inREADME()
	d.kubectl(fails, "apply", "-f", "examples/rejected/port-name.yaml").
		shows("ingress-external-name-port-name")
	d.kubectl(works, "delete", "service", "catalog")

	d.kubectl(fails, "apply", "-f", "examples/rejected/another-team.yaml").
		shows("Warning: spec.externalName", "must not lead to 'ledger.payments.svc.cluster.local'", "ingress-backend-cluster-local").inREADME()
	d.kubectl(works, "delete", "service", "ledger")

	d.head("2. What is missing is filled in")
	d.kubectl(works, "apply", "-f", "examples/by-name.yaml").
		shows("ingress-preserve-host")
	d.kubectl(works, "apply", "-f", "examples/by-name-tls.yaml").
		shows("ingress-backend-protocol").inREADME()
	d.kubectl(works, "annotate", "ingress", "payments", "--list").
		shows("ingress.kubernetes.io/preserve-host=false", "ingress.kubernetes.io/backend-protocol=HTTPS")

	d.head("3. Endpoints become EndpointSlices, with the port's name in place")
	d.kubectl(works, "apply", "-f", "examples/by-address.yaml").
		shows("endpoints-port-name")
	d.eventually("get", "endpointslices", "-l", "kubernetes.io/service-name=warehouse", "-o",
		`jsonpath={range .items[*]}{.metadata.labels.endpointslice\.kubernetes\.io/managed-by} {.ports[0].name}:{.ports[0].port} {.endpoints[*].addresses}{"\n"}{end}`).
		shows("drawbridge.dev http:80 [\"" + plainSite + "\"]")

	d.head("4. HAProxy serves them: each site gets the Host, and the TLS, that it expects")
	d.curl("http://warehouse.shop.example/stock", "Host: warehouse.shop.example")
	d.curl("http://catalog.shop.example/", "Host: catalog.example.net")
	d.curl("http://payments.shop.example/", "Host: payments.example.net, TLS for: payments.example.net").inREADME()

	d.head("5. A change is live within a moment, without a reload")
	d.kubectl(works, "patch", "service", "catalog", "--type=merge", "-p", `{"spec":{"externalName":"archive.example.net"}}`)
	d.curl("http://catalog.shop.example/", "Host: archive.example.net")
	d.metric("drawbridge_reloads_total", "")

	d.head("6. An Ingress of the retired ingress-nginx comes along")
	mended := filepath.Join(d.TempDir(), "billing.yaml")
	d.mend(mended, "fix", "--dialect", "drawbridge", "examples/from-ingress-nginx.yaml").
		shows("proxy-body-size]", "not carried over").inREADME()
	d.kubectl(works, "apply", "-f", mended)
	d.curl("http://billing.shop.example/", "Host: billing.example.net, TLS for: billing.example.net")

	d.head("7. The same rules without a cluster, and over what one holds")
	d.shell(fails, "drawbridge check examples/rejected/ip-in-external-name.yaml", lab.Drawbridge(d), "check", "examples/rejected/ip-in-external-name.yaml").
		shows("service-external-name-ip")
	d.shell(works, "drawbridge policy test examples/policy", lab.Drawbridge(d), "policy", "test", "examples/policy").
		shows("2 cases, 0 failed").inREADME()
	d.shell(works, "drawbridge audit -n "+namespace, lab.Drawbridge(d), "audit", "--kubeconfig", d.plane.Kubeconfig, "-n", namespace)

	d.say("\nAll of it was as it should be, in %s.", time.Since(d.began).Round(time.Second))
	if os.Getenv("KEEP") == "1" {
		d.keep()
	}
	return d
}

type demo struct {
	lab.TB
	out   io.Writer
	began time.Time
	plane *lab.ControlPlane
	ca    *lab.CA
	// applied are the examples that kubectl was given.
	applied map[string]bool
}

func (d *demo) say(format string, a ...any) { _, _ = fmt.Fprintf(d.out, format+"\n", a...) }

func (d *demo) head(text string) { d.say("\n== %s", text) }

// outside starts what lies outside the cluster: DNS and two sites, each of which answers to its own names alone.
func (d *demo) outside() {
	d.ca = lab.NewCA(d)
	dns := lab.StartDNS(d)
	dns.Set("catalog.example.net", 5, plainSite)
	dns.Set("archive.example.net", 5, plainSite)
	dns.Set("payments.example.net", 5, tlsSite)
	dns.Set("billing.example.net", 5, tlsSite)
	for _, host := range []string{"warehouse", "catalog", "payments", "billing"} {
		dns.Set(host+".shop.example", 5, lab.Address)
	}
	lab.StartSite(d, lab.SiteOptions{
		Name: "plain", Address: plainSite + ":80",
		Hosts: []string{"catalog.example.net", "archive.example.net", "warehouse.shop.example"}, Handler: answer("the plain site got"),
	})
	lab.StartSite(d, lab.SiteOptions{
		Name: "tls", Address: tlsSite + ":443", Hosts: []string{"payments.example.net", "billing.example.net"},
		TLS: d.ca.Issue("payments.example.net", "billing.example.net"), RequireSNI: true, Handler: answer("the TLS site got"),
	})
}

// answer tells what a site sees of a request.
func answer(site string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s %s %s, Host: %s", site, r.Method, r.URL.Path, r.Host)
		if r.TLS != nil {
			_, _ = fmt.Fprintf(w, ", TLS for: %s", r.TLS.ServerName)
		}
		_, _ = fmt.Fprintf(w, ", X-Forwarded-Host: %s\n", r.Header.Get("X-Forwarded-Host"))
	})
}

// install brings up the manager and the proxy, with the permissions and the objects of the chart and with the demo's
// own certificate in place of cert-manager's.
func (d *demo) install() {
	d.say("Starting drawbridge's manager and proxy ...")
	// These are made before their permissions, so that their tokens can be had.
	managerConfig := d.plane.ServiceAccountKubeconfig(d, system, "drawbridge-manager")
	proxyConfig := d.plane.ServiceAccountKubeconfig(d, system, "drawbridge-proxy")
	d.apply(d.chart("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "IngressClass", "ConfigMap"))

	certs := d.TempDir()
	cert := d.ca.Issue(lab.Address)
	for name, text := range map[string][]byte{"tls.crt": cert.CertPEM, "tls.key": cert.KeyPEM} {
		if err := os.WriteFile(filepath.Join(certs, name), text, 0o600); err != nil {
			d.Fatalf("%v", err)
		}
	}
	program := lab.Drawbridge(d)
	lab.Start(d, lab.Process{
		Name: "manager", Path: program,
		Args: []string{"manager", "--kubeconfig", managerConfig, "--cert-dir", certs, "--namespace", system, "--shutdown-delay", "0s"},
	})
	lab.Start(d, lab.Process{
		Name: "proxy", Path: program,
		Args: []string{
			"proxy", "--kubeconfig", proxyConfig, "--namespace", system, "--http-address", lab.Address + ":80", "--https-address", lab.Address + ":443",
			"--resolver", lab.Address + ":53", "--ca-file", d.ca.PEMFile, "--haproxy", lab.HAProxy(d), "--run-dir", lab.Dir(d),
		},
	})
	for _, probe := range []string{"9091", "9101"} {
		lab.Eventually(d, time.Minute, func() error {
			_, err := d.output("curl", "-sf", "http://127.0.0.1:"+probe+"/readyz")
			return err
		})
	}
	mutating, validating := webhook.Configurations(webhook.ConfigurationOptions{
		URL: "https://" + lab.Address + ":9443", CABundle: d.ca.PEM, TimeoutSeconds: 30,
	})
	var text []byte
	for _, o := range []any{mutating, validating} {
		one, err := yaml.Marshal(o)
		if err != nil {
			d.Fatalf("%v", err)
		}
		text = append(append(text, one...), "---\n"...)
	}
	d.apply(string(text) + "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: " + namespace + "\n")
	// The API server takes a moment to call a webhook that was just registered.
	lab.Eventually(d, time.Minute, func() error {
		_, _, err := d.plane.Kubectl(d, "apply", "--dry-run=server", "-n", namespace, "-f", example("rejected/ip-in-external-name.yaml"))
		if err == nil {
			return fmt.Errorf("the webhook is not asked yet")
		}
		return nil
	})
}

// chart renders the chart and keeps the objects of some kinds.
func (d *demo) chart(kinds ...string) string {
	all, err := d.output(lab.Bin(d, "helm"), "template", "drawbridge", filepath.Join(lab.Root(), "charts", "drawbridge"), "--namespace", system)
	if err != nil {
		d.Fatalf("helm template: %v", err)
	}
	var kept []string
	for _, document := range strings.Split(all, "\n---\n") {
		var object struct {
			Kind string `json:"kind"`
		}
		if err := yaml.Unmarshal([]byte(document), &object); err != nil {
			d.Fatalf("helm template: %v", err)
		}
		for _, k := range kinds {
			if object.Kind == k {
				kept = append(kept, document)
			}
		}
	}
	return strings.Join(kept, "\n---\n")
}

func (d *demo) apply(text string) {
	if _, stderr, err := d.plane.KubectlIn(d, text, "apply", "-f", "-"); err != nil {
		d.Fatalf("kubectl apply: %v: %s", err, stderr)
	}
}

type outcome bool

const (
	works outcome = true
	fails outcome = false
)

// shown is what a command printed.
type shown struct {
	d             *demo
	command, text string
}

func (s shown) shows(parts ...string) shown {
	for _, p := range parts {
		if !strings.Contains(s.text, p) {
			s.d.Fatalf("the output lacks %q", p)
		}
	}
	return s
}

// inREADME holds README to what a command really prints.
func (s shown) inREADME() {
	readme, err := os.ReadFile(filepath.Join(lab.Root(), "README.md"))
	if err != nil {
		s.d.Fatalf("%v", err)
	}
	if !bytes.Contains(readme, []byte("$ "+s.command+"\n"+strings.TrimRight(s.text, "\n"))) {
		s.d.Fatalf("README.md must show what '%s' prints", s.command)
	}
}

// kubectl runs a command in the demo's namespace and prints it as one would type it.
func (d *demo) kubectl(want outcome, args ...string) shown {
	for _, a := range args {
		if strings.HasPrefix(a, "examples/") {
			d.applied[a] = true
		}
	}
	stdout, stderr, err := d.plane.Kubectl(d, inNamespace(args)...)
	return d.print(want, "kubectl "+typed(args), stdout+stderr, err)
}

// eventually is kubectl for what a controller makes in a moment: an empty answer is asked for again.
func (d *demo) eventually(args ...string) shown {
	var stdout, stderr string
	lab.Eventually(d, 30*time.Second, func() (err error) {
		if stdout, stderr, err = d.plane.Kubectl(d, inNamespace(args)...); err == nil && strings.TrimSpace(stdout) == "" {
			err = fmt.Errorf("kubectl %s: nothing yet", typed(args))
		}
		return err
	})
	return d.print(works, "kubectl "+typed(args), stdout+stderr, nil)
}

// curl asks the proxy until the answer is as it should be; what was just applied may take a moment to be served.
func (d *demo) curl(url, part string) shown {
	var text string
	lab.Eventually(d, 30*time.Second, func() (err error) {
		if text, err = d.output("curl", "-sS", "--fail-with-body", "--max-time", "5", url); err == nil && !strings.Contains(text, part) {
			err = fmt.Errorf("curl %s: the answer lacks %s: %s", url, part, text)
		}
		return err
	})
	return d.print(works, "curl "+url, text, nil)
}

// metric prints the lines of one of the proxy's metrics, and fails where they are not as expected.
func (d *demo) metric(name, want string) {
	text, err := d.output("curl", "-sf", "http://127.0.0.1:9100/metrics")
	if err != nil {
		d.Fatalf("metrics: %v", err)
	}
	var lines []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, name) {
			lines = append(lines, line)
		}
	}
	if got := strings.Join(lines, ""); got != want {
		d.Fatalf("metric %s is %q, want %q", name, got, want)
	}
	d.say("(the proxy counts no reload of HAProxy)")
}

// mend runs drawbridge as one would type it with '> NAME' behind, and prints what it tells beside.
func (d *demo) mend(into string, args ...string) shown {
	for _, a := range args {
		if strings.HasPrefix(a, "examples/") {
			d.applied[a] = true
		}
	}
	cmd := exec.Command(lab.Drawbridge(d), args...)
	cmd.Dir = lab.Root()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err == nil {
		err = os.WriteFile(into, stdout.Bytes(), 0o600)
	}
	return d.print(works, "drawbridge "+typed(args)+" > "+filepath.Base(into), stderr.String(), err)
}

func (d *demo) shell(want outcome, command, path string, args ...string) shown {
	text, err := d.output(path, args...)
	return d.print(want, command, text, err)
}

func (d *demo) print(want outcome, command, text string, err error) shown {
	d.say("\n$ %s\n%s", command, strings.TrimRight(text, "\n"))
	if (err == nil) != bool(want) {
		d.Fatalf("%s: want it to succeed: %t, but: %v", command, want, err)
	}
	return shown{d, command, text}
}

func (d *demo) output(path string, args ...string) (string, error) {
	cmd := exec.Command(path, args...)
	cmd.Dir = lab.Root()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w: %s", filepath.Base(path), err, out.String())
	}
	return out.String(), nil
}

// keep waits for an interrupt.
func (d *demo) keep() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	d.say("\nIt goes on running until Ctrl-C. A shell inside:\n\n  %s\n\nand there:\n\n  export KUBECONFIG=%s PATH=%s:$PATH",
		lab.ShellCommand(), d.plane.Kubeconfig, filepath.Join(lab.Root(), "bin"))
	<-ctx.Done()
}

func example(name string) string { return filepath.Join(lab.Root(), "examples", name) }

// inNamespace makes arguments as typed at the top of the repository, in the demo's namespace, work from anywhere.
func inNamespace(args []string) []string {
	full := []string{"-n", namespace}
	for _, a := range args {
		if strings.HasPrefix(a, "examples/") {
			a = filepath.Join(lab.Root(), a)
		}
		full = append(full, a)
	}
	return full
}

// typed is a command line as one would type it.
func typed(args []string) string {
	quoted := make([]string, len(args))
	for i, a := range args {
		quoted[i] = a
		if strings.ContainsAny(a, ` {}"\$()`) {
			quoted[i] = "'" + a + "'"
		}
	}
	return strings.Join(quoted, " ")
}
