// Package install tests what a person does who installs drawbridge: the real Helm installs the chart into a real API
// server, the real cert-manager issues the certificate and injects its CA, and the manager runs as the Deployment says,
// with the permissions of its ServiceAccount and no others.
//
// Of a node there is nothing. The test does by itself, in kubelet_test.go, what kubelet does: it reads the Deployment
// back from the API server and starts the container's command. Two things differ from a pod. Mount paths are replaced by
// folders of the test; and the ServiceAccount's token comes by $KUBECONFIG, because client-go looks for a pod's token in
// one fixed place of the root file system.
package install

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	apiutil "github.com/cert-manager/cert-manager/pkg/api/util"
	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"drawbridge.dev/drawbridge/test/lab"
	"drawbridge.dev/drawbridge/webhook"
)

const namespace = "drawbridge-system"

// patience is for a machine that is busy compiling.
const patience = time.Minute

// An installation is the release and the manager that runs from it.
type installation struct {
	plane   *lab.ControlPlane
	client  client.Client
	home    string // of Helm
	tls     string // the folder that stands in for the mount of the certificate
	manager *lab.Running
	address string // of the webhook
}

func TestInstall(t *testing.T) {
	plane := lab.Shared(t)
	in := &installation{plane: plane, client: plane.Client(t), home: t.TempDir(), tls: filepath.Join(lab.Dir(t), "tls")}
	if err := certmanager.AddToScheme(in.client.Scheme()); err != nil {
		t.Fatal(err)
	}
	startCertManager(t, plane)
	t.Run("the API server takes every variant", in.variants)

	// A busy machine must not make a webhook late, which failurePolicy Ignore would pass over in silence.
	in.helm(t, "install", "drawbridge", chart(), "--create-namespace", "--set", "webhook.timeoutSeconds=30")
	in.awaitCertificate(t)
	in.startManager(t)

	// The order matters: one installation goes through its life.
	for _, step := range []struct {
		name string
		test func(*testing.T)
	}{
		{"kubectl apply is enforced", in.enforces},
		{"the leader generates slices", in.generatesSlices},
		{"the manager may do no more than it must", in.permissions},
		{"an upgrade that changes nothing is quiet", in.quietUpgrade},
		{"a change of the policy goes live", in.policyGoesLive},
		{"the certificate is rotated", in.rotation},
		{"the proxy serves", in.proxyServes},
		{"slices are handed back", in.handsBack},
		{"without a manager", in.withoutManager},
		{"uninstall leaves nothing behind", in.uninstall},
	} {
		t.Run(step.name, step.test)
	}
}

func chart() string { return filepath.Join(lab.Root(), "charts", "drawbridge") }

// variants asks the API server what it thinks of every object that the chart can render, and stores nothing.
func (in *installation) variants(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(lab.Root(), "test", "chart", "testdata", "values", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no values: %v", err)
	}
	for _, file := range files {
		// The namespace of the release is not there yet.
		cmd := exec.CommandContext(t.Context(), lab.Bin(t, "helm"), "template", "drawbridge", chart(), "--namespace", "default", "--values", file)
		cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+in.home, "HELM_CONFIG_HOME="+in.home, "HELM_DATA_HOME="+in.home)
		manifest, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		_, stderr, err := in.plane.KubectlIn(t, string(manifest), "apply", "--dry-run=server", "--validate=strict", "-f", "-")
		if err != nil || strings.Contains(stderr, "Warning:") {
			t.Errorf("%s: %v\n%s", filepath.Base(file), err, stderr)
		}
	}
}

// startCertManager installs the CRDs of cert-manager and runs its real controllers and CA injector.
func startCertManager(t *testing.T, plane *lab.ControlPlane) {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/cert-manager/cert-manager")
	list.Dir = filepath.Join(lab.Root(), "test", "tools", "certmanager")
	module, err := list.Output()
	if err != nil {
		t.Fatalf("finding the module of cert-manager, which `make tools` downloads: %v", err)
	}
	for _, crd := range []string{"certificates", "certificaterequests", "issuers", "clusterissuers"} {
		file := filepath.Join(strings.TrimSpace(string(module)), "deploy", "crds", "cert-manager.io_"+crd+".yaml")
		if _, stderr, err := plane.Kubectl(t, "apply", "--server-side", "-f", file); err != nil {
			t.Fatalf("%v\n%s", err, stderr)
		}
	}
	if _, stderr, err := plane.Kubectl(t, "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"); err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	lab.Start(t, lab.Process{Path: lab.Bin(t, "cert-manager-controllers"), Args: []string{"--kubeconfig", plane.Kubeconfig}})
}

