package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const kubeconfig = `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://192.0.2.1:6443"}}]
contexts: [{name: c, context: {cluster: c, user: c}}]
users: [{name: c, user: {token: x}}]
current-context: c
`

// TestManagerSetup holds what the manager says where it can't begin; test/envtest and test/e2e run it.
func TestManagerSetup(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "config")
	if err := os.WriteFile(config, []byte(kubeconfig), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		args []string
		code int
		says string
	}{
		"no such kubeconfig": {[]string{"--kubeconfig", filepath.Join(dir, "none")}, exitDenied, "--kubeconfig"},
		"no certificate":     {[]string{"--kubeconfig", config, "--cert-dir", dir}, exitDenied, "tls.crt"},
		"an argument":        {[]string{"now"}, exitUsage, "--help"},
		"an unknown flag":    {[]string{"--webhook-prot", "1"}, exitUsage, "--webhook-prot"},
	} {
		t.Run(name, func(t *testing.T) {
			var stderr bytes.Buffer
			code := execute(append([]string{"manager"}, tc.args...), strings.NewReader(""), &bytes.Buffer{}, &stderr)
			if code != tc.code || !strings.Contains(stderr.String(), tc.says) {
				t.Errorf("exit %d, %s", code, stderr.String())
			}
		})
	}
}
