package envtest

import (
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/test/lab"
)

// stale is what an attacker has from before the webhook came.
const stale = `
apiVersion: v1
kind: Service
metadata: {name: alias}
spec: {type: ExternalName, externalName: metadata.google.internal}
---
apiVersion: v1
kind: Service
metadata: {name: site}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: site, labels: {endpointslice.kubernetes.io/skip-mirror: "true"}}
subsets: [{addresses: [{ip: 198.51.100.1}, {ip: 100.100.100.200}], ports: [{name: http, port: 80}]}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: site-1, labels: {kubernetes.io/service-name: site, endpointslice.kubernetes.io/managed-by: hand-written.drawbridge.dev}}
addressType: IPv6
endpoints: [{addresses: ["2001:db8::1"]}, {addresses: ["64:ff9b::a9fe:a9fe"]}]
ports: [{name: http, port: 80}]
`

// step is something that an attacker does. Where by is empty it passes, for it is harmless by itself; else it is denied
// by the rule of that name, or with that text where it has blanks.
type step struct {
	args []string
	yaml string
	by   string
}

func apply(by, yaml string) step  { return step{[]string{"apply", "-f", "-"}, yaml, by} }
func create(by, yaml string) step { return step{[]string{"create", "-f", "-"}, yaml, by} }

func change(by string, args ...string) step { return step{args, "", by} }

// mergePatch is `kubectl patch --type=merge` of an object, with more arguments behind it.
func mergePatch(by, object, patch string, more ...string) step {
	kind, name, _ := strings.Cut(object, "/")
	return step{append([]string{"patch", kind, name, "--type=merge", "-p", patch}, more...), "", by}
}

func aliasNamed(name, external string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: %s}\nspec: {type: ExternalName, externalName: %q, ports: [{port: 80}]}\n", name, external)
}

func pathTo(service, meta string) string {
	return fmt.Sprintf(`apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: %s%s}
spec:
  ingressClassName: drawbridge
  rules: [{host: %s.example.org, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: %s, port: {number: 80}}}}]}}]
`, service, meta, service, service)
}

func handWritten(service, meta, addressType string, addresses ...string) string {
	var list []string
	for _, a := range addresses {
		list = append(list, fmt.Sprintf("{addresses: [%q]}", a))
	}
	return fmt.Sprintf(`apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: %s-1
  labels: {kubernetes.io/service-name: %s, endpointslice.kubernetes.io/managed-by: hand-written.drawbridge.dev}
%s
addressType: %s
endpoints: [%s]
ports: [{name: http, port: 80}]
`, service, service, meta, addressType, strings.Join(list, ", "))
}

func endpointsOf(service, meta string, addresses ...string) string {
	var list []string
	for _, a := range addresses {
		list = append(list, fmt.Sprintf("{ip: %q}", a))
	}
	return fmt.Sprintf("apiVersion: v1\nkind: Endpoints\nmetadata: {name: %s%s}\nsubsets: [{addresses: [%s], ports: [{name: http, port: 80}]}]\n",
		service, meta, strings.Join(list, ", "))
}

func headless(name, more string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: %s}\nspec: {ports: [{name: http, port: 80}]%s}\n", name, more)
}

