// Package chart tests the Helm chart as the real Helm renders it, and the Dockerfile. What the chart does in a cluster is
// tested in test/e2e.
package chart

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/test/lab"
	"drawbridge.dev/drawbridge/webhook"
)

// variants are values that between them reach every branch of the templates, by the name of their file. test/e2e/install
// asks a real API server what it thinks of each.
var variants = readVariants()

func readVariants() map[string]string {
	files, err := filepath.Glob("testdata/values/*.yaml")
	if err != nil || len(files) == 0 {
		panic(fmt.Sprintf("testdata/values holds nothing: %v", err))
	}
	values := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			panic(err)
		}
		values[strings.TrimSuffix(filepath.Base(file), ".yaml")] = string(text)
	}
	return values
}

const namespace = "drawbridge-system"

// helm runs the real Helm with folders of its own.
func helm(t *testing.T, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	home := t.TempDir()
	cmd := exec.CommandContext(t.Context(), lab.Bin(t, "helm"), args...)
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home, "KUBECONFIG=/dev/null")
	cmd.Stdin = strings.NewReader(stdin)
	var out, warnings bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &warnings
	err = cmd.Run()
	return out.String(), warnings.String(), err
}

// folder is the chart's. Looking at its files from here keeps the go command from answering with a cached result after
// one of them has changed, because it does not see what Helm reads.
func folder() string {
	folder := filepath.Join(lab.Root(), "charts", "drawbridge")
	err := filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			_, err = os.Stat(path)
		}
		return err
	})
	if err != nil {
		panic(err)
	}
	return folder
}

func template(t *testing.T, values string) (string, error) {
	t.Helper()
	stdout, stderr, err := helm(t, values, "template", "drawbridge", folder(), "--namespace", namespace, "--values", "-")
	if err != nil {
		return "", errors.New(stderr)
	}
	return stdout, nil
}

// A release is what the chart renders to: cert-manager's objects as they are, all others of their Go types.
type release struct {
	typed   []policy.Object
	foreign []map[string]any
}

// render renders the chart. A field that Kubernetes does not know fails the test.
func render(t *testing.T, values string) release {
	t.Helper()
	text, err := template(t, values)
	if err != nil {
		t.Fatal(err)
	}
	strict := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	var out release
	documents := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		var raw map[string]any
		if err := yaml.UnmarshalStrict(document, &raw); err != nil {
			t.Fatalf("%v in\n%s", err, document)
		}
		if raw == nil {
			continue
		}
		if strings.HasPrefix(raw["apiVersion"].(string), "cert-manager.io/") {
			out.foreign = append(out.foreign, raw)
			continue
		}
		object, _, err := strict.Decode(document, nil, nil)
		if err != nil {
			t.Fatalf("%v in\n%s", err, document)
		}
		out.typed = append(out.typed, object.(policy.Object))
	}
}

// get returns the one object of a type and name, and nil where there is none.
func get[T policy.Object](r release, name string) (found T) {
	for _, object := range r.typed {
		if typed, ok := object.(T); ok && object.GetName() == name {
			return typed
		}
	}
	return found
}

// pods are the pod templates of the release by the name of their Deployment or DaemonSet.
func (r release) pods() map[string]corev1.PodTemplateSpec {
	pods := map[string]corev1.PodTemplateSpec{}
	for _, object := range r.typed {
		switch typed := object.(type) {
		case *appsv1.Deployment:
			pods[typed.Name] = typed.Spec.Template
		case *appsv1.DaemonSet:
			pods[typed.Name] = typed.Spec.Template
		}
	}
	return pods
}

func forVariants(t *testing.T, check func(*testing.T, release)) {
	for name, values := range variants {
		t.Run(name, func(t *testing.T) { check(t, render(t, values)) })
	}
}

func TestLint(t *testing.T) {
	for name, values := range variants {
		t.Run(name, func(t *testing.T) {
			if stdout, stderr, err := helm(t, values, "lint", "--strict", folder(), "--values", "-"); err != nil {
				t.Errorf("%v\n%s%s", err, stdout, stderr)
			}
		})
	}
}

