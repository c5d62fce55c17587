package resolve

import (
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Reasons of a Problem, and label values of drawbridge_resolve_errors_total.
const (
	ReasonTimeout       = "timeout"         // no server answered in time
	ReasonServerFailure = "server_failure"  // SERVFAIL, REFUSED, a referral, or no connection
	ReasonBadAnswer     = "bad_answer"      // an answer that can't be read
	ReasonLoop          = "loop"            // aliases that lead in a circle, or too far
	ReasonNoSuchName    = "no_such_name"    // NXDOMAIN
	ReasonNoAddress     = "no_address"      // the name exists, without an address of either family
	ReasonRefused       = "address_refused" // an address that must not be served
	ReasonTooMany       = "too_many"        // more addresses than are served
	ReasonInvalidName   = "invalid_name"    // never asked
)

// answer is what is known of one name and family after asking. One of addrs, next and reason is set.
type answer struct {
	addrs []netip.Addr
	// next is the name that an alias leads to, where the server didn't give its addresses as well.
	next string
	// reason is why there is none: ReasonNoSuchName and ReasonNoAddress are answers, the others failures.
	reason string
	// ttl is how long it holds, of the shortest-lived record on the way.
	ttl time.Duration
}

// failed tells a failure, which says nothing of the name, from an answer, which does.
func (a answer) failed() bool {
	return a.reason != "" && a.reason != ReasonNoSuchName && a.reason != ReasonNoAddress
}

// interpret reads the answer for a name and type (A or AAAA) from a message whose question was compared already. It
// follows aliases from the name on and takes nothing that they don't lead to, whatever else the message holds.
func interpret(m *dns.Msg, name string, kind uint16) answer {
	if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return answer{reason: ReasonServerFailure}
	}
	at := canonical(name)
	ttl := time.Duration(-1)
	shorten := func(seconds uint32) {
		d := time.Duration(seconds) * time.Second
		if seconds >= 1<<31 { // RFC 2181, section 8
			d = 0
		}
		if ttl < 0 || d < ttl {
			ttl = d
		}
	}
	aliases := map[string]*dns.CNAME{}
	for _, rr := range m.Answer {
		if c, ok := rr.(*dns.CNAME); ok && c.Hdr.Class == dns.ClassINET {
			if owner := canonical(c.Hdr.Name); aliases[owner] == nil {
				aliases[owner] = c
			}
		}
	}
	for steps := 0; ; steps++ {
		c := aliases[at]
		if c == nil {
			break
		}
		if steps == maxAliases {
			return answer{reason: ReasonLoop}
		}
		shorten(c.Hdr.Ttl)
		at = canonical(c.Target)
	}
	var addrs []netip.Addr
	for _, rr := range m.Answer {
		if rr.Header().Class != dns.ClassINET || rr.Header().Rrtype != kind || canonical(rr.Header().Name) != at {
			continue
		}
		var addr netip.Addr
		ok := false
		switch rr := rr.(type) {
		case *dns.A:
			addr, ok = netip.AddrFromSlice(rr.A.To4())
		case *dns.AAAA:
			// Not unmapped: whoever checks it must see an IPv4 address that hides in an IPv6 one.
			addr, ok = netip.AddrFromSlice(rr.AAAA.To16())
		}
		if ok {
			shorten(rr.Header().Ttl)
			addrs = append(addrs, addr)
		}
	}
	switch {
	case len(addrs) > 0:
		return answer{addrs: addrs, ttl: ttl}
	case m.Rcode == dns.RcodeNameError:
		return negative(m, ReasonNoSuchName, ttl)
	case at != canonical(name) && !hasSOA(m):
		// Only the alias: what it leads to is another question.
		return answer{next: at, ttl: ttl}
	case referral(m):
		return answer{reason: ReasonServerFailure}
	}
	return negative(m, ReasonNoAddress, ttl)
}

// negative is an answer that there is nothing, which holds as long as its SOA says (RFC 2308).
func negative(m *dns.Msg, reason string, ttl time.Duration) answer {
	a := answer{reason: reason, ttl: ttl}
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			d := time.Duration(min(soa.Hdr.Ttl, soa.Minttl)) * time.Second
			if a.ttl < 0 || d < a.ttl {
				a.ttl = d
			}
		}
	}
	if a.ttl < 0 {
		a.ttl = maxNegative
	}
	return a
}

func hasSOA(m *dns.Msg) bool {
	for _, rr := range m.Ns {
		if rr.Header().Rrtype == dns.TypeSOA {
			return true
		}
	}
	return false
}

// referral tells that the server only knows whom to ask: it is no resolver, and its answer says nothing of the name.
func referral(m *dns.Msg) bool {
	if m.Authoritative || m.RecursionAvailable || len(m.Answer) > 0 || hasSOA(m) {
		return false
	}
	for _, rr := range m.Ns {
		if rr.Header().Rrtype == dns.TypeNS {
			return true
		}
	}
	return false
}

// canonical is a name as names compare: lower case, absolute.
func canonical(name string) string { return strings.ToLower(dns.Fqdn(name)) }
