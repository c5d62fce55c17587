package e2e

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"drawbridge.dev/drawbridge/test/lab"
)

// policy puts a policy into force until the test ends.
func (w *world) policy(t *testing.T, text string) {
	t.Helper()
	set := func(text string) string {
		var config corev1.ConfigMap
		// Not the test's context, which is done in a cleanup.
		if err := w.client.Get(w.t.Context(), client.ObjectKey{Namespace: system, Name: "drawbridge-policy"}, &config); err != nil {
			t.Error(err)
			return ""
		}
		before := config.Data["policy.yaml"]
		config.Data["policy.yaml"] = text
		if err := w.client.Update(w.t.Context(), &config); err != nil {
			t.Error(err)
		}
		return before
	}
	before := set(text)
	t.Cleanup(func() { set(before) })
}

// notServed waits until `kubectl describe` shows an Event of an Ingress that says why it is not served as written.
func (w *world) notServed(t *testing.T, namespace, ingress, part string) {
	t.Helper()
	lab.Eventually(t, patience, func() error {
		text, stderr, err := w.Kubectl(t, "describe", "ingress", ingress, "-n", namespace)
		if err != nil {
			return fmt.Errorf("%w: %s", err, stderr)
		}
		_, events, _ := strings.Cut(text, "Events:")
		if !strings.Contains(events, "NotServedAsWritten") || !strings.Contains(events, part) {
			return fmt.Errorf("no Event tells of %s:%s", part, events)
		}
		return nil
	})
}

// TestSeed003 is APISIX's document on external services, by an Ingress and an ExternalName Service in place of its own
// kinds.
func TestSeed003(t *testing.T) {
	const url = "http://ext.httpbin.org/get"
	lab.StartSite(t, lab.SiteOptions{Address: "203.0.113.14:80", Name: "httpbin.org", Hosts: []string{"httpbin.org"}})
	cluster.dns.Set("httpbin.org", 1, "203.0.113.14")

	// kubectl -n test expose pod/httpbin --port 80, and what kube-proxy would do with the address that it gets.
	cluster.fixedNamespace(t, "test")
	cluster.Apply(t, "test", `
apiVersion: v1
kind: Service
metadata: {name: httpbin, labels: {run: httpbin}}
spec: {selector: {run: httpbin}, ports: [{port: 80, targetPort: 80}]}
`)
	clusterIP := fetchObject(t, cluster, "test", "httpbin", &corev1.Service{}).Spec.ClusterIP
	inside := lab.StartSite(t, lab.SiteOptions{Address: clusterIP + ":80", Name: "cluster", Hosts: []string{"ext.httpbin.org"}})
	cluster.dns.Set("httpbin.test.svc.cluster.local", 1, clusterIP)

	t.Run("upstream of a domain", func(t *testing.T) {
		shows(t, "003: what ApisixRoute and an external node of type Domain do, by an Ingress and an ExternalName Service, in every order")
		s := seed{dir: "003/upstream", proxy: cluster.proxy, absent: []string{"http://local.httpbin.org/get"}}
		s.inEveryOrder(t, func(t *testing.T, _ applied) {
			saw := cluster.proxy.reaches(t, "http://local.httpbin.org/get", "httpbin.org")
			expect(t, saw, "httpbin.org", false, "")
			if got := saw.Headers.Get("X-Forwarded-Host"); got != "local.httpbin.org" {
				t.Errorf("X-Forwarded-Host is %q", got)
			}
		})
	})
	t.Run("name in the cluster is refused", func(t *testing.T) {
		shows(t, "003: an Ingress to a name of another namespace, httpbin.test.svc, is refused without a grant, in either order")
		for _, order := range [][]string{{"service", "ingress"}, {"ingress", "service"}} {
			namespace := cluster.Namespace(t)
			cluster.kubectl(t, "apply", "-n", namespace, "-f", seeds+"/003/cluster/"+order[0]+".yaml")
			_, stderr, err := cluster.Kubectl(t, "apply", "-n", namespace, "-f", seeds+"/003/cluster/"+order[1]+".yaml")
			if err == nil || !strings.Contains(stderr, "-cluster-local)") || !strings.Contains(stderr, "`grants`") {
				t.Errorf("%s last: %v %s", order[1], err, stderr)
			}
			if order[1] == "ingress" {
				cluster.proxy.answers(t, url, 404, "404 no route")
			} else {
				cluster.proxy.answers(t, url, 503, "no address") // the Service is not there
			}
		}
		if got := inside.Requests(); len(got) != 0 {
			t.Errorf("the Service got %d requests", len(got))
		}
	})
	const grant = "version: 1\ngrants:\n- {from: ['*'], to: [test], kinds: [Service], names: [httpbin]}\n"
	t.Run("name in the cluster is granted", func(t *testing.T) {
		shows(t, "003: with a grant of the policy, httpbin.test.svc is served with the client's Host, in every order")
		cluster.policy(t, grant)
		s := seed{dir: "003/cluster", proxy: cluster.proxy, absent: []string{url}}
		s.inEveryOrder(t, func(t *testing.T, _ applied) {
			expect(t, cluster.proxy.reaches(t, url, "cluster"), "ext.httpbin.org", false, "")
		})
	})
	t.Run("change of the name", func(t *testing.T) {
		shows(t, "003: a change of externalName is followed, from the cluster to httpbin.org and back, with the Host that each expects")
		cluster.policy(t, grant)
		namespace := cluster.Namespace(t)
		cluster.kubectl(t, "apply", "-n", namespace, "-f", seeds+"/003/cluster")
		before := cluster.proxy.pid(t)
		expect(t, cluster.proxy.reaches(t, url, "cluster"), "ext.httpbin.org", false, "")
		cluster.kubectl(t, "apply", "-n", namespace, "-f", seeds+"/003/domain")
		expect(t, cluster.proxy.reaches(t, url, "httpbin.org"), "httpbin.org", false, "")
		cluster.kubectl(t, "apply", "-n", namespace, "-f", seeds+"/003/cluster/service.yaml")
		// The site in the cluster knows the client's Host alone: what was injected for the other one is withdrawn.
		expect(t, cluster.proxy.reaches(t, url, "cluster"), "ext.httpbin.org", false, "")
		cluster.proxy.unreloaded(t, before)
	})
	cluster.failedOpen(t)
}
