// Package resolve keeps the addresses of DNS names: it asks for A and AAAA records, asks again when their TTL ends,
// checks each address as it is resolved, and publishes those that may be served.
//
// Names are asked for as they stand, absolute: no search list of the machine makes another name of them. Each name
// and family is scheduled by itself, and names that fail have workers of their own, so that a slow or broken name
// harms no other. What failures leave standing, and for how long, is at Options.Keep.
package resolve

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"drawbridge.dev/drawbridge/render/model"
)

// Options says whom to ask, and what of the answers to believe. Zero values mean the defaults named here.
type Options struct {
	// Servers are name servers that resolve for others, as HOST:PORT, asked in turn until one answers. Default: those
	// of /etc/resolv.conf, read once.
	Servers []string
	// Check tells why an address must not be served, nil where it may. It is called for every address of every answer,
	// with the name as it was given, and must be quick and safe for concurrent use. It must be set: without it a public name could come to point
	// inside (DNS rebinding). An IPv4 address that came as IPv6 is given as it came.
	Check func(name string, addr netip.Addr) error
	// MinTTL and MaxTTL bound how long an answer is believed: 1 second and 1 hour.
	MinTTL, MaxTTL time.Duration
	// Keep is how long the last good addresses of a name are served on after their TTL while the servers fail (SERVFAIL,
	// REFUSED, no answer): 1 hour. An answer that the name or its addresses are gone counts at once.
	Keep time.Duration
	// Timeout is for one server and one attempt, of which there are two: 2 seconds.
	Timeout time.Duration
	// FirstWait is how long Settled waits at most: 5 seconds.
	FirstWait time.Duration
	// Workers is how many questions are open at once: 256. Names that failed last time share a quarter of as many more.
	Workers int
	// Log gets one line for each change of a name's problems. Default: none.
	Log *slog.Logger
}

// Resolver keeps the addresses of the names that it is told. Its methods are safe for concurrent use.
type Resolver struct {
	options Options
	asker   *asker
	errors  *prometheus.CounterVec
	updates chan struct{}
	wake    chan struct{}

	mu      sync.Mutex
	check   func(name string, addr netip.Addr) error
	names   map[string]*entry
	due     schedule
	lanes   [2]lane // healthy names, and those that failed last time
	pending map[string]bool
	waiters []chan struct{}
	table   model.Table
	shown   model.Table // a copy of table that was given away, nil when it is out of date
}

// lane is a bounded number of workers with the units that wait for one.
type lane struct {
	waiting []*unit
	open    int
	most    int
}

type result struct {
	unit   *unit
	lane   int
	answer answer
}

// New makes a Resolver, which does nothing until it runs.
func New(o Options) (*Resolver, error) {
	if o.Check == nil {
		return nil, errors.New("resolve: Options.Check must be set: no address is served unchecked")
	}
	if len(o.Servers) == 0 {
		c, err := dns.ClientConfigFromFile("/etc/resolv.conf")
		if err != nil {
			return nil, fmt.Errorf("find a name server: %w; name one as HOST:PORT", err)
		}
		for _, s := range c.Servers {
			o.Servers = append(o.Servers, net.JoinHostPort(s, c.Port))
		}
	}
	if len(o.Servers) == 0 {
		return nil, errors.New("no name server is known; name one as HOST:PORT")
	}
	for _, s := range o.Servers {
		if _, port, err := net.SplitHostPort(s); err != nil || port == "" {
			return nil, fmt.Errorf("name server '%s' must be HOST:PORT", s)
		}
	}
	setDefault(&o.MinTTL, time.Second)
	setDefault(&o.MaxTTL, time.Hour)
	setDefault(&o.Keep, time.Hour)
	setDefault(&o.Timeout, 2*time.Second)
	setDefault(&o.FirstWait, 5*time.Second)
	if o.Workers <= 0 {
		o.Workers = 256
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Resolver{
		options: o,
		asker:   &asker{servers: slices.Clone(o.Servers), timeout: o.Timeout},
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "drawbridge_resolve_errors_total",
			Help: "Look-ups of external names that failed, and addresses that were refused, by reason.",
		}, []string{"reason"}),
		updates: make(chan struct{}, 1),
		wake:    make(chan struct{}, 1),
		check:   o.Check,
		names:   map[string]*entry{},
		lanes:   [2]lane{{most: o.Workers}, {most: max(o.Workers/4, 1)}},
		pending: map[string]bool{},
		table:   model.Table{},
	}, nil
}

