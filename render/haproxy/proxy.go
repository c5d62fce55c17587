package haproxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// ProxyOptions says how HAProxy runs.
type ProxyOptions struct {
	Options
	// Binary is the HAProxy that runs as a child and that checks a configuration before a reload, with the same files
	// (CAFile too) in the same places. It may be empty where Attach is set: then a configuration is checked by the
	// master itself, which keeps the old worker if it is bad.
	Binary string
	// Attach leaves it to somebody else to run 'haproxy -W -S <RunDir>/master.sock -f <RunDir>/haproxy.cfg'; otherwise
	// HAProxy is a child that ends with this process.
	Attach bool
	// ReloadInterval is the least time between two reloads; 0 means 10 s.
	ReloadInterval time.Duration
	// Log gets what HAProxy says, and what was done to it; nil means slog.Default.
	Log *slog.Logger
}

// Proxy is a running HAProxy. Its methods may be called from several goroutines; one works at a time.
type Proxy struct {
	options ProxyOptions
	dir     folder
	worker  cli
	master  cli
	log     *slog.Logger

	// mu keeps commands, reloads and files from running beside each other.
	mu sync.Mutex
	// seen is the worker that live describes; a worker that is another has what stood in the files when it started.
	seen    identity
	live    State
	loaded  map[string]certificate // by file: certificates that HAProxy has
	refused map[string]refusedCertificate
	served  []binding
	// written is set once the files hold what seen serves.
	written bool
	// reloaded is when the last reload began.
	reloaded time.Time

	counting sync.Mutex
	counters Counters

	stop   context.CancelFunc
	done   chan struct{}
	ending atomic.Bool // the child is to end
}

type refusedCertificate struct {
	certificate
	message string
}

// Counters counts since the Proxy was made.
type Counters struct {
	// LiveChanges is the number of calls of Apply that changed what is served without a reload.
	LiveChanges uint64
	// Reloads is the number of reloads by cause: "config" for another haproxy.cfg, "live-change-failed".
	Reloads map[string]uint64
}

// The causes of reloads.
const (
	causeConfig = "config"
	causeFailed = "live-change-failed"
)

// NewProxy checks the options; nothing is started or written yet.
func NewProxy(o ProxyOptions) (*Proxy, error) {
	if _, err := Config(o.Options); err != nil {
		return nil, err
	}
	if o.Binary == "" && !o.Attach {
		return nil, errors.New("there must be a HAProxy to start")
	}
	if o.ReloadInterval == 0 {
		o.ReloadInterval = 10 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	o.RunDir = filepath.Clean(o.RunDir)
	return &Proxy{
		options: o,
		dir:     folder(o.RunDir),
		worker:  cli{socket: filepath.Join(o.RunDir, statsSocket)},
		master:  cli{socket: filepath.Join(o.RunDir, masterSocket), master: true},
		log:     o.Log,
	}, nil
}

// Start writes the files that HAProxy starts with, starts it as a child or finds the one that runs, and waits until
// it answers or ctx ends. A child that ends is started again until Close. What the files hold from a run before is
// served until the first Apply.
func (p *Proxy) Start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stop != nil {
		return errors.New("HAProxy was started already")
	}
	if err := p.dir.prepare(); err != nil {
		return err
	}
	if p.options.Attach {
		return p.attach(ctx)
	}
	config, err := Config(p.options.Options)
	if err != nil {
		return err
	}
	if err := p.checkFiles(ctx, config); err != nil {
		p.log.Warn("HAProxy does not start with the files that are there; it is tried without them", "error", err)
		if err := p.dir.empty(); err != nil {
			return err
		}
		if err := p.checkFiles(ctx, config); err != nil {
			return err
		}
	}
	if err := p.dir.write(configFile, config); err != nil {
		return err
	}
	supervised, cancel := context.WithCancel(context.Background())
	p.stop, p.done = cancel, make(chan struct{})
	started := make(chan error, 1)
	go p.supervise(supervised, started)
	if err := <-started; err != nil {
		cancel()
		<-p.done
		p.stop = nil
		return err
	}
	return p.wait(ctx)
}

