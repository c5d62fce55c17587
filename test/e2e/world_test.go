// Package e2e shows the whole of drawbridge at work: a person applies manifests by kubectl to a real API server, and
// traffic reaches real sites outside the cluster. The manager and the proxies run as their binary does, under their own
// ServiceAccounts with the permissions that the chart gives them. README.md is written by a run of these tests.
package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"drawbridge.dev/drawbridge/test/lab"
	"drawbridge.dev/drawbridge/webhook"
)

var update = flag.Bool("update", false, "write README.md anew")

const (
	system = "drawbridge-system"
	// patience is for a machine that does much else.
	patience = 60 * time.Second
)

// cluster is the one world of the package.
var cluster *world

func TestMain(m *testing.M) {
	os.Exit(lab.Within(func() int {
		code := 1
		err := lab.Do(os.Stderr, "e2e", func(t lab.TB) {
			flag.Parse()
			cluster = startWorld(t)
			if code = m.Run(); code != 0 {
				t.Errorf("there were failures: the logs follow")
			}
		})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		return max(code, writeTable(code != 0))
	}))
}

// world is a control plane with drawbridge in it, and what stands outside of the cluster.
type world struct {
	*lab.ControlPlane
	t       lab.TB
	client  client.Client
	dns     *lab.DNS
	ca      *lab.CA
	certs   string // the folder of the webhook's certificate
	manager *lab.Running
	proxy   *proxy
	opened  int // requests that passed while a test had the manager stopped
}

func startWorld(t lab.TB) *world {
	w := &world{ControlPlane: lab.StartControlPlane(t, lab.ControlPlaneOptions{}), t: t, ca: lab.NewCA(t), dns: lab.StartDNS(t), certs: lab.Dir(t)}
	w.client = w.Client(t)
	w.StartControllerManager(t, "endpointslice-mirroring-controller", "garbage-collector-controller")
	w.installChart(t)
	certificate := w.ca.Issue(lab.Address)
	for name, text := range map[string][]byte{"tls.crt": certificate.CertPEM, "tls.key": certificate.KeyPEM} {
		if err := os.WriteFile(filepath.Join(w.certs, name), text, 0o600); err != nil {
			t.Fatalf("%v", err)
		}
	}
	w.startManager(t)
	mutating, validating := webhook.Configurations(webhook.ConfigurationOptions{
		URL: "https://" + lab.Address + ":9443", CABundle: w.ca.PEM, TimeoutSeconds: 30,
	})
	w.register(t, validating, "service.validate.drawbridge.dev")
	w.register(t, mutating, "service.mutate.drawbridge.dev")
	w.proxy = w.startProxy(t, lab.Address, "--classless")
	return w
}

// installChart applies what the chart installs beside its Deployments: accounts, permissions, the class, the policy.
func (w *world) installChart(t lab.TB) {
	home := t.TempDir()
	cmd := exec.CommandContext(t.Context(), lab.Bin(t, "helm"), "template", "drawbridge", filepath.Join(lab.Root(), "charts", "drawbridge"), "--namespace", system)
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("helm template: %v\n%s", err, stderr.String())
	}
	kinds := []string{"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "IngressClass", "ConfigMap"}
	var chosen []string
	for _, document := range strings.Split(string(text), "\n---\n") {
		var meta metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(document), &meta); err != nil {
			t.Fatalf("the chart: %v", err)
		}
		if slices.Contains(kinds, meta.Kind) {
			chosen = append(chosen, document)
		}
	}
	w.namespace(t, system)
	w.Apply(t, system, strings.Join(chosen, "\n---\n"))
}

func (w *world) startManager(t lab.TB) {
	w.manager = lab.Start(w.t, lab.Process{
		Path: lab.Drawbridge(t), Name: "drawbridge-manager",
		Args: []string{
			"manager", "--kubeconfig", w.ServiceAccountKubeconfig(t, system, "drawbridge-manager"), "--cert-dir", w.certs, "--shutdown-delay", "1s",
			"--webhook-bind-address", lab.Address, "--probe-address", lab.Address + ":9091", "--metrics-address", lab.Address + ":9090",
		},
	})
	lab.Eventually(t, patience, func() error { return ready(lab.Address + ":9091") })
}

// register puts a webhook configuration into force, and waits until it is.
func (w *world) register(t lab.TB, configuration client.Object, answers string) {
	if err := w.client.Create(t.Context(), configuration); err != nil {
		t.Fatalf("%v", err)
	}
	// The API server learns of its configurations by a watch of its own.
	lab.Eventually(t, patience, func() error {
		err := w.client.Create(t.Context(), &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "probe"},
			Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "1.2.3.4"},
		}, client.DryRunAll)
		switch {
		case err == nil:
			return fmt.Errorf("%s is not in force yet", answers)
		case !strings.Contains(err.Error(), answers):
			return fmt.Errorf("%s is not in force yet: %w", answers, err)
		}
		return nil
	})
}

