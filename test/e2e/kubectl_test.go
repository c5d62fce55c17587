package e2e

import (
	"strings"
	"testing"

	"drawbridge.dev/drawbridge/test/lab"
)

// TestImperative uses the commands of kubectl that need no file; those on files are in test/envtest.
func TestImperative(t *testing.T) {
	shows(t, "Without a file: `kubectl create service externalname`, `create ingress`, `patch`, `annotate`, `delete` are judged, mended and followed")
	const site = "imperative.example.com"
	cluster.dns.Set(site, 5, "203.0.113.40")
	lab.StartSite(t, lab.SiteOptions{Address: "203.0.113.40:80", Name: "site", Hosts: []string{site}})
	lab.StartSite(t, lab.SiteOptions{Address: "203.0.113.40:8080", Name: "pass", Hosts: []string{"www.imperative.test"}})
	namespace := cluster.Namespace(t)
	run := func(args ...string) (string, error) {
		_, stderr, err := cluster.Kubectl(t, append(args, "-n", namespace)...)
		return stderr, err
	}

	stderr, err := run("create", "service", "externalname", "site", "--external-name", "203.0.113.40")
	if err == nil || !strings.Contains(stderr, "(service-external-name-ip)") {
		t.Errorf("an address as external name: %v, %s", err, stderr)
	}
	if stderr, err := run("create", "service", "externalname", "site", "--external-name", site); err != nil {
		t.Fatal(stderr)
	}
	stderr, err = run("create", "ingress", "site", "--class", "drawbridge", "--rule", "www.imperative.test/*=site:80")
	if err != nil || !strings.Contains(stderr, "(ingress-preserve-host)") {
		t.Fatalf("%v, %s", err, stderr)
	}
	expect(t, cluster.proxy.reaches(t, "http://www.imperative.test/x", "site"), site, false, "")

	stderr, err = run("create", "ingress", "named", "--class", "drawbridge", "--rule", "named.imperative.test/*=site:http")
	if err == nil || !strings.Contains(stderr, "(ingress-external-name-port-name)") {
		t.Errorf("a named port: %v, %s", err, stderr)
	}
	if stderr, err := run("patch", "ingress", "site", "--type=json", "-p", `[{"op":"replace","path":"/spec/rules/0/http/paths/0/backend/service/port/number","value":8080}]`); err != nil {
		t.Fatal(stderr)
	}
	if stderr, err := run("annotate", "--overwrite", "ingress", "site", "ingress.kubernetes.io/preserve-host=true"); err != nil {
		t.Fatal(stderr)
	}
	expect(t, cluster.proxy.reaches(t, "http://www.imperative.test/x", "pass"), "www.imperative.test", false, "")
	if stderr, err := run("delete", "service", "site"); err != nil {
		t.Fatal(stderr)
	}
	cluster.proxy.answers(t, "http://www.imperative.test/x", 503, "503 "+namespace+"/site: no address")
	if stderr, err := run("delete", "ingress", "site"); err != nil {
		t.Fatal(stderr)
	}
	cluster.proxy.gone(t, "http://www.imperative.test/x")
	cluster.failedOpen(t)
}
