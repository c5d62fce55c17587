package envtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	openreports "github.com/openreports/reports-api/apis/openreports.io/v1alpha1"
	eventsv1 "k8s.io/api/events/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/test/lab"
)

// auditorRole may read what an audit reads, and nothing else.
const auditorRole = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: auditor}
rules:
- {apiGroups: [""], resources: [services, endpoints, namespaces, nodes, configmaps], verbs: [get, list]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [get, list]}
- {apiGroups: [networking.k8s.io], resources: [ingresses, ingressclasses, servicecidrs], verbs: [get, list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: auditor}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: auditor}
subjects: [{kind: User, name: auditor, apiGroup: rbac.authorization.k8s.io}]
`

// storedBefore is in the cluster before drawbridge is: what would be denied, what would be mended, what is exempt and
// what nobody has anything against.
const storedBefore = `
apiVersion: v1
kind: Service
metadata: {name: bad}
spec: {type: ExternalName, externalName: 1.2.3.4}
---
apiVersion: v1
kind: Service
metadata: {name: good}
spec: {type: ExternalName, externalName: good.example.com, ports: [{name: https, port: 443}]}
---
apiVersion: v1
kind: Service
metadata: {name: exempt, annotations: {drawbridge.dev/allow-service-external-name-ip: known}}
spec: {type: ExternalName, externalName: 1.2.3.4}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: bare}
spec:
  ingressClassName: audit
  rules:
  - host: bare.example
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: good, port: {number: 443}}}}]}
`

// findings is the series of the audit for a namespace.
func findings(namespace, rule, kind, level string) string {
	return metric(fmt.Sprintf(`drawbridge_audit_findings{kind=%q,level=%q,namespace=%q,rule=%q}`, kind, level, namespace, rule))
}

// foundIn are the series of a namespace for a kind.
func foundIn(namespace, kind string) (series string) {
	text, err := fetch("http://" + lab.Address + ":9090/metrics")
	if err != nil {
		return err.Error()
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "drawbridge_audit_findings{kind=\""+kind+"\",") && strings.Contains(line, "namespace=\""+namespace+"\"") {
			series += line
		}
	}
	return series
}

// controlPlanes has the real kube-controller-manager write Endpoints and a slice for a Service with a pod.
func controlPlanes(t *testing.T, cluster *lab.ControlPlane, namespace string) {
	t.Helper()
	t.Cleanup(func() { cluster.Kubectl(t, "delete", "node", "node") })
	cluster.Apply(t, namespace, `
