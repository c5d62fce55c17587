package e2e

import (
	"testing"

	networkingv1 "k8s.io/api/networking/v1"

	"drawbridge.dev/drawbridge/test/lab"
)

// TestSeed004 is Istio's document on Kubernetes Services for egress traffic, which uses the namespace default. It has no
// Ingress: the test puts one of class drawbridge in front.
func TestSeed004(t *testing.T) {
	const (
		alias     = "my-httpbin.default.svc.cluster.local"
		wikipedia = "en.wikipedia.org"
	)
	cluster.dns.Set("httpbin.org", 1, "203.0.113.14")
	lab.StartSite(t, lab.SiteOptions{Address: "203.0.113.14:80", Name: "httpbin.org", Hosts: []string{"httpbin.org"}})
	certificate := cluster.ca.Issue(wikipedia)
	for _, address := range []string{"91.198.174.192:443", "198.35.26.96:443"} {
		lab.StartSite(t, lab.SiteOptions{Address: address, Name: "wikipedia", Hosts: []string{wikipedia}, TLS: certificate, RequireSNI: true})
	}

	t.Run("name", func(t *testing.T) {
		shows(t, "004: ExternalName with a named port is allowed; clients ask for the alias, and httpbin.org gets its own name as Host, in every order")
		s := seed{dir: "004/name", namespace: "default", proxy: cluster.proxy, absent: []string{"http://" + alias}}
		s.inEveryOrder(t, func(t *testing.T, _ applied) {
			expect(t, cluster.proxy.reaches(t, "http://"+alias+"/headers", "httpbin.org"), "httpbin.org", false, "")
		})
	})
	t.Run("address", func(t *testing.T) {
		shows(t, "004: port 443 named tls: https to both of Wikipedia's addresses, verified against en.wikipedia.org, in every order")
		s := seed{dir: "004/address", namespace: "default", proxy: cluster.proxy, absent: []string{"http://" + wikipedia}}
		s.inEveryOrder(t, func(t *testing.T, a applied) {
			const url = "http://" + wikipedia + "/wiki/Main_Page"
			expect(t, cluster.proxy.reaches(t, url, "wikipedia"), wikipedia, true, wikipedia)
			cluster.endpointsOnce(t, a.namespace, "my-wikipedia", "198.35.26.96", "91.198.174.192")
			used := map[string]bool{}
			for range 40 {
				used[cluster.proxy.reaches(t, url, "wikipedia").Local] = true
				if len(used) == 2 {
					break
				}
			}
			if len(used) != 2 {
				t.Errorf("of two addresses only %v is used", used)
			}
			if a.before("service", "ingress") {
				ingress := fetchObject(t, cluster, a.namespace, "my-wikipedia", &networkingv1.Ingress{})
				if got := ingress.Annotations["ingress.kubernetes.io/backend-protocol"]; got != "HTTPS" {
					t.Errorf("backend-protocol is %q", got)
				}
			}
		})
	})
	cluster.failedOpen(t)
}