// proxy is a running `drawbridge proxy` with its HAProxy.
type proxy struct {
	*lab.Running
	address string // it serves ports 80 and 443 of it
	dir     string // its run dir
	ca      *lab.CA
}

// startProxy runs a proxy on an address of its own until t ends.
func (w *world) startProxy(t lab.TB, address string, flags ...string) *proxy {
	lab.AddAddress(t, address)
	p := &proxy{address: address, dir: filepath.Join(lab.Dir(t), "run"), ca: w.ca}
	if err := os.Mkdir(p.dir, 0o700); err != nil {
		t.Fatalf("%v", err)
	}
	p.Running = lab.Start(t, lab.Process{
		Path: lab.Drawbridge(t), Name: "drawbridge-proxy",
		Args: append([]string{
			"proxy", "--kubeconfig", w.ServiceAccountKubeconfig(t, system, "drawbridge-proxy"), "--run-dir", p.dir, "--haproxy", lab.HAProxy(t),
			"--http-address", address + ":80", "--https-address", address + ":443", "--resolver", w.dns.Address, "--ca-file", w.ca.PEMFile,
			"--metrics-address", address + ":9100", "--probe-address", address + ":9101",
		}, flags...),
	})
	lab.Eventually(t, patience, func() error { return ready(address + ":9101") })
	// Ready means that the files are written; HAProxy starts with them.
	lab.Eventually(t, patience, func() error {
		_, err := p.get("http://nobody.example.invalid/")
		return err
	})
	return p
}

var plain = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func ready(address string) error {
	_, err := fetch("http://" + address + "/readyz")
	return err
}

func fetch(url string) (string, error) {
	resp, err := plain.Get(url)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return string(text), fmt.Errorf("%s: %s: %s", url, resp.Status, text)
	}
	return string(text), nil
}

// answer is what a client of a proxy got, and, where a lab's site answered, what that site saw.
type answer struct {
	status int
	body   string
	saw    lab.Request
	leaf   *x509.Certificate // of the proxy; nil without TLS
}

// get asks the proxy for a URL as a browser does that finds the proxy behind every name.
func (p *proxy) get(address string) (answer, error) {
	browser := &http.Client{
		Timeout:       10 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DisableKeepAlives: true,
			TLSClientConfig:   &tls.Config{RootCAs: p.ca.Pool(), MinVersion: tls.VersionTLS12},
			DialContext: func(ctx context.Context, network, target string) (net.Conn, error) {
				_, port, err := net.SplitHostPort(target)
				if err != nil {
					return nil, err
				}
				return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort(p.address, port))
			},
		},
	}
	resp, err := browser.Get(address)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{status: resp.StatusCode, body: string(body)}
	if resp.TLS != nil {
		a.leaf = resp.TLS.PeerCertificates[0]
	}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(body, &a.saw); err != nil {
			return answer{}, err
		}
	}
	return a, nil
}

// reaches asks for a URL until a site answers, and gives back what the site saw.
func (p *proxy) reaches(t *testing.T, url, site string) lab.Request {
	t.Helper()
	var a answer
	lab.Eventually(t, patience, func() (err error) {
		if a, err = p.get(url); err == nil && (a.status != http.StatusOK || a.saw.Site != site) {
			err = fmt.Errorf("%s: %d %q, want site %s", url, a.status, strings.TrimSpace(a.body), site)
		}
		return err
	})
	return a.saw
}

// answers asks for a URL until the proxy itself answers with a status and a text.
func (p *proxy) answers(t *testing.T, url string, status int, text string) {
	t.Helper()
	lab.Eventually(t, patience, func() error {
		a, err := p.get(url)
		if err == nil && (a.status != status || !strings.Contains(a.body, text)) {
			err = fmt.Errorf("%s: %d %q, want %d %q", url, a.status, strings.TrimSpace(a.body), status, text)
		}
		return err
	})
}

// gone waits until the proxy knows nothing of a host: what is served from then on is of what comes next.
func (p *proxy) gone(t *testing.T, address string) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	p.answers(t, "http://"+u.Host+u.Path, http.StatusNotFound, "")
}

// namespace makes a namespace where there is none.
func (w *world) namespace(t lab.TB, name string) {
	err := w.client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatalf("%v", err)
	}
}

// fixedNamespace makes the namespace that a manifest names, and empties it when the test ends.
func (w *world) fixedNamespace(t *testing.T, name string) {
	t.Helper()
	w.namespace(t, name)
	t.Cleanup(func() { w.empty(t, name) })
}