apiVersion: v1
kind: Node
metadata: {name: node}
---
apiVersion: v1
kind: Pod
metadata: {name: pod, labels: {app: pods}}
spec: {nodeName: node, containers: [{name: web, image: web, ports: [{name: web, containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: pods}
spec: {selector: {app: pods}, ports: [{name: http, port: 80, targetPort: web}, {name: metrics, port: 9090}]}
`)
	if _, stderr, err := cluster.Kubectl(t, "patch", "pod", "pod", "-n", namespace, "--subresource=status", "--type=merge", "-p",
		`{"status":{"phase":"Running","podIP":"10.244.0.5","podIPs":[{"ip":"10.244.0.5"}],"conditions":[{"type":"Ready","status":"True"}]}}`); err != nil {
		t.Fatal(stderr)
	}
	cluster.StartControllerManager(t, "endpoints-controller", "endpointslice-controller")
	lab.Eventually(t, patience, func() error {
		out, stderr, err := cluster.Kubectl(t, "get", "endpoints,endpointslices", "-n", namespace, "-o", "jsonpath={..ip}{..endpoints[*].addresses[0]}")
		if err != nil || strings.Count(out, "10.244.0.5") != 2 {
			return fmt.Errorf("not there yet: %w, %q %s", err, out, stderr)
		}
		return nil
	})
}

// TestAudit shows what the leader and a person find in a cluster that was there before drawbridge.
func TestAudit(t *testing.T) {
	cluster := lab.Shared(t)
	namespace := cluster.Namespace(t)
	cluster.Apply(t, namespace, strings.Replace(storedBefore, "\n---", `
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: audit}
spec: {controller: drawbridge.dev/ingress}
---`, 1))
	controlPlanes(t, cluster, namespace)
	// No business of admission, and therefore not of the audit.
	cluster.Apply(t, "kube-system", badService)
	t.Cleanup(func() {
		cluster.Kubectl(t, "delete", "service", "bad", "-n", "kube-system")
		cluster.Kubectl(t, "delete", "ingressclass", "audit")
	})
	m := start(t, cluster)
	t.Cleanup(func() {
		cluster.Kubectl(t, "delete", "configmap", "drawbridge-policy", "-n", system, "--ignore-not-found")
	})

	t.Run("metrics", func(t *testing.T) {
		lab.Eventually(t, patience, func() error {
			if n := findings(namespace, "service-external-name-ip", "Service", "deny"); n != "1" {
				return fmt.Errorf("denials: %q", n)
			}
			return nil
		})
		for what, pair := range map[string][2]string{
			"of the control plane's slices":    {foundIn(namespace, "EndpointSlice"), ""},
			"of the control plane's Endpoints": {foundIn(namespace, "Endpoints"), ""},
			"exempt":                           {findings(namespace, "service-external-name-ip", "Service", "exempt"), "1"},
			"warned":                           {findings(namespace, "ingress-preserve-host", "Ingress", "warn"), "1"},
			"warned too":                       {findings(namespace, "ingress-backend-protocol", "Ingress", "warn"), "1"},
			"out of scope":                     {findings("kube-system", "service-external-name-ip", "Service", "deny"), ""},
			"failed":                           {metric("drawbridge_audit_failed_objects"), "0"},
			"of the default":                   {metric(`drawbridge_audit_policy_generation{generation="default"}`), "1"},
		} {
			if pair[0] != pair[1] {
				t.Errorf("%s: %q, want %q", what, pair[0], pair[1])
			}
		}
		for _, series := range []string{"drawbridge_audit_last_run_timestamp_seconds", "drawbridge_audit_last_run_duration_seconds", `drawbridge_audit_objects{kind="EndpointSlice"}`} {
			if metric(series) == "" {
				t.Errorf("no series %s", series)
			}
		}
	})

	// told are the Events on an object, as their notes, one for each time that it was told.
	told := func(t *testing.T, kind, name string) (notes []string) {
		t.Helper()
		var list eventsv1.EventList
		if err := cluster.Client(t).List(t.Context(), &list, client.InNamespace(namespace)); err != nil {
			t.Fatal(err)
		}
		for _, e := range list.Items {
			if e.Regarding.Kind != kind || e.Regarding.Name != name || e.ReportingController != "drawbridge-audit" {
				continue
			}
			notes = append(notes, e.Reason+" "+e.Note)
			if e.Series != nil {
				notes = append(notes, fmt.Sprintf("and %d times more", e.Series.Count))
			}
		}
		return notes
	}
	// audited puts a policy in force and waits for the audit by it.
	audited := func(t *testing.T, text string) {
		t.Helper()
		cluster.Apply(t, system, policyMap(text))
		config, err := policy.ParseConfig([]byte(text+"\n"), func(string) bool { return true })
		if err != nil {
			t.Fatal(err)
		}
		lab.Eventually(t, patience, func() error {
			if metric(fmt.Sprintf("drawbridge_audit_policy_generation{generation=%q}", config.Generation)) != "1" {
				return errors.New("not audited by the policy " + config.Generation)
			}
			return nil
		})
	}

	t.Run("Events", func(t *testing.T) {
		lab.Eventually(t, patience, func() error {
			if n := len(told(t, "Service", "bad")) + len(told(t, "Ingress", "bare")); n != 2 {
				return fmt.Errorf("%d Events", n)
			}
			return nil
		})
		audited(t, "version: 1\nproxyNames: [one.example.org]")
		audited(t, "version: 1\nproxyNames: [two.example.org]")
		bad, bare := told(t, "Service", "bad"), told(t, "Ingress", "bare")
		if len(bad) != 1 || !strings.HasPrefix(bad[0], "WouldBeDenied ") || !strings.Contains(bad[0], "(service-external-name-ip)") {
			t.Errorf("on the Service: %q", bad)
		}
		if len(bare) != 1 || !strings.HasPrefix(bare[0], "WouldBeWarned ") || !strings.Contains(bare[0], "(ingress-preserve-host)") ||
			!strings.Contains(bare[0], "(ingress-backend-protocol)") {
			t.Errorf("on the Ingress: %q", bare)
		}
		if good, exempt := told(t, "Service", "good"), told(t, "Service", "exempt"); len(good)+len(exempt) > 0 {
			t.Errorf("without a cause: %q %q", good, exempt)
		}
	})

	t.Run("policy", func(t *testing.T) {
		audited(t, "version: 1\nrules:\n  service-external-name-ip: off")
		if n := findings(namespace, "service-external-name-ip", "Service", "deny"); n != "" {
			t.Errorf("a series of what is off: %s", n)
		}
		audited(t, "version: 1\nrules:\n  service-external-name-ip: warn")
		if n := findings(namespace, "service-external-name-ip", "Service", "warn"); n != "1" {
			t.Errorf("warnings: %q", n)
		}
		audited(t, "version: 1")
	})

	t.Run("command", func(t *testing.T) { auditCommand(t, cluster, namespace) })
	t.Run("Reports", func(t *testing.T) { m.reports(t, namespace, audited) })
	m.failedOpen(t)
}

// reports installs the real API of OpenReports, and takes it away again.
func (m *manager) reports(t *testing.T, namespace string, audited func(t *testing.T, text string)) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/openreports/reports-api").Output()
	if err != nil {
		t.Fatal(err)
	}
	crd := filepath.Join(strings.TrimSpace(string(out)), "config", "crd", "openreports.io_reports.yaml")
	m.kubectl(t, "apply", "-f", crd)
	t.Cleanup(func() { m.kubectl(t, "delete", "-f", crd, "--ignore-not-found") })
	m.kubectl(t, "wait", "--for=condition=established", "crd/reports.openreports.io", "--timeout=60s")
	get := func(name string) (*openreports.Report, error) {
		stdout, stderr, err := m.cluster.Kubectl(t, "get", "reports.openreports.io", name, "-n", namespace, "-o", "json")
		if err != nil {
			return nil, errors.New(stderr)
		}
		report := &openreports.Report{}
		return report, json.Unmarshal([]byte(stdout), report)
	}

	// It may not write them, says so once, and audits all the same.
	const refusal = "may not write Reports"
	lab.Eventually(t, patience, func() error {
		if !strings.Contains(m.Output(), refusal) {
			return errors.New("it does not say that it may not write Reports")
		}
		return nil
	})
	audited(t, "version: 1\nproxyNames: [three.example.org]")
	audited(t, "version: 1\nproxyNames: [four.example.org]")
	if n := strings.Count(m.Output(), refusal); n != 1 {
		t.Errorf("it says %d times that it may not write Reports", n)
	}

	m.cluster.Apply(t, system, grants(t))
	t.Cleanup(func() { m.cluster.Apply(t, system, grants(t, "manager.audit.reports=false")) })
	audited(t, "version: 1\nproxyNames: [five.example.org]")
	var report *openreports.Report
	lab.Eventually(t, patience, func() (err error) {
		report, err = get("drawbridge")
		return err
	})
	if report.Labels["app.kubernetes.io/managed-by"] != "drawbridge" || report.Source != "drawbridge" || report.Scope == nil || report.Scope.Name != namespace {
		t.Errorf("Report %+v", report)
	}
	if s := report.Summary; s.Fail != 1 || s.Warn != len(report.Results)-2 || s.Skip != 1 || s.Pass != 0 || s.Error != 0 {
		t.Errorf("summary %+v of %d results", s, len(report.Results))
	}
	i := slices.IndexFunc(report.Results, func(r openreports.ReportResult) bool { return r.Result == "fail" })
	if i < 0 {
		t.Fatalf("results %+v", report.Results)
	}
	if r := report.Results[i]; r.Policy != "drawbridge" || r.Rule != "service-external-name-ip" || r.Severity != "medium" || r.Category != "mistake" ||
		r.Timestamp.Seconds == 0 || len(r.Subjects) != 1 || r.Subjects[0].Name != "bad" || r.Subjects[0].UID == "" ||
		!strings.HasSuffix(r.Description, "(service-external-name-ip)") {
		t.Errorf("result %+v", r)
	}

	// Nothing new, nothing written.
	version := report.ResourceVersion
	audited(t, "version: 1\nproxyNames: [six.example.org]")
	written := func() int { return strings.Count(m.Output(), "msg=audited") }
	before := written()
	audited(t, "version: 1\nproxyNames: [seven.example.org]")
	lab.Eventually(t, patience, func() error {
		if written() == before {
			return errors.New("the run is not over")
		}
		return nil
	})
	if report, err = get("drawbridge"); err != nil || report.ResourceVersion != version {
		t.Errorf("written without a cause: %v, version %s, then %s", err, version, report.ResourceVersion)
	}
	// The API goes, and comes back.
	m.kubectl(t, "delete", "-f", crd)
	audited(t, "version: 1\nproxyNames: [eleven.example.org]")
	m.kubectl(t, "apply", "-f", crd)
	m.kubectl(t, "wait", "--for=condition=established", "crd/reports.openreports.io", "--timeout=60s")
	lab.Eventually(t, patience, func() error {
		_, err := get("drawbridge")
		return err
	})

	// Somebody's own, of a name like ours or with our label alone, stay as they are.
	other := `
apiVersion: openreports.io/v1alpha1
kind: Report
metadata: {name: NAME, labels: {app.kubernetes.io/managed-by: MANAGER}}
source: other
`
	m.cluster.Apply(t, namespace, strings.NewReplacer("NAME", "drawbridge-2", "MANAGER", "other").Replace(other))
	m.cluster.Apply(t, namespace, strings.NewReplacer("NAME", "other", "MANAGER", "drawbridge").Replace(other))
	// What somebody else changed, and what is mended.
	m.kubectl(t, "patch", "reports.openreports.io", "drawbridge", "-n", namespace, "--type=merge", "-p", `{"results":[]}`)
	m.kubectl(t, "delete", "service", "bad", "-n", namespace)
	audited(t, "version: 1\nproxyNames: [eight.example.org]")
	lab.Eventually(t, patience, func() error {
		report, err := get("drawbridge")
		if err == nil && (report.Summary.Fail != 0 || len(report.Results) == 0) {
			err = fmt.Errorf("summary %+v, %d results", report.Summary, len(report.Results))
		}
		return err
	})
	m.kubectl(t, "delete", "ingress,service", "--all", "-n", namespace)
	audited(t, "version: 1\nproxyNames: [nine.example.org]")
	lab.Eventually(t, patience, func() error {
		if _, err := get("drawbridge"); err == nil || !strings.Contains(err.Error(), "NotFound") {
			return fmt.Errorf("still there: %w", err)
		}
		return nil
	})
	for _, name := range []string{"drawbridge-2", "other"} {
		if report, err := get(name); err != nil || report.Source != "other" {
			t.Errorf("somebody else's Report %s: %v", name, err)
		}
	}
}

// auditCommand shows the same findings to a person who may read and nothing else.
func auditCommand(t *testing.T, cluster *lab.ControlPlane, namespace string) {
	cluster.Apply(t, namespace, auditorRole)
	t.Cleanup(func() { cluster.Kubectl(t, "delete", "clusterrole,clusterrolebinding", "auditor") })
	reader, nobody := cluster.User(t, "auditor"), cluster.User(t, "nobody")
	run := func(kubeconfig string, args ...string) (stdout, stderr string, code int) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), lab.Drawbridge(t), append([]string{"audit", "--kubeconfig", kubeconfig}, args...)...)
		cmd.Env = append(os.Environ(), "KUBECONFIG=")
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		var exit *exec.ExitError
		if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return out.String(), errs.String(), cmd.ProcessState.ExitCode()
	}

	stdout, stderr, code := run(reader, "-n", namespace)
	denied := namespace + "/Service/bad: deny: spec.externalName: "
	warned := namespace + "/Ingress/bare: warn: "
	if code != 1 || !strings.Contains(stdout, denied) || !strings.Contains(stdout, warned) || strings.Contains(stdout, "/exempt") || stderr != "" {
		t.Errorf("exit %d:\n%s%s", code, stdout, stderr)
	}
	if all, stderr, code := run(reader, "-A"); code != 1 || !strings.Contains(all, denied) || strings.Contains(all, "kube-system") || stderr != "" {
		t.Errorf("-A: exit %d:\n%s%s", code, all, stderr)
	}
	if system, _, code := run(reader, "-n", "kube-system"); code != 1 || !strings.Contains(system, "kube-system/Service/bad: deny: ") {
		t.Errorf("-n kube-system: exit %d:\n%s", code, system)
	}

	// Another policy, before it is in force.
	file := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(file, []byte("version: 1\nrules:\n  service-external-name-ip: warn\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if stdout, stderr, code := run(reader, "-n", namespace, "--policy", file); code != 0 || strings.Contains(stdout, ": deny: ") || !strings.Contains(stdout, "/Service/bad: warn: ") {
		t.Errorf("--policy: exit %d:\n%s%s", code, stdout, stderr)
	}
	if stdout, _, code := run(reader, "-n", namespace, "--policy", file, "--fail-on", "warn"); code != 1 {
		t.Errorf("--fail-on warn: exit %d:\n%s", code, stdout)
	}
	// The cluster's own, as it changes.
	cluster.Apply(t, system, policyMap("version: 1\nrules:\n  service-external-name-ip: off"))
	if stdout, stderr, code := run(reader, "-n", namespace); code != 0 || strings.Contains(stdout, "/Service/bad") || stderr != "" {
		t.Errorf("the cluster's policy: exit %d:\n%s%s", code, stdout, stderr)
	}
	cluster.Kubectl(t, "delete", "configmap", "drawbridge-policy", "-n", system)
	stdout, stderr, code = run(reader, "-n", namespace, "-o", "json")
	if code != 1 || !strings.Contains(stderr, "note: there is no policy in ConfigMap 'drawbridge-system/drawbridge-policy'") {
		t.Errorf("no policy: exit %d: %s", code, stderr)
	}
	var list struct {
		Findings []struct {
			Rule, Level string
			Object      struct{ APIVersion, Kind, Namespace, Name string }
			Exempt      bool
			Reason      string
		}
		Objects int
	}
	if err := json.Unmarshal([]byte(stdout), &list); err != nil || list.Objects != 7 {
		t.Errorf("-o json: %v, %d objects:\n%s", err, list.Objects, stdout)
	}
	exempt := false
	for _, f := range list.Findings {
		exempt = exempt || f.Exempt && f.Object.Name == "exempt" && f.Object.APIVersion == "v1" && f.Object.Kind == "Service" && f.Reason == "known"
	}
	if !exempt {
		t.Errorf("-o json does not tell what is exempt:\n%s", stdout)
	}
	stdout, _, code = run(reader, "-n", namespace, "-o", "sarif")
	var sarif struct {
		Version string
		Runs    []struct {
			Results []struct {
				RuleID, Level string
				Locations     []struct {
					LogicalLocations []struct{ FullyQualifiedName string }
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(stdout), &sarif); err != nil || code != 1 || sarif.Version != "2.1.0" || len(sarif.Runs) != 1 {
		t.Fatalf("-o sarif: %v, exit %d:\n%s", err, code, stdout)
	}
	placed := false
	for _, r := range sarif.Runs[0].Results {
		placed = placed || r.RuleID == "service-external-name-ip" && r.Level == "error" && len(r.Locations) > 0 &&
			len(r.Locations[0].LogicalLocations) > 0 && strings.Contains(r.Locations[0].LogicalLocations[0].FullyQualifiedName, "bad")
	}
	if !placed {
		t.Errorf("-o sarif does not tell where:\n%s", stdout)
	}

	// Who may read less is told what, and nothing passes for judged that was not.
	if stdout, stderr, code := run(nobody, "-n", namespace, "--policy", file); code != 2 || stdout != "" || !strings.Contains(stderr, "list Services") || !strings.Contains(stderr, "note: you may not list Nodes") {
		t.Errorf("without rights: exit %d:\n%s%s", code, stdout, stderr)
	}
	if _, stderr, code := run(nobody, "-n", namespace); code != 2 || !strings.Contains(stderr, "--policy") {
		t.Errorf("without a policy: exit %d: %s", code, stderr)
	}
	cluster.Apply(t, namespace, fmt.Sprintf(`
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: nobody, namespace: %s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: auditor}
subjects: [{kind: User, name: nobody, apiGroup: rbac.authorization.k8s.io}]
`, namespace))
	lab.Eventually(t, patience, func() error {
		stdout, stderr, code := run(nobody, "-n", namespace, "--policy", file, "--profile", "baseline")
		if code != 0 || !strings.Contains(stdout, "/Service/bad: warn: ") || !strings.Contains(stderr, "note: you may not list Services of all namespaces") {
			return fmt.Errorf("with rights in one namespace: exit %d:\n%s%s", code, stdout, stderr)
		}
		return nil
	})
	// A name with a typo is no clean bill, but to whom may not know which namespaces there are.
	if stdout, stderr, code := run(reader, "-n", "nosuch", "--policy", file); code != 2 || stdout != "" || !strings.Contains(stderr, "there is no namespace 'nosuch'") {
		t.Errorf("-n nosuch: exit %d:\n%s%s", code, stdout, stderr)
	}
	if _, stderr, code := run(nobody, "-n", "nosuch", "--policy", file); code != 2 || strings.Contains(stderr, "there is no namespace") || !strings.Contains(stderr, "list Services") {
		t.Errorf("-n nosuch, without rights: exit %d: %s", code, stderr)
	}
	for _, args := range [][]string{{"-A", "-n", "x"}, {"-o", "junit"}, {"--fail-on", "fix"}, {"--policy-configmap", "x"}, {"--profile", "lax"}, {"-n", ""}, {"x"}} {
		if _, stderr, code := run(reader, args...); code != 2 || stderr == "" {
			t.Errorf("%q: exit %d: %s", args, code, stderr)
		}
	}
}