// helm runs the real Helm on the cluster.
func (in *installation) helm(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), lab.Bin(t, "helm"), append(args, "--namespace", namespace)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+in.plane.Kubeconfig,
		"HELM_CACHE_HOME="+in.home, "HELM_CONFIG_HOME="+in.home, "HELM_DATA_HOME="+in.home)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("helm %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String()
}

// bundles are the CA bundles of all webhooks, by the webhook's name.
func (in *installation) bundles(ctx context.Context) (map[string][]byte, error) {
	var mutating admissionregistrationv1.MutatingWebhookConfiguration
	var validating admissionregistrationv1.ValidatingWebhookConfiguration
	if err := errors.Join(
		in.client.Get(ctx, client.ObjectKey{Name: "drawbridge"}, &mutating),
		in.client.Get(ctx, client.ObjectKey{Name: "drawbridge"}, &validating),
	); err != nil {
		return nil, err
	}
	bundles := map[string][]byte{}
	for _, w := range mutating.Webhooks {
		bundles[w.Name] = w.ClientConfig.CABundle
	}
	for _, w := range validating.Webhooks {
		bundles[w.Name] = w.ClientConfig.CABundle
	}
	return bundles, nil
}

// awaitCertificate waits until cert-manager has issued the certificate and injected its CA everywhere.
func (in *installation) awaitCertificate(t *testing.T) {
	t.Helper()
	if _, stderr, err := in.plane.Kubectl(t, "-n", namespace, "wait", "certificate/drawbridge-webhook", "--for=condition=Ready", "--timeout=60s"); err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	lab.Eventually(t, patience, func() error {
		bundles, err := in.bundles(t.Context())
		if err != nil {
			return err
		}
		mutating, validating := webhook.Configurations(webhook.ConfigurationOptions{})
		if want := len(mutating.Webhooks) + len(validating.Webhooks); len(bundles) != want {
			return fmt.Errorf("%d webhooks, must be %d", len(bundles), want)
		}
		for name, bundle := range bundles {
			if len(bundle) == 0 {
				return fmt.Errorf("webhook %s has no CA yet", name)
			}
		}
		return nil
	})
}

// startManager runs the manager's container and makes it an endpoint of the webhook's Service.
func (in *installation) startManager(t *testing.T) {
	t.Helper()
	var deployment appsv1.Deployment
	if err := in.client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "drawbridge-manager"}, &deployment); err != nil {
		t.Fatal(err)
	}
	pod := deployment.Spec.Template.Spec
	folders := map[string]string{}
	for _, volume := range pod.Volumes {
		if volume.Secret == nil {
			t.Fatalf("a volume that the test does not know: %+v", volume)
		}
		folders[volume.Name] = in.tls
		mountSecret(t, in.client, namespace, volume.Secret.SecretName, in.tls)
	}
	if len(pod.Containers) != 1 || pod.Containers[0].Command[0] != "/drawbridge" {
		t.Fatalf("the pod must have the one container that runs /drawbridge: %+v", pod.Containers)
	}
	c := resolve(t, namespace, pod.Containers[0], folders)
	account := in.plane.ServiceAccountKubeconfig(t, namespace, pod.ServiceAccountName)
	in.manager = lab.Start(t, lab.Process{
		Name: "manager", Path: lab.Drawbridge(t), Args: c.args, Env: append(c.env, "KUBECONFIG="+account),
	})
	c.awaitProbe(t, c.StartupProbe)
	c.awaitProbe(t, c.ReadinessProbe)
	c.awaitProbe(t, c.LivenessProbe)
	c.publish(t, in.client, namespace, "drawbridge-webhook")
	var service corev1.Service
	if err := in.client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "drawbridge-webhook"}, &service); err != nil {
		t.Fatal(err)
	}
	in.address = net.JoinHostPort(lab.Address, fmt.Sprint(c.port(t, service.Spec.Ports[0].TargetPort)))
	// The API server learns of the endpoint by a watch.
	lab.Eventually(t, patience, func() error { return in.denied(t) })
}

