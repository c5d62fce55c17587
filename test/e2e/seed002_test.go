package e2e

import (
	"strings"
	"testing"

	"drawbridge.dev/drawbridge/test/lab"
)

// TestSeed002 is the document on an alias for an external web service. It has no Ingress: the test puts one of class
// drawbridge in front, under the name by which clients in the cluster call the alias.
func TestSeed002(t *testing.T) {
	const (
		byAddress = "external-service.my-namespace.svc.cluster.local"
		byName    = "database.my-namespace.svc.cluster.local"
		site      = "prod.database.k8salliance.com"
	)
	cluster.dns.Set(site, 5, "203.0.113.12")
	lab.StartSite(t, lab.SiteOptions{Address: "1.1.1.1:9000", Name: "address", Hosts: []string{byAddress}})
	lab.StartSite(t, lab.SiteOptions{Address: "203.0.113.12:80", Name: "name", Hosts: []string{site}})
	lab.StartSite(t, lab.SiteOptions{Address: "203.0.113.12:443", Name: "name-tls", Hosts: []string{site}, TLS: cluster.ca.Issue(site), RequireSNI: true})
	variant := func(dir, host string) seed {
		return seed{dir: "002/" + dir, namespace: "my-namespace", proxy: cluster.proxy, absent: []string{"http://" + host}}
	}

	t.Run("address", func(t *testing.T) {
		shows(t, "002, option 1: Service and Endpoints: port 80 leads to 1.1.1.1:9000 (targetPort), in every order")
		variant("address", byAddress).inEveryOrder(t, func(t *testing.T, a applied) {
			saw := cluster.proxy.reaches(t, "http://"+byAddress+"/", "address")
			expect(t, saw, byAddress, false, "")
			if saw.Local != "1.1.1.1:9000" {
				t.Errorf("the site stands at %s", saw.Local)
			}
			cluster.endpointsOnce(t, a.namespace, "external-service", "1.1.1.1")
		})
	})
	t.Run("name", func(t *testing.T) {
		shows(t, "002, option 2, and pitfall: clients ask for the alias, and the site gets its own name as Host, in every order")
		variant("name", byName).inEveryOrder(t, func(t *testing.T, _ applied) {
			expect(t, cluster.proxy.reaches(t, "http://"+byName+"/", "name"), site, false, "")
		})
	})
	t.Run("name over TLS", func(t *testing.T) {
		shows(t, "002, pitfall: a site that speaks HTTPS: its certificate is verified against its own name, not the alias, in every order")
		variant("name-tls", byName).inEveryOrder(t, func(t *testing.T, _ applied) {
			expect(t, cluster.proxy.reaches(t, "http://"+byName+"/", "name-tls"), site, true, site)
		})
	})
	t.Run("certificate of another", func(t *testing.T) {
		shows(t, "002, pitfall: a site whose certificate is for another name gets no request: 503, and no detail of it")
		cluster.dns.Set("impostor.k8salliance.com", 5, "203.0.113.13")
		impostor := lab.StartSite(t, lab.SiteOptions{Address: "203.0.113.13:443", Name: "impostor", TLS: cluster.ca.Issue("elsewhere.example.com")})
		namespace := cluster.Namespace(t)
		change := strings.NewReplacer("my-namespace", namespace, site, "impostor.k8salliance.com")
		cluster.Apply(t, namespace, change.Replace(manifest(t, "002/name-tls/service.yaml")))
		cluster.Apply(t, namespace, change.Replace(manifest(t, "002/name-tls/ingress.yaml")))
		url := "http://database." + namespace + ".svc.cluster.local/"
		cluster.proxy.answers(t, url, 503, "503 "+namespace+"/database: ")
		a, err := cluster.proxy.get(url)
		if err != nil || strings.Contains(a.body, "203.0.113") || strings.Contains(a.body, "impostor") {
			t.Errorf("the answer tells where the site is: %q, %v", a.body, err)
		}
		if got := impostor.Requests(); len(got) != 0 {
			t.Errorf("the site got %d requests", len(got))
		}
	})
	t.Run("address in externalName", func(t *testing.T) {
		shows(t, "002, pitfall: an IP address in externalName, in any spelling, is rejected; the message says what to write")
		namespace := cluster.Namespace(t)
		service := strings.ReplaceAll(manifest(t, "002/name/service.yaml"), "my-namespace", namespace)
		for _, address := range []string{"1.2.3.4", "1.2.3.4.", `"127.1"`, `"0x7f000001"`, `"2130706433"`, "0177.0.0.1", `"::1"`, `"[::1]"`} {
			cluster.refused(t, namespace, strings.ReplaceAll(service, site, address),
				`The Service "database" is invalid: spec.externalName: `, "(service-external-name-ip)", "a Service without selector and an EndpointSlice")
		}
	})
	cluster.failedOpen(t)
}
