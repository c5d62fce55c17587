package lab

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

const (
	// apiPort is the API server's. The world has no other, so that a fixed one is free.
	apiPort = "6443"
	// serviceCIDR is where the API server takes ClusterIPs from.
	serviceCIDR = "10.96.0.0/16"
	// startTimeout is for a machine that is busy compiling.
	startTimeout = 90 * time.Second
	// kubectlTimeout ends a kubectl that waits for something that never comes.
	kubectlTimeout = 2 * time.Minute
)

// ControlPlaneOptions says how a control plane differs from the lab's usual one.
type ControlPlaneOptions struct {
	// Flags are further flags of kube-apiserver, by name without dashes. They replace the lab's own.
	Flags map[string][]string
}

// ControlPlane is a real etcd and a real kube-apiserver, at https://192.0.2.1:6443, with RBAC on and without any
// controller: no garbage collection, no endpoints, no mirroring, and the objects of a deleted namespace stay.
type ControlPlane struct {
	Config     *rest.Config // of an administrator, in the group system:masters
	Kubeconfig string       // path of a kubeconfig file of the same

	environment *envtest.Environment
	clientset   *kubernetes.Clientset
	dir         string
	kubectl     string
}

// shared is the control plane of a test package.
var shared struct {
	sync.Once
	plane *ControlPlane
	err   error
}

// Shared returns the one control plane of this process. The first call starts it; it ends with the process. Tests keep
// apart by a Kubernetes namespace each, see [ControlPlane.Namespace].
func Shared(t TB) *ControlPlane {
	t.Helper()
	shared.Do(func() {
		process.call(func() { shared.plane = StartControlPlane(process, ControlPlaneOptions{}) })
		process.mu.Lock()
		defer process.mu.Unlock()
		shared.err = errors.Join(process.failures...)
	})
	if shared.plane == nil {
		t.Fatalf("the control plane did not start: %v", shared.err)
	}
	return shared.plane
}

// StartControlPlane runs etcd and kube-apiserver until the test ends. There can be one at a time.
func StartControlPlane(t TB, o ControlPlaneOptions) *ControlPlane {
	t.Helper()
	if !Inside() {
		t.Fatalf("lab.StartControlPlane must be called inside: give the package a TestMain that calls lab.Main")
	}
	c := &ControlPlane{dir: Dir(t), kubectl: Bin(t, "kubectl")}
	etcdLog, apiLog := c.log(t, "etcd"), c.log(t, "kube-apiserver")
	c.environment = &envtest.Environment{
		ControlPlaneStartTimeout: startTimeout,
		ControlPlaneStopTimeout:  startTimeout,
		ControlPlane: envtest.ControlPlane{
			Etcd: &envtest.Etcd{Path: Bin(t, "etcd"), Out: etcdLog, Err: etcdLog},
			APIServer: &envtest.APIServer{
				Path: Bin(t, "kube-apiserver"), Out: apiLog, Err: apiLog,
				SecureServing: envtest.SecureServing{ListenAddr: envtest.ListenAddr{Address: Address, Port: apiPort}},
			},
			KubectlPath: c.kubectl,
		},
	}
	flags := c.environment.ControlPlane.APIServer.Configure()
	flags.Set("service-cluster-ip-range", serviceCIDR)
	// Without it the API server looks for a default route to find an address of its own, and there is none.
	flags.Set("advertise-address", Address)
	// The API server finds a webhook's endpoints itself: there is no kube-proxy.
	flags.Set("enable-aggregator-routing", "true")
	for name, values := range o.Flags {
		flags.Set(name, values...)
	}
	t.Cleanup(func() {
		if err := c.environment.Stop(); err != nil {
			t.Errorf("ending the control plane: %v", err)
		}
	})
	config, err := c.environment.Start()
	if err != nil {
		t.Fatalf("starting the control plane: %v", err)
	}
	c.Config = config
	// What the API server warns of, such as Endpoints as such, is for kubectl's readers; clients of the lab know.
	config.WarningHandler = rest.NoWarnings{}
	c.Kubeconfig = c.write(t, c.environment.KubeConfig)
	if c.clientset, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatalf("%v", err)
	}
	// Namespaces that the API server makes by itself, a moment after it has become ready.
	for _, name := range []string{metav1.NamespaceSystem, metav1.NamespaceDefault} {
		Eventually(t, startTimeout, func() error {
			_, err := c.clientset.CoreV1().Namespaces().Get(t.Context(), name, metav1.GetOptions{})
			return err
		})
	}
	return c
}

