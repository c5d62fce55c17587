package resolve

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	// maxNegative bounds how long "there is no such name" is believed: whoever mends it waits no longer than this.
	maxNegative = 30 * time.Second
	// maxNoAddress bounds it for a family without addresses, as most names have one all their life.
	maxNoAddress = 5 * time.Minute
	// maxBackoff bounds the pause between two attempts at a name that fails.
	maxBackoff = 30 * time.Second
	// maxAddresses is how many addresses of one name are served. An answer over TCP could hold 4,000.
	maxAddresses = 256
)

// limits are the bounds of TTLs and of what outlives them.
type limits struct {
	minTTL, maxTTL, keep time.Duration
}

// unit is one name and family: what is asked by itself, so that a server that never answers for AAAA holds up no A.
type unit struct {
	name string
	kind uint16
	// raw are the addresses as they came, unchecked.
	raw []netip.Addr
	// reason is why the last attempt brought none, or "".
	reason string
	// expires is when the TTL of raw ends.
	expires  time.Time
	failures int
	answered bool

	due     time.Time
	index   int // in the heap; -1 where it is not
	removed bool
}

// learn takes in an answer and sets when to ask again.
//
// Addresses hold for their TTL, within the limits. A failure keeps the last good ones until limits.keep after their
// TTL, as RFC 8767 has it: a name server that is down should not take down what it names. That there is no such name,
// or no address, is an answer, and counts at once, for its family.
func (u *unit) learn(a answer, now time.Time, l limits) {
	u.answered = true
	u.reason = a.reason
	if a.failed() {
		u.failures++
		if len(u.raw) > 0 && now.After(u.expires.Add(l.keep)) {
			u.raw = nil
		}
		pause := maxBackoff
		if n := u.failures - 1; n < 16 {
			pause = min(pause, l.minTTL<<n)
		}
		u.due = now.Add(pause)
		return
	}
	u.failures = 0
	u.raw = a.addrs
	ttl := min(a.ttl, l.maxTTL)
	switch a.reason {
	case ReasonNoSuchName:
		ttl = min(ttl, maxNegative)
	case ReasonNoAddress:
		ttl = min(ttl, maxNoAddress)
	}
	ttl = max(ttl, l.minTTL)
	u.expires = now.Add(ttl)
	// Names that were asked at one time would be so forever: each comes up to a tenth of its TTL early, always by the
	// same share, so that a change is still followed within the TTL.
	u.due = now.Add(max(ttl-time.Duration(float64(ttl)/10*u.share()), l.minTTL))
}

// share is a number from 0 to 1 that a name and family always have.
func (u *unit) share() float64 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(u.name))
	_, _ = h.Write([]byte{byte(u.kind)})
	return float64(h.Sum32()) / (1 << 32)
}

// Problem is why a name has no address, or fewer than its records say.
type Problem struct {
	Name   string
	Reason string
	// Message is one line without the address of a name server.
	Message string
}

func (p Problem) compare(q Problem) int {
	if c := strings.Compare(p.Name, q.Name); c != 0 {
		return c
	}
	if c := strings.Compare(p.Reason, q.Reason); c != 0 {
		return c
	}
	return strings.Compare(p.Message, q.Message)
}

// entry is one name.
type entry struct {
	name     string
	units    []*unit // A and AAAA; none where the name is invalid
	addrs    []netip.Addr
	problems []Problem
}

// judge checks what the units hold and gives what may be served, sorted, each once, and what is wrong. refused counts
// the addresses that check refused.
func (e *entry) judge(check func(name string, addr netip.Addr) error) (addrs []netip.Addr, problems []Problem, refused int) {
	report := func(reason, format string, args ...any) {
		problems = append(problems, Problem{e.name, reason, fmt.Sprintf(format, args...)})
	}
	if len(e.units) == 0 {
		report(ReasonInvalidName, "must be an absolute DNS name")
		return nil, problems, 0
	}
	none, noName := 0, 0
	seen := map[netip.Addr]bool{}
	for _, u := range e.units {
		for _, raw := range u.raw {
			addr := raw.Unmap()
			if seen[addr] {
				continue
			}
			seen[addr] = true
			if err := check(e.name, raw); err != nil {
				refused++
				if refused <= 10 {
					report(ReasonRefused, "%s", oneLine(err.Error()))
				}
				continue
			}
			addrs = append(addrs, addr)
		}
		switch u.reason {
		case "":
		case ReasonNoSuchName:
			none++
			noName++
		case ReasonNoAddress:
			none++
		default:
			kept := ""
			if len(u.raw) > 0 {
				kept = "; the last good addresses are kept"
			}
			report(u.reason, "the %s records could not be read: %s%s", dns.TypeToString[u.kind], u.reason, kept)
		}
	}
	switch {
	case none < len(e.units):
	case noName > 0:
		report(ReasonNoSuchName, "there is no such name")
	default:
		report(ReasonNoAddress, "the name has no address")
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	if len(addrs) > maxAddresses {
		report(ReasonTooMany, "the name has %d addresses, of which the first %d are served", len(addrs), maxAddresses)
		addrs = addrs[:maxAddresses]
	}
	slices.SortFunc(problems, Problem.compare)
	return addrs, problems, refused
}

func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

// askable tells whether a name can be asked for: absolute but for its last dot, without escapes, and no IP address.
func askable(name string) bool {
	if name == "" || len(name) > 253 || strings.HasSuffix(name, ".") {
		return false
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for _, c := range []byte(label) {
			if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}