// attach brings the HAProxy that runs to our haproxy.cfg, and writes the file for one that doesn't run yet.
func (p *Proxy) attach(ctx context.Context) error {
	config, err := Config(p.options.Options)
	if err != nil {
		return err
	}
	old, err := os.ReadFile(p.dir.path(configFile))
	if err == nil && string(old) == string(config) {
		return p.wait(ctx)
	}
	if _, running := p.worker.identity(ctx); err == nil && running == nil {
		return p.reload(ctx, causeConfig)
	}
	if err := p.dir.write(configFile, config); err != nil {
		return err
	}
	return p.wait(ctx)
}

// wait returns when the worker answers, and the master too.
func (p *Proxy) wait(ctx context.Context) error {
	for {
		_, err := p.worker.identity(ctx)
		if err == nil {
			_, err = p.workers(ctx)
		}
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("HAProxy doesn't answer on %s: %w", p.worker.socket, errors.Join(ctx.Err(), err))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// supervise keeps a child running. The kernel ends it together with the thread that made it, which is therefore
// ours alone.
func (p *Proxy) supervise(ctx context.Context, started chan<- error) {
	goruntime.LockOSThread()
	defer close(p.done)
	pause := 100 * time.Millisecond
	for first := true; ; first = false {
		began := time.Now()
		child, err := p.start()
		if first {
			started <- err
			if err != nil {
				return
			}
		}
		if err == nil {
			err = p.await(ctx, child)
		}
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > time.Minute {
			pause = 100 * time.Millisecond
		}
		p.log.Error("HAProxy ended; it is started again", "error", err, "pause", pause)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, 10*time.Second)
	}
}

func (p *Proxy) start() (*exec.Cmd, error) {
	child := exec.Command(p.options.Binary, "-W", "-S", p.master.socket+",mode,600", "-f", p.dir.path(configFile))
	// A process group of its own: an interrupt from the terminal is for this process, which ends the child in order.
	child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	child.Stdout = os.Stdout
	child.Stderr = &listener{log: p.log, ending: &p.ending}
	// An old worker that is still at work has the same standard error; nobody waits for its end.
	child.WaitDelay = time.Second
	return child, child.Start()
}

// listener hands on what HAProxy says, line by line. Its alerts that workers ended are no news while it is to end.
type listener struct {
	log    *slog.Logger
	ending *atomic.Bool
	line   []byte
}

// maxLine bounds what is kept of a line that doesn't end.
const maxLine = 4096

func (l *listener) Write(text []byte) (int, error) {
	for part := range bytes.Lines(text) {
		whole := bytes.HasSuffix(part, []byte("\n"))
		if room := maxLine - len(l.line); room > 0 {
			l.line = append(l.line, part[:min(room, len(part))]...)
		}
		if !whole {
			continue
		}
		level := slog.LevelDebug
		loud := bytes.Contains(l.line, []byte("[ALERT]")) || bytes.Contains(l.line, []byte("[WARNING]"))
		if loud && !l.ending.Load() {
			level = slog.LevelWarn
		}
		l.log.Log(context.Background(), level, "HAProxy says", "line", string(bytes.TrimSpace(l.line)))
		l.line = l.line[:0]
	}
	return len(text), nil
}

// drain is how long requests that are under way have when the child is to end.
const drain = 5 * time.Second

// await waits for the end of a child, and ends it when ctx does: it takes no more requests, and has a while for those
// that it has.
func (p *Proxy) await(ctx context.Context, child *exec.Cmd) error {
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	p.ending.Store(true)
	for _, signal := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGTERM} {
		_ = child.Process.Signal(signal)
		select {
		case err := <-ended:
			return err
		case <-time.After(drain):
		}
	}
	_ = child.Process.Kill()
	return <-ended
}

// Close ends the child and waits for its end, for at most twice the time that requests under way are given. A HAProxy that was only attached to goes on.
func (p *Proxy) Close() error {
	p.mu.Lock()
	stop, done := p.stop, p.done
	p.mu.Unlock()
	if stop != nil {
		stop()
		<-done
	}
	return nil
}

// Counters returns what was counted so far.
func (p *Proxy) Counters() Counters {
	p.counting.Lock()
	defer p.counting.Unlock()
	c := p.counters
	c.Reloads = maps.Clone(c.Reloads)
	return c
}

func (p *Proxy) count(f func(*Counters)) {
	p.counting.Lock()
	defer p.counting.Unlock()
	f(&p.counters)
}