// empty deletes the Ingresses, Services and endpoints of a namespace, but for the API server's own.
func (w *world) empty(t *testing.T, namespace string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	// Not lab.Eventually: in a cleanup the test's context is done.
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		var left int
		if left, err = w.sweep(ctx, namespace); err == nil && left == 0 {
			return
		}
	}
	t.Errorf("namespace %s is not empty: %v", namespace, err)
}

// sweep deletes once, and tells how many objects there were.
func (w *world) sweep(ctx context.Context, namespace string) (int, error) {
	found := 0
	for _, list := range []client.ObjectList{&networkingv1.IngressList{}, &corev1.ServiceList{}, &corev1.EndpointsList{}, &discoveryv1.EndpointSliceList{}} {
		if err := w.client.List(ctx, list, client.InNamespace(namespace)); err != nil {
			return 0, err
		}
		for _, o := range objects(list) {
			if namespace == metav1.NamespaceDefault && o.GetName() == "kubernetes" {
				continue
			}
			found++
			if err := client.IgnoreNotFound(w.client.Delete(ctx, o)); err != nil {
				return found, err
			}
		}
	}
	return found, nil
}

func objects(list client.ObjectList) []client.Object {
	var all []client.Object
	switch list := list.(type) {
	case *networkingv1.IngressList:
		for i := range list.Items {
			all = append(all, &list.Items[i])
		}
	case *corev1.ServiceList:
		for i := range list.Items {
			all = append(all, &list.Items[i])
		}
	case *corev1.EndpointsList:
		for i := range list.Items {
			all = append(all, &list.Items[i])
		}
	case *discoveryv1.EndpointSliceList:
		for i := range list.Items {
			all = append(all, &list.Items[i])
		}
	}
	return all
}

// tlsSecret makes the Secret of an Ingress's spec.tls, or changes it to a new certificate for these names.
func (w *world) tlsSecret(t *testing.T, namespace, name string, hosts ...string) {
	t.Helper()
	certificate := w.ca.Issue(hosts...)
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{corev1.TLSCertKey: certificate.CertPEM, corev1.TLSPrivateKeyKey: certificate.KeyPEM},
	}
	err := w.client.Create(t.Context(), secret)
	if apierrors.IsAlreadyExists(err) {
		if err = w.client.Update(t.Context(), secret); err == nil {
			return
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.IgnoreNotFound(w.client.Delete(context.WithoutCancel(t.Context()), secret)); err != nil {
			t.Error(err)
		}
	})
}

// kubectl runs kubectl, which must succeed, and gives back what a person sees on standard error: the warnings.
func (w *world) kubectl(t *testing.T, args ...string) (warnings string) {
	t.Helper()
	_, stderr, err := w.Kubectl(t, args...)
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, stderr)
	}
	return stderr
}

// refused runs kubectl apply, which must fail with a message that holds each of these parts.
func (w *world) refused(t *testing.T, namespace, manifest string, parts ...string) {
	t.Helper()
	_, stderr, err := w.KubectlIn(t, manifest, "apply", "-n", namespace, "-f", "-")
	if err == nil {
		t.Errorf("kubectl apply must fail for:\n%s", manifest)
		return
	}
	for _, part := range parts {
		if !strings.Contains(stderr, part) {
			t.Errorf("kubectl says\n%swithout %q", stderr, part)
		}
	}
}

// fetchObject reads an object from the API server.
func fetchObject[T client.Object](t *testing.T, w *world, namespace, name string, into T) T {
	t.Helper()
	if err := w.client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, into); err != nil {
		t.Fatal(err)
	}
	return into
}

// failedOpen asserts that no request passed because the webhook did not answer.
func (w *world) failedOpen(t *testing.T) {
	t.Helper()
	if n := w.FailOpenCount(t) - w.opened; n != 0 {
		t.Errorf("%d requests passed because the webhook did not answer: what these tests saw may not be its doing", n)
	}
}

// endpointsOnce waits until the slices of a Service hold each of these addresses once and nothing else.
func (w *world) endpointsOnce(t *testing.T, namespace, service string, addresses ...string) {
	t.Helper()
	lab.Eventually(t, patience, func() error {
		var list discoveryv1.EndpointSliceList
		if err := w.client.List(t.Context(), &list, client.InNamespace(namespace), client.MatchingLabels{discoveryv1.LabelServiceName: service}); err != nil {
			return err
		}
		var found, keepers []string
		for i := range list.Items {
			keepers = append(keepers, list.Items[i].Labels[discoveryv1.LabelManagedBy])
			for j := range list.Items[i].Endpoints {
				found = append(found, list.Items[i].Endpoints[j].Addresses...)
			}
		}
		slices.Sort(found)
		if !slices.Equal(found, addresses) {
			return fmt.Errorf("the slices of %s hold %q, kept by %q; want %q once", service, found, keepers, addresses)
		}
		return nil
	})
}