const (
	ipService = `apiVersion: v1
kind: Service
metadata: {name: by-ip}
spec: {type: ExternalName, externalName: 1.2.3.4}
`
	external = `apiVersion: v1
kind: Service
metadata: {name: external}
spec: {type: ExternalName, externalName: api.example.com}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: external}
spec:
  ingressClassName: drawbridge
  rules:
    - host: www.example.org
      http:
        paths:
          - path: /
            pathType: Prefix
            backend: {service: {name: external, port: {number: 443}}}
`
	endpoints = `apiVersion: v1
kind: Service
metadata: {name: by-hand}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: by-hand}
subsets: [{addresses: [{ip: 192.0.2.77}], ports: [{port: 8080}]}]
`
)

// denied is nil when kubectl create is refused by the rule, as a trial that stores nothing.
func (in *installation) denied(t *testing.T) error {
	_, stderr, err := in.plane.KubectlIn(t, ipService, "create", "-n", "default", "--dry-run=server", "-f", "-")
	switch {
	case err == nil:
		return errors.New("an ExternalName of an IP was accepted")
	case !strings.Contains(stderr, "(service-external-name-ip)"):
		return fmt.Errorf("refused for another reason: %s", stderr)
	}
	return nil
}

// enforces applies with kubectl, as a person who may edit everything.
func (in *installation) enforces(t *testing.T) {
	ns := in.plane.Namespace(t)
	_, stderr, err := in.plane.KubectlIn(t, ipService, "apply", "-n", ns, "-f", "-")
	if err == nil || !strings.Contains(stderr, `The Service "by-ip" is invalid: spec.externalName`) || !strings.Contains(stderr, "(service-external-name-ip)") {
		t.Errorf("must be refused by service-external-name-ip: %v\n%s", err, stderr)
	}
	if err := in.client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "by-ip"}, &corev1.Service{}); client.IgnoreNotFound(err) != nil || err == nil {
		t.Errorf("the Service must not be stored: %v", err)
	}
	_, stderr, err = in.plane.KubectlIn(t, external, "apply", "-n", ns, "-f", "-")
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	if !strings.Contains(stderr, "Warning:") {
		t.Errorf("kubectl must tell what was mended: %q", stderr)
	}
	var ingress networkingv1.Ingress
	if err := in.client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "external"}, &ingress); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"ingress.kubernetes.io/preserve-host": "false", "ingress.kubernetes.io/backend-protocol": "HTTPS"} {
		if got := ingress.Annotations[key]; got != want {
			t.Errorf("annotation %s is %q, must be %q", key, got, want)
		}
	}
	stdout, stderr, err := in.plane.KubectlIn(t, external, "apply", "-n", ns, "-f", "-")
	if err != nil || strings.Contains(stdout, "configured") {
		t.Errorf("applied again it must be unchanged: %v\n%s%s", err, stdout, stderr)
	}
	in.noFailOpen(t)
}

func (in *installation) noFailOpen(t *testing.T) {
	t.Helper()
	if n := in.plane.FailOpenCount(t); n != 0 {
		t.Errorf("%d requests passed because a webhook did not answer", n)
	}
}

