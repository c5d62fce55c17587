package envtest

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"drawbridge.dev/drawbridge/test/lab"
)

// TestAdmission runs one manager for all that can share it. Each subtest has a Kubernetes namespace of its own.
func TestAdmission(t *testing.T) {
	cluster := lab.Shared(t)
	before := cluster.Namespace(t)
	cluster.Apply(t, before, badService+`
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: old}
spec:
  ingressClassName: drawbridge
  defaultBackend: {service: {name: site, port: {number: 443}}}
---
apiVersion: v1
kind: Service
metadata: {name: site}
spec: {type: ExternalName, externalName: site.example.com}
`)
	older := cluster.Namespace(t)
	cluster.Apply(t, older, stale)
	m := start(t, cluster)

	t.Run("Transcripts", func(t *testing.T) { transcripts(t, cluster) })
	t.Run("Quiet", func(t *testing.T) { quiet(t, m) })
	t.Run("BadBefore", func(t *testing.T) { badBefore(t, m, before) })
	t.Run("Together", func(t *testing.T) { together(t, m) })
	t.Run("ExcludedUsers", func(t *testing.T) { excludedUsers(t, m) })
	t.Run("Right", func(t *testing.T) { right(t, m) })
	t.Run("Bypasses", func(t *testing.T) { bypasses(t, m, older) })
	t.Run("OutOfScope", func(t *testing.T) { outOfScope(t, m) })
	t.Run("Completing", func(t *testing.T) { completing(t, m) })
	t.Run("Policy", func(t *testing.T) { followPolicy(t, m) })
	t.Run("EveryReplica", func(t *testing.T) { everyReplica(t, m) })
	t.Run("Rotation", func(t *testing.T) { rotation(t, m) })
	t.Run("Metrics", func(t *testing.T) { metrics(t) })
	m.failedOpen(t)
	t.Run("Shutdown", func(t *testing.T) { shutdown(t, m) })
}

// quiet applies the same manifests again, as GitOps tools do all day: nothing is written.
func quiet(t *testing.T, m *manager) {
	manifests := map[string]string{
		"service/site":    "apiVersion: v1\nkind: Service\nmetadata: {name: site}\nspec: {type: ExternalName, externalName: site.example.com}",
		"service/address": "apiVersion: v1\nkind: Service\nmetadata: {name: address}\nspec: {ports: [{name: http, port: 80}]}",
		"ingress/site": `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: site}
spec:
  ingressClassName: drawbridge
  defaultBackend: {service: {name: site, port: {number: 443}}}`,
		"endpointslice/site-1": strings.ReplaceAll(slice, "NAME", "address"),
	}
	order := []string{"service/site", "service/address", "ingress/site", "endpointslice/site-1"}
	for _, mode := range []string{"--server-side=false", "--server-side=true"} {
		namespace := m.cluster.Namespace(t)
		var first string
		for round := range 3 {
			for _, name := range order {
				_, stderr, err := m.cluster.KubectlIn(t, manifests[name], "apply", mode, "-n", namespace, "-f", "-")
				if err != nil {
					t.Fatal(stderr)
				}
				if mended := name == "ingress/site" || name == "endpointslice/site-1"; (stderr != "") != (mended && round == 0) {
					t.Errorf("%s %s, time %d: %q", mode, name, round+1, stderr)
				}
			}
			versions, stderr, err := m.cluster.Kubectl(t, append([]string{"get", "-n", namespace, "-o",
				"jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.resourceVersion}{\"\\n\"}{end}"}, order...)...)
			if err != nil {
				t.Fatal(stderr)
			}
			if round == 0 {
				first = versions
			} else if diff := cmp.Diff(first, versions); diff != "" {
				t.Errorf("%s: applied again, and written:\n%s", mode, diff)
			}
		}
	}
}