func setDefault(d *time.Duration, value time.Duration) {
	if *d <= 0 {
		*d = value
	}
}

// Run asks and asks again until ctx ends, and returns nil then, when every question is closed. It runs once.
func (r *Resolver) Run(ctx context.Context) error {
	results := make(chan result)
	var open sync.WaitGroup
	defer open.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		start, next := r.take(time.Now())
		for _, s := range start {
			open.Go(func() {
				s.answer = r.asker.lookup(ctx, s.unit.name, s.unit.kind)
				select {
				case results <- s:
				case <-ctx.Done():
				}
			})
		}
		timer.Reset(next)
		select {
		case <-ctx.Done():
			return nil
		case s := <-results:
			r.learn(s, time.Now())
		case <-r.wake:
		case <-timer.C:
		}
	}
}

// take gives the look-ups to start now, and how long until there may be more.
func (r *Resolver) take(now time.Time) (start []result, next time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.due) > 0 && !r.due[0].due.After(now) {
		u, _ := heap.Pop(&r.due).(*unit)
		n := 0
		if u.failures > 0 {
			n = 1
		}
		r.lanes[n].waiting = append(r.lanes[n].waiting, u)
	}
	for n := range r.lanes {
		l := &r.lanes[n]
		for l.open < l.most && len(l.waiting) > 0 {
			u := l.waiting[0]
			l.waiting = l.waiting[1:]
			if !u.removed {
				l.open++
				start = append(start, result{unit: u, lane: n})
			}
		}
	}
	next = time.Hour
	if len(r.due) > 0 {
		next = max(r.due[0].due.Sub(now), 0)
	}
	return start, next
}

// learn takes in what one look-up brought.
func (r *Resolver) learn(s result, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lanes[s.lane].open--
	if s.answer.reason != "" {
		r.errors.WithLabelValues(s.answer.reason).Inc()
	}
	u := s.unit
	if u.removed {
		return
	}
	u.learn(s.answer, now, limits{r.options.MinTTL, r.options.MaxTTL, r.options.Keep})
	heap.Push(&r.due, u)
	e := r.names[u.name]
	refused := r.judge(e)
	r.errors.WithLabelValues(ReasonRefused).Add(float64(refused))
	if len(e.addrs) > 0 || !slices.ContainsFunc(e.units, func(u *unit) bool { return !u.answered }) {
		delete(r.pending, e.name)
		r.settle()
	}
}

// judge brings the table and the problems of one name up to date. The lock is held.
func (r *Resolver) judge(e *entry) (refused int) {
	addrs, problems, refused := e.judge(r.check)
	if !slices.Equal(problems, e.problems) {
		for _, p := range problems {
			if !slices.Contains(e.problems, p) {
				r.options.Log.Warn("name", "name", p.Name, "reason", p.Reason, "message", p.Message)
			}
		}
		e.problems = problems
		r.signal()
	}
	if !slices.Equal(addrs, e.addrs) {
		e.addrs = addrs
		if len(addrs) == 0 {
			delete(r.table, e.name)
		} else {
			r.table[e.name] = addrs
		}
		r.shown = nil
		r.signal()
	}
	return refused
}

func (r *Resolver) signal() {
	select {
	case r.updates <- struct{}{}:
	default:
	}
}

// settle ends the waiting of Settled, where there is nothing left to wait for. The lock is held.
func (r *Resolver) settle() {
	if len(r.pending) > 0 {
		return
	}
	for _, w := range r.waiters {
		close(w)
	}
	r.waiters = nil
}