// bypasses has an attacker who may write everything in one namespace try to get past the rules. older is a namespace
// with what he has from before.
func bypasses(t *testing.T, m *manager, older string) {
	const (
		metadata = "169.254.169.254"
		owner    = `, ownerReferences: [{apiVersion: apps/v1, kind: DaemonSet, name: x, uid: 7f3c3c50-0000-4000-8000-000000000000, controller: true}]`
	)
	victim := m.cluster.Namespace(t)
	m.cluster.Apply(t, victim, headless("db", ""))
	address, stderr, err := m.cluster.Kubectl(t, "get", "service", "db", "-n", victim, "-o", "jsonpath={.spec.clusterIP}")
	if err != nil {
		t.Fatal(stderr)
	}
	inside := "db." + victim + ".svc.cluster.local"

	for name, steps := range map[string][]step{
		"exempting oneself": {
			apply("endpointslice-address", handWritten("x", `  annotations: {drawbridge.dev/allow-endpointslice-address: "please"}`, "IPv4", metadata)),
			apply("endpoints-address", endpointsOf("x", `, annotations: {drawbridge.dev/allow-endpoints-address: "please"}`, metadata)),
			apply("service-external-name-forbidden", strings.Replace(aliasNamed("x", "metadata.google.internal"), "name: x",
				`name: x, annotations: {drawbridge.dev/allow-service-external-name-forbidden: "please"}`, 1)),
		},
		"exempting the spelling": { // which an author may, and is judged all the same
			apply("service-external-name-forbidden", strings.Replace(aliasNamed("x", "169.254.169.254"), "name: x",
				`name: x, annotations: {drawbridge.dev/allow-service-external-name-ip: "please"}`, 1)),
		},
		"a slice of the control plane": {
			apply("endpointslice-managed-by-reserved", strings.Replace(handWritten("x", "", "IPv4", "192.0.2.10"),
				"hand-written.drawbridge.dev", "endpointslice-controller.k8s.io", 1)),
			apply("endpointslice-managed-by-reserved", strings.Replace(handWritten("x", "", "IPv4", "192.0.2.10"),
				"hand-written.drawbridge.dev", "endpointslicemirroring-controller.k8s.io", 1)),
			apply("endpointslice-managed-by-reserved", strings.Replace(handWritten("x", "", "IPv4", "192.0.2.10"),
				"hand-written.drawbridge.dev", "drawbridge.dev", 1)),
			apply("", headless("x", "")),
			apply("", handWritten("x", "", "IPv4", "192.0.2.10")),
			change("endpointslice-managed-by-reserved", "label", "--overwrite", "endpointslice", "x-1", "endpointslice.kubernetes.io/managed-by=endpointslice-controller.k8s.io"),
		},
		"a forged owner and manager": {
			apply("endpoints-address", endpointsOf("x", owner+`, labels: {endpoints.kubernetes.io/managed-by: endpoint-controller}`, metadata)),
			apply("endpointslice-address", strings.Replace(handWritten("x", "  "+strings.TrimPrefix(owner, ", "), "IPv4", metadata), "hand-written.drawbridge.dev", "cilium.io", 1)),
			apply("service-external-name-forbidden", strings.Replace(aliasNamed("x", "metadata.google.internal"), "name: x", "name: x"+owner, 1)),
			apply("", aliasNamed("w", inside)),
			apply("ingress-backend-cluster-local", pathTo("w", owner)),
			apply("ingress-secret-namespace", pathTo("z", owner+`, annotations: {nginx.ingress.kubernetes.io/auth-tls-secret: `+victim+`/ca}`)),
		},
		"a Secret of another namespace, and a request of the proxy itself": {
			apply("ingress-secret-namespace", pathTo("x", `, annotations: {nginx.ingress.kubernetes.io/auth-tls-secret: `+victim+`/ca}`)),
			apply("ingress-subrequest-destination", pathTo("x", `, annotations: {nginx.ingress.kubernetes.io/auth-url: "http://169.254.169.254$request_uri"}`)),
			apply("ingress-secret-namespace", pathTo("x", `, annotations: {nginx.ingress.kubernetes.io/auth-tls-secret: "`+victim+`/ca", kubernetes.io/ingress.class: traefik}`)),
			apply("", headless("x", "")),
			apply("", pathTo("x", "")),
			change("ingress-secret-namespace", "annotate", "ingress", "x", "nginx.ingress.kubernetes.io/proxy-ssl-secret="+victim+"/ca"),
		},
		"metadata by way of the status": { // the strategy of the status keeps annotations that come with it
			apply("", headless("x", "")),
			apply("", pathTo("x", "")),
			mergePatch("ingress-secret-namespace", "ingress/x", `{"metadata":{"annotations":{"nginx.ingress.kubernetes.io/auth-tls-secret":"`+victim+`/ca"}}}`, "--subresource=status"),
			mergePatch("ingress-unsafe-text", "service/x", `{"metadata":{"annotations":{"haproxy-ingress.github.io/rewrite-target":"/a\n  server b"}}}`, "--subresource=status"),
			mergePatch("", "ingress/x", `{"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.77"}]}}}`, "--subresource=status"),
			mergePatch("", "service/x", `{"metadata":{"annotations":{"example.com/seen":"yes"}}}`, "--subresource=status"),
		},
		"labels and annotations that could switch it off": {
			apply("endpoints-address", endpointsOf("x", `, annotations: {control-plane.alpha.kubernetes.io/leader: "{}"}`, metadata)),
			apply("", "apiVersion: v1\nkind: Endpoints\nmetadata: {name: w, annotations: {control-plane.alpha.kubernetes.io/leader: \"{}\"}}\n"),
			mergePatch("endpoints-address", "endpoints/w", `{"subsets":[{"addresses":[{"ip":"169.254.169.254"}],"ports":[{"port":80}]}]}`),
			apply("endpoints-address", endpointsOf("x", `, labels: {endpointslice.kubernetes.io/skip-mirror: "true", service.kubernetes.io/headless: ""}`, metadata)),
			apply("endpointslice-address", strings.Replace(handWritten("x", "", "IPv4", metadata), "labels: {",
				`labels: {control-plane: "", drawbridge.dev/ignore: "true", admission.drawbridge.dev/ignore: "true", kubernetes.io/metadata.name: kube-system, app.kubernetes.io/name: drawbridge, `, 1)),
			apply("service-external-name-forbidden", strings.Replace(aliasNamed("x", "metadata.google.internal"), "name: x",
				`name: x, labels: {service.kubernetes.io/headless: "", service.kubernetes.io/service-proxy-name: none}`, 1)),
		},
		"a ClusterIP that has a name up its sleeve": {
			apply("", headless("x", ", externalName: metadata.google.internal")),
			mergePatch("service-external-name-forbidden", "service/x", `{"spec":{"type":"ExternalName","clusterIP":"","clusterIPs":null}}`),
		},
		"an alias under an Ingress": {
			apply("", headless("x", "")),
			apply("", pathTo("x", "")),
			mergePatch("service-external-name-cluster-local", "service/x", `{"spec":{"type":"ExternalName","externalName":"`+inside+`","clusterIP":"","clusterIPs":null}}`),
		},
		"another name for an alias": {
			apply("", aliasNamed("x", "api.example.com")),
			apply("", pathTo("x", "")),
			mergePatch("service-external-name-cluster-local", "service/x", `{"spec":{"externalName":"`+inside+`"}}`),
			mergePatch("service-external-name-cluster-local", "service/x", `{"spec":{"externalName":"db.`+victim+`"}}`),
			mergePatch("service-external-name-cluster-local", "service/x", `{"spec":{"externalName":"db.`+victim+`.svc"}}`),
			mergePatch("service-external-name-cluster-local", "service/x", `{"spec":{"externalName":"`+inside+`."}}`),
			mergePatch("service-external-name-cluster-local", "service/x", `{"spec":{"externalName":"pod-0.`+inside+`"}}`),
			mergePatch("service-external-name-cluster-local", "service/x", `{"spec":{"externalName":"`+strings.ReplaceAll(address, ".", "-")+`.`+victim+`.pod.cluster.local"}}`),
			mergePatch("service-external-name-cluster-local", "service/x", `{"spec":{"externalName":"`+address+`.nip.io"}}`),
			mergePatch("service-external-name-cluster-local", "service/x", `{"spec":{"externalName":"kubernetes.default"}}`),
			mergePatch("service-external-name-forbidden", "service/x", `{"spec":{"externalName":"metadata.google.internal."}}`),
			mergePatch("service-external-name-forbidden", "service/x", `{"spec":{"externalName":"a9fea9fe.nip.io"}}`),
			mergePatch("service-external-name-forbidden", "service/x", `{"spec":{"externalName":"x.localhost"}}`),
			mergePatch("service-external-name-ip", "service/x", `{"spec":{"externalName":"0xa9.0376.43518"}}`),
			mergePatch("service-external-name-ip", "service/x", `{"spec":{"externalName":"169.254.169.254."}}`),
			mergePatch("service-external-name-format", "service/x", `{"spec":{"externalName":"ⓜetadata。google．internal"}}`),
			mergePatch("service-external-name-format", "service/x", `{"spec":{"externalName":"METADATA.google.internal"}}`),
		},
		"a chain of aliases": {
			apply("", aliasNamed("c", inside)),
			apply("", aliasNamed("b", "c.NAMESPACE.svc")),
			apply("", aliasNamed("a", "b.NAMESPACE.svc.cluster.local")),
			apply("ingress-backend-cluster-local", pathTo("a", "")),
		},
		"a chain that changes at its end": {
			apply("", aliasNamed("c", "api.example.com")),
			apply("", aliasNamed("b", "c.NAMESPACE.svc")),
			apply("", pathTo("b", "")),
			mergePatch("service-external-name-cluster-local", "service/b", `{"spec":{"externalName":"`+inside+`"}}`),
		},
		"an Ingress after the endpoints": {
			apply("", headless("x", "")),
			apply("", handWritten("x", "", "IPv4", address)),
			apply("ingress-backend-address", pathTo("x", "")),
		},
		"the Service last": {
			apply("", endpointsOf("x", "", address)),
			apply("", pathTo("x", "")),
			apply("service-endpoints-address", headless("x", "")),
		},
		"a selector that goes": {
			apply("", headless("x", ", selector: {app: none}")),
			apply("", endpointsOf("x", "", address)),
			apply("", pathTo("x", "")),
			mergePatch("service-endpoints-address", "service/x", `{"spec":{"selector":null}}`),
		},
		"endpoints handed over by their label": {
			apply("", headless("x", "")),
			apply("", headless("w", "")),
			apply("", pathTo("x", "")),
			apply("", handWritten("w", "", "IPv4", address)),
			change("endpointslice-address", "label", "--overwrite", "endpointslice", "w-1", "kubernetes.io/service-name=x"),
		},
		"a Service that opens up": {
			apply("", headless("x", "")),
			apply("", handWritten("x", "", "IPv4", address)),
			mergePatch("service-endpoints-address", "service/x", `{"spec":{"type":"LoadBalancer"}}`),
			mergePatch("service-endpoints-address", "service/x", `{"spec":{"type":"NodePort"}}`),
			mergePatch("service-endpoints-address", "service/x", `{"spec":{"externalIPs":["198.51.100.7"]}}`),
		},
		"another class under the same annotations": {
			apply("", aliasNamed("x", "api.example.com")),
			apply("", strings.Replace(pathTo("x", `, annotations: {ingress.kubernetes.io/preserve-host: "perhaps"}`), "Name: drawbridge", "Name: other", 1)),
			mergePatch("ingress-annotation-value", "ingress/x", `{"spec":{"ingressClassName":"drawbridge"}}`),
		},
		"a name that the API server makes": {
			create("endpointslice-address", strings.Replace(handWritten("x", "", "IPv4", metadata), "name: x-1", "generateName: x-", 1)),
			apply("", aliasNamed("w", inside)),
			create("ingress-backend-cluster-local", strings.Replace(pathTo("w", ""), "name: w", "generateName: w-", 1)),
		},
		"an address in another spelling": {
			apply("endpointslice-address", handWritten("x", "", "IPv6", "2002:a9fe:a9fe::1")),
			apply("endpointslice-address", handWritten("x", "", "IPv6", "64:ff9b::a9fe:a9fe")),
			apply("endpointslice-address", handWritten("x", "", "IPv6", "64:ff9b:1::169.254.169.254")),
			apply("endpointslice-address", handWritten("x", "", "IPv6", "2001:db8::5efe:a9fe:a9fe")),
			apply("endpointslice-address", handWritten("x", "", "IPv6", "2001:db8::200:5efe:a9fe:a9fe")),
			apply("endpointslice-address", handWritten("x", "", "IPv6", "::ffff:0:a9fe:a9fe")),
			apply("endpointslice-address", handWritten("x", "", "IPv6", "FE80:0:0::0001")),
			apply("endpoints-address", endpointsOf("x", "", "::ffff:169.254.169.254")),
			apply("endpoints-address", endpointsOf("x", "", "::ffff:a9fe:a9fe")),
			apply("endpoints-address", endpointsOf("x", "", "169.254.169.254", "192.0.2.10")),
			apply("endpoints-address", endpointsOf("x", "", "169.254.0169.0254")),
		},
		"another user's name": {
			change("is forbidden: User", "get", "services", "--as", "system:apiserver"),
			step{[]string{"create", "--validate=false", "-f", "-", "--as", "system:serviceaccount:kube-system:endpoint-controller"}, endpointsOf("x", "", metadata), "is forbidden: User"},
		},
	} {
		t.Run(name, func(t *testing.T) { m.attack(t, m.cluster.Namespace(t), steps) })
	}

	t.Run("what was there before is no cover", func(t *testing.T) {
		m.attack(t, older, []step{
			change("", "label", "endpointslice", "site-1", "team=a"),
			mergePatch("endpointslice-address", "endpointslice/site-1", `{"endpoints":[{"addresses":["2001:db8::1"]},{"addresses":["64:ff9b::a9fe:aa02"]}]}`),
			mergePatch("endpointslice-address", "endpointslice/site-1", `{"endpoints":[{"addresses":["64:ff9b::a9fe:a9fe"]},{"addresses":["2002:a9fe:a9fe::"]}]}`),
			mergePatch("endpointslice-address", "endpointslice/site-1", `{"ports":[{"name":"http","port":81}]}`),
			// The same finding at another place is the same.
			mergePatch("", "endpointslice/site-1", `{"endpoints":[{"addresses":["64:ff9b::a9fe:a9fe"]},{"addresses":["2001:db8::1"]}]}`),
			mergePatch("endpoints-address", "endpoints/site", `{"subsets":[{"addresses":[{"ip":"168.63.129.16"}],"ports":[{"name":"http","port":80}]}]}`),
			mergePatch("endpoints-address", "endpoints/site", `{"subsets":[{"addresses":[{"ip":"100.100.100.200"},{"ip":"168.63.129.16"}],"ports":[{"name":"http","port":80}]}]}`),
			change("", "annotate", "service", "alias", "example.com/a=b"),
			mergePatch("service-external-name-forbidden", "service/alias", `{"spec":{"externalName":"metadata.goog"}}`),
		})
	})

	t.Run("a namespace that calls itself another", func(t *testing.T) {
		namespace := m.cluster.Namespace(t)
		// The API server takes it and writes the right name over it, for the administrator as well.
		if _, stderr, err := m.cluster.Kubectl(t, "label", "--overwrite", "namespace", namespace, "kubernetes.io/metadata.name=kube-system", "control-plane=true"); err != nil {
			t.Fatal(stderr)
		}
		m.attack(t, namespace, []step{apply("endpointslice-address", handWritten("x", "", "IPv4", metadata))})
	})

	t.Run("too large to be judged", func(t *testing.T) { tooLarge(t, m) })
	t.Run("two at once", func(t *testing.T) { atOnce(t, m, inside) })
	t.Run("as large as can be", func(t *testing.T) { largest(t, m) })
}