// log opens a file for a part's output, whose end is logged when the test has failed.
func (c *ControlPlane) log(t TB, part string) *os.File {
	t.Helper()
	file, err := os.Create(filepath.Join(c.dir, part+".log"))
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		defer file.Close()
		if !t.Failed() {
			return
		}
		if text, err := os.ReadFile(file.Name()); err == nil {
			t.Logf("log of %s:\n%s", part, last(text, tail))
		}
	})
	return file
}

// Client returns an administrator's client for the built-in kinds.
func (c *ControlPlane) Client(t TB) client.Client {
	t.Helper()
	cl, err := client.New(c.Config, client.Options{Scheme: scheme.Scheme})
	if err != nil {
		t.Fatalf("%v", err)
	}
	return cl
}

// User returns the path of a kubeconfig file for a user of that name and those groups, by a client certificate. RBAC
// gives the user nothing that the test does not.
func (c *ControlPlane) User(t TB, name string, groups ...string) string {
	t.Helper()
	user, err := c.environment.AddUser(envtest.User{Name: name, Groups: groups}, nil)
	if err != nil {
		t.Fatalf("user %q: %v", name, err)
	}
	text, err := user.KubeConfig()
	if err != nil {
		t.Fatalf("user %q: %v", name, err)
	}
	return c.write(t, text)
}

// ServiceAccountKubeconfig returns the path of a kubeconfig file with a token of a ServiceAccount, valid for an hour. The
// namespace and the account are made where they are missing.
func (c *ControlPlane) ServiceAccountKubeconfig(t TB, namespace, name string) string {
	t.Helper()
	ctx := t.Context()
	_, err := c.clientset.CoreV1().Namespaces().Create(ctx,
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatalf("%v", err)
	}
	accounts := c.clientset.CoreV1().ServiceAccounts(namespace)
	_, err = accounts.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatalf("%v", err)
	}
	seconds := int64(time.Hour / time.Second)
	token, err := accounts.CreateToken(ctx, name, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("a token for %s/%s: %v", namespace, name, err)
	}
	text, err := clientcmd.Write(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"lab": {Server: c.Config.Host, CertificateAuthorityData: c.Config.CAData}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{name: {Token: token.Status.Token}},
		Contexts:       map[string]*clientcmdapi.Context{"lab": {Cluster: "lab", AuthInfo: name, Namespace: namespace}},
		CurrentContext: "lab",
	})
	if err != nil {
		t.Fatalf("%v", err)
	}
	return c.write(t, text)
}

// write puts a kubeconfig into a file that lives as long as the control plane.
func (c *ControlPlane) write(t TB, kubeconfig []byte) string {
	t.Helper()
	file, err := os.CreateTemp(c.dir, "kubeconfig-")
	if err != nil {
		t.Fatalf("%v", err)
	}
	defer file.Close()
	if _, err := file.Write(kubeconfig); err != nil {
		t.Fatalf("%v", err)
	}
	return file.Name()
}

// Kubectl runs the real kubectl as the administrator. The error is nil when it exited 0.
func (c *ControlPlane) Kubectl(t TB, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	return c.KubectlAs(t, c.Kubeconfig, "", args...)
}

// KubectlIn is Kubectl with something to read on its standard input.
func (c *ControlPlane) KubectlIn(t TB, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	return c.KubectlAs(t, c.Kubeconfig, stdin, args...)
}

// KubectlAs is KubectlIn for the user of a kubeconfig file.
func (c *ControlPlane) KubectlAs(t TB, kubeconfig, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	// Cleanups run kubectl too, when the test's own context is done.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), kubectlTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.kubectl, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "KUBECACHEDIR="+filepath.Join(c.dir, "cache"))
	cmd.Stdin = strings.NewReader(stdin)
	var out, warnings bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &warnings
	if err = cmd.Run(); ctx.Err() != nil {
		err = fmt.Errorf("kubectl %s: %w", strings.Join(args, " "), ctx.Err())
	}
	return out.String(), warnings.String(), err
}