// SetNames says which names are wanted from now on, absolute and without the last dot, as model.Upstream has them.
// New ones are asked for at once; what is not among them is forgotten. An IP address stands for itself: it is checked
// like one that a name led to, and nobody is asked for it.
func (r *Resolver) SetNames(names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	wanted := make(map[string]bool, len(names))
	for _, n := range names {
		wanted[n] = true
		if r.names[n] != nil {
			continue
		}
		e := &entry{name: n}
		r.names[n] = e
		if addr, err := netip.ParseAddr(n); err == nil && addr.Zone() == "" {
			e.units = []*unit{{name: n, raw: []netip.Addr{addr}, answered: true, index: -1}}
			r.judge(e)
			continue
		}
		if !askable(n) {
			r.judge(e)
			continue
		}
		r.pending[n] = true
		for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
			u := &unit{name: n, kind: kind}
			e.units = append(e.units, u)
			heap.Push(&r.due, u)
		}
	}
	for n, e := range r.names {
		if wanted[n] {
			continue
		}
		for _, u := range e.units {
			u.removed = true
			if u.index >= 0 && u.index < len(r.due) && r.due[u.index] == u {
				heap.Remove(&r.due, u.index)
			}
		}
		if len(e.addrs) > 0 || len(e.problems) > 0 {
			r.signal()
		}
		delete(r.names, n)
		delete(r.pending, n)
		delete(r.table, n)
		r.shown = nil
	}
	r.settle()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// SetCheck puts another check in force. What is known already is judged by it at once, without asking again.
func (r *Resolver) SetCheck(check func(name string, addr netip.Addr) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.check = check
	for _, e := range r.names {
		r.judge(e)
	}
}

// Updates gets a value whenever Table or Problems may have changed since the last one was received.
func (r *Resolver) Updates() <-chan struct{} { return r.updates }

// Table gives the addresses of all names that have any. It is shared between callers and must not be changed.
func (r *Resolver) Table() model.Table {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.shown == nil {
		r.shown = maps.Clone(r.table) // the addresses of a name are replaced, never changed
	}
	return r.shown
}

// Ready tells whether a wanted name has addresses, or was asked for in both families, or can't be asked for.
func (r *Resolver) Ready(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.names[name] != nil && !r.pending[name]
}

// Settled gives a channel that is closed when every name wanted is Ready, or Options.FirstWait after the call.
func (r *Resolver) Settled() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := make(chan struct{})
	if len(r.pending) == 0 {
		close(w)
		return w
	}
	r.waiters = append(r.waiters, w)
	time.AfterFunc(r.options.FirstWait, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if i := slices.Index(r.waiters, w); i >= 0 {
			r.waiters = slices.Delete(r.waiters, i, i+1)
			close(w)
		}
	})
	return w
}

// Problems gives what is wrong with the names wanted, sorted by name.
func (r *Resolver) Problems() []Problem {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Problem
	for _, e := range r.names {
		out = append(out, e.problems...)
	}
	slices.SortFunc(out, Problem.compare)
	return out
}

// Metrics gives drawbridge_resolve_errors_total, by reason, for the caller to register.
func (r *Resolver) Metrics() prometheus.Collector { return r.errors }

// schedule is a heap of units by when they are due.
type schedule []*unit

func (s schedule) Len() int           { return len(s) }
func (s schedule) Less(i, j int) bool { return s[i].due.Before(s[j].due) }
func (s schedule) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].index, s[j].index = i, j
}

// Push is for container/heap alone.
func (s *schedule) Push(x any) {
	u, _ := x.(*unit)
	u.index = len(*s)
	*s = append(*s, u)
}

// Pop is for container/heap alone.
func (s *schedule) Pop() any {
	old := *s
	u := old[len(old)-1]
	old[len(old)-1] = nil
	*s = old[:len(old)-1]
	u.index = -1
	return u
}
