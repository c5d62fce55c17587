package e2e

import (
	"testing"

	networkingv1 "k8s.io/api/networking/v1"

	"drawbridge.dev/drawbridge/test/lab"
)

// TestSeed000 is Traffic Server's document: an external site by address and by name, behind legacy Ingresses.
func TestSeed000(t *testing.T) {
	const url = "http://external.example.com/some/path?a=b"
	const backend = "my-external-backend.example.com"
	cluster.dns.Set(backend, 5, "203.0.113.10")
	lab.StartSite(t, lab.SiteOptions{Address: "1.2.3.4:80", Name: "address", Hosts: []string{"external.example.com"}})
	lab.StartSite(t, lab.SiteOptions{Address: "203.0.113.10:80", Name: "name", Hosts: []string{backend}})
	lab.StartSite(t, lab.SiteOptions{Address: "203.0.113.10:443", Name: "name-tls", Hosts: []string{backend}, TLS: cluster.ca.Issue(backend), RequireSNI: true})
	variant := func(dir string) seed { return seed{dir: "000/" + dir, proxy: cluster.proxy, absent: []string{url}} }

	t.Run("address", func(t *testing.T) {
		shows(t, "000: Service, Endpoints and a legacy Ingress through `drawbridge fix`: traffic reaches 1.2.3.4 with the client's Host, in every order of the files")
		variant("address").inEveryOrder(t, func(t *testing.T, a applied) {
			saw := cluster.proxy.reaches(t, url, "address")
			expect(t, saw, "external.example.com", false, "")
			if saw.Local != "1.2.3.4:80" || saw.Path != "/some/path" || saw.Query != "a=b" {
				t.Errorf("the site saw %s %s?%s", saw.Local, saw.Path, saw.Query)
			}
			cluster.endpointsOnce(t, a.namespace, "external-service", "1.2.3.4")
		})
	})
	t.Run("name", func(t *testing.T) {
		shows(t, "000: ExternalName with preserve-host \"false\": traffic reaches the name with the Host that the site expects, in every order")
		variant("name").inEveryOrder(t, func(t *testing.T, _ applied) {
			expect(t, cluster.proxy.reaches(t, url, "name"), backend, false, "")
		})
	})
	t.Run("name without preserve-host", func(t *testing.T) {
		shows(t, "000, pitfall: an Ingress that forgets preserve-host is mended, and works in the other order too")
		variant("plain-name").inEveryOrder(t, func(t *testing.T, a applied) {
			expect(t, cluster.proxy.reaches(t, url, "name"), backend, false, "")
			if a.before("ingress", "service") {
				return // at its review the Service was not there
			}
			ingress := fetchObject(t, cluster, a.namespace, "external-ingress", &networkingv1.Ingress{})
			if got := ingress.Annotations["ingress.kubernetes.io/preserve-host"]; got != "false" {
				t.Errorf("preserve-host is %q", got)
			}
			a.told(t, "ingress", "ingress-preserve-host")
		})
	})
	t.Run("tls", func(t *testing.T) {
		shows(t, "000: secure-backends \"true\" and port 443: TLS to the name, its certificate verified, in every order")
		variant("tls").inEveryOrder(t, func(t *testing.T, _ applied) {
			expect(t, cluster.proxy.reaches(t, url, "name-tls"), backend, true, backend)
		})
	})
	t.Run("named port", func(t *testing.T) {
		shows(t, "000, pitfall: a named servicePort of an ExternalName Service is rejected, in either order")
		ingress := read(t, variant("named-port").current(t, seeds+"/000/named-port/ingress.yaml"))
		service := manifest(t, "000/named-port/service.yaml")
		namespace := cluster.Namespace(t)
		cluster.Apply(t, namespace, service)
		cluster.refused(t, namespace, ingress, `The Ingress "external-ingress" is invalid: spec.rules[0].http.paths[0].backend.service.port.name: `,
			`must be a number`, "(ingress-external-name-port-name)")

		namespace = cluster.Namespace(t)
		cluster.Apply(t, namespace, ingress)
		cluster.refused(t, namespace, service, `The Service "external-service" is invalid: `, "external-ingress", "(ingress-external-name-port-name)")
	})
	cluster.failedOpen(t)
}
