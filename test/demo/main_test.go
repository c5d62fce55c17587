package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"drawbridge.dev/drawbridge/test/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }

// The demo checks what it shows. Every manifest of the examples is applied in it, and every example linked from README.
func TestDemo(t *testing.T) {
	t.Setenv("KEEP", "")
	d := run(t)
	readme, err := os.ReadFile(filepath.Join(lab.Root(), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(filepath.Join(lab.Root(), "examples"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(lab.Root(), path)
		if err != nil {
			return err
		}
		// Those for CI systems are no manifests; test/ci runs them. Those of a policy are judged as a whole.
		if !d.applied[name] && !strings.HasPrefix(name, "examples/ci/") && !strings.HasPrefix(name, "examples/policy/") {
			t.Errorf("%s is not applied by the demo", name)
		}
		if !strings.Contains(string(readme), "("+name+")") && !strings.HasPrefix(name, "examples/policy/cases/") {
			t.Errorf("%s is not linked from README.md", name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
