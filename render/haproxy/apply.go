package haproxy

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Change tells what one call of Apply did.
type Change struct {
	// Live is set where what is served changed without a reload.
	Live bool
	// Added, Changed and Removed count lines of the map, Certificates those that came, were renewed or went.
	Added, Changed, Removed, Certificates int
	// Reload is the cause of a reload, empty without one.
	Reload string
	// Restarted is set where HAProxy is another process than at the last call.
	Restarted bool
	// Problems are the certificates that HAProxy refuses; all else is served.
	Problems []Problem
}

// verifyLimit is the number of lines up to which the map is read back after each change.
const verifyLimit = 5000

// Apply brings the files and then the running HAProxy to a state, and returns when requests see it. It may be called
// again with the same state at any time: it costs little, and mends what a restart of HAProxy left behind. After an
// error the files may be ahead of what is served.
//
// A new certificate is tried on the running HAProxy before it is written: one that HAProxy can not load would keep it
// from starting. Where HAProxy does not run, Apply writes all that it is to start with, and fails.
func (p *Proxy) Apply(ctx context.Context, s State) (Change, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var change Change
	if len(p.options.HTTPS) == 0 {
		s.certificates = nil
	}
	if err := p.meet(ctx, &change); err != nil {
		return change, errors.Join(fmt.Errorf("HAProxy doesn't answer: %w", err), p.leave(ctx, s))
	}
	if err := p.loadCertificates(ctx, s, &change); err != nil {
		return change, err
	}
	bindings := p.fit(s.bindings())
	if err := p.bind(ctx, bindings); err != nil {
		return change, err
	}
	if err := p.route(ctx, s, &change); err != nil {
		return change, err
	}
	if err := p.unloadCertificates(ctx, s, &change); err != nil {
		return change, err
	}
	if change.Added+change.Changed+change.Removed+change.Certificates > 0 && change.Reload == "" {
		change.Live = true
		p.count(func(c *Counters) { c.LiveChanges++ })
	}
	return change, nil
}

// leave writes what a HAProxy that does not run is to start with. It can't be asked about the certificates: 'haproxy -c'
// is, and where it finds fault with one, HAProxy starts without any and is given them when it runs.
func (p *Proxy) leave(ctx context.Context, s State) error {
	config, err := Config(p.options.Options)
	if err != nil {
		return err
	}
	if err := p.dir.prepare(); err != nil {
		return err
	}
	if err := p.dir.write(mapFile, s.Map()); err != nil {
		return err
	}
	for _, c := range s.certificates {
		if err := p.dir.write(certFolder+"/"+fileOf(c.id), []byte(c.text)); err != nil {
			return err
		}
	}
	if err := p.dir.write(listFile, p.dir.list(s.bindings())); err != nil {
		return err
	}
	if p.options.Binary == "" || p.checkFiles(ctx, config) != nil {
		if err := p.dir.write(listFile, p.dir.list(nil)); err != nil {
			return err
		}
	}
	// Last, for HAProxy may be waiting for it. One that is there was run, and is changed by a reload alone.
	if missing(p.dir.path(configFile)) {
		return p.dir.write(configFile, config)
	}
	return nil
}

// meet finds out whether HAProxy is the process that we know, and if not, what it serves.
func (p *Proxy) meet(ctx context.Context, change *Change) error {
	now, err := p.worker.identity(ctx)
	if err != nil {
		return err
	}
	if now == p.seen {
		return nil
	}
	change.Restarted = p.seen != identity{}
	entries, err := p.worker.showMap(ctx, p.dir.path(mapFile))
	if err != nil {
		return err
	}
	p.live = State{}
	if len(entries) > 0 {
		p.live.otherwise.entries = entries
	}
	p.loaded = make(map[string]certificate)
	p.refused = make(map[string]refusedCertificate)
	if p.served, err = p.bound(ctx); err != nil {
		return err
	}
	p.seen, p.written = now, false
	return nil
}

// route brings the map to the state.
func (p *Proxy) route(ctx context.Context, s State, change *Change) error {
	d := compare(p.live, s)
	change.Added, change.Changed, change.Removed = len(d.added), d.changed, d.removed
	same := len(d.added)+d.changed+d.removed == 0
	if !same || !p.written {
		if err := p.dir.write(mapFile, s.Map()); err != nil {
			return err
		}
	}
	if same {
		p.live, p.written = s, true
		return nil
	}
	path := p.dir.path(mapFile)
	var err error
	if d.changed+d.removed == 0 {
		err = p.worker.addEntries(ctx, "", path, slices.Values(d.added))
	} else {
		err = p.worker.replaceMap(ctx, path, s)
	}
	if err == nil && s.Len() <= verifyLimit {
		if err = p.verify(ctx, s); err != nil {
			p.log.Warn("HAProxy's map isn't what it was given; all of it is given again", "error", err)
			if err = p.worker.replaceMap(ctx, path, s); err == nil {
				err = p.verify(ctx, s)
			}
		}
	}
	if err == nil {
		p.live, p.written = s, true
		return nil
	}
	// What the map holds now is unknown: ask the next time, whatever becomes of the reload.
	p.seen = identity{}
	if ctx.Err() != nil {
		return err
	}
	p.log.Warn("a change could not be made on the running HAProxy", "error", err)
	if failed := p.reload(ctx, causeFailed); failed != nil {
		return errors.Join(err, failed)
	}
	change.Reload = causeFailed
	return nil
}