// The chart says the same as the program that is behind it.
func TestWebhooksAreThoseOfTheProgram(t *testing.T) {
	service := &admissionregistrationv1.ServiceReference{Namespace: namespace, Name: "drawbridge-webhook", Port: new(int32(443))}
	everything := webhook.ConfigurationOptions{
		Service:        service,
		TimeoutSeconds: 10,
		Failures: &webhook.Failures{
			Mutate:  admissionregistrationv1.Fail,
			Service: admissionregistrationv1.Ignore, Ingress: admissionregistrationv1.Ignore,
			Endpoints: admissionregistrationv1.Fail, EndpointSlice: admissionregistrationv1.Fail,
			ServiceStatus: admissionregistrationv1.Fail,
		},
		ExcludedUsers:      []string{"system:serviceaccount:operators:*", "o'brien", `DOMAIN\user`, `say "hi"`},
		ExcludedNamespaces: []string{"playground", "kube-system"},
	}
	for variant, options := range map[string]webhook.ConfigurationOptions{
		"defaults":   {Service: service},
		"everything": everything,
	} {
		t.Run(variant, func(t *testing.T) {
			r := render(t, variants[variant])
			mutating, validating := webhook.Configurations(options)
			gotMutating := get[*admissionregistrationv1.MutatingWebhookConfiguration](r, "drawbridge")
			gotValidating := get[*admissionregistrationv1.ValidatingWebhookConfiguration](r, "drawbridge")
			if gotMutating == nil || gotValidating == nil {
				t.Fatal("a webhook configuration is missing")
			}
			if diff := cmp.Diff(mutating.Webhooks, gotMutating.Webhooks); diff != "" {
				t.Errorf("mutating (-program +chart):\n%s", diff)
			}
			if diff := cmp.Diff(validating.Webhooks, gotValidating.Webhooks); diff != "" {
				t.Errorf("validating (-program +chart):\n%s", diff)
			}
			// cainjector needs it, and the Certificate that it names must be in the release.
			for _, object := range []policy.Object{gotMutating, gotValidating} {
				if got := object.GetAnnotations()["cert-manager.io/inject-ca-from"]; got != namespace+"/drawbridge-webhook" {
					t.Errorf("inject-ca-from is %q", got)
				}
			}
			if !slices.ContainsFunc(r.foreign, func(o map[string]any) bool {
				return o["kind"] == "Certificate" && o["metadata"].(map[string]any)["name"] == "drawbridge-webhook"
			}) {
				t.Error("there is no Certificate drawbridge-webhook")
			}
		})
	}
}

// anyRule takes every ID for a rule's: which there are is not the chart's matter.
func anyRule(string) bool { return true }

// What the program would refuse is refused before it is installed: by the schema, or by `drawbridge check`, which reads
// what Helm renders.
func TestWrongPolicy(t *testing.T) {
	for values, want := range map[string]string{
		"policy: {rules: {nope: warn}}":                                 "nope",
		"policy: {rules: {ingress-preserve-host: maybe}}":               "/policy/rules/ingress-preserve-host",
		"policy: {profil: strict}":                                      "profil",
		"policy: {namespaces: [{profile: strict}]}":                     "/policy/namespaces/0",
		"policy: {exemptions: [{rules: [nope], reason: x}]}":            "/policy/exemptions/0/rules/0",
		"policy: {classes: [{class: edge, dialect: nope}]}":             "/policy/classes/0/dialect",
		"policy: {namespaces: [{names: [a], rules: {nope: warn}}]}":     "/policy/namespaces/0/rules",
		"policy: {grants: [{from: [a], to: [b], kinds: [Deployment]}]}": "/policy/grants/0/kinds/0",
	} {
		if _, err := template(t, values); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: must be refused for %s, got %v", values, want, err)
		}
	}
	check := func(manifests string) (string, error) {
		cmd := exec.CommandContext(t.Context(), lab.Drawbridge(t), "check", "-")
		cmd.Stdin = strings.NewReader(manifests)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for values, want := range map[string]string{
		"policy: {addresses: {allowed: [10.1.2.3/8]}}": "'10.1.2.3/8' has bits set behind the mask; write '10.0.0.0/8' (policy-config)",
		"policy: {namespaces: [{labels: 'env in'}]}":   "'env in' must be a label selector",
		"policy: {proxyNames: [Proxy.example]}":        "'Proxy.example' must be a DNS name in lower case",
	} {
		manifests, err := template(t, values)
		if err != nil {
			t.Fatal(err)
		}
		out, err := check(manifests)
		if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(out, want) {
			t.Errorf("%s: %v, %s, want %s", values, err, out, want)
		}
	}
	for name, values := range variants {
		manifests, err := template(t, values)
		if err != nil {
			t.Fatal(err)
		}
		if out, err := check(manifests); err != nil || strings.Contains(out, "policy-config") {
			t.Errorf("%s: %v, %s", name, err, out)
		}
	}
}

