// Package controller runs a proxy: it follows objects, policy and DNS, and keeps HAProxy at what they come to.
//
// One goroutine owns the loop (see [Controller.Run]): collect changes, let them settle, take a snapshot, build the hosts
// that they touch, and apply the difference. A change of DNS publishes the hosts of that name anew and builds nothing.
package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/render"
	"drawbridge.dev/drawbridge/render/haproxy"
	"drawbridge.dev/drawbridge/render/model"
	"drawbridge.dev/drawbridge/render/resolve"
)

const (
	// settle is how long a change waits for others: an apply of several objects is one change.
	settle = 20 * time.Millisecond
	// resync is how often HAProxy is compared with what it ought to serve, although nothing changed: it may have been
	// restarted.
	resync = 5 * time.Second
	// retry is the pause after a failure to apply.
	retry = time.Second
	// patience is how long a host waits for the first answer of a name: one that never comes must not hold up what else
	// changes under that host, which may be somebody else's.
	patience = 5 * time.Second
)

// Policy is the policy in force, as it changes.
type Policy interface {
	Current() *policy.Config
	// Changed makes a channel that has a value whenever Current is another than when it was last read.
	Changed() <-chan struct{}
}

// Options is what a Controller works with.
type Options struct {
	Source   Source
	Policy   Policy
	Resolver *resolve.Resolver
	Proxy    *haproxy.Proxy
	Facts    *Facts
	// Book, Classes and Classless choose what is served; the Controller fills in the policy.
	Render render.Options
	// Report is told of each problem once, when it appears; nil for none.
	Report func(render.Problem)
	Log    *slog.Logger
}

// Controller is the loop of one proxy.
type Controller struct {
	Options

	snapshot *render.Snapshot
	built    *render.Incremental
	users    users
	table    model.Table
	state    haproxy.State

	// What is to be done when the changes have settled.
	touched  render.Touched
	all      bool                 // build everything
	recheck  bool                 // judge addresses anew
	publish  map[string]bool      // the hosts whose entries are to be written
	waiting  map[string]time.Time // since when each of them is
	fallback bool                 // write the default upstream
	certs    bool                 // write the certificates

	known    bool // the source has delivered
	started  bool // HAProxy has
	ready    atomic.Bool
	reported map[string]bool
	// refused holds what the renderer has no place for, by host.
	refused  map[string][]haproxy.Problem
	problems atomic.Pointer[map[render.Kind]int]
}

// New makes a Controller; Run starts it.
func New(o Options) *Controller {
	c := &Controller{
		Options:  o,
		snapshot: render.NewSnapshot(),
		users:    newUsers(),
		publish:  map[string]bool{},
		waiting:  map[string]time.Time{},
		refused:  map[string][]haproxy.Problem{},
		reported: map[string]bool{},
	}
	c.problems.Store(&map[render.Kind]int{})
	return c
}

// Ready tells that what is known is served, or will be as soon as a HAProxy that another container runs comes up: it
// starts with the files that are written by then.
func (c *Controller) Ready() bool { return c.ready.Load() }

// Problems counts what can not be served as asked, by kind.
func (c *Controller) Problems() map[render.Kind]int { return *c.problems.Load() }

// Run serves until ctx ends, or the source fails before it delivered anything.
func (c *Controller) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changes := make(chan Change)
	failed := make(chan error, 2)
	go func() {
		failed <- c.Source.Run(ctx, func(ch Change) {
			select {
			case changes <- ch:
			case <-ctx.Done():
			}
		})
	}()
	go func() { failed <- c.Resolver.Run(ctx) }()

	var (
		due     <-chan time.Time // the changes have settled, or a retry is due
		settled <-chan struct{}  // every name that a host waits for has been asked for
		tick    = time.NewTicker(resync)

		policyChanged = c.Policy.Changed()
	)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("follow objects and names: %w", err)
		case ch := <-changes:
			c.take(ch)
		case <-policyChanged:
			c.all, c.recheck = true, true
		case <-c.Resolver.Updates():
		case <-settled:
			settled = nil
		case <-tick.C:
		case <-due:
			due = nil
			if wait := c.work(ctx); wait > 0 {
				due = time.After(wait)
			}
			if len(c.publish) > 0 && settled == nil {
				settled = c.Resolver.Settled()
			}
			continue
		}
		// Nothing is written before the first objects are known: an empty configuration would answer 404.
		if due == nil && c.known {
			due = time.After(settle)
		}
	}
}

