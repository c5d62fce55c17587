package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"drawbridge.dev/drawbridge/test/lab"
)

// seeds holds the manifests of the documents that drawbridge was made for, in a folder for each, named by its number.
const seeds = "testdata/seeds"

// orders gives every order of some files.
func orders(files []string) [][]string {
	if len(files) <= 1 {
		return [][]string{files}
	}
	var all [][]string
	for i, first := range files {
		rest := slices.Concat(files[:i], files[i+1:])
		for _, order := range orders(rest) {
			all = append(all, append([]string{first}, order...))
		}
	}
	return all
}

// seed is one variant of a document: the folder of its files, and where they are applied.
type seed struct {
	dir       string   // below testdata/seeds
	namespace string   // that its manifests name; "" for a fresh one for each order
	proxy     *proxy   // that serves it
	absent    []string // URLs of what it serves: before each order they must be 404
}

// applied is a variant whose files were applied in one of the orders.
type applied struct {
	namespace string
	order     []string          // the names of the files, without .yaml
	warned    map[string]string // what kubectl printed on standard error for each file
}

// before tells whether one file was applied before another.
func (a applied) before(one, other string) bool {
	return slices.Index(a.order, one) < slices.Index(a.order, other)
}

// told asserts that kubectl printed a warning of a rule when it applied a file.
func (a applied) told(t *testing.T, file, rule string) {
	t.Helper()
	if !strings.Contains(a.warned[file], "("+rule+")") {
		t.Errorf("kubectl says %q of %s, and nothing of %s", a.warned[file], file, rule)
	}
}

// inEveryOrder applies the files of a variant by kubectl, one by one, in every order, each time to an empty namespace,
// and calls check for each.
func (s seed) inEveryOrder(t *testing.T, check func(*testing.T, applied)) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(seeds, s.dir, "*.yaml"))
	if err != nil || len(files) < 2 {
		t.Fatalf("%s: %q, %v", s.dir, files, err)
	}
	for i, file := range files {
		files[i] = s.current(t, file)
	}
	for _, order := range orders(files) {
		var names []string
		for _, file := range order {
			names = append(names, name(file))
		}
		t.Run(strings.Join(names, ","), func(t *testing.T) {
			namespace := s.place(t)
			for _, url := range s.absent {
				s.proxy.gone(t, url)
			}
			a := applied{namespace: namespace, order: names, warned: map[string]string{}}
			for _, file := range order {
				a.warned[name(file)] = cluster.kubectl(t, "apply", "-n", namespace, "-f", file)
			}
			check(t, a)
		})
	}
}

func name(file string) string { return strings.TrimSuffix(filepath.Base(file), ".yaml") }

// place is an empty namespace for the variant, emptied when the test ends.
func (s seed) place(t *testing.T) string {
	t.Helper()
	if s.namespace == "" {
		return cluster.Namespace(t)
	}
	cluster.fixedNamespace(t, s.namespace)
	return s.namespace
}

// current gives the path of a manifest that today's API servers take: `drawbridge fix` rewrites a legacy one.
func (s seed) current(t *testing.T, file string) string {
	t.Helper()
	text := read(t, file)
	if !strings.Contains(text, "extensions/v1beta1") {
		return file
	}
	if _, stderr, err := cluster.Kubectl(t, "apply", "--dry-run=server", "-f", file); err == nil || !strings.Contains(stderr, "no matches for kind") {
		t.Fatalf("the API server must not know %s: %v, %s", file, err, stderr)
	}
	fixed := filepath.Join(t.TempDir(), filepath.Base(file))
	if err := os.WriteFile(fixed, []byte(fix(t, file)), 0o600); err != nil {
		t.Fatal(err)
	}
	return fixed
}

// fix is what `drawbridge fix` makes of files.
func fix(t *testing.T, files ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), lab.Drawbridge(t), append([]string{"fix"}, files...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("drawbridge fix: %v\n%s", err, stderr.String())
	}
	return string(text)
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// manifest is the text of a file of the seeds.
func manifest(t *testing.T, file string) string {
	t.Helper()
	return read(t, filepath.Join(seeds, file))
}

// expect compares what a site saw of a request.
func expect(t *testing.T, saw lab.Request, host string, overTLS bool, serverName string) {
	t.Helper()
	if saw.Host != host || saw.TLS != overTLS || saw.SNI != serverName {
		t.Errorf("the site saw Host %q, TLS %t, server name %q; want %q, %t, %q", saw.Host, saw.TLS, saw.SNI, host, overTLS, serverName)
	}
}