// generatesSlices shows that the leader's permissions are enough.
func (in *installation) generatesSlices(t *testing.T) {
	var lease coordinationv1.Lease
	lab.Eventually(t, patience, func() error {
		if err := in.client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "drawbridge-manager"}, &lease); err != nil {
			return err
		}
		if lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "" {
			return errors.New("nobody holds the Lease drawbridge-manager")
		}
		return nil
	})
	ns := in.plane.Namespace(t)
	in.plane.Apply(t, ns, endpoints)
	lab.Eventually(t, patience, func() error {
		var list discoveryv1.EndpointSliceList
		err := in.client.List(t.Context(), &list, client.InNamespace(ns),
			client.MatchingLabels{discoveryv1.LabelServiceName: "by-hand", discoveryv1.LabelManagedBy: "drawbridge.dev"})
		if err != nil {
			return err
		}
		if len(list.Items) != 1 || list.Items[0].Endpoints[0].Addresses[0] != "192.0.2.77" {
			return fmt.Errorf("slices: %+v", list.Items)
		}
		var ep corev1.Endpoints
		if err := in.client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "by-hand"}, &ep); err != nil {
			return err
		}
		if ep.Labels[discoveryv1.LabelSkipMirror] != "true" {
			return fmt.Errorf("the Endpoints have labels %v, skip-mirror is missing", ep.Labels)
		}
		return nil
	})
}

// permissions asks the API server what the manager's account may do.
func (in *installation) permissions(t *testing.T) {
	in.may(t, "drawbridge-manager", []permission{
		{true, "list services -A"},
		{true, "patch endpoints -n default"},
		{true, "create endpointslices.discovery.k8s.io -n default"},
		{true, "get configmaps/drawbridge-policy -n " + namespace},
		{true, "update leases.coordination.k8s.io/drawbridge-manager -n " + namespace},
		{false, "get secrets -A"},
		{false, "list secrets -n " + namespace},
		{false, "get secrets/drawbridge-webhook-tls -n " + namespace},
		{false, "list configmaps -n " + namespace},
		{false, "get configmaps/drawbridge-policy -n default"},
		{false, "update configmaps/drawbridge-policy -n " + namespace},
		{false, "update leases.coordination.k8s.io/other -n " + namespace},
		{false, "update services -A"},
		{true, "patch services -A"},
		{false, "update endpoints -A"},
		{false, "delete endpoints -A"},
		{false, "update ingresses.networking.k8s.io -A"},
		{false, "delete ingresses.networking.k8s.io -A"},
		{false, "create pods -A"},
		{false, "create pods/exec -A"},
		{false, "create serviceaccounts/token -A"},
		{false, "impersonate users"},
		{false, "patch validatingwebhookconfigurations.admissionregistration.k8s.io"},
		{false, "escalate clusterroles.rbac.authorization.k8s.io"},
		{false, "* *"},
	})
	// The other way round: what it tried so far, it was let do.
	notForbidden(t, in.manager)
}

// A permission is what an account may or may not do, as arguments of kubectl auth can-i.
type permission struct {
	may  bool
	args string
}

func (in *installation) may(t *testing.T, account string, permissions []permission) {
	t.Helper()
	kubeconfig := in.plane.ServiceAccountKubeconfig(t, namespace, account)
	for _, tt := range permissions {
		stdout, stderr, err := in.plane.KubectlAs(t, kubeconfig, "", append([]string{"auth", "can-i"}, strings.Fields(tt.args)...)...)
		if got := strings.TrimSpace(stdout); got != map[bool]string{true: "yes", false: "no"}[tt.may] {
			t.Errorf("%s may %s: %q, %v\n%s", account, tt.args, got, err, stderr)
		}
	}
}

// notForbidden fails when the API server refused a program something for want of a permission.
func notForbidden(t *testing.T, program *lab.Running) {
	t.Helper()
	for line := range strings.Lines(program.Output()) {
		if strings.Contains(line, "is forbidden: User") {
			t.Errorf("tried without permission: %s", line)
		}
	}
}

// versions are the resource versions of everything in the release.
func (in *installation) versions(t *testing.T) map[string]string {
	t.Helper()
	manifest := in.helm(t, "get", "manifest", "drawbridge")
	stdout, stderr, err := in.plane.KubectlIn(t, manifest, "get", "-n", namespace, "-f", "-", "-o", "json")
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	var list struct {
		Items []struct {
			Kind     string
			Metadata struct{ Name, ResourceVersion string }
		}
	}
	if err := json.Unmarshal([]byte(stdout), &list); err != nil {
		t.Fatal(err)
	}
	versions := map[string]string{}
	for _, item := range list.Items {
		versions[item.Kind+" "+item.Metadata.Name] = item.Metadata.ResourceVersion
	}
	return versions
}