// Apply runs kubectl apply with these documents in a namespace, and fails the test when that fails.
func (c *ControlPlane) Apply(t TB, namespace, yaml string) {
	t.Helper()
	if _, stderr, err := c.KubectlIn(t, yaml, "apply", "-n", namespace, "-f", "-"); err != nil {
		t.Fatalf("kubectl apply: %v\n%s", err, stderr)
	}
}

// notLabel is what a namespace's name can't have.
var notLabel = regexp.MustCompile(`[^a-z0-9]+`)

// Namespace makes a Kubernetes namespace of the test's own and returns its name. When the test ends its Ingresses,
// Services, Endpoints and EndpointSlices are deleted, and the namespace marked so; without controllers it never goes.
func (c *ControlPlane) Namespace(t TB) string {
	t.Helper()
	hint := strings.Trim(notLabel.ReplaceAllString(strings.ToLower(t.Name()), "-"), "-")
	hint = strings.Trim(hint[:min(len(hint), 40)], "-")
	name := hint + "-" + strings.ToLower(rand.Text()[:6])
	namespaces := c.clientset.CoreV1().Namespaces()
	if _, err := namespaces.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		t.Fatalf("%v", err)
	}
	cl := c.Client(t)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		for _, kind := range []client.Object{
			&networkingv1.Ingress{}, &corev1.Service{}, &corev1.Endpoints{}, &discoveryv1.EndpointSlice{},
		} {
			if err := cl.DeleteAllOf(ctx, kind, client.InNamespace(name)); err != nil {
				t.Errorf("emptying namespace %s: %v", name, err)
			}
		}
		if err := namespaces.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
			t.Errorf("deleting namespace %s: %v", name, err)
		}
	})
	return name
}

// StartControllerManager runs the real kube-controller-manager with these controllers alone, under its own identity and
// with a ServiceAccount for each controller, until the test ends. What begins with -- is a further flag:
// "--use-service-account-credentials=false" lets all of them write as system:kube-controller-manager.
func (c *ControlPlane) StartControllerManager(t TB, controllers ...string) *Running {
	t.Helper()
	kubeconfig := c.User(t, "system:kube-controller-manager")
	args := []string{
		"--kubeconfig=" + kubeconfig, "--authentication-kubeconfig=" + kubeconfig, "--authorization-kubeconfig=" + kubeconfig,
		"--authentication-skip-lookup=true", "--leader-elect=false", "--bind-address=127.0.0.1", "--secure-port=0",
		"--use-service-account-credentials=true",
	}
	var names, flags []string
	for _, c := range controllers {
		if strings.HasPrefix(c, "--") {
			flags = append(flags, c)
		} else {
			names = append(names, c)
		}
	}
	args = append(args, "--controllers="+strings.Join(names, ","))
	return Start(t, Process{Path: Bin(t, "kube-controller-manager"), Args: append(args, flags...)})
}

// FailOpenCount returns how many requests the API server has let through since it started because a webhook with
// failurePolicy Ignore did not answer in time. It must be 0 where a test relies on what a webhook says.
func (c *ControlPlane) FailOpenCount(t TB) int {
	t.Helper()
	text, err := c.clientset.RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	if err != nil {
		t.Fatalf("%v", err)
	}
	count, err := sum(string(text), "apiserver_admission_webhook_fail_open_count")
	if err != nil {
		t.Fatalf("%v", err)
	}
	return int(count)
}

// sum adds up all series of a counter in a text of the Prometheus exposition format. A counter that has never counted has
// no series, and is 0.
func sum(text, name string) (float64, error) {
	total := 0.0
	for line := range strings.Lines(text) {
		rest, found := strings.CutPrefix(line, name)
		if !found || rest == "" || (rest[0] != '{' && rest[0] != ' ') {
			continue
		}
		fields := strings.Fields(rest[strings.LastIndexByte(rest, '}')+1:])
		if len(fields) == 0 {
			return 0, fmt.Errorf("metric without a value: %q", line)
		}
		value, err := strconv.ParseFloat(fields[0], 64)
		if err != nil {
			return 0, fmt.Errorf("metric %q: %w", line, err)
		}
		total += value
	}
	return total, nil
}