// verify reads the map back.
func (p *Proxy) verify(ctx context.Context, s State) error {
	entries, err := p.worker.showMap(ctx, p.dir.path(mapFile))
	if err != nil {
		return err
	}
	d := compare(State{otherwise: fragment{entries: entries}}, s)
	if n := len(d.added) + d.changed + d.removed; n > 0 {
		return fmt.Errorf("%d lines differ", n)
	}
	return nil
}

// difference is what leads from one map to another.
type difference struct {
	// added has the lines by which hosts are found at its end, so that no request finds half a host.
	added            []entry
	changed, removed int
}

// compare looks only at hosts that are not the same slice in both; with an unknown old state it looks at all.
func compare(before, after State) difference {
	was := make(map[string]string)
	var now []fragment
	i := 0
	leave := func(f fragment) {
		for _, e := range f.entries {
			was[e.key.text] = e.value.text
		}
	}
	for _, f := range after.fragments {
		for i < len(before.fragments) && before.fragments[i].host < f.host {
			leave(before.fragments[i])
			i++
		}
		if i < len(before.fragments) && before.fragments[i].host == f.host {
			old := before.fragments[i]
			i++
			if len(old.entries) == len(f.entries) && (&old.entries[0] == &f.entries[0] || slices.Equal(old.entries, f.entries)) {
				continue
			}
			leave(old)
		}
		now = append(now, f)
	}
	for ; i < len(before.fragments); i++ {
		leave(before.fragments[i])
	}
	if !slices.Equal(before.otherwise.entries, after.otherwise.entries) {
		leave(before.otherwise)
		now = append(now, after.otherwise)
	}
	var d difference
	var last []entry
	kept := 0
	for _, f := range now {
		for j, e := range f.entries {
			old, ok := was[e.key.text]
			switch {
			case ok && old == e.value.text:
				kept++
			case ok:
				kept++
				d.changed++
			case j == len(f.entries)-1:
				last = append(last, e)
			default:
				d.added = append(d.added, e)
			}
		}
	}
	d.added = append(d.added, last...)
	d.removed = len(was) - kept
	return d
}

// fit leaves out the bindings of certificates that HAProxy doesn't have.
func (p *Proxy) fit(bindings []binding) []binding {
	return slices.DeleteFunc(bindings, func(b binding) bool {
		_, ok := p.loaded[fileOf(b.id)]
		return !ok
	})
}

// loadCertificates gives HAProxy the certificates that are new to it. One that it refuses is left out, and isn't
// tried again until it changes.
func (p *Proxy) loadCertificates(ctx context.Context, s State, change *Change) error {
	var known map[string]bool
	for _, c := range s.certificates {
		name := fileOf(c.id)
		if p.loaded[name].text == c.text {
			continue
		}
		if r, ok := p.refused[name]; ok && r.text == c.text {
			change.Problems = append(change.Problems, Problem{Origin: c.origin, Message: r.message})
			continue
		}
		path := p.dir.path(certFolder) + "/" + name
		if known == nil {
			var err error
			if known, err = p.knownCertificates(ctx); err != nil {
				return err
			}
		}
		same := false
		if known[path] && p.loaded[name].text == "" {
			var err error
			if same, err = p.has(ctx, path, c); err != nil {
				return err
			}
		}
		if !same {
			message, err := p.load(ctx, path, c, known[path])
			if err != nil {
				return err
			}
			if message != "" {
				p.refused[name] = refusedCertificate{c, message}
				change.Problems = append(change.Problems, Problem{Origin: c.origin, Message: message})
				continue
			}
			change.Certificates++
		}
		delete(p.refused, name)
		if err := p.dir.write(certFolder+"/"+name, []byte(c.text)); err != nil {
			return err
		}
		p.loaded[name] = c
	}
	return nil
}

// load makes a certificate known or replaces it. The message tells why HAProxy doesn't want it.
func (p *Proxy) load(ctx context.Context, path string, c certificate, known bool) (message string, err error) {
	if !known {
		if err := p.worker.says(ctx, "new ssl cert "+path, nil, "New empty certificate store"); err != nil {
			return "", err
		}
	}
	err = p.worker.says(ctx, "set ssl cert "+path, []byte(c.text), "Transaction ")
	if err == nil {
		err = p.worker.says(ctx, "commit ssl cert "+path, nil, "Success!")
	}
	if err == nil {
		return "", nil
	}
	var refused *refusal
	if !errors.As(err, &refused) {
		return "", err
	}
	// The answer may quote OpenSSL at length; what matters is that it is no.
	p.log.Warn("HAProxy refuses a certificate", "certificate", c.id.text, "answer", refused.answer)
	_, _ = p.worker.send(ctx, "abort ssl cert "+path, nil)
	if !known {
		_, _ = p.worker.send(ctx, "del ssl cert "+path, nil)
	}
	return fmt.Sprintf("certificate %q: HAProxy can not load it", c.id.text), nil
}