// badBefore has objects that were bad before the webhook came: they can be given a label, which neither mends them nor
// changes their traffic, and not be made worse.
func badBefore(t *testing.T, m *manager, namespace string) {
	ctx := t.Context()
	admin := m.cluster.Client(t)
	var service corev1.Service
	var ingress networkingv1.Ingress
	get := func(object client.Object, name string) {
		t.Helper()
		if err := admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, object); err != nil {
			t.Fatal(err)
		}
	}
	get(&ingress, "old")
	spec := ingress.Spec.DeepCopy()

	_, stderr, err := m.cluster.Kubectl(t, "label", "service", "bad", "team=a", "-n", namespace)
	if err != nil {
		t.Fatalf("an object that was bad before can't be given a label: %s", stderr)
	}
	if !strings.Contains(stderr, "Warning: spec.externalName") || !strings.Contains(stderr, "(service-external-name-ip)") {
		t.Errorf("the user saw no warning: %q", stderr)
	}
	get(&service, "bad")
	if service.Labels["team"] != "a" || service.Spec.ExternalName != "1.2.3.4" {
		t.Errorf("labels %v, externalName %q", service.Labels, service.Spec.ExternalName)
	}

	_, stderr, err = m.cluster.Kubectl(t, "label", "ingress", "old", "team=a", "-n", namespace)
	if err != nil {
		t.Fatal(stderr)
	}
	if !strings.Contains(stderr, "(ingress-preserve-host)") || strings.Contains(stderr, "fixed:") {
		t.Errorf("warnings %q", stderr)
	}
	get(&ingress, "old")
	for key := range ingress.Annotations {
		if strings.Contains(key, "ingress.kubernetes.io/") || strings.HasPrefix(key, "drawbridge.dev/") {
			t.Errorf("a new label changed the traffic: annotation %s=%q", key, ingress.Annotations[key])
		}
	}
	if diff := cmp.Diff(*spec, ingress.Spec); diff != "" {
		t.Errorf("a new label changed the spec: %s", diff)
	}

	// A service account is no person and reads no warnings of what was there before.
	robot := m.cluster.ServiceAccountKubeconfig(t, namespace, "robot")
	m.cluster.Apply(t, namespace, `
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: robot}
rules: [{apiGroups: ["", networking.k8s.io], resources: [services, ingresses], verbs: ["*"]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: robot}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: robot}
subjects: [{kind: ServiceAccount, name: robot, namespace: `+namespace+`}]
`)
	// RBAC, too, is known to the API server by a watch.
	lab.Eventually(t, patience, func() error {
		_, stderr, err = m.cluster.KubectlAs(t, robot, "", "label", "--overwrite", "service", "bad", "team=b", "-n", namespace)
		if err != nil && !strings.Contains(stderr, "is forbidden: User") {
			t.Fatalf("%v: %s", err, stderr)
		}
		return err
	})
	if stderr != "" {
		t.Errorf("a service account was warned of what it did not do: %q", stderr)
	}
	_, stderr, err = m.cluster.KubectlAs(t, robot, `{"apiVersion":"v1","kind":"Service","metadata":{"name":"bad"},"spec":{"type":"ExternalName","externalName":"2.3.4.5"}}`,
		"replace", "-n", namespace, "-f", "-")
	if err == nil || !strings.Contains(stderr, "(service-external-name-ip)") {
		t.Errorf("a service account made a bad object bad in another way: %v, %q", err, stderr)
	}
}

// together applies a Service and its Ingress in one go, again and again: by the time that the Ingress comes, no watch
// has told of the Service.
func together(t *testing.T, m *manager) {
	namespace := m.cluster.Namespace(t)
	admin := m.cluster.Client(t)
	for i := range 60 {
		name := fmt.Sprintf("site-%d", i)
		service := &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
			Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: name + ".example.com"},
		}
		ingress := &networkingv1.Ingress{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
			Spec: networkingv1.IngressSpec{
				IngressClassName: new("drawbridge"),
				DefaultBackend: &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{
					Name: name, Port: networkingv1.ServiceBackendPort{Number: 443},
				}},
			},
		}
		for _, object := range []client.Object{service, ingress} {
			if err := admin.Create(t.Context(), object); err != nil {
				t.Fatal(err)
			}
		}
		if ingress.Annotations["ingress.kubernetes.io/preserve-host"] != "false" || ingress.Annotations["ingress.kubernetes.io/backend-protocol"] != "HTTPS" {
			t.Errorf("%s was not mended: %v", name, ingress.Annotations)
		}
	}
	t.Logf("names read live: %s", metric(`drawbridge_live_reads_total{kind="Service",result="found"}`))
	// By kubectl, in one file.
	m.cluster.Apply(t, namespace, `
apiVersion: v1
kind: Service
metadata: {name: one-file}
spec: {type: ExternalName, externalName: one.example.com}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: one-file}
spec:
  ingressClassName: drawbridge
  defaultBackend: {service: {name: one-file, port: {number: 443}}}
`)
	var ingress networkingv1.Ingress
	if err := admin.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "one-file"}, &ingress); err != nil {
		t.Fatal(err)
	}
	if ingress.Annotations["ingress.kubernetes.io/preserve-host"] != "false" {
		t.Errorf("annotations %v", ingress.Annotations)
	}
}

