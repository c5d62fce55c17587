package bench

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlwebhook "sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"drawbridge.dev/drawbridge/test/lab"
)

const (
	// patience is for a machine that does much else.
	patience = 2 * time.Minute
	// emptyRole makes this program the empty webhook: host:port, and the folder of its certificate.
	emptyRole, emptyCerts = "DRAWBRIDGE_BENCH_EMPTY", "DRAWBRIDGE_BENCH_CERTS"
)

func TestMain(m *testing.M) {
	if address := os.Getenv(emptyRole); address != "" {
		os.Exit(empties(address))
	}
	lab.Main(m)
}

// empties runs the empty webhook until it is told to end, and gives the program's exit code.
func empties(address string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := newServer(address, os.Getenv(emptyCerts), registerEmpty).Start(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// newServer is a webhook server as the manager has it: controller-runtime's, HTTP/1.1 alone, with a logger of errors
// alone, so that its start does not stand between the results.
func newServer(address, certs string, register func(ctrlwebhook.Server)) ctrlwebhook.Server {
	ctrl.SetLogger(logr.FromSlogHandler(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		panic(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		panic(err)
	}
	s := ctrlwebhook.NewServer(ctrlwebhook.Options{
		Host: host, Port: number, CertDir: certs,
		TLSOpts: []func(*tls.Config){func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }},
	})
	register(s)
	return s
}

// registerEmpty admits all that drawbridge judges.
func registerEmpty(s ctrlwebhook.Server) {
	for _, path := range [...]string{"mutate", "validate"} {
		for _, kind := range [...]string{"service", "endpoints", "endpointslice", "ingress"} {
			s.Register("/"+path+"/"+kind, &admission.Webhook{Handler: admission.HandlerFunc(
				func(context.Context, admission.Request) admission.Response { return admission.Allowed("") },
			)})
		}
	}
}

// issue writes a certificate for the lab's address into a new folder.
func issue(t lab.TB, ca *lab.CA) string {
	t.Helper()
	dir, c := lab.Dir(t), ca.Issue(lab.Address)
	for name, text := range map[string][]byte{"tls.crt": c.CertPEM, "tls.key": c.KeyPEM} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatalf("%v", err)
		}
	}
	return dir
}

// startEmpty runs the empty webhook as a process of its own.
func startEmpty(t lab.TB, ca *lab.CA) *lab.Running {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatalf("%v", err)
	}
	r := lab.Start(t, lab.Process{Path: self, Name: "empty", Env: []string{emptyRole + "=" + emptyAddress, emptyCerts + "=" + issue(t, ca)}})
	listening(t, emptyAddress)
	return r
}

const (
	emptyAddress   = lab.Address + ":9543"
	managerAddress = lab.Address + ":9443"
	probes         = lab.Address + ":9091"
	metrics        = lab.Address + ":9090"
)

// startManager runs the manager as its binary, with the Lease and the generator of slices, until it is ready. Its
// account may do everything: what RBAC costs is the same for all.
func startManager(t lab.TB, cluster *lab.ControlPlane, ca *lab.CA) *lab.Running {
	t.Helper()
	kubeconfig := cluster.ServiceAccountKubeconfig(t, "drawbridge-system", "drawbridge-manager")
	cluster.Apply(t, "drawbridge-system", `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: drawbridge-bench}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: drawbridge-manager, namespace: drawbridge-system}]
`)
	r := lab.Start(t, lab.Process{
		Path: lab.Drawbridge(t), Name: "drawbridge-manager",
		Args: []string{
			"manager", "--kubeconfig", kubeconfig, "--cert-dir", issue(t, ca), "--shutdown-delay", "0s", "--webhook-bind-address", lab.Address,
			"--probe-address", probes, "--metrics-address", metrics,
		},
	})
	lab.Eventually(t, patience, func() error {
		resp, err := http.Get("http://" + probes + "/readyz")
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("not ready: %s", resp.Status)
		}
		return nil
	})
	return r
}

func listening(t lab.TB, address string) {
	t.Helper()
	lab.Eventually(t, patience, func() error {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err
	})
}

// fast is a client without a rate of its own.
func fast(t lab.TB, cluster *lab.ControlPlane) client.Client {
	t.Helper()
	config := rest.CopyConfig(cluster.Config)
	config.QPS = -1
	cl, err := client.New(config, client.Options{Scheme: scheme.Scheme})
	if err != nil {
		t.Fatalf("%v", err)
	}
	return cl
}

// create makes an object that stays until the test ends.
func create(t lab.TB, cl client.Client, o client.Object) {
	t.Helper()
	if err := cl.Create(t.Context(), o); err != nil {
		t.Fatalf("create %T %s: %v", o, o.GetName(), err)
	}
	t.Cleanup(func() {
		if err := client.IgnoreNotFound(cl.Delete(context.WithoutCancel(t.Context()), o)); err != nil {
			t.Errorf("delete %T %s: %v", o, o.GetName(), err)
		}
	})
}