// has tells whether the certificate that HAProxy has under this name is this one.
func (p *Proxy) has(ctx context.Context, path string, c certificate) (bool, error) {
	answer, err := p.worker.send(ctx, "show ssl cert "+path, nil)
	if err != nil {
		return false, err
	}
	return strings.Contains(answer, strings.ToUpper(hex.EncodeToString(c.leaf[:]))), nil
}

// knownCertificates are the files of ours that HAProxy knows, whether it serves them or not. A change that was begun and
// not committed, by an agent that died meanwhile, is given up: HAProxy has one for all certificates and takes no other
// as long as it is open.
func (p *Proxy) knownCertificates(ctx context.Context) (map[string]bool, error) {
	answer, err := p.worker.send(ctx, "show ssl cert", nil)
	if err != nil {
		return nil, err
	}
	known := make(map[string]bool)
	for line := range strings.Lines(answer) {
		path, open := strings.CutPrefix(strings.TrimSpace(line), "*")
		if !strings.HasPrefix(path, p.dir.path(certFolder)+"/") {
			continue
		}
		if open {
			if _, err := p.worker.send(ctx, "abort ssl cert "+path, nil); err != nil {
				return nil, err
			}
			continue
		}
		known[path] = true
	}
	return known, nil
}

// unloadCertificates forgets those that the state has no more.
func (p *Proxy) unloadCertificates(ctx context.Context, s State, change *Change) error {
	keep := make(map[string]bool, len(s.certificates))
	for _, c := range s.certificates {
		keep[fileOf(c.id)] = true
	}
	surplus := change.Restarted || change.Certificates > 0
	for name := range p.loaded {
		surplus = surplus || !keep[name]
	}
	if !surplus {
		return nil
	}
	known, err := p.knownCertificates(ctx)
	if err != nil {
		return err
	}
	folder := p.dir.path(certFolder) + "/"
	for path := range known {
		name := strings.TrimPrefix(path, folder)
		if keep[name] {
			continue
		}
		if err := p.worker.says(ctx, "del ssl cert "+path, nil, "deleted"); err != nil {
			return err
		}
		delete(p.loaded, name)
		change.Certificates++
	}
	for name := range p.refused {
		if !keep[name] {
			delete(p.refused, name)
		}
	}
	return p.dir.sweep(keep)
}

// bound reads the certificate list that HAProxy serves by.
func (p *Proxy) bound(ctx context.Context) ([]binding, error) {
	if len(p.options.HTTPS) == 0 {
		return nil, nil
	}
	lines, err := p.showList(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]binding, 0, len(lines))
	for _, l := range lines {
		list = append(list, l.binding)
	}
	return list, nil
}

// listLine is a line of the certificate list with what HAProxy calls it.
type listLine struct {
	binding
	place string
}

func (p *Proxy) showList(ctx context.Context) ([]listLine, error) {
	answer, err := p.worker.send(ctx, "show ssl crt-list -n "+p.dir.path(listFile), nil)
	if err != nil {
		return nil, err
	}
	var list []listLine
	for line := range strings.Lines(answer) {
		fields := strings.Fields(line)
		if len(fields) != 2 {
			continue
		}
		path, _, _ := strings.Cut(fields[0], ".pem:")
		name, ours := strings.CutPrefix(path, p.dir.path(certFolder)+"/")
		if !ours {
			continue
		}
		id := strings.Replace(name, "_", "/", 1)
		list = append(list, listLine{binding{Token{fields[1]}, Token{id}}, fields[0]})
	}
	return list, nil
}

// bind brings the certificate list to the bindings: a name's new line comes before its old one goes.
func (p *Proxy) bind(ctx context.Context, bindings []binding) (err error) {
	defer func() {
		if err != nil {
			// Some lines may have been made: ask the next time.
			p.seen = identity{}
		}
	}()
	same := slices.Equal(p.served, bindings)
	if len(p.options.HTTPS) == 0 || same && p.written {
		return nil
	}
	if err := p.dir.write(listFile, p.dir.list(bindings)); err != nil || same {
		return err
	}
	lines, err := p.showList(ctx)
	if err != nil {
		return err
	}
	have := make(map[binding]bool, len(lines))
	for _, l := range lines {
		have[l.binding] = true
	}
	command := "add ssl crt-list " + p.dir.path(listFile)
	want := make(map[binding]bool, len(bindings))
	for _, b := range bindings {
		want[b] = true
		if have[b] {
			continue
		}
		if err := p.worker.says(ctx, command, []byte(p.dir.line(b)), "Success!"); err != nil {
			return err
		}
	}
	for _, l := range lines {
		if want[l.binding] {
			continue
		}
		if err := p.worker.says(ctx, "del ssl crt-list "+p.dir.path(listFile)+" "+l.place, nil, "deleted"); err != nil {
			return err
		}
	}
	p.served = bindings
	return nil
}