func TestPolicy(t *testing.T) {
	text := func(values string) string {
		return get[*corev1.ConfigMap](render(t, values), "drawbridge-policy").Data["policy.yaml"]
	}
	if diff := cmp.Diff(policy.DefaultYAML, text("")); diff != "" {
		t.Errorf("default policy (-program +chart):\n%s", diff)
	}
	for name, tt := range map[string]struct {
		values string
		want   func(*policy.Config)
	}{
		// As a person writes it: unquoted, which is a boolean to Helm.
		"off": {"policy: {slices: {scope: off}, rules: {ingress-preserve-host: off, endpointslice-service-name: fix}}", func(c *policy.Config) {
			c.Slices.Scope = policy.SlicesOff
			c.Rules = map[string]policy.Level{"ingress-preserve-host": policy.Off, "endpointslice-service-name": policy.Fix}
		}},
		"lists are replaced": {"policy: {profile: strict, slices: {foreignManagers: [mine]}}", func(c *policy.Config) {
			c.Profile = policy.Strict
			c.Slices.ForeignManagers = []string{"mine"}
		}},
		"off in a namespace": {"policy: {namespaces: [{names: [team-a], rules: {ingress-preserve-host: off}}]}", func(c *policy.Config) {
			c.Namespaces = []policy.Override{{Names: []policy.Pattern{"team-a"}, Rules: map[string]policy.Level{"ingress-preserve-host": policy.Off}}}
		}},
		"what lists hold": {"policy: {destinations: {allowed: [{hosts: ['*.example.com'], ports: [443, '8000-8100']}]}, inject: []}", func(c *policy.Config) {
			c.Destinations.Allowed = []policy.Destination{{Hosts: []string{"*.example.com"}, Ports: []policy.PortRange{{First: 443, Last: 443}, {First: 8000, Last: 8100}}}}
			c.Inject = []string{}
		}},
		// The schema of the values knows every key that the policy has.
		"the default in full": {"policy:\n  " + strings.ReplaceAll(policy.DefaultYAML, "\n", "\n  "), func(*policy.Config) {}},
	} {
		t.Run(name, func(t *testing.T) {
			want, err := policy.ParseConfig([]byte(policy.DefaultYAML), anyRule)
			if err != nil {
				t.Fatal(err)
			}
			tt.want(want)
			got, err := policy.ParseConfig([]byte(text(tt.values)), anyRule)
			if err != nil {
				t.Fatal(err)
			}
			want.Generation = got.Generation
			if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(policy.Config{}), cmp.Comparer(func(a, b policy.Addresses) bool {
				return slices.Equal(a.Allowed, b.Allowed) && slices.Equal(a.Forbidden, b.Forbidden)
			})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestSchemaRefuses(t *testing.T) {
	for name, values := range map[string]string{
		"a misspelled value":                 "manger: {replicas: 2}",
		"a misspelled value inside":          "manager: {replica: 2}",
		"no replica":                         "manager: {replicas: 0}",
		"a number as text":                   "manager: {replicas: two}",
		"an unknown failure policy":          "webhook: {failurePolicy: {services: Refuse}}",
		"a timeout that Kubernetes refuses":  "webhook: {timeoutSeconds: 31}",
		"an exemption of everyone":           `webhook: {exemptUsers: ["*"]}`,
		"a user with a newline":              `webhook: {exemptUsers: ["a\nb"]}`,
		"an unknown kind of workload":        "proxy: {kind: StatefulSet}",
		"a class without a name":             `proxy: {ingressClasses: [""]}`,
		"a digest that is none":              "manager: {image: {digest: latest}}",
		"an unknown level":                   "policy: {rules: {ingress-preserve-host: allow}}",
		"a level that is true":               "policy: {rules: {ingress-preserve-host: on}}",
		"an unknown key of the policy":       "policy: {exemption: []}",
		"a common label that selectors need": "commonLabels: {app.kubernetes.io/name: other}",
		"a duration of words":                "certificate: {duration: a while}",
		"an audit all the time":              "manager: {audit: {interval: 5s}}",
		"an audit every number":              "manager: {audit: {interval: 60}}",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := template(t, values)
			if err == nil || !strings.Contains(err.Error(), "values don't meet the specifications of the schema") {
				t.Errorf("must be refused by the schema, got: %v", err)
			}
		})
	}
}

// The restricted Pod Security Standard and what goes beyond it.
func TestHardening(t *testing.T) {
	forVariants(t, func(t *testing.T, r release) {
		if len(r.pods()) == 0 {
			t.Fatal("no pods")
		}
		for name, pod := range r.pods() {
			s := pod.Spec
			if c := s.SecurityContext; c == nil || c.RunAsNonRoot == nil || !*c.RunAsNonRoot || c.RunAsUser == nil || *c.RunAsUser == 0 ||
				c.SeccompProfile == nil || c.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
				t.Errorf("%s: security context %+v", name, c)
			}
			if s.HostNetwork || s.HostPID || s.HostIPC {
				t.Errorf("%s: a namespace of the host", name)
			}
			if s.EnableServiceLinks == nil || *s.EnableServiceLinks {
				t.Errorf("%s: the Services of the namespace come as environment", name)
			}
			for _, volume := range s.Volumes {
				if volume.HostPath != nil {
					t.Errorf("%s: a volume of the host", name)
				}
			}
			for _, c := range slices.Concat(s.InitContainers, s.Containers) {
				sc := c.SecurityContext
				if sc == nil || sc.ReadOnlyRootFilesystem == nil || !*sc.ReadOnlyRootFilesystem ||
					sc.AllowPrivilegeEscalation == nil || *sc.AllowPrivilegeEscalation ||
					sc.Capabilities == nil || !slices.Equal(sc.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(sc.Capabilities.Add) > 0 ||
					sc.RunAsUser != nil || sc.RunAsNonRoot != nil || sc.SeccompProfile != nil || sc.Privileged != nil {
					t.Errorf("%s/%s: security context %+v", name, c.Name, sc)
				}
				if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() {
					t.Errorf("%s/%s: resources %+v", name, c.Name, c.Resources)
				}
				if c.LivenessProbe == nil || (c.ReadinessProbe == nil && c.StartupProbe == nil) {
					t.Errorf("%s/%s: a probe is missing", name, c.Name)
				}
				if strings.HasSuffix(c.Image, ":latest") || !strings.ContainsAny(c.Image, ":@") {
					t.Errorf("%s/%s: image %s", name, c.Name, c.Image)
				}
				for _, port := range c.Ports {
					if port.HostPort != 0 || port.ContainerPort < 1024 {
						t.Errorf("%s/%s: port %+v", name, c.Name, port)
					}
				}
			}
		}
	})
}

// Only what speaks to the API server has a token, and HAProxy is not among it.
func TestHAProxyHasNoToken(t *testing.T) {
	for _, variant := range []string{"defaults", "everything"} {
		spec := render(t, variants[variant]).pods()["drawbridge-proxy"].Spec
		if spec.AutomountServiceAccountToken == nil || *spec.AutomountServiceAccountToken {
			t.Fatal("a token is mounted into every container")
		}
		tokens := map[string]bool{}
		for _, volume := range spec.Volumes {
			tokens[volume.Name] = volume.Secret != nil || volume.Projected != nil
		}
		has := map[string]bool{}
		for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
			for _, mount := range c.VolumeMounts {
				has[c.Name] = has[c.Name] || tokens[mount.Name]
			}
		}
		if diff := cmp.Diff(map[string]bool{"agent": true, "haproxy": false}, has); diff != "" {
			t.Errorf("%s: who has a token (-want +got):\n%s", variant, diff)
		}
	}
}

func TestPermissions(t *testing.T) {
	r := render(t, "")
	read := []string{"get", "list", "watch"}
	want := map[string][]rbacv1.PolicyRule{
		"ClusterRole drawbridge-manager": {
			{APIGroups: []string{""}, Resources: []string{"services", "endpoints", "namespaces", "nodes"}, Verbs: read},
			{APIGroups: []string{"discovery.k8s.io"}, Resources: []string{"endpointslices"}, Verbs: read},
			{APIGroups: []string{"networking.k8s.io"}, Resources: []string{"ingresses", "ingressclasses", "servicecidrs"}, Verbs: read},
			{APIGroups: []string{"discovery.k8s.io"}, Resources: []string{"endpointslices"}, Verbs: []string{"create", "patch", "delete"}},
			{APIGroups: []string{""}, Resources: []string{"endpoints"}, Verbs: []string{"patch"}},
			{APIGroups: []string{""}, Resources: []string{"endpoints/finalizers"}, Verbs: []string{"update"}},
			{APIGroups: []string{"networking.k8s.io"}, Resources: []string{"ingresses"}, Verbs: []string{"patch"}},
			{APIGroups: []string{""}, Resources: []string{"services"}, Verbs: []string{"patch"}},
			{APIGroups: []string{"authorization.k8s.io"}, Resources: []string{"subjectaccessreviews"}, Verbs: []string{"create"}},
			{APIGroups: []string{"", "events.k8s.io"}, Resources: []string{"events"}, Verbs: []string{"create", "patch"}},
			{APIGroups: []string{"openreports.io"}, Resources: []string{"reports"}, Verbs: []string{"get", "list", "create", "patch", "delete"}},
		},
		"Role drawbridge-manager": {
			{APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: []string{"drawbridge-policy"}, Verbs: read},
			{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"create"}},
			{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, ResourceNames: []string{"drawbridge-manager"}, Verbs: []string{"get", "update", "patch"}},
		},
		"ClusterRole drawbridge-proxy": {
			{APIGroups: []string{""}, Resources: []string{"services", "namespaces", "nodes", "secrets"}, Verbs: read},
			{APIGroups: []string{"discovery.k8s.io"}, Resources: []string{"endpointslices"}, Verbs: read},
			{APIGroups: []string{"networking.k8s.io"}, Resources: []string{"ingresses", "ingressclasses", "servicecidrs"}, Verbs: read},
			{APIGroups: []string{"", "events.k8s.io"}, Resources: []string{"events"}, Verbs: []string{"create", "patch"}},
		},
		"Role drawbridge-proxy": {
			{APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: []string{"drawbridge-policy"}, Verbs: read},
		},
	}
	got := map[string][]rbacv1.PolicyRule{}
	subject := func(name string) []rbacv1.Subject {
		return []rbacv1.Subject{{Kind: "ServiceAccount", Name: name, Namespace: namespace}}
	}
	for _, object := range r.typed {
		switch o := object.(type) {
		case *rbacv1.ClusterRole:
			got["ClusterRole "+o.Name] = o.Rules
		case *rbacv1.Role:
			got["Role "+o.Name] = o.Rules
		case *rbacv1.ClusterRoleBinding:
			if o.RoleRef.Name != o.Name || !cmp.Equal(o.Subjects, subject(o.Name)) {
				t.Errorf("ClusterRoleBinding %s binds %v to %v", o.Name, o.RoleRef, o.Subjects)
			}
		case *rbacv1.RoleBinding:
			if o.RoleRef.Name != o.Name || !cmp.Equal(o.Subjects, subject(o.Name)) {
				t.Errorf("RoleBinding %s binds %v to %v", o.Name, o.RoleRef, o.Subjects)
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What the chart says of the audit and of namespaces without admission reaches the program; without an audit, and
// without Reports, the right to write them is not granted.
func TestAudit(t *testing.T) {
	for name, tc := range map[string]struct {
		values string
		args   []string
		grants bool
	}{
		"as it is":            {"", []string{"--audit-interval=10m", "--audit-reports=true"}, true},
		"with exemptions":     {"webhook: {exemptNamespaces: [a, b]}", []string{"--audit-interval=10m", "--audit-reports=true", "--exempt-namespaces=a,b"}, true},
		"without Reports":     {"manager: {audit: {interval: 1h30m, reports: false}}", []string{"--audit-interval=1h30m", "--audit-reports=false"}, false},
		"without":             {"manager: {audit: {interval: 0}}", []string{"--audit-interval=0", "--audit-reports=true"}, false},
		"without, as a word":  {`manager: {audit: {interval: "0"}}`, []string{"--audit-interval=0", "--audit-reports=true"}, false},
		"every eleven second": {"manager: {audit: {interval: 11s}}", []string{"--audit-interval=11s", "--audit-reports=true"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := render(t, tc.values)
			var args []string
			for _, arg := range get[*appsv1.Deployment](r, "drawbridge-manager").Spec.Template.Spec.Containers[0].Args {
				if strings.HasPrefix(arg, "--audit") || strings.HasPrefix(arg, "--exempt") {
					args = append(args, arg)
				}
			}
			if diff := cmp.Diff(tc.args, args); diff != "" {
				t.Errorf("arguments (-want +got):\n%s", diff)
			}
			grants := slices.ContainsFunc(get[*rbacv1.ClusterRole](r, "drawbridge-manager").Rules, func(rule rbacv1.PolicyRule) bool {
				return slices.Contains(rule.APIGroups, "openreports.io")
			})
			if grants != tc.grants {
				t.Errorf("grants to write Reports: %t", grants)
			}
		})
	}
}

// Every selector finds its pods and every named port is there; namespaced objects name the namespace, others do not.
func TestObjectsFitTogether(t *testing.T) {
	forVariants(t, func(t *testing.T, r release) {
		pods := r.pods()
		ports := func(pod corev1.PodTemplateSpec) (names []string) {
			for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
				for _, port := range c.Ports {
					names = append(names, port.Name)
				}
			}
			return names
		}
		selects := func(what string, selector *metav1.LabelSelector, name string) {
			s, err := metav1.LabelSelectorAsSelector(selector)
			if err != nil {
				t.Fatal(err)
			}
			for pod, template := range pods {
				if s.Matches(labels.Set(template.Labels)) != (pod == name) {
					t.Errorf("%s selects the wrong pods: %s", what, s)
				}
			}
		}
		for _, object := range r.typed {
			gvk := object.GetObjectKind().GroupVersionKind()
			what := gvk.Kind + " " + object.GetName()
			cluster := []string{"ClusterRole", "ClusterRoleBinding", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration", "IngressClass"}
			if want := slices.Contains(cluster, gvk.Kind); want != (object.GetNamespace() == "") {
				t.Errorf("%s is in namespace %q", what, object.GetNamespace())
			}
			if object.GetLabels()["app.kubernetes.io/instance"] != "drawbridge" {
				t.Errorf("%s has labels %v", what, object.GetLabels())
			}
			switch o := object.(type) {
			case *corev1.Service:
				pod := map[string]string{"drawbridge-webhook": "drawbridge-manager", "drawbridge-proxy": "drawbridge-proxy"}[o.Name]
				selects(what, &metav1.LabelSelector{MatchLabels: o.Spec.Selector}, pod)
				for _, port := range o.Spec.Ports {
					if !slices.Contains(ports(pods[pod]), port.TargetPort.String()) {
						t.Errorf("%s: no container has port %s", what, port.TargetPort.String())
					}
				}
			case *appsv1.Deployment:
				selects(what, o.Spec.Selector, o.Name)
			case *appsv1.DaemonSet:
				selects(what, o.Spec.Selector, o.Name)
			case *policyv1.PodDisruptionBudget:
				selects(what, o.Spec.Selector, o.Name)
			case *networkingv1.NetworkPolicy:
				selects(what, &o.Spec.PodSelector, o.Name)
			}
		}
	})
}

func TestIngressClass(t *testing.T) {
	for variant, isDefault := range map[string]string{"defaults": "", "everything": "true"} {
		class := get[*networkingv1.IngressClass](render(t, variants[variant]), "drawbridge")
		if class == nil || class.Spec.Controller != "drawbridge.dev/ingress" || class.Annotations[networkingv1.AnnotationIsDefaultIngressClass] != isDefault {
			t.Errorf("%s: IngressClass %+v", variant, class)
		}
	}
	if get[*networkingv1.IngressClass](render(t, variants["manager-alone"]), "drawbridge") != nil {
		t.Error("an IngressClass though it is switched off")
	}
}
