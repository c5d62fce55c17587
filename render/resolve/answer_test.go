package resolve

import (
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// When to ask again, and what stands meanwhile.
func TestLearn(t *testing.T) {
	l := limits{minTTL: time.Second, maxTTL: time.Hour, keep: 10 * time.Minute}
	now := time.Unix(1_000_000, 0)
	good := answer{addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, ttl: time.Minute}
	failure := answer{reason: ReasonServerFailure}
	withTTL := func(d time.Duration) answer { a := good; a.ttl = d; return a }
	for _, tt := range []struct {
		name        string
		before      []answer // each a minute after the other
		a           answer
		kept        bool
		least, most time.Duration // until it is asked again
	}{
		{"an address", nil, good, true, 54 * time.Second, time.Minute},
		{"a TTL of 0", nil, withTTL(0), true, time.Second, time.Second},
		{"a TTL of a year", nil, withTTL(365 * 24 * time.Hour), true, 54 * time.Minute, time.Hour},
		{"a TTL of 1 s is never under the least", nil, withTTL(time.Second), true, time.Second, time.Second},
		{"the first failure", []answer{good}, failure, true, time.Second, time.Second},
		{"the third failure", []answer{good, failure, failure}, failure, true, 4 * time.Second, 4 * time.Second},
		{"the tenth failure", []answer{good, failure, failure, failure, failure, failure, failure, failure, failure, failure}, failure, true, maxBackoff, maxBackoff},
		{"too long after the TTL", []answer{good, failure, failure, failure, failure, failure, failure, failure, failure, failure, failure, failure}, failure, false, maxBackoff, maxBackoff},
		{"no such name", []answer{good}, answer{reason: ReasonNoSuchName, ttl: time.Hour}, false, 27 * time.Second, maxNegative},
		{"no address", []answer{good}, answer{reason: ReasonNoAddress, ttl: time.Hour}, false, 270 * time.Second, maxNoAddress},
		{"no such name for a moment", []answer{good}, answer{reason: ReasonNoSuchName, ttl: 5 * time.Second}, false, 4500 * time.Millisecond, 5 * time.Second},
		{"good again", []answer{good, failure, failure}, good, true, 54 * time.Second, time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := &unit{name: "a.test", kind: dns.TypeA}
			at := now
			for _, a := range tt.before {
				u.learn(a, at, l)
				at = at.Add(time.Minute)
			}
			u.learn(tt.a, at, l)
			if got := len(u.raw) > 0; got != tt.kept {
				t.Errorf("addresses stand: %t, want %t", got, tt.kept)
			}
			if d := u.due.Sub(at); d < tt.least || d > tt.most {
				t.Errorf("asked again after %s, want %s to %s", d, tt.least, tt.most)
			}
		})
	}
}

// Names asked at one time drift apart, each by its own share.
func TestSpread(t *testing.T) {
	l := limits{minTTL: time.Second, maxTTL: time.Hour}
	now := time.Unix(1_000_000, 0)
	due := map[time.Duration]int{}
	for i := range 1000 {
		u := &unit{name: string(rune('a'+i%26)) + dns.Fqdn(time.Duration(i).String()), kind: dns.TypeA}
		u.learn(answer{addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, ttl: 100 * time.Second}, now, l)
		due[u.due.Sub(now).Truncate(time.Second)]++
	}
	for at, n := range due {
		if n > 200 {
			t.Errorf("%d of 1000 names are due in the second after %s", n, at)
		}
	}
	if len(due) < 9 {
		t.Errorf("due within %d seconds", len(due))
	}
}

func TestInterpretReferral(t *testing.T) {
	m := new(dns.Msg).SetQuestion("a.test.", dns.TypeA)
	m.Response = true
	m.Ns = []dns.RR{&dns.NS{Hdr: header("test.", dns.TypeNS, 300), Ns: "ns.test."}}
	if a := interpret(m, "a.test", dns.TypeA); a.reason != ReasonServerFailure {
		t.Errorf("a referral is %+v", a)
	}
	m.Authoritative = true
	if a := interpret(m, "a.test", dns.TypeA); a.reason != ReasonNoAddress {
		t.Errorf("an authoritative answer without an address is %+v", a)
	}
}

func TestMix(t *testing.T) {
	const name = "a-long-enough-name-with_letters.test."
	seen := map[string]bool{}
	for range 20 {
		got := mix(name)
		seen[got] = true
		if canonical(got) != name {
			t.Fatalf("%q is another name", got)
		}
	}
	if len(seen) < 15 {
		t.Errorf("%d of 20 are different", len(seen))
	}
}

// FuzzAnswer reads packets as hostile as a name server can send.
func FuzzAnswer(f *testing.F) {
	seed := func(build func(m *dns.Msg)) {
		m := new(dns.Msg).SetQuestion("a.test.", dns.TypeA)
		m.Response = true
		build(m)
		out, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(out)
	}
	seed(func(m *dns.Msg) { m.Answer = records("a.test.", dns.TypeA, 60, "192.0.2.1", "127.0.0.1") })
	seed(func(m *dns.Msg) {
		m.Answer = []dns.RR{cname("a.test.", 1<<31, "b.test"), cname("b.test.", 1, "a.test")}
	})
	seed(func(m *dns.Msg) {
		m.Answer = append([]dns.RR{cname("a.test.", 60, "b.test")}, records("b.test.", dns.TypeAAAA, 60, "::ffff:127.0.0.1", "2001:db8::1")...)
	})
	seed(func(m *dns.Msg) { m.Rcode, m.Ns = dns.RcodeNameError, []dns.RR{soa(1 << 31)} })
	f.Fuzz(func(t *testing.T, packet []byte) {
		m := new(dns.Msg)
		if m.Unpack(packet) != nil {
			return
		}
		q := question("a.test", dns.TypeA, true)
		_ = judge(q, m)
		for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
			a := interpret(m, "a.test", kind)
			set := 0
			for _, is := range []bool{len(a.addrs) > 0, a.next != "", a.reason != ""} {
				if is {
					set++
				}
			}
			if set != 1 || a.ttl < 0 {
				t.Fatalf("answer %+v", a)
			}
			u := &unit{name: "a.test", kind: kind}
			now := time.Unix(1_000_000, 0)
			u.learn(a, now, limits{minTTL: time.Second, maxTTL: time.Hour, keep: time.Hour})
			if d := u.due.Sub(now); d < time.Second || d > time.Hour {
				t.Fatalf("asked again after %s", d)
			}
			e := &entry{name: "a.test", units: []*unit{u}}
			addrs, _, _ := e.judge(checkAddress)
			for i, addr := range addrs {
				if !addr.IsValid() || addr.Zone() != "" || addr.Is4In6() || addr.IsLoopback() || addr.IsUnspecified() || addr.IsLinkLocalUnicast() {
					t.Fatalf("serves %s", addr)
				}
				if i > 0 && !addrs[i-1].Less(addr) {
					t.Fatalf("not sorted: %s", addrs)
				}
			}
		}
	})
}
