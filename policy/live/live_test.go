package live_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/live"
)

// parse takes "ok <generation>" for a policy and everything else for a mistake.
func parse(text []byte) (*policy.Config, error) {
	generation, ok := strings.CutPrefix(string(text), "ok ")
	if !ok {
		return nil, errors.New("no policy")
	}
	config := policy.DefaultConfig()
	config.Generation = generation
	return config, nil
}

func expect(t *testing.T, registry *prometheus.Registry, generation string, success int) {
	t.Helper()
	want := `
# HELP drawbridge_policy_generation The policy in force, by the hash of its text; always 1.
# TYPE drawbridge_policy_generation gauge
drawbridge_policy_generation{generation="` + generation + `"} 1
# HELP drawbridge_policy_last_reload_success Whether the last policy that was read is in force (1), or was wrong and the one before stays (0).
# TYPE drawbridge_policy_last_reload_success gauge
drawbridge_policy_last_reload_success ` + string(rune('0'+success)) + "\n"
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

func TestPolicy(t *testing.T) {
	registry := prometheus.NewRegistry()
	p := live.New(parse, registry)
	var seen []string
	p.OnChange(func(c *policy.Config) { seen = append(seen, c.Generation) })
	changed := p.Changed()
	expect(t, registry, "default", 1)

	if err := p.Load([]byte("ok a")); err != nil {
		t.Fatal(err)
	}
	expect(t, registry, "a", 1)
	if err := p.Load([]byte("nonsense")); err == nil || p.Current().Generation != "a" {
		t.Errorf("a wrong policy came in force: %v, %s", err, p.Current().Generation)
	}
	expect(t, registry, "a", 0)
	// The text of before again is no change, and no error any more.
	if err := p.Load([]byte("ok a")); err != nil {
		t.Fatal(err)
	}
	expect(t, registry, "a", 1)
	p.Reset()
	expect(t, registry, "default", 1)
	if got := strings.Join(seen, " "); got != "a default" {
		t.Errorf("listeners saw %q", got)
	}
	<-changed
	select {
	case <-changed:
		t.Error("two changes that nobody waited for must be one value")
	default:
	}
}

func TestFollowFile(t *testing.T) {
	// As kubelet mounts a ConfigMap: a link to a folder that is swapped whole.
	dir := t.TempDir()
	write := func(version, text string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(dir, version), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, version, live.Key), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		next := filepath.Join(dir, "next")
		if err := os.Symlink(version, next); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, filepath.Join(dir, "data")); err != nil {
			t.Fatal(err)
		}
	}
	p := live.New(parse, nil)
	path := filepath.Join(dir, "data", live.Key)
	follow := func() error { return p.FollowFile(t.Context(), path, 5*time.Millisecond) }
	if err := follow(); err == nil {
		t.Error("a file that is not there was no error")
	}
	write("v0", "nonsense")
	if err := follow(); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a wrong file at the start: %v", err)
	}
	write("v1", "ok 1")
	if err := follow(); err != nil {
		t.Fatal(err)
	}
	changed := p.Changed()
	write("v2", "nonsense")
	if err := os.Remove(filepath.Join(dir, "data")); err != nil {
		t.Fatal(err)
	}
	write("v3", "ok 3")
	select {
	case <-changed:
	case <-time.After(10 * time.Second):
		t.Fatal("the change was not seen")
	}
	if got := p.Current().Generation; got != "3" {
		t.Errorf("generation %s", got)
	}
}