// take notes a change of objects.
func (c *Controller) take(ch Change) {
	if ch.All {
		c.Facts.Reset()
		c.snapshot = render.NewSnapshot(ch.Objects...)
		c.all, c.recheck, c.known = true, true, true
		for _, o := range ch.Objects {
			c.Facts.Observe(o)
		}
		return
	}
	var owners []netip.Prefix
	for _, o := range ch.Objects {
		owners = append(owners, c.Facts.Observe(o)...)
		var t render.Touched
		c.snapshot, t = c.snapshot.With(o)
		c.touched = c.touched.Merge(t)
	}
	for _, ref := range ch.Gone {
		owners = append(owners, c.Facts.Forget(ref)...)
		var t render.Touched
		c.snapshot, t = c.snapshot.Without(ref.Kind, ref.Namespace, ref.Name)
		c.touched = c.touched.Merge(t)
	}
	if len(owners) > 0 {
		c.recheck = true
		c.touched = c.touched.Merge(c.snapshot.TouchedByOwners(owners))
	}
}

// work brings HAProxy to what is known now. It returns when to try again, 0 for not at all.
func (c *Controller) work(ctx context.Context) time.Duration {
	if c.recheck {
		c.Resolver.SetCheck(c.Facts.Judge(c.Policy.Current()))
		c.recheck = false
	}
	c.build()
	if !c.started {
		select {
		case <-c.Resolver.Settled():
		case <-ctx.Done():
			return 0
		}
	}
	c.render()
	c.report()
	if !c.started {
		// This fails, as HAProxy does not run yet, but not before it wrote the map that HAProxy is to start with.
		_, _ = c.Proxy.Apply(ctx, c.state)
		c.ready.Store(true)
		if err := c.Proxy.Start(ctx); err != nil {
			if ctx.Err() == nil {
				c.Log.Error("start HAProxy", "err", err)
			}
			return retry
		}
		c.started = true
		c.Log.Info("HAProxy runs")
	}
	change, err := c.Proxy.Apply(ctx, c.state)
	var deferred *haproxy.ReloadDeferred
	switch {
	case ctx.Err() != nil:
		return 0
	case errors.As(err, &deferred):
		return deferred.After
	case err != nil:
		c.Log.Error("apply; what was served before goes on being served", "err", err)
		return retry
	}
	for _, p := range change.Problems {
		c.Log.Warn("HAProxy refuses a certificate", "problem", p.Message)
	}
	if change.Added+change.Changed+change.Removed+change.Certificates > 0 || change.Reload != "" || change.Restarted {
		c.Log.Info("applied", "live", change.Live, "added", change.Added, "changed", change.Changed, "removed", change.Removed,
			"certificates", change.Certificates, "reload", change.Reload, "restarted", change.Restarted)
	}
	return 0
}

// build builds the hosts that objects or policy touched, and enters them for publication.
func (c *Controller) build() {
	switch {
	case c.all:
		o := c.Render
		o.Config, o.Owner = c.Policy.Current(), c.Facts.Owner
		for host := range c.users.hosts {
			c.await(host)
		}
		c.built = render.NewIncremental(c.snapshot, o)
		c.users = newUsers()
		for _, h := range c.built.Model().Hosts {
			c.enter(h.Name)
		}
		c.fallback, c.certs = true, true
	case len(c.touched.Hosts) > 0 || c.touched.Default:
		changed := c.built.Update(c.snapshot, c.touched)
		for _, host := range changed.Hosts {
			c.enter(host)
		}
		c.certs = c.certs || len(changed.Hosts) > 0
		c.fallback = c.fallback || changed.Default
	default:
		return
	}
	c.all, c.touched = false, render.Touched{}
	c.users.fallback = c.built.Model().Default.Name
	c.Resolver.SetNames(c.users.all())
}

// enter notes a host for publication, and the names that it sends to.
func (c *Controller) enter(host string) {
	c.await(host)
	h, _, served := c.built.Host(host)
	if !served {
		c.users.drop(host)
		return
	}
	var names []string
	for i := range h.Routes {
		if n := h.Routes[i].Upstream.Name; n != "" {
			names = append(names, n)
		}
	}
	c.users.set(host, names)
}

// await enters a host for publication.
func (c *Controller) await(host string) {
	c.publish[host] = true
	if _, ok := c.waiting[host]; !ok {
		c.waiting[host] = time.Now()
	}
}

