package install

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"drawbridge.dev/drawbridge/test/lab"
)

const served = `apiVersion: v1
kind: Service
metadata: {name: site}
spec: {type: ExternalName, externalName: site.example.net}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: site}
spec:
  ingressClassName: drawbridge
  tls: [{hosts: [www.example.org], secretName: www}]
  rules:
    - host: www.example.org
      http:
        paths:
          - path: /
            pathType: Prefix
            backend: {service: {name: site, port: {number: 80}}}
`

// proxyServes starts the proxy's pod as kubelet does: the agent first, which is a sidecar, and HAProxy once the agent's
// startup probe has passed.
func (in *installation) proxyServes(t *testing.T) {
	dns := lab.StartDNS(t)
	dns.Set("site.example.net", 5, "203.0.113.7")
	site := lab.StartSite(t, lab.SiteOptions{Address: "203.0.113.7:80", Name: "site", Hosts: []string{"site.example.net"}})
	ca := lab.NewCA(t)
	certificate := ca.Issue("www.example.org")
	ns := in.plane.Namespace(t)
	if err := in.client.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "www"}, Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{corev1.TLSCertKey: certificate.CertPEM, corev1.TLSPrivateKeyKey: certificate.KeyPEM},
	}); err != nil {
		t.Fatal(err)
	}
	in.plane.Apply(t, ns, served)

	var deployment appsv1.Deployment
	if err := in.client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "drawbridge-proxy"}, &deployment); err != nil {
		t.Fatal(err)
	}
	pod := deployment.Spec.Template.Spec
	if len(pod.InitContainers) != 1 || len(pod.Containers) != 1 || *pod.InitContainers[0].RestartPolicy != corev1.ContainerRestartPolicyAlways {
		t.Fatalf("the pod must have a sidecar and a container: %+v", pod)
	}
	run := filepath.Join(lab.Dir(t), "run")
	if err := os.Mkdir(run, 0o700); err != nil {
		t.Fatal(err)
	}
	folders := map[string]string{"run": run}
	agent := resolve(t, namespace, pod.InitContainers[0], folders)
	haproxy := resolve(t, namespace, pod.Containers[0], folders)

	account := in.plane.ServiceAccountKubeconfig(t, namespace, pod.ServiceAccountName)
	startAgent := func() *lab.Running {
		return lab.Start(t, lab.Process{
			Name: "agent", Path: lab.Drawbridge(t), Args: agent.args, Env: append(agent.env, "KUBECONFIG="+account),
		})
	}
	// An agent that dies before HAProxy has started shows that the routes are in the files by the time that it is ready.
	// Certificates are not: each is tried on the running HAProxy first.
	early := startAgent()
	agent.awaitProbe(t, agent.StartupProbe)
	early.Signal(os.Kill)
	<-early.Done()
	notForbidden(t, early)
	if pod.Containers[0].Command[0] != "/usr/sbin/haproxy" {
		t.Fatalf("the container must run HAProxy: %q", pod.Containers[0].Command)
	}
	lab.Start(t, lab.Process{Path: lab.HAProxy(t), Args: haproxy.args})

	var service corev1.Service
	if err := in.client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "drawbridge-proxy"}, &service); err != nil {
		t.Fatal(err)
	}
	ports := map[int32]int32{}
	for _, port := range service.Spec.Ports {
		ports[port.Port] = haproxy.port(t, port.TargetPort)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.PEM)
	browser := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		// What the Service and its load balancer do.
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			target := map[string]int32{"80": ports[80], "443": ports[443]}[port]
			return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort(lab.Address, fmt.Sprint(target)))
		},
	}}
	get := func(url string) error {
		response, err := browser.Get(url)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			return err
		}
		if response.StatusCode != http.StatusOK || !strings.Contains(string(body), "site.example.net") {
			return fmt.Errorf("%s: %s: %s", url, response.Status, body)
		}
		return nil
	}
	lab.Eventually(t, patience, func() error {
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(lab.Address, fmt.Sprint(ports[80])), time.Second)
		if err == nil {
			conn.Close()
		}
		return err
	})
	for _, url := range []string{"http://www.example.org/", "https://www.example.org/"} {
		if err := get(url); err != nil {
			t.Errorf("at once: %v", err)
		}
	}

	in.may(t, "drawbridge-proxy", []permission{
		{true, "list secrets -A"},
		{true, "list ingresses.networking.k8s.io -A"},
		{true, "get configmaps/drawbridge-policy -n " + namespace},
		{false, "create secrets -A"},
		{false, "update secrets -A"},
		{false, "patch ingresses.networking.k8s.io -A"},
		{false, "patch endpoints -A"},
		{false, "create endpointslices.discovery.k8s.io -A"},
		{false, "list configmaps -n " + namespace},
		{false, "create pods -A"},
		{false, "* *"},
	})

	// A change reaches the HAProxy that runs.
	agentProcess := startAgent()
	agent.awaitProbe(t, agent.StartupProbe)
	live := strings.ReplaceAll(served, "www.example.org", "live.example.org")
	live = strings.ReplaceAll(live, "name: site", "name: live")
	in.plane.Apply(t, ns, live)
	lab.Eventually(t, patience, func() error { return get("http://live.example.org/") })

	// HAProxy goes on serving without the agent, which takes up its work again when it is back.
	agentProcess.Signal(os.Kill)
	<-agentProcess.Done()
	if err := get("https://www.example.org/"); err != nil {
		t.Errorf("without the agent: %v", err)
	}
	again := startAgent()
	agent.awaitProbe(t, agent.StartupProbe)
	in.plane.Apply(t, ns, strings.ReplaceAll(strings.ReplaceAll(live, "live.example.org", "again.example.org"), "name: live", "name: again"))
	lab.Eventually(t, patience, func() error { return get("http://again.example.org/") })
	notForbidden(t, agentProcess)
	notForbidden(t, again)
	if len(site.Requests()) == 0 {
		t.Error("the site got no request")
	}
}