// excludedUsers writes as users whose names are no subject of the webhook, and as one whose groups are the control
// plane's and whose name is not.
func excludedUsers(t *testing.T, m *manager) {
	for user, passes := range map[string]bool{
		"system:apiserver":                                           true,
		"system:kube-controller-manager":                             true,
		"system:cloud-controller-manager":                            true,
		"system:serviceaccount:kube-system:endpoint-controller":      true,
		"system:serviceaccount:drawbridge-system:drawbridge-manager": true,
		`o'hara\`:                                true,
		"zoë":                                    true,
		"system:node:n":                          true,
		"jane":                                   false,
		"system:kube-controller-manager-of-jane": false,
		"system:serviceaccount:kube-systems:x":   false,
		"system:serviceaccount:drawbridge-system:default": false,
	} {
		namespace := m.cluster.Namespace(t)
		_, stderr, err := m.cluster.KubectlIn(t, badService, "create", "-n", namespace, "-f", "-",
			"--as", user, "--as-group", "system:masters")
		switch {
		case passes && err != nil:
			t.Errorf("%s was stopped: %s", user, stderr)
		case !passes && (err == nil || !strings.Contains(stderr, "(service-external-name-ip)")):
			t.Errorf("%s passed: %v, %q", user, err, stderr)
		}
	}
}

// outOfScope looks at what must never be touched: kube-system, drawbridge's own namespace, and the API server's own
// Service.
func outOfScope(t *testing.T, m *manager) {
	for _, namespace := range []string{"kube-system", system} {
		if _, stderr, err := m.cluster.KubectlIn(t, badService, "create", "-n", namespace, "--dry-run=server", "-f", "-"); err != nil {
			t.Errorf("in %s: %s", namespace, stderr)
		}
	}
	admin := m.cluster.Client(t)
	key := client.ObjectKey{Namespace: "default", Name: "kubernetes"}
	for _, object := range []client.Object{&corev1.Service{}, &corev1.Endpoints{}, &discoveryv1.EndpointSlice{}} {
		if err := admin.Get(t.Context(), key, object); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{discoveryv1.LabelManagedBy, "drawbridge.dev/injected"} {
			if object.GetLabels()[key] != "" || object.GetAnnotations()[key] != "" {
				t.Errorf("%T default/kubernetes was mended: %s", object, key)
			}
		}
		for _, entry := range object.GetManagedFields() {
			if strings.Contains(entry.Manager, "drawbridge") {
				t.Errorf("%T default/kubernetes was written by %s", object, entry.Manager)
			}
		}
	}
}

func policyMap(text string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: drawbridge-policy}\ndata:\n  policy.yaml: |\n    " +
		strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    ") + "\n"
}

// followPolicy changes the policy of a running manager.
func followPolicy(t *testing.T, m *manager) {
	namespace := m.cluster.Namespace(t)
	create := func() (string, error) {
		_, stderr, err := m.cluster.KubectlIn(t, badService, "create", "-n", namespace, "--dry-run=server", "-f", "-")
		return stderr, err
	}
	if _, err := create(); err == nil {
		t.Fatal("the default policy does not deny")
	}
	m.cluster.Apply(t, system, policyMap("version: 1\nrules:\n  service-external-name-ip: warn"))
	lab.Eventually(t, patience, func() error {
		stderr, err := create()
		if err == nil && !strings.Contains(stderr, "Warning: spec.externalName") {
			t.Fatalf("passed without a warning: %q", stderr)
		}
		return err
	})
	generation := generations(t)

	deniedPolicy(t, m)
	if got := generations(t); got != generation {
		t.Errorf("the generation is %s, want %s", got, generation)
	}

	// One that got in all the same: nobody judged it.
	unjudged(t, m)
	m.cluster.Apply(t, system, policyMap("version: 1\nrules:\n  service-external-name-ip: off\n  no-such-rule: deny"))
	lab.Eventually(t, patience, func() error {
		if got := metric("drawbridge_policy_last_reload_success"); got != "0" {
			return fmt.Errorf("drawbridge_policy_last_reload_success is %q", got)
		}
		return nil
	})
	if stderr, err := create(); err != nil || !strings.Contains(stderr, "Warning: spec.externalName") {
		t.Errorf("the last good policy is not in force: %v, %q", err, stderr)
	}
	if got := generations(t); got != generation {
		t.Errorf("the generation is %s, want %s", got, generation)
	}
	admin := m.cluster.Client(t)
	lab.Eventually(t, patience, func() error {
		var events eventsv1.EventList
		if err := admin.List(t.Context(), &events, client.InNamespace(system)); err != nil {
			return err
		}
		for _, e := range events.Items {
			if e.Reason == "InvalidPolicy" && e.Regarding.Name == "drawbridge-policy" && strings.Contains(e.Note, "line 4, column 3: unknown rule 'no-such-rule'") {
				return nil
			}
		}
		return fmt.Errorf("no Event on the ConfigMap among %d", len(events.Items))
	})

	if _, stderr, err := m.cluster.Kubectl(t, "delete", "configmap", "drawbridge-policy", "-n", system); err != nil {
		t.Fatal(stderr)
	}
	lab.Eventually(t, patience, func() error {
		if _, err := create(); err == nil {
			return fmt.Errorf("the default policy is not in force again")
		}
		return nil
	})
	if got := metric("drawbridge_policy_last_reload_success"); got != "1" {
		t.Errorf("drawbridge_policy_last_reload_success is %q", got)
	}
}

// generations are the policy generations that the metrics show; there must be one.
func generations(t *testing.T) string {
	t.Helper()
	text, err := fetch("http://" + lab.Address + ":9090/metrics")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "drawbridge_policy_generation{") {
			found = append(found, strings.TrimSpace(line))
		}
	}
	if len(found) != 1 {
		t.Errorf("generations %q", found)
	}
	return strings.Join(found, " ")
}

// rotation changes the certificate under the running webhook.
func rotation(t *testing.T, m *manager) {
	old, err := m.serial()
	if err != nil {
		t.Fatal(err)
	}
	m.rotate(t)
	lab.Eventually(t, patience, func() error {
		now, err := m.serial()
		if err == nil && now == old {
			err = fmt.Errorf("still the old certificate")
		}
		return err
	})
	namespace := m.cluster.Namespace(t)
	if _, stderr, err := m.cluster.KubectlIn(t, badService, "create", "-n", namespace, "-f", "-"); err == nil || !strings.Contains(stderr, "(service-external-name-ip)") {
		t.Errorf("after the rotation: %v, %q", err, stderr)
	}
}

func metrics(t *testing.T) {
	for _, series := range []string{
		`drawbridge_reviews_total{kind="Service",level="deny",rule="service-external-name-ip"}`,
		`drawbridge_reviews_total{kind="Ingress",level="fix",rule="ingress-preserve-host"}`,
		`drawbridge_reviews_total{kind="Service",level="none",rule=""}`,
		`drawbridge_review_seconds_count{kind="Ingress",path="mutate"}`,
	} {
		if got := metric(series); got == "" || got == "0" {
			t.Errorf("%s is %q", series, got)
		}
	}
	for _, kind := range []string{"Service", "Endpoints", "EndpointSlice", "Ingress"} {
		for _, name := range []string{"drawbridge_review_panics_total", "drawbridge_review_errors_total"} {
			if got := metric(fmt.Sprintf("%s{kind=%q}", name, kind)); got != "0" {
				t.Errorf("%s of %s is %q", name, kind, got)
			}
		}
	}
}

// shutdown ends the manager as a node does: not ready at once, yet answering until nobody asks any more.
func shutdown(t *testing.T, m *manager) {
	namespace := m.cluster.Namespace(t)
	m.Signal(syscall.SIGTERM)
	lab.Eventually(t, 3*time.Second, func() error {
		if text, err := fetch(probes + "/readyz"); err == nil {
			return fmt.Errorf("still ready: %s", text)
		}
		return nil
	})
	if _, stderr, err := m.cluster.KubectlIn(t, badService, "create", "-n", namespace, "-f", "-"); err == nil || !strings.Contains(stderr, "(service-external-name-ip)") {
		t.Errorf("while shutting down: %v, %q", err, stderr)
	}
	m.failedOpen(t)
	select {
	case <-m.Done():
	case <-time.After(patience):
		t.Fatal("the manager does not end")
	}
	if code := m.ExitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}

	// What is left is what the failure policies say: Services and Ingresses wait for their judge, endpoints do not.
	_, stderr, err := m.cluster.KubectlIn(t, badService, "create", "-n", namespace, "-f", "-")
	if err == nil || !strings.Contains(stderr, "service.validate.drawbridge.dev") {
		t.Errorf("a Service without a judge: %v, %q", err, stderr)
	}
	if _, stderr, err := m.cluster.KubectlIn(t, strings.ReplaceAll(slice, "NAME", "site"), "create", "-n", namespace, "-f", "-"); err != nil {
		t.Errorf("an EndpointSlice without a judge: %s", stderr)
	}
}
