package e2e

import (
	"fmt"
	"strings"
	"testing"

	"drawbridge.dev/drawbridge/test/lab"
)

// TestDialects has the proxy take over a class of Traefik: what was injected into a Service for Traefik holds for it too.
func TestDialects(t *testing.T) {
	shows(t, "The proxy takes over a class of Traefik: what was injected into the Service is served as such, for the names of several sites behind one Ingress")
	const plain, secure = "plain-site.example.com", "secure-site.example.com"
	lab.StartSite(t, lab.SiteOptions{Address: "203.0.113.30:80", Name: "plain", Hosts: []string{plain}})
	lab.StartSite(t, lab.SiteOptions{Address: "203.0.113.31:8443", Name: "secure", Hosts: []string{secure + ":8443", secure}, TLS: cluster.ca.Issue(secure), RequireSNI: true})
	cluster.dns.Set(plain, 2, "203.0.113.30")
	cluster.dns.Set(secure, 2, "203.0.113.31")
	cluster.Apply(t, "default", "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: edge}\nspec: {controller: traefik.io/ingress-controller}\n")
	t.Cleanup(func() { cluster.Kubectl(t, "delete", "ingressclass", "edge") })
	p := cluster.startProxy(t, "192.0.2.4", "--ingress-class", "edge")
	namespace := cluster.Namespace(t)
	cluster.Apply(t, namespace, `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: both}
spec:
  ingressClassName: edge
  rules:
  - host: edge.dialects.test
    http:
      paths:
      - {path: /plain, pathType: Prefix, backend: {service: {name: plain, port: {number: 80}}}}
      - {path: /secure, pathType: Prefix, backend: {service: {name: secure, port: {number: 8443}}}}
`)
	cluster.Apply(t, namespace, fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: plain}
spec: {type: ExternalName, externalName: %s, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: secure}
spec: {type: ExternalName, externalName: %s, ports: [{port: 8443, appProtocol: https}]}
`, plain, secure))
	expect(t, p.reaches(t, "http://edge.dialects.test/plain", "plain"), plain, false, "")
	saw := p.reaches(t, "http://edge.dialects.test/secure", "secure")
	expect(t, saw, secure+":8443", true, secure)
	const list = `jsonpath={.metadata.annotations.drawbridge\.dev/injected}`
	const key = "traefik.ingress.kubernetes.io/service."
	for service, want := range map[string]string{"plain": key + "passhostheader", "secure": key + "passhostheader," + key + "serversscheme"} {
		lab.Eventually(t, patience, func() error {
			got, stderr, err := cluster.Kubectl(t, "get", "service", service, "-n", namespace, "-o", list)
			if err != nil || strings.TrimSpace(got) != want {
				return fmt.Errorf("injected into Service %s: %q %s", service, got, stderr)
			}
			return nil
		})
	}
}