// ReloadDeferred is the error of a change that wants a reload too soon after the last one.
type ReloadDeferred struct {
	Cause string
	After time.Duration
}

func (e *ReloadDeferred) Error() string {
	return fmt.Sprintf("HAProxy must be reloaded (%s), but was a moment ago: not before %s", e.Cause, e.After.Round(time.Millisecond))
}

// checkFiles lets HAProxy read a configuration, with the data files as they are.
func (p *Proxy) checkFiles(ctx context.Context, config []byte) error {
	if p.options.Binary == "" {
		return nil
	}
	const candidate = "candidate.cfg"
	if err := p.dir.write(candidate, config); err != nil {
		return err
	}
	defer func() { _ = os.Remove(p.dir.path(candidate)) }()
	output, err := exec.CommandContext(ctx, p.options.Binary, "-c", "-f", p.dir.path(candidate)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("haproxy -c: %w: %s", err, strings.TrimSpace(string(output)))
	}
	return nil
}

// reload lets the master start a new worker on our haproxy.cfg and the data files as they are. Where that fails the
// old worker goes on, and the old haproxy.cfg is put back.
func (p *Proxy) reload(ctx context.Context, cause string) error {
	if wait := p.options.ReloadInterval - time.Since(p.reloaded); !p.reloaded.IsZero() && wait > 0 {
		return &ReloadDeferred{cause, wait}
	}
	config, err := Config(p.options.Options)
	if err != nil {
		return err
	}
	if err := p.checkFiles(ctx, config); err != nil {
		return fmt.Errorf("reload (%s): %w", cause, err)
	}
	old, err := os.ReadFile(p.dir.path(configFile))
	if err != nil {
		return err
	}
	before, err := p.workers(ctx)
	if err != nil {
		return fmt.Errorf("reload (%s): %w", cause, err)
	}
	if err := p.dir.write(configFile, config); err != nil {
		return err
	}
	p.reloaded = time.Now()
	p.count(func(c *Counters) {
		if c.Reloads == nil {
			c.Reloads = make(map[string]uint64)
		}
		c.Reloads[cause]++
	})
	p.log.Info("HAProxy is reloaded", "cause", cause)
	// The master closes its sockets while it starts anew, so that there may be no answer.
	_, _ = p.master.send(ctx, "reload", nil)
	if err := p.reborn(ctx, before); err != nil {
		restored := p.dir.write(configFile, old)
		return errors.Join(fmt.Errorf("reload (%s): %w", cause, err), restored)
	}
	return p.wait(ctx)
}

// processes is what 'show proc' of the master says: the pid of the current worker, how often it was reloaded, and how
// many of the reloads failed since the last that did not.
type processes struct {
	worker  int
	reloads int
	failed  int
}

// workers asks the master. While the master starts anew its socket takes connections that nobody will answer, so no
// attempt waits for long.
func (p *Proxy) workers(ctx context.Context) (processes, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	answer, err := p.master.send(ctx, "show proc", nil)
	if err != nil {
		return processes{}, err
	}
	return parseProcesses(answer)
}

func parseProcesses(answer string) (processes, error) {
	var found processes
	var section string
	var master bool
	for line := range strings.Lines(answer) {
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, "# "); ok {
			section = rest
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 3 || strings.HasPrefix(line, "#") {
			continue
		}
		pid, err := strconv.Atoi(fields[0])
		if err != nil {
			continue
		}
		switch {
		case fields[1] == "master":
			master = true
			found.reloads, _ = strconv.Atoi(fields[2])
			if _, rest, ok := strings.Cut(line, "[failed: "); ok {
				number, _, _ := strings.Cut(rest, "]")
				found.failed, _ = strconv.Atoi(number)
			}
		case section == "workers" && fields[1] == "worker":
			found.worker = pid
		}
	}
	if !master {
		return found, &refusal{"show proc", answer}
	}
	return found, nil
}

// reborn waits until the master has another worker than before, or tells that it failed to make one.
func (p *Proxy) reborn(ctx context.Context, before processes) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		now, err := p.workers(ctx)
		switch {
		case err != nil: // the master's socket refuses for a moment
		case now.failed > before.failed:
			return errors.New("the master could not start a new worker; the old one goes on")
		case now.worker != 0 && now.worker != before.worker && now.failed == 0:
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
