package envtest

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"drawbridge.dev/drawbridge/test/lab"
)

// TestSimulate tries a policy out on what a real cluster holds, as a user who may read and do nothing else.
func TestSimulate(t *testing.T) {
	cluster := lab.Shared(t)
	shop, system := cluster.Namespace(t), cluster.Namespace(t)
	cluster.Apply(t, shop, auditorRole)
	t.Cleanup(func() { cluster.Kubectl(t, "delete", "clusterrole,clusterrolebinding", "auditor") })
	reader, nobody := cluster.User(t, "auditor"), cluster.User(t, "nobody")
	cluster.Apply(t, shop, `
apiVersion: v1
kind: Service
metadata: {name: vip}
spec: {ports: [{port: 443}], externalIPs: [203.0.113.7]}
---
apiVersion: v1
kind: Service
metadata: {name: plain}
spec: {ports: [{port: 443}]}
`)
	next := filepath.Join(t.TempDir(), "next.yaml")
	text := "version: 1\nnamespaces:\n- labels: kubernetes.io/metadata.name=" + shop + "\n  rules: {service-external-ips: deny}\n"
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	simulate := func(kubeconfig string, want int, args ...string) (stdout, stderr string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), lab.Drawbridge(t), append([]string{"policy", "simulate", "--kubeconfig", kubeconfig,
			"--policy-configmap", system + "/drawbridge-policy"}, args...)...)
		var out, warnings strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &warnings
		code := 0
		var exit *exec.ExitError
		if err := cmd.Run(); errors.As(err, &exit) {
			code = exit.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		if code != want {
			t.Errorf("%q: exit status %d, want %d: %s%s", args, code, want, out.String(), warnings.String())
		}
		return out.String(), warnings.String()
	}
	vip := shop + "/Service/vip"

	// Without a policy in the cluster the default is that of now; a namespace's labels are known.
	stdout, stderr := simulate(reader, 1, "--policy", next, "--namespace", shop)
	if !strings.HasPrefix(stdout, vip+": now warned, then denied\n    - warn: spec.externalIPs[0]: ") ||
		!strings.Contains(stdout, "\n1 of 2 objects would be judged differently: 1 newly denied") ||
		!strings.Contains(stderr, "note: there is no policy in ConfigMap '"+system+"/drawbridge-policy': the default one is in force") {
		t.Errorf("%s%s", stdout, stderr)
	}

	// The policy of now is the cluster's.
	cluster.Apply(t, system, policyMap(text))
	if stdout, stderr = simulate(reader, 0, "--policy", next, "--namespace", shop); stdout != "0 of 2 objects would be judged differently: "+
		"0 newly denied, 0 no longer, 0 newly mended, 0 newly warned of\n" || stderr != "" {
		t.Errorf("%s%s", stdout, stderr)
	}
	empty := filepath.Join(t.TempDir(), "empty.yaml")
	if err := os.WriteFile(empty, []byte("version: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	stdout, _ = simulate(reader, 0, "--policy", empty, "-A", "-o", "json")
	var got struct {
		Changes []struct{ Object, From, To string }
	}
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || len(got.Changes) != 1 || got.Changes[0].Object != vip ||
		got.Changes[0].From != "denied" || got.Changes[0].To != "warned" {
		t.Errorf("%v: %s", err, stdout)
	}
	// --from says what is now, whatever the cluster has.
	simulate(reader, 1, "--policy", next, "--from", empty, "-n", shop)

	// A wrong policy in the cluster, and a user who may not read it.
	cluster.Apply(t, system, policyMap("version: 2"))
	if _, stderr = simulate(reader, 2, "--policy", next, "-A"); !strings.Contains(stderr, "line 1, column 10: `version`: is 2; must be 1") {
		t.Error(stderr)
	}
	if _, stderr = simulate(nobody, 2, "--policy", next, "-A"); !strings.Contains(stderr, "forbidden") {
		t.Error(stderr)
	}
}
