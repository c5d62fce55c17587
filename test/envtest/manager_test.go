// Package envtest shows the webhook at work: the manager as its binary, a real API server, and kubectl.
package envtest

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"drawbridge.dev/drawbridge/test/lab"
	"drawbridge.dev/drawbridge/webhook"
)

func TestMain(m *testing.M) { lab.Main(m) }

const (
	system = "drawbridge-system"
	origin = "https://" + lab.Address + ":9443"
	probes = "http://" + lab.Address + ":9091"
	// patience is for a machine that does much else.
	patience = 60 * time.Second
)

// manager is a running `drawbridge manager` with its webhooks registered.
type manager struct {
	*lab.Running
	cluster *lab.ControlPlane
	ca      *lab.CA
	certs   string // the folder of its certificate
}

// start runs the manager under its own ServiceAccount until the test ends, and registers its webhooks once it is ready.
func start(t *testing.T, cluster *lab.ControlPlane) *manager {
	t.Helper()
	kubeconfig := cluster.ServiceAccountKubeconfig(t, system, "drawbridge-manager")
	// Without Reports, which a cluster need not know.
	cluster.Apply(t, system, grants(t, "manager.audit.reports=false"))
	m := &manager{cluster: cluster, ca: lab.NewCA(t), certs: lab.Dir(t)}
	m.rotate(t)
	m.Running = lab.Start(t, lab.Process{
		Path: lab.Drawbridge(t), Name: "drawbridge-manager",
		Args: []string{
			"manager", "--kubeconfig", kubeconfig, "--cert-dir", m.certs, "--shutdown-delay", "3s",
			"--webhook-bind-address", lab.Address, "--probe-address", lab.Address + ":9091", "--metrics-address", lab.Address + ":9090",
		},
	})
	lab.Eventually(t, patience, func() error {
		_, err := fetch(probes + "/readyz")
		return err
	})
	mutating, validating := webhook.Configurations(webhook.ConfigurationOptions{
		URL: origin, CABundle: m.ca.PEM, TimeoutSeconds: 30,
		// Names that CEL would choke on if they were not quoted.
		ExcludedUsers: []string{`o'hara\`, "zoë", "system:node:*"},
	})
	admin := cluster.Client(t)
	ns := cluster.Namespace(t)
	for _, configuration := range []struct {
		client.Object
		answers string
	}{{validating, "service.validate.drawbridge.dev"}, {mutating, "service.mutate.drawbridge.dev"}} {
		if err := admin.Create(t.Context(), configuration.Object); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := admin.Delete(context.WithoutCancel(t.Context()), configuration.Object); err != nil {
				t.Error(err)
			}
		})
		// The API server learns of its configurations by a watch of its own.
		lab.Eventually(t, patience, func() error {
			err := admin.Create(t.Context(), &corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "x"},
				Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "1.2.3.4"},
			}, client.DryRunAll)
			if err != nil && strings.Contains(err.Error(), configuration.answers) {
				return nil
			}
			return fmt.Errorf("%s is not in force yet, but: %w", configuration.answers, err)
		})
	}
	return m
}

// failedOpen asserts that no request passed because the webhook did not answer.
func (m *manager) failedOpen(t *testing.T) {
	t.Helper()
	if n := m.cluster.FailOpenCount(t); n != 0 {
		t.Errorf("%d requests passed because the webhook did not answer: what these tests saw may not be its doing", n)
	}
}

// rotate gives the manager a new certificate.
func (m *manager) rotate(t *testing.T) {
	t.Helper()
	c := m.ca.Issue(lab.Address)
	for name, text := range map[string][]byte{"tls.crt": c.CertPEM, "tls.key": c.KeyPEM} {
		if err := os.WriteFile(filepath.Join(m.certs, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// metric is the value of one series as /metrics has it, "" where there is none.
func metric(series string) string {
	text, err := fetch("http://" + lab.Address + ":9090/metrics")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

var plain = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

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

// serial is the serial number of the certificate that the webhook serves.
func (m *manager) serial() (string, error) {
	conn, err := tls.Dial("tcp", lab.Address+":9443", &tls.Config{RootCAs: m.ca.Pool(), ServerName: lab.Address})
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String(), nil
}

const badService = `
apiVersion: v1
kind: Service
metadata: {name: bad}
spec: {type: ExternalName, externalName: 1.2.3.4}
`

// slice is an EndpointSlice whose label names the Service NAME.
const slice = `
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: site-1, labels: {kubernetes.io/service-name: "NAME"}}
addressType: IPv4
endpoints: [{addresses: [1.2.3.4]}]
ports: [{port: 80}]
`