func (in *installation) quietUpgrade(t *testing.T) {
	before := in.versions(t)
	if len(before) < 15 {
		t.Fatalf("the release has only %v", slices.Sorted(maps.Keys(before)))
	}
	in.helm(t, "upgrade", "drawbridge", chart(), "--reuse-values")
	after := in.versions(t)
	for what, version := range after {
		if before[what] != version {
			t.Errorf("%s was written", what)
		}
	}
	if len(before) != len(after) {
		t.Errorf("%d objects before, %d after", len(before), len(after))
	}
	if err := in.denied(t); err != nil {
		t.Error(err)
	}
}

func (in *installation) policyGoesLive(t *testing.T) {
	in.helm(t, "upgrade", "drawbridge", chart(), "--reuse-values", "--set", "policy.rules.service-external-name-ip=off")
	lab.Eventually(t, patience, func() error {
		_, stderr, err := in.plane.KubectlIn(t, ipService, "create", "-n", "default", "--dry-run=server", "-f", "-")
		if err != nil {
			return fmt.Errorf("with the rule off it must be accepted: %w\n%s", err, stderr)
		}
		return nil
	})
	in.helm(t, "rollback", "drawbridge", "1")
	lab.Eventually(t, patience, func() error { return in.denied(t) })
	in.noFailOpen(t)
}

// served is the certificate that the webhook shows, verified as the API server verifies it: by the injected CA, and the
// name of the Service.
func (in *installation) served(ctx context.Context) (*x509.Certificate, error) {
	bundles, err := in.bundles(ctx)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundles["service.validate.drawbridge.dev"])
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: "drawbridge-webhook." + namespace + ".svc", MinVersion: tls.VersionTLS12}}
	conn, err := dialer.DialContext(ctx, "tcp", in.address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0], nil
}

// issued is the certificate in the Secret.
func (in *installation) issued(ctx context.Context) (*x509.Certificate, error) {
	var secret corev1.Secret
	if err := in.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "drawbridge-webhook-tls"}, &secret); err != nil {
		return nil, err
	}
	block, _ := pem.Decode(secret.Data["tls.crt"])
	if block == nil {
		return nil, errors.New("tls.crt is no PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

// rotation renews the certificate as `cmctl renew` does, by the condition Issuing.
func (in *installation) rotation(t *testing.T) {
	ctx := t.Context()
	before, err := in.served(ctx)
	if err != nil {
		t.Fatal(err)
	}
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		var certificate certmanager.Certificate
		if err := in.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "drawbridge-webhook"}, &certificate); err != nil {
			return err
		}
		apiutil.SetCertificateCondition(&certificate, certificate.Generation, certmanager.CertificateConditionIssuing,
			cmmeta.ConditionTrue, "ManuallyTriggered", "renewed by hand")
		return in.client.Status().Update(ctx, &certificate)
	})
	if err != nil {
		t.Fatal(err)
	}
	var issued *x509.Certificate
	lab.Eventually(t, patience, func() error {
		if issued, err = in.issued(ctx); err != nil {
			return err
		}
		if issued.SerialNumber.Cmp(before.SerialNumber) == 0 {
			return errors.New("the Secret still holds the certificate of before")
		}
		return nil
	})
	if bytes.Equal(before.RawSubjectPublicKeyInfo, issued.RawSubjectPublicKeyInfo) {
		t.Error("the new certificate has the old key")
	}
	mountSecret(t, in.client, namespace, "drawbridge-webhook-tls", in.tls)
	lab.Eventually(t, patience, func() error {
		now, err := in.served(ctx)
		if err != nil {
			return err
		}
		if now.SerialNumber.Cmp(issued.SerialNumber) != 0 {
			return fmt.Errorf("certificate %x is served, must be %x", now.SerialNumber, issued.SerialNumber)
		}
		return nil
	})
	in.enforces(t)
}

