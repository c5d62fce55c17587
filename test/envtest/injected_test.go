package envtest

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"drawbridge.dev/drawbridge/test/lab"
)

const (
	injectedList  = "drawbridge.dev/injected"
	ownHost       = "ingress.kubernetes.io/preserve-host"
	ownProtocol   = "ingress.kubernetes.io/backend-protocol"
	nginxHost     = "nginx.ingress.kubernetes.io/upstream-vhost"
	nginxProtocol = "nginx.ingress.kubernetes.io/backend-protocol"
)

// completing applies Ingresses before their Services, and changes the Services afterwards: what the webhook injected
// follows, by the hand of the leader, and nothing else does.
func completing(t *testing.T, m *manager) {
	namespace := m.cluster.Namespace(t)
	c := m.cluster.Client(t)
	ingress := func(class, name, service, annotations string) string {
		return fmt.Sprintf(`apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: %s, annotations: {%s}}
spec:
  ingressClassName: %s
  rules:
  - host: %s.example.org
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: %s, port: {number: 443}}}}]}
`, name, annotations, class, name, service)
	}
	alias := func(name, external string) string {
		return fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: %s}\nspec: {type: ExternalName, externalName: %s}\n", name, external)
	}
	apply := func(text string) {
		t.Helper()
		_, stderr, err := m.cluster.KubectlIn(t, text, "apply", "-n", namespace, "-f", "-")
		if err != nil {
			t.Fatalf("%v: %s", err, stderr)
		}
		for line := range strings.Lines(stderr) {
			if injects(line) {
				t.Errorf("warned of what the leader does: %s", line)
			}
		}
	}
	get := func(name string) *networkingv1.Ingress {
		t.Helper()
		ing := &networkingv1.Ingress{}
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, ing); err != nil {
			t.Fatal(err)
		}
		delete(ing.Annotations, "kubectl.kubernetes.io/last-applied-configuration")
		delete(ing.Annotations, "example.com/writes")
		return ing
	}
	type annotations = map[string]string
	becomes := func(name string, want annotations) {
		t.Helper()
		lab.Eventually(t, patience, func() error {
			if diff := cmp.Diff(want, get(name).Annotations); diff != "" {
				return fmt.Errorf("Ingress %s: %s", name, diff)
			}
			return nil
		})
	}
	is := func(name string, want annotations) {
		t.Helper()
		if diff := cmp.Diff(want, get(name).Annotations); diff != "" {
			t.Errorf("Ingress %s: %s", name, diff)
		}
	}
	own := annotations{injectedList: ownProtocol + "," + ownHost, ownHost: "false", ownProtocol: "HTTPS"}
	nginx := func(name string) annotations {
		return annotations{injectedList: nginxProtocol + "," + nginxHost, nginxHost: name, nginxProtocol: "HTTPS"}
	}

	// Before their Services: marked, without a word.
	apply(ingress("drawbridge", "own", "site", ""))
	apply(ingress("nginx", "nginx", "site", ""))
	apply(ingress("drawbridge", "edited", "site", ""))
	apply(ingress("drawbridge", "wished", "site", `ingress.kubernetes.io/preserve-host: "true"`))
	is("own", annotations{injectedList: ""})
	is("nginx", annotations{injectedList: ""})
	marked := get("own").ResourceVersion
	apply(ingress("drawbridge", "own", "site", ""))
	if now := get("own").ResourceVersion; now != marked {
		t.Errorf("marked, applied again, and written: %s, then %s", marked, now)
	}
	// What nobody marked, and what a controller has.
	apply(ingress("drawbridge", "unmarked", "site", ""))
	m.kubectl(t, "annotate", "ingress", "unmarked", "-n", namespace, injectedList+"-", ownHost+"=true", ownProtocol+"=HTTP")
	m.kubectl(t, "annotate", "ingress", "unmarked", "-n", namespace, ownHost+"-", ownProtocol+"-", policyAllow+"ingress-preserve-host=x", policyAllow+"ingress-backend-protocol=x")
	unmarked := get("unmarked")
	if _, set := unmarked.Annotations[injectedList]; set {
		t.Fatalf("annotations %v", unmarked.Annotations)
	}
	apply(alias("parent", "parent.example.com"))
	parent, _, err := m.cluster.Kubectl(t, "get", "service", "parent", "-n", namespace, "-o", "jsonpath={.metadata.uid}")
	if err != nil {
		t.Fatal(err)
	}
	apply(strings.Replace(ingress("drawbridge", "owned", "site", `drawbridge.dev/injected: ""`), "metadata: {",
		"metadata: {ownerReferences: [{apiVersion: v1, kind: Service, name: parent, uid: "+parent+", controller: true}], ", 1))

	// The Service comes.
	apply(alias("site", "one.example.com"))
	becomes("own", own)
	becomes("nginx", nginx("one.example.com"))
	becomes("edited", own)
	becomes("wished", annotations{injectedList: ownProtocol, ownHost: "true", ownProtocol: "HTTPS"})
	lab.Eventually(t, patience, func() error {
		var events eventsv1.EventList
		if err := c.List(t.Context(), &events, client.InNamespace(namespace)); err != nil {
			return err
		}
		for _, e := range events.Items {
			if e.Reason == "Injected" && e.Regarding.Name == "nginx" && strings.Contains(e.Note, "set '"+nginxProtocol+"', '"+nginxHost+"'") {
				return nil
			}
		}
		return fmt.Errorf("no Event among %d", len(events.Items))
	})

	// A person makes one his own. Nobody is told of the list.
	if stderr := m.kubectl(t, "annotate", "--overwrite", "ingress", "edited", "-n", namespace, ownHost+"=true"); strings.Contains(stderr, injectedList) || injects(stderr) {
		t.Errorf("warned of the list: %q", stderr)
	}
	edited := annotations{injectedList: ownProtocol, ownHost: "true", ownProtocol: "HTTPS"}
	is("edited", edited)

	// Quiet: applied again, nothing is written; nor does the leader write without a cause.
	versions := map[string]string{}
	for _, name := range []string{"own", "nginx", "wished", "edited"} {
		versions[name] = get(name).ResourceVersion
	}
	m.kubectl(t, "annotate", "service", "site", "-n", namespace, "a=b")
	for _, name := range []string{"own", "nginx"} {
		apply(ingress(map[string]string{"own": "drawbridge", "nginx": "nginx"}[name], name, "site", ""))
	}

	// The external name changes. Where the text holds it, it follows.
	apply(alias("site", "two.example.com"))
	becomes("nginx", nginx("two.example.com"))
	apply(ingress("nginx", "nginx", "site", ""))
	is("nginx", nginx("two.example.com"))
	delete(versions, "nginx")
	for name, version := range versions {
		if now := get(name).ResourceVersion; now != version {
			t.Errorf("Ingress %s was written without a cause: %s, then %s", name, version, now)
		}
	}

	// A Service that is gone for a moment is no cause.
	version := get("nginx").ResourceVersion
	m.kubectl(t, "delete", "service", "site", "-n", namespace)
	apply(alias("site", "two.example.com"))
	time.Sleep(2 * time.Second)
	if now := get("nginx").ResourceVersion; now != version {
		t.Errorf("Ingress nginx was written as its Service was made anew: %v", get("nginx").Annotations)
	}

	// It becomes one with pods.
	m.kubectl(t, "patch", "service", "site", "-n", namespace, "--type=merge", "-p",
		`{"spec":{"type":"ClusterIP","externalName":null,"selector":{"a":"b"},"ports":[{"port":443}]}}`)
	for _, name := range []string{"own", "nginx"} {
		becomes(name, annotations{injectedList: ""})
	}
	delete(edited, ownProtocol)
	edited[injectedList] = ""
	becomes("edited", edited)
	becomes("wished", edited)
	// And an external one again.
	m.kubectl(t, "delete", "service", "site", "-n", namespace)
	apply(alias("site", "three.example.com"))
	becomes("own", own)
	becomes("nginx", nginx("three.example.com"))

	// What is left alone was left alone all the while.
	if now := get("unmarked"); now.ResourceVersion != unmarked.ResourceVersion {
		t.Errorf("an Ingress without the mark was written: %v", now.Annotations)
	}
	is("owned", annotations{injectedList: ""})

	// The policy counts.
	m.cluster.Apply(t, system, policyMap("version: 1\nrules:\n  ingress-preserve-host: off"))
	becomes("own", annotations{injectedList: ownProtocol, ownProtocol: "HTTPS"})
	m.kubectl(t, "delete", "configmap", "drawbridge-policy", "-n", system)
	becomes("own", own)

	disputed(t, m, namespace, func() string { return get("own").ResourceVersion })
	becomes("own", func() annotations {
		a := maps.Clone(own)
		a[ownHost] = "true"
		return a
	}())
}

