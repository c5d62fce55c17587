package lab

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Process says what [Start] runs.
type Process struct {
	Path    string   // absolute
	Args    []string // without the program's name
	Env     []string // "NAME=value", after the environment of the test
	Dir     string   // working directory; that of the test when empty
	Name    string   // in logs and messages; the last element of Path when empty
	MayExit bool     // ending by itself is no failure
}

// Running is a process that [Start] started.
type Running struct {
	name     string
	cmd      *exec.Cmd
	log      string
	expected atomic.Bool // its end is no surprise
	done     chan struct{}
}

const (
	// grace is how long a process may take to end after SIGTERM.
	grace = 10 * time.Second
	// tail is how much of a process's log a failed test prints, in bytes.
	tail = 8 << 10
)

// Start runs a program until the test ends, and then ends it by SIGTERM and, ten seconds later, SIGKILL. What it prints
// goes to a file, whose end is logged when the test has failed. A process that ends by itself fails the test, unless
// MayExit says otherwise.
func Start(t TB, p Process) *Running {
	t.Helper()
	name := p.Name
	if name == "" {
		name = filepath.Base(p.Path)
	}
	log, err := os.Create(filepath.Join(Dir(t), name+".log"))
	if err != nil {
		t.Fatalf("%v", err)
	}
	// The process has a descriptor of its own.
	defer log.Close()
	cmd := exec.Command(p.Path, p.Args...)
	cmd.Env = append(os.Environ(), p.Env...)
	cmd.Dir = p.Dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", name, err)
	}
	r := &Running{name: name, cmd: cmd, log: log.Name(), done: make(chan struct{})}
	r.expected.Store(p.MayExit)
	go func() {
		defer close(r.done)
		// How it ended is in cmd.ProcessState.
		_ = cmd.Wait()
		if !r.expected.Load() {
			t.Errorf("%s ended by itself: %v", name, cmd.ProcessState)
		}
	}()
	t.Cleanup(func() {
		r.Stop()
		if t.Failed() {
			t.Logf("log of %s:\n%s", name, last([]byte(r.Output()), tail))
		}
	})
	return r
}

// last returns the whole lines at the end of text that fit into size bytes.
func last(text []byte, size int) string {
	if len(text) > size {
		text = text[len(text)-size:]
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			text = text[i+1:]
		}
		return "...\n" + string(text)
	}
	return string(text)
}

// Pid returns the id of the process as the world sees it.
func (r *Running) Pid() int { return r.cmd.Process.Pid }

// LogFile returns the path of the file that the process writes its standard output and error to.
func (r *Running) LogFile() string { return r.log }

// Output returns what the process has printed so far, on both outputs.
func (r *Running) Output() string {
	text, err := os.ReadFile(r.log)
	if err != nil {
		return fmt.Sprintf("(%v)", err)
	}
	return strings.ToValidUTF8(string(text), "\uFFFD")
}

// Signal sends a signal to the process. From then on its end is no surprise. It does nothing when the process has ended.
func (r *Running) Signal(s os.Signal) {
	r.expected.Store(true)
	_ = r.cmd.Process.Signal(s)
}

// Stop ends the process by SIGTERM, and by SIGKILL when ten seconds were not enough, and waits for its end.
func (r *Running) Stop() {
	r.Signal(syscall.SIGTERM)
	select {
	case <-r.done:
	case <-time.After(grace):
		r.Signal(syscall.SIGKILL)
		<-r.done
	}
}

// Done returns a channel that is closed when the process has ended.
func (r *Running) Done() <-chan struct{} { return r.done }

// ExitCode returns the process's exit code, and -1 while it runs or when a signal ended it.
func (r *Running) ExitCode() int {
	select {
	case <-r.done:
		return r.cmd.ProcessState.ExitCode()
	default:
		return -1
	}
}
