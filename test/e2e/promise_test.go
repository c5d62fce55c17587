package e2e

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"drawbridge.dev/drawbridge/test/lab"
)

// row is a promise and the test that shows it.
type row struct {
	promise, test, result string
}

var table struct {
	sync.Mutex
	rows []*row
}

// shows enters the test into the table as the one that shows a promise.
func shows(t *testing.T, promise string) {
	t.Helper()
	table.Lock()
	defer table.Unlock()
	i := slices.IndexFunc(table.rows, func(r *row) bool { return r.test == t.Name() })
	if i < 0 { // else it is run again, by -count
		i = len(table.rows)
		table.rows = append(table.rows, &row{promise: promise, test: t.Name(), result: "holds"})
	}
	r := table.rows[i]
	t.Cleanup(func() {
		if t.Failed() {
			r.result = "fails"
		}
	})
}

// elsewhere are promises that tests of other packages show.
var elsewhere = []struct{ promise, folder, test string }{
	{"Every rule has a denied or mended case and a clean one", "policy/rules", "TestGolden"},
	{"The invariants of a rule hold on every case: fixing twice is fixing once, and nothing is removed or overwritten", "policy/rules", "TestInvariants"},
	{"kubectl create, update, apply, server-side apply, patch, replace, dry-run and diff, as a person sees them", "test/envtest", "TestAdmission/Transcripts"},
	{"What is applied again is quiet, by apply and by server-side apply", "test/envtest", "TestAdmission/Quiet"},
	{"An Ingress that came before its Service is completed when the Service comes, and what was injected follows the Service from then on; what its author wrote, or changed, stays his", "test/envtest", "TestAdmission/Completing"},
	{"What is injected in each dialect, into Ingresses and Services, in either order and by either kind of apply; it follows the name, the port, the class and the policy, leaves what people wrote, and what `fix --dialect` moves is taken", "test/envtest", "TestDialects"},
	{"An object that was bad before the webhook came can still get a label, and its traffic does not change by it", "test/envtest", "TestAdmission/BadBefore"},
	{"What the control plane writes passes untouched, under either of its identities, and with the manager stopped it still writes slices", "test/envtest", "TestControlPlane"},
	{"The hand-over of slices and the way back, watched change by change: no moment without an endpoint", "test/envtest/slices", "TestHandOverAndBack"},
	{"The manifest reader never panics", "policy/manifest", "FuzzRead"},
	{"haproxy.cfg is byte for byte the same whatever the objects, and each line of the map reads back to the model", "render/haproxy", "FuzzRender"},
	{"HAProxy's own `show map` reads back to exactly the model", "render/haproxy", "TestLiveChanges"},
	{"Nothing hostile in names, hosts, paths or annotations gets further than a Problem", "render", "FuzzBuild"},
	{"Installed by the real Helm with a certificate of the real cert-manager, rotated once", "test/e2e/install", "TestInstall"},
	{"The command line: check, fix and rules on files, the documents' own among them", "cmd/drawbridge", "TestScript"},
}

// TestElsewhere holds that the tests that the table names are there. Their results are those of their own packages.
func TestElsewhere(t *testing.T) {
	for _, e := range elsewhere {
		top, sub, _ := strings.Cut(e.test, "/")
		files, err := filepath.Glob(filepath.Join(lab.Root(), e.folder, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(files, func(file string) bool {
			text := read(t, file)
			return strings.Contains(text, "\nfunc "+top+"(") && (sub == "" || strings.Contains(text, fmt.Sprintf("t.Run(%q", sub)))
		}) {
			t.Errorf("%s has no %s", e.folder, e.test)
		}
	}
}

// writeTable compares README.md with what this run came to, and with -update writes it. A run of some tests alone says
// nothing of the others, and is not compared; neither is one that failed anyway.
func writeTable(failed bool) (code int) {
	for _, name := range []string{"test.run", "test.skip", "test.list", "test.bench", "test.fuzz"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != "" {
			return 0
		}
	}
	if failed && !*update {
		return 0
	}
	head, err := os.ReadFile("README.md.in")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// The documents first; -shuffle changes nothing.
	slices.SortStableFunc(table.rows, func(a, b *row) int {
		key := func(r *row) string {
			top, _, _ := strings.Cut(r.test, "/")
			if strings.HasPrefix(top, "TestSeed") {
				return "0" + top
			}
			return "1" + top
		}
		return cmp.Compare(key(a), key(b))
	})
	var rows strings.Builder
	for _, r := range table.rows {
		fmt.Fprintf(&rows, "| %s | `%s` | %s |\n", r.promise, r.test, r.result)
	}
	want := bytes.Replace(head, []byte("TABLE\n"), []byte(rows.String()), 1)
	rows.Reset()
	for _, e := range elsewhere {
		fmt.Fprintf(&rows, "| %s | [`%s`](../../%s) `%s` |\n", e.promise, e.folder, e.folder, e.test)
	}
	want = bytes.Replace(want, []byte("ELSEWHERE\n"), []byte(rows.String()), 1)
	got, err := os.ReadFile("README.md")
	if err == nil && bytes.Equal(got, want) {
		return 0
	}
	if !*update {
		fmt.Fprintln(os.Stderr, "test/e2e/README.md is not what this run came to: go test ./test/e2e -update writes it")
		return 1
	}
	if err := os.WriteFile("README.md", want, 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
