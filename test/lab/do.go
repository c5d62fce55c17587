package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
)

// run is a TB outside of tests.
type run struct {
	name   string
	log    io.Writer
	ctx    context.Context
	cancel context.CancelFunc

	mu       sync.Mutex
	failures []error
	cleanups []func()
}

// process is the TB of what lives as long as the program or the test binary; [Within] ends it.
var process = newRun(os.Stderr, "lab")

func newRun(log io.Writer, name string) *run {
	ctx, cancel := context.WithCancel(context.Background())
	return &run{name: name, log: log, ctx: ctx, cancel: cancel}
}

// Do runs body with a TB whose log goes to log. Like a test's, its Fatalf ends body, and its cleanups run last first
// when body has ended. The error joins everything that Errorf and Fatalf reported; it is nil when nothing failed.
func Do(log io.Writer, name string, body func(t TB)) error {
	r := newRun(log, name)
	r.call(func() { body(r) })
	r.end()
	return errors.Join(r.failures...)
}

// call runs f to its end, or to the Fatalf in it. Fatalf ends the goroutine, which is why f gets one of its own.
func (r *run) call(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if cause := recover(); cause != nil {
				r.Errorf("panic: %v\n%s", cause, debug.Stack())
			}
		}()
		f()
	}()
	<-done
}

func (r *run) end() {
	r.cancel()
	for {
		r.mu.Lock()
		n := len(r.cleanups)
		if n == 0 {
			r.mu.Unlock()
			return
		}
		last := r.cleanups[n-1]
		r.cleanups = r.cleanups[:n-1]
		r.mu.Unlock()
		r.call(last)
	}
}

func (r *run) Helper()                  {}
func (r *run) Name() string             { return r.name }
func (r *run) Context() context.Context { return r.ctx }

func (r *run) Logf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(r.log, format+"\n", args...)
}

func (r *run) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Errorf(format, args...))
}

func (r *run) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func (r *run) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.failures) > 0
}

func (r *run) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}

func (r *run) TempDir() string { return Dir(r) }
