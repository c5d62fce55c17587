package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"drawbridge.dev/drawbridge/test/lab"
)

// addressed is a Service of one address that somebody wrote by hand, and the Ingress in front of it, of one name.
func addressed(name, host, address string) (service, slice, ingress string) {
	service = fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: %s}\nspec: {ports: [{name: http, port: 80}]}\n", name)
	slice = fmt.Sprintf(`apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s-1, labels: {kubernetes.io/service-name: %[1]s, endpointslice.kubernetes.io/managed-by: hand-written.drawbridge.dev}}
addressType: IPv4
endpoints: [{addresses: [%[2]s]}]
ports: [{name: http, port: 80}]
`, name, address)
	ingress = fmt.Sprintf(`apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: %[1]s}
spec:
  ingressClassName: drawbridge
  rules: [{host: %[2]s, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: %[1]s, port: {number: 80}}}}]}}]
`, name, host)
	return service, slice, ingress
}

// TestBypass has the proxy hold what no check could see when the objects were applied.
func TestBypass(t *testing.T) {
	p := cluster.proxy
	namespace := cluster.Namespace(t)
	const address = "203.0.113.90"
	lab.StartSite(t, lab.SiteOptions{Address: address + ":80", Name: "kubelet", Hosts: []string{"a.bypass.test", "b.bypass.test"}})

	t.Run("an address that becomes a node's", func(t *testing.T) {
		shows(t, "An endpoint written by hand that becomes the address of a node is no longer served, and an Event of its Ingress tells why")
		service, slice, ingress := addressed("a", "a.bypass.test", address)
		cluster.Apply(t, namespace, strings.Join([]string{service, slice, ingress}, "---\n"))
		p.reaches(t, "http://a.bypass.test/", "kubelet")

		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "bypass"}}
		if err := cluster.client.Create(t.Context(), node); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := cluster.client.Delete(context.WithoutCancel(t.Context()), node); err != nil {
				t.Error(err)
			}
		})
		node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}}
		if err := cluster.client.Status().Update(t.Context(), node); err != nil {
			t.Fatal(err)
		}
		p.answers(t, "http://a.bypass.test/", 503, "")
		cluster.notServed(t, namespace, "a", "the address of a node")
	})
	t.Run("what the webhook never saw", func(t *testing.T) {
		shows(t, "Objects that came past the webhook are judged by the same rules in the proxy")
		service, slice, ingress := addressed("b", "b.bypass.test", "100.100.100.200")
		// As a user whom the webhook is not asked about.
		_, stderr, err := cluster.KubectlIn(t, strings.Join([]string{slice, ingress, service}, "---\n"), "create", "-n", namespace, "-f", "-",
			"--as", "system:serviceaccount:kube-system:nobody", "--as-group", "system:masters")
		if err != nil {
			t.Fatal(stderr)
		}
		p.answers(t, "http://b.bypass.test/", 503, "")
		cluster.notServed(t, namespace, "b", "has no address that may be served")
	})
}
