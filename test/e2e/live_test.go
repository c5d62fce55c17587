package e2e

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pid is the process id of the HAProxy worker that serves now.
func (p *proxy) pid(t *testing.T) string {
	t.Helper()
	conn, err := net.DialTimeout("unix", filepath.Join(p.dir, "haproxy.sock"), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, "show info\n"); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if pid, ok := strings.CutPrefix(line, "Pid: "); ok {
			return strings.TrimSpace(pid)
		}
	}
	t.Fatalf("HAProxy does not tell its pid: %s", text)
	return ""
}

// unreloaded asserts that HAProxy still is the process that it was, and that the proxy counts no reload.
func (p *proxy) unreloaded(t *testing.T, pid string) {
	t.Helper()
	if now := p.pid(t); now != pid {
		t.Errorf("HAProxy was process %s and is %s", pid, now)
	}
	text, err := fetch("http://" + p.address + ":9100/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "drawbridge_reloads_total") && !strings.HasSuffix(strings.TrimSpace(line), " 0") {
			t.Errorf("a reload: %s", line)
		}
	}
	if !strings.Contains(text, "drawbridge_live_changes_total ") || strings.Contains(text, "drawbridge_live_changes_total 0\n") {
		t.Error(fmt.Errorf("drawbridge_live_changes_total does not count:\n%s", text))
	}
}
