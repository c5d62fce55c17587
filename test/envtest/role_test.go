package envtest

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"drawbridge.dev/drawbridge/test/lab"
)

// grants are the rights of the manager as the chart gives them, and no more: its binary runs under them here, so that a
// right that the chart forgets is missed by a test. They are bound to the ServiceAccount drawbridge-manager of system.
func grants(t *testing.T, values ...string) string {
	t.Helper()
	chart := filepath.Join(lab.Root(), "charts", "drawbridge")
	const template = "templates/manager-rbac.yaml"
	// The go command does not see what Helm reads, and would answer with a cached result.
	for _, file := range []string{"values.yaml", template, "templates/_names.tpl"} {
		if _, err := os.Stat(filepath.Join(chart, file)); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"template", "drawbridge", chart, "--namespace", system, "--show-only", template}
	for _, value := range values {
		args = append(args, "--set", value)
	}
	home := lab.Dir(t)
	// Cleanups ask too, when the test's own context is done.
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), lab.Bin(t, "helm"), args...)
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home, "KUBECONFIG=/dev/null")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("helm template: %v: %s", err, stderr.String())
	}
	return string(text)
}