// attacker is a kubeconfig of somebody who may write all that he is to try in a namespace.
func (m *manager) attacker(t *testing.T, namespace string) string {
	t.Helper()
	m.cluster.Apply(t, namespace, `
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: attacker}
rules:
- {apiGroups: ["", discovery.k8s.io, networking.k8s.io], resources: ["*", "*/status"], verbs: ["*"]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: attacker}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: attacker}
subjects: [{kind: User, name: attacker-of-`+namespace+`, apiGroup: rbac.authorization.k8s.io}]
`)
	kubeconfig := m.cluster.User(t, "attacker-of-"+namespace)
	lab.Eventually(t, patience, func() error {
		_, stderr, err := m.cluster.KubectlAs(t, kubeconfig, "", "get", "services", "-n", namespace)
		if err != nil {
			return fmt.Errorf("%w: %s", err, stderr)
		}
		return nil
	})
	return kubeconfig
}

// attack takes the steps of an attacker in a namespace. NAMESPACE in them is its name.
func (m *manager) attack(t *testing.T, namespace string, steps []step) {
	t.Helper()
	kubeconfig := m.attacker(t, namespace)
	do := func(s step, more ...string) (string, error) {
		var args []string
		for _, arg := range s.args {
			args = append(args, strings.ReplaceAll(arg, "NAMESPACE", namespace))
		}
		_, stderr, err := m.cluster.KubectlAs(t, kubeconfig, strings.ReplaceAll(s.yaml, "NAMESPACE", namespace),
			append(append(args, "-n", namespace), more...)...)
		return stderr, err
	}
	for i, s := range steps {
		what := strings.Join(s.args, " ") + "\n" + s.yaml
		if s.by == "" {
			if stderr, err := do(s); err != nil {
				t.Fatalf("step %d, which is harmless by itself, was denied: %s\n%s", i+1, stderr, what)
			}
			continue
		}
		denial := "(" + s.by + ")"
		if strings.Contains(s.by, " ") {
			denial = s.by
		}
		// What rests on the steps before is known to the manager by a watch.
		if i > 0 && steps[i-1].by == "" {
			deadline := time.Now().Add(5 * time.Second)
			for stderr, err := do(s, "--dry-run=server"); time.Now().Before(deadline) && (err == nil || !strings.Contains(stderr, denial)); {
				time.Sleep(200 * time.Millisecond)
				stderr, err = do(s, "--dry-run=server")
			}
		}
		stderr, err := do(s)
		if err == nil || !strings.Contains(stderr, denial) {
			t.Errorf("step %d is not denied by %s: %v %s\n%s", i+1, s.by, err, stderr, what)
		}
	}
}