// policyAllow begins the annotations of exemptions.
const policyAllow = "drawbridge.dev/allow-"

// disputed has the API server change what is injected as it is written, and count the writes, so that each makes another
// version: drawbridge gives way.
func disputed(t *testing.T, m *manager, namespace string, version func() string) {
	t.Helper()
	m.cluster.Apply(t, namespace, fmt.Sprintf(`
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: disputes}
spec:
  failurePolicy: Fail
  reinvocationPolicy: Never
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %[1]s}}
    resourceRules: [{apiGroups: [networking.k8s.io], apiVersions: [v1], resources: [ingresses], operations: [UPDATE]}]
  matchConditions: [{name: own, expression: "object.metadata.name == 'own'"}]
  mutations:
  - patchType: JSONPatch
    jsonPatch:
      expression: >
        [JSONPatch{op: 'add', path: '/metadata/annotations/ingress.kubernetes.io~1preserve-host', value: 'true'},
        JSONPatch{op: 'add', path: '/metadata/annotations/example.com~1writes', value: 'example.com/writes' in object.metadata.annotations ?
        string(int(object.metadata.annotations['example.com/writes']) + 1) : '1'}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: disputes}
spec: {policyName: disputes}
`, namespace))
	t.Cleanup(func() {
		m.kubectl(t, "delete", "mutatingadmissionpolicy,mutatingadmissionpolicybinding", "disputes")
	})
	// As the policy has it, and still drawbridge's: written by its own account, whom the webhook does not see.
	lab.Eventually(t, patience, func() error {
		m.kubectl(t, "annotate", "--overwrite", "ingress", "own", "-n", namespace, "--as", "system:serviceaccount:drawbridge-system:drawbridge-manager",
			"--as-group", "system:masters", fmt.Sprintf("example.com/now=%d", time.Now().UnixNano()))
		out, _, err := m.cluster.Kubectl(t, "get", "events", "-n", namespace, "-o", "jsonpath={.items[?(@.reason=='InjectDisputed')].message}")
		if err == nil && !strings.Contains(out, "another webhook changes '"+ownHost+"'") {
			err = fmt.Errorf("no Event of the dispute, but %q", out)
		}
		return err
	})
	m.kubectl(t, "annotate", "ingress", "own", "-n", namespace, "--as", "system:serviceaccount:drawbridge-system:drawbridge-manager",
		"--as-group", "system:masters", "example.com/now-")
	before := version()
	time.Sleep(3 * time.Second)
	if after := version(); after != before {
		t.Errorf("drawbridge and another webhook write against each other: %s, then %s", before, after)
	}
}

// kubectl runs a command that must succeed, and gives what it said on its standard error.
func (m *manager) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	_, stderr, err := m.cluster.Kubectl(t, args...)
	if err != nil {
		t.Fatalf("kubectl %s: %s", strings.Join(args, " "), stderr)
	}
	return stderr
}