// handsBack follows the chart's README: with the scope off, each slice is the mirroring controller's again, and the
// Service has had an endpoint all the time.
func (in *installation) handsBack(t *testing.T) {
	ns := in.plane.Namespace(t)
	in.plane.StartControllerManager(t, "endpointslice-mirroring-controller")
	managers := func() (map[string]int, error) {
		var list discoveryv1.EndpointSliceList
		err := in.client.List(t.Context(), &list, client.InNamespace(ns), client.MatchingLabels{discoveryv1.LabelServiceName: "by-hand"})
		counts := map[string]int{}
		for _, s := range list.Items {
			counts[s.Labels[discoveryv1.LabelManagedBy]] += len(s.Endpoints)
		}
		return counts, err
	}
	await := func(manager string) {
		served := false
		lab.Eventually(t, patience, func() error {
			counts, err := managers()
			if err != nil {
				return err
			}
			if served && len(counts) == 0 {
				t.Error("for a moment the Service had no endpoint")
			}
			served = served || len(counts) > 0
			if len(counts) != 1 || counts[manager] != 1 {
				return fmt.Errorf("endpoints by manager: %v", counts)
			}
			return nil
		})
	}
	in.plane.Apply(t, ns, endpoints)
	await("drawbridge.dev")
	in.helm(t, "upgrade", "drawbridge", chart(), "--reuse-values", "--set", "policy.slices.scope=off")
	await("endpointslicemirroring-controller.k8s.io")
	notForbidden(t, in.manager)
}

// withoutManager shows what the failure policies do: Services and Ingresses are refused, endpoints pass.
func (in *installation) withoutManager(t *testing.T) {
	in.manager.Stop()
	if code := in.manager.ExitCode(); code != 0 {
		t.Errorf("told to end, the manager exits with %d", code)
	}
	for kind, tt := range map[string]struct {
		manifest string
		refused  bool
	}{
		"Service":       {"apiVersion: v1\nkind: Service\nmetadata: {name: fine}\nspec: {type: ExternalName, externalName: api.example.com}", true},
		"Ingress":       {strings.Split(external, "---\n")[1], true},
		"Endpoints":     {strings.Split(endpoints, "---\n")[1], false},
		"EndpointSlice": {"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: fine}\naddressType: IPv4\nendpoints: []", false},
	} {
		_, stderr, err := in.plane.KubectlIn(t, tt.manifest, "create", "-n", "default", "--dry-run=server", "-f", "-")
		if refused := err != nil; refused != tt.refused || (refused && !strings.Contains(stderr, "failed calling webhook")) {
			t.Errorf("%s: refused is %v, must be %v: %s", kind, refused, tt.refused, stderr)
		}
	}
	// What runs in the namespace must start again all the same.
	if _, stderr, err := in.plane.KubectlIn(t, external, "create", "-n", namespace, "--dry-run=server", "-f", "-"); err != nil {
		t.Errorf("drawbridge's own namespace must not depend on it: %v\n%s", err, stderr)
	}
}

func (in *installation) uninstall(t *testing.T) {
	kinds := "clusterroles,clusterrolebindings,mutatingwebhookconfigurations,validatingwebhookconfigurations,ingressclasses"
	left := func(kinds string) string {
		stdout, stderr, err := in.plane.Kubectl(t, "get", kinds, "-n", namespace, "-l", "app.kubernetes.io/instance=drawbridge", "-o", "name")
		if err != nil {
			t.Fatalf("%v\n%s", err, stderr)
		}
		return stdout
	}
	if before := strings.Fields(left(kinds)); len(before) != 7 {
		t.Errorf("the release has the cluster's objects %v, expected 7", before)
	}
	in.helm(t, "uninstall", "drawbridge")
	lab.Eventually(t, patience, func() error {
		all := kinds + ",deployments,services,serviceaccounts,configmaps,roles,rolebindings,poddisruptionbudgets,certificates,issuers"
		if still := left(all); still != "" {
			return fmt.Errorf("left behind: %s", still)
		}
		return nil
	})
	if _, stderr, err := in.plane.KubectlIn(t, ipService, "create", "-n", "default", "--dry-run=server", "-f", "-"); err != nil {
		t.Errorf("a webhook still stands in the way: %v\n%s", err, stderr)
	}
}