// tooLarge sends objects that the API server takes and whose review is longer than a webhook of controller-runtime
// reads: it answers with an error then, without the UID, which passes under failurePolicy Ignore. A '<' is six characters
// in what the API server sends, and one in what it got and stores. kubectl would send six.
func tooLarge(t *testing.T, m *manager) {
	namespace := m.cluster.Namespace(t)
	config, err := clientcmd.BuildConfigFromFlags("", m.attacker(t, namespace))
	if err != nil {
		t.Fatal(err)
	}
	requests, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	padding := strings.Repeat("<", 1_300_000)
	for path, text := range map[string]string{
		"/api/v1/namespaces/" + namespace + "/endpoints": `{"apiVersion":"v1","kind":"Endpoints","metadata":{"name":"large"},
			"subsets":[{"addresses":[{"ip":"100.100.100.200","targetRef":{"fieldPath":"` + padding + `"}}],"ports":[{"port":80}]}]}`,
		"/apis/discovery.k8s.io/v1/namespaces/" + namespace + "/endpointslices": `{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice",
			"metadata":{"name":"large-1","labels":{"kubernetes.io/service-name":"large","endpointslice.kubernetes.io/managed-by":"hand-written.drawbridge.dev"}},
			"addressType":"IPv4","endpoints":[{"addresses":["100.100.100.200"],"targetRef":{"fieldPath":"` + padding + `"}}],"ports":[{"port":80}]}`,
	} {
		resp, err := requests.Post(config.Host+path, "application/json", strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusRequestEntityTooLarge || !strings.Contains(string(answer), "too large to be judged") {
			t.Errorf("%s: %s %.400s", path, resp.Status, answer)
		}
	}
}

// atOnce has two clients write the halves of a bypass at the same time. Neither write sees the other, so that some may
// pass: what judges stored objects finds each of those.
func atOnce(t *testing.T, m *manager, inside string) {
	namespace := m.cluster.Namespace(t)
	clients := [...]client.Client{m.cluster.Client(t), m.cluster.Client(t)}
	var passed []string
	for i := range 30 {
		name := fmt.Sprintf("x-%d", i)
		var ingress networkingv1.Ingress
		if err := yaml.UnmarshalStrict([]byte(pathTo(name, "")), &ingress); err != nil {
			t.Fatal(err)
		}
		ingress.Namespace = namespace
		objects := [...]client.Object{
			&corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
				Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: inside},
			},
			&ingress,
		}
		var group sync.WaitGroup
		var errs [2]error
		for j := range objects {
			group.Go(func() { errs[j] = clients[j].Create(t.Context(), objects[j]) })
		}
		group.Wait()
		for _, err := range errs {
			if err != nil && !apierrors.IsInvalid(err) {
				t.Fatal(err)
			}
		}
		if errs[0] == nil && errs[1] == nil {
			passed = append(passed, name)
		}
	}
	t.Logf("%d of 30 passed both", len(passed))
	// At once is not always at once: as one who may write what he likes, so that there is one to find.
	for _, text := range []string{aliasNamed("certain", inside), pathTo("certain", "")} {
		if _, stderr, err := m.cluster.KubectlIn(t, text, "create", "-n", namespace, "-f", "-", "--as", "system:apiserver", "--as-group", "system:masters"); err != nil {
			t.Fatal(stderr)
		}
	}
	cmd := exec.CommandContext(t.Context(), lab.Drawbridge(t), "audit", "--kubeconfig", m.cluster.Kubeconfig, "-n", namespace)
	out, err := cmd.Output()
	if cmd.ProcessState.ExitCode() != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	for _, name := range append(passed, "certain") {
		if !strings.Contains(string(out), namespace+"/Ingress/"+name+": deny: ") {
			t.Errorf("the audit does not find %s:\n%s", name, out)
		}
	}
}

