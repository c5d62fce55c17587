package e2e

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
)

// row is a promise and the test that shows it.
type row struct {
	promise, test string
	failed        bool
}

var table struct {
	sync.Mutex
	rows []*row
}

// shows enters the test into the table as the one that shows a promise.
func shows(t *testing.T, promise string) {
	t.Helper()
	r := &row{promise: promise, test: t.Name()}
	table.Lock()
	table.rows = append(table.rows, r)
	table.Unlock()
	t.Cleanup(func() { r.failed = t.Failed() })
}

// writeTable compares README.md with what this run came to, and with -update writes it. A run of some tests alone says
// nothing of the others, and is not compared.
func writeTable() (code int) {
	for _, name := range []string{"test.run", "test.skip", "test.list", "test.bench", "test.fuzz"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != "" {
			return 0
		}
	}
	head, err := os.ReadFile("README.md.in")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var rows strings.Builder
	for _, r := range table.rows {
		result := "holds"
		if r.failed {
			result = "fails"
		}
		fmt.Fprintf(&rows, "| %s | `%s` | %s |\n", r.promise, r.test, result)
	}
	want := bytes.Replace(head, []byte("TABLE\n"), []byte(rows.String()), 1)
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