// render writes the entries of the hosts that await it. A host whose names have not been asked for yet keeps what it
// has, until patience ends.
func (c *Controller) render() {
	table := c.Resolver.Table()
	for _, name := range differing(c.table, table) {
		for host := range c.users.of[name] {
			c.await(host)
		}
		c.fallback = c.fallback || name == c.users.fallback
	}
	c.table = table
	var (
		changed  []model.Host
		removed  []string
		problems []haproxy.Problem
	)
	for host := range c.publish {
		if c.started && time.Since(c.waiting[host]) < patience && slices.ContainsFunc(c.users.hosts[host], func(n string) bool { return !c.Resolver.Ready(n) }) {
			continue
		}
		delete(c.publish, host)
		delete(c.waiting, host)
		delete(c.refused, host)
		if h, _, served := c.built.Host(host); served {
			changed = append(changed, h)
		} else {
			removed = append(removed, host)
		}
	}
	if len(changed)+len(removed) > 0 {
		c.state, problems = c.state.Update(changed, removed, table)
		c.refuse(problems)
	}
	if c.fallback {
		c.state, problems = c.state.UpdateDefault(c.built.Model().Default, table)
		c.refuse(problems)
		c.fallback = false
	}
	if c.certs {
		c.state, problems = c.state.UpdateCertificates(c.built.Model().Certificates)
		c.refused[certificates] = problems
		c.certs = false
	}
}

// certificates is where refused holds the problems of certificates; no host has such a name.
const certificates = "\x00certificates"

func (c *Controller) refuse(problems []haproxy.Problem) {
	for _, p := range problems {
		c.refused[p.Host] = append(c.refused[p.Host], p)
	}
}

// report counts the problems of now, and tells of each that is new.
func (c *Controller) report() {
	problems := c.built.Problems()
	for _, of := range c.refused {
		for _, p := range of {
			problems = append(problems, render.Problem{Kind: "not-rendered", Origin: p.Origin, Message: p.Message})
		}
	}
	for _, p := range c.Resolver.Problems() {
		for host := range c.users.of[p.Name] {
			if h, _, ok := c.built.Host(host); ok {
				problems = append(problems, render.Problem{Kind: "name", Origin: originOf(h, p.Name), Message: p.Message})
			}
		}
	}
	counts, reported := map[render.Kind]int{}, map[string]bool{}
	for _, p := range problems {
		counts[p.Kind]++
		text := p.String()
		reported[text] = true
		if c.reported[text] {
			continue
		}
		if c.Report != nil {
			c.Report(p)
		}
		c.Log.Warn("problem", "kind", p.Kind, "origin", originText(p.Origin), "message", p.Message)
	}
	c.reported = reported
	c.problems.Store(&counts)
}

// originText is an origin in one line: kind, object, field.
func originText(o model.Origin) string {
	text := fmt.Sprintf("%s %s/%s", o.Kind, o.Namespace, o.Name)
	if o.Field != "" {
		text += " " + o.Field
	}
	return text
}

// originOf is what asked for a name first.
func originOf(h model.Host, name string) model.Origin {
	for i := range h.Routes {
		if h.Routes[i].Upstream.Name == name {
			return h.Routes[i].Origin
		}
	}
	return model.Origin{}
}

// differing lists the names whose addresses are not the same in two tables.
func differing(a, b model.Table) []string {
	var names []string
	for name, addrs := range a {
		if !slices.Equal(addrs, b[name]) {
			names = append(names, name)
		}
	}
	for name, addrs := range b {
		if _, both := a[name]; !both && len(addrs) > 0 {
			names = append(names, name)
		}
	}
	return names
}

// users knows which hosts send to which DNS names.
type users struct {
	hosts    map[string][]string        // the names of each host that is served
	of       map[string]map[string]bool // the hosts of each name
	fallback string                     // the name of the default upstream
}

func newUsers() users {
	return users{hosts: map[string][]string{}, of: map[string]map[string]bool{}}
}

func (u *users) set(host string, names []string) {
	u.drop(host)
	u.hosts[host] = names
	for _, n := range names {
		if u.of[n] == nil {
			u.of[n] = map[string]bool{}
		}
		u.of[n][host] = true
	}
}

func (u *users) drop(host string) {
	for _, n := range u.hosts[host] {
		if delete(u.of[n], host); len(u.of[n]) == 0 {
			delete(u.of, n)
		}
	}
	delete(u.hosts, host)
}

func (u *users) all() []string {
	names := slices.Collect(maps.Keys(u.of))
	if u.fallback != "" && u.of[u.fallback] == nil {
		names = append(names, u.fallback)
	}
	slices.Sort(names)
	return names
}