// largest writes objects as large as the API server takes. An answer that takes longer than the webhook's timeout would
// let them pass under failurePolicy Ignore.
func largest(t *testing.T, m *manager) {
	namespace := m.cluster.Namespace(t)
	admin := m.cluster.Client(t)
	services := make([]string, 100)
	for i := range services {
		services[i] = fmt.Sprintf("s-%d", i)
		text := aliasNamed(services[i], fmt.Sprintf("s-%d.example.com", i))
		if i%2 == 1 {
			text = headless(services[i], "")
		}
		var service corev1.Service
		if err := yaml.UnmarshalStrict([]byte(text), &service); err != nil {
			t.Fatal(err)
		}
		service.Namespace = namespace
		if err := admin.Create(t.Context(), &service); err != nil {
			t.Fatal(err)
		}
	}
	ingress := &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "large", Annotations: map[string]string{"example.com/text": strings.Repeat("x,/", 80_000)}},
		Spec:       networkingv1.IngressSpec{IngressClassName: new("nginx")},
	}
	for i := range 10 {
		http := &networkingv1.HTTPIngressRuleValue{}
		for j := range 100 {
			http.Paths = append(http.Paths, networkingv1.HTTPIngressPath{
				Path: fmt.Sprintf("/%d/(.*)", j), PathType: new(networkingv1.PathTypeImplementationSpecific),
				Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{
					Name: services[j], Port: networkingv1.ServiceBackendPort{Number: 80},
				}},
			})
		}
		ingress.Spec.Rules = append(ingress.Spec.Rules, networkingv1.IngressRule{
			Host: fmt.Sprintf("h-%d.example.com", i), IngressRuleValue: networkingv1.IngressRuleValue{HTTP: http},
		})
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "s-1-1", Labels: map[string]string{
			discoveryv1.LabelServiceName: "s-1", discoveryv1.LabelManagedBy: policy.HandWritten,
		}, Annotations: map[string]string{policy.AllowPrefix + "endpointslice-port-name": "there are many"}},
		AddressType: discoveryv1.AddressTypeIPv6,
	}
	for i := range 1000 {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("64:ff9b::a00:%x", i+1)}})
	}
	for i := range 100 {
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: new(fmt.Sprintf("p-%d", i)), Port: new(int32(i + 1))})
	}
	ep := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "s-3"}, Subsets: make([]corev1.EndpointSubset, 1)}
	for i := range 5000 {
		ep.Subsets[0].Addresses = append(ep.Subsets[0].Addresses, corev1.EndpointAddress{IP: fmt.Sprintf("10.77.%d.%d", i/250, i%250+1)})
	}
	ep.Subsets[0].Ports = []corev1.EndpointPort{{Name: "http", Port: 80}}
	for _, object := range []client.Object{ingress, slice, ep} {
		for _, forbidden := range []bool{true, false} {
			try := object.DeepCopyObject().(client.Object)
			if forbidden { // the last of many
				switch o := try.(type) {
				case *networkingv1.Ingress:
					o.Spec.Rules[9].HTTP.Paths[99].Path = "/{"
				case *discoveryv1.EndpointSlice:
					o.Endpoints[999].Addresses[0] = "64:ff9b::a9fe:a9fe"
				case *corev1.Endpoints:
					o.Subsets[0].Addresses[4999].IP = "168.63.129.16"
				}
			}
			begin := time.Now()
			err := admin.Create(t.Context(), try)
			took := time.Since(begin)
			t.Logf("%T, forbidden %v: %s", object, forbidden, took.Round(time.Millisecond))
			if forbidden != apierrors.IsInvalid(err) || !forbidden && err != nil {
				t.Errorf("%T, forbidden %v: %v", object, forbidden, err)
			}
			if took > 20*time.Second { // four times the timeout of the chart, for both webhooks on a busy machine
				t.Errorf("%T took %s", object, took)
			}
		}
	}
}
