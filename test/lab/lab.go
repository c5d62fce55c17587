// Package lab is a world for tests and for the demo: a network namespace of its own in which a real control plane, DNS,
// HAProxy and external sites run side by side, on the very addresses and ports that manifests name. Nothing that runs in
// it can reach, or be reached from, the network outside.
//
// A test package enters it with
//
//	func TestMain(m *testing.M) { lab.Main(m) }
//
// and a program with os.Exit(lab.Within(run)). All else takes a [TB], which is a *testing.T in tests, and comes from
// [Do] in a program. The package needs Linux.
package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// TB is what the lab needs of a test. *testing.T and *testing.B have it; [Do] gives one to programs.
type TB interface {
	Helper()
	Name() string
	Context() context.Context
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Failed() bool
	Cleanup(f func())
	TempDir() string
}

// Root returns the top folder of the repository: the nearest one at or above the working directory, or else the
// program's own folder, that holds the module's go.mod. It panics where there is none, since no part of the lab can be
// found then.
func Root() string {
	var starts []string
	if dir, err := os.Getwd(); err == nil {
		starts = append(starts, dir)
	}
	if exe, err := os.Executable(); err == nil {
		starts = append(starts, filepath.Dir(exe))
	}
	for _, dir := range starts {
		for {
			text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
			if err == nil && strings.HasPrefix(string(text), "module drawbridge.dev/drawbridge\n") {
				return dir
			}
			parent := filepath.Dir(dir)
			if parent == dir {
				break
			}
			dir = parent
		}
	}
	panic("lab: the working directory must be inside drawbridge's repository")
}

// Bin returns the absolute path of bin/name in the repository. A part that is not there fails the test: leaving such a
// test out would pass for success.
func Bin(t TB, name string) string {
	t.Helper()
	path := filepath.Join(Root(), "bin", name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("bin/%s must be there: run `make tools`", name)
	}
	return path
}

// HAProxy returns the absolute path of the system's HAProxy, and fails the test where there is none.
func HAProxy(t TB) string {
	t.Helper()
	for _, name := range []string{"haproxy", "/usr/sbin/haproxy", "/usr/local/sbin/haproxy"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatalf("HAProxy 2.6 or later must be installed: run `make packages`, or `apt-get install haproxy`")
	return ""
}

// drawbridge is built once a process.
var drawbridge struct {
	sync.Once
	path string
	err  error
}

// Drawbridge returns the path of a drawbridge binary, built from the sources as they stand when it is first asked for.
func Drawbridge(t TB) string {
	t.Helper()
	drawbridge.Do(func() {
		root := Root()
		// The go command knows which files a test has looked at. Looking at every source that goes into the binary keeps
		// it from answering with a cached result after one of them has changed.
		drawbridge.err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			name := entry.Name()
			if entry.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "bin" || name == "test") {
				return fs.SkipDir
			}
			if !entry.IsDir() && (strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, ".")) {
				return nil
			}
			_, err = os.Stat(path)
			return err
		})
		if drawbridge.err != nil {
			return
		}
		drawbridge.path = filepath.Join(Dir(process), "drawbridge")
		// Stripped as the image has it: what is resident of it is measured.
		build := exec.Command("go", "build", "-buildvcs=false", "-ldflags", "-s -w", "-o", drawbridge.path, "./cmd/drawbridge")
		build.Dir = root
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-trimpath")
		if out, err := build.CombinedOutput(); err != nil {
			drawbridge.err = fmt.Errorf("%w\n%s", err, out)
		}
	})
	if drawbridge.err != nil {
		t.Fatalf("go build ./cmd/drawbridge: %v", drawbridge.err)
	}
	return drawbridge.path
}

// Dir returns a new folder with a short path, at most 40 bytes, that is removed at cleanup. HAProxy takes a stats socket
// path of at most 95 bytes, which a test's TempDir easily exceeds.
func Dir(t TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "drawbridge-")
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Logf("%v", err)
		}
	})
	return dir
}

// Eventually calls probe until it returns nil, and fails the test with its last error when that takes longer than
// timeout. It calls probe at least once.
func Eventually(t TB, timeout time.Duration, probe func() error) {
	t.Helper()
	const pause = 50 * time.Millisecond
	deadline := time.Now().Add(timeout)
	for {
		err := probe()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %s: %v", timeout, err)
		}
		select {
		case <-t.Context().Done():
			t.Fatalf("%v", errors.Join(t.Context().Err(), err))
		case <-time.After(pause):
		}
	}
}
