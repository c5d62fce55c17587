package resolve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/render/model"
)

// server is a real DNS server on loopback, over UDP and TCP, that answers as a test says.
type server struct {
	address string
	mu      sync.Mutex
	handle  map[string]func(network string, q, reply *dns.Msg) // by name, without the last dot; nil reply: silence
	asked   map[string]int                                     // by network, type and name: "udp A a.test"
}

// checkAddress judges by the default policy alone.
func checkAddress(_ string, a netip.Addr) error { return policy.Addresses{}.Check(a) }

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{handle: map[string]func(string, *dns.Msg, *dns.Msg){}, asked: map[string]int{}}
	packet, listener := listenBoth(t)
	s.address = packet.LocalAddr().String()
	for network, srv := range map[string]*dns.Server{"udp": {PacketConn: packet}, "tcp": {Listener: listener}} {
		started := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(started) }
		srv.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) { s.serve(network, w, q) })
		go func() { _ = srv.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = srv.Shutdown() })
	}
	return s
}

// listenBoth takes one port for UDP and TCP. The port that UDP gets may be taken for TCP.
func listenBoth(t *testing.T) (net.PacketConn, net.Listener) {
	t.Helper()
	var last error
	for range 20 {
		packet, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listener, err := net.Listen("tcp", packet.LocalAddr().String())
		if err == nil {
			return packet, listener
		}
		last = err
		_ = packet.Close()
	}
	t.Fatal(last)
	return nil, nil
}

func (s *server) serve(network string, w dns.ResponseWriter, q *dns.Msg) {
	name := strings.ToLower(strings.TrimSuffix(q.Question[0].Name, "."))
	s.mu.Lock()
	s.asked[network+" "+dns.TypeToString[q.Question[0].Qtype]+" "+name]++
	h := s.handle[name]
	s.mu.Unlock()
	reply := new(dns.Msg).SetReply(q)
	reply.RecursionAvailable = true
	if h == nil {
		reply.Rcode = dns.RcodeNameError
		reply.Ns = []dns.RR{soa(300)}
	} else {
		h(network, q, reply)
	}
	if reply.Id != 0 { // a handler that wants silence clears the ID
		_ = w.WriteMsg(reply)
	}
}

func (s *server) on(name string, h func(network string, q, reply *dns.Msg)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handle[name] = h
}

func (s *server) count(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[what]
}

// set answers a name with addresses, and with nothing for the other family.
func (s *server) set(name string, ttl uint32, addrs ...string) {
	s.on(name, func(_ string, q, reply *dns.Msg) {
		reply.Answer = records(q.Question[0].Name, q.Question[0].Qtype, ttl, addrs...)
		if len(reply.Answer) == 0 {
			reply.Ns = []dns.RR{soa(ttl)}
		}
	})
}

func records(name string, kind uint16, ttl uint32, addrs ...string) []dns.RR {
	var out []dns.RR
	for _, a := range addrs {
		ip := net.ParseIP(a)
		switch {
		case kind == dns.TypeA && !strings.Contains(a, ":"):
			out = append(out, &dns.A{Hdr: header(name, dns.TypeA, ttl), A: ip})
		case kind == dns.TypeAAAA && strings.Contains(a, ":"):
			out = append(out, &dns.AAAA{Hdr: header(name, dns.TypeAAAA, ttl), AAAA: ip})
		}
	}
	return out
}

func header(name string, kind uint16, ttl uint32) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: ttl}
}

func cname(name string, ttl uint32, target string) dns.RR {
	return &dns.CNAME{Hdr: header(name, dns.TypeCNAME, ttl), Target: target + "."}
}

func soa(ttl uint32) dns.RR {
	return &dns.SOA{Hdr: header("test.", dns.TypeSOA, ttl), Ns: "ns.test.", Mbox: "m.test.", Minttl: ttl}
}

// silent answers nothing.
func silent(_ string, _, reply *dns.Msg) { reply.Id = 0 }

func fails(_ string, _, reply *dns.Msg) { reply.Rcode = dns.RcodeServerFailure }

// start runs a Resolver with short limits until the test ends.
func start(t *testing.T, o Options, names ...string) *Resolver {
	t.Helper()
	if o.Check == nil {
		o.Check = checkAddress
	}
	setDefault(&o.MinTTL, 50*time.Millisecond)
	setDefault(&o.Timeout, 300*time.Millisecond)
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	r.SetNames(names)
	select {
	case <-r.Settled():
	case <-time.After(20 * time.Second):
		t.Fatal("not settled")
	}
	return r
}

func table(entries map[string]string) model.Table {
	out := model.Table{}
	for name, list := range entries {
		for _, a := range strings.Fields(list) {
			out[name] = append(out[name], netip.MustParseAddr(a))
		}
	}
	return out
}

var compareAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

// becomes waits for a table, looking only when Updates says so.
func becomes(t *testing.T, r *Resolver, want map[string]string) {
	t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		diff := cmp.Diff(table(want), r.Table(), compareAddr)
		if diff == "" {
			return
		}
		select {
		case <-r.Updates():
		case <-timeout:
			t.Fatalf("table (-want +got):\n%s\nproblems: %v", diff, r.Problems())
		}
	}
}

func reasons(r *Resolver, name string) string {
	var out []string
	for _, p := range r.Problems() {
		if p.Name == name {
			out = append(out, p.Reason)
		}
	}
	return strings.Join(out, "+")
}

func TestResolve(t *testing.T) {
	s := newServer(t)
	s.set("both.test", 300, "192.0.2.9", "192.0.2.10", "2001:db8::2", "192.0.2.9")
	s.set("four.test", 300, "192.0.2.1")
	s.set("six.test", 300, "2001:db8::1")
	s.set("empty.test", 300)
	s.set("service_name.test", 300, "192.0.2.7")
	r := start(t, Options{Servers: []string{s.address}},
		"both.test", "four.test", "six.test", "empty.test", "gone.test", "service_name.test", "192.0.2.1", "fe80::1%eth0", "a..b", "", "x\ny.test", "dot.test.", "*.test")
	becomes(t, r, map[string]string{
		"both.test": "192.0.2.9 192.0.2.10 2001:db8::2", "four.test": "192.0.2.1", "six.test": "2001:db8::1", "service_name.test": "192.0.2.7", "192.0.2.1": "192.0.2.1"})
	for name, want := range map[string]string{
		"both.test": "", "four.test": "", "six.test": "", "empty.test": ReasonNoAddress, "gone.test": ReasonNoSuchName,
		"a..b": ReasonInvalidName, "fe80::1%eth0": ReasonInvalidName, "": ReasonInvalidName, "x\ny.test": ReasonInvalidName,
		"dot.test.": ReasonInvalidName, "*.test": ReasonInvalidName,
	} {
		if got := reasons(r, name); got != want {
			t.Errorf("problems of %q: %q, want %q", name, got, want)
		}
		if !r.Ready(name) {
			t.Errorf("%q is not ready", name)
		}
	}
	if r.Ready("never.test") {
		t.Error("a name that nobody wants is ready")
	}
	if s.count("udp A four.test") != 1 {
		t.Errorf("asked %d times within the TTL", s.count("udp A four.test"))
	}
}

func TestFollowsTTL(t *testing.T) {
	s := newServer(t)
	s.set("a.test", 1, "192.0.2.1")
	r := start(t, Options{Servers: []string{s.address}}, "a.test")
	becomes(t, r, map[string]string{"a.test": "192.0.2.1"})
	s.set("a.test", 1, "192.0.2.2", "2001:db8::2")
	changed := time.Now()
	becomes(t, r, map[string]string{"a.test": "192.0.2.2 2001:db8::2"})
	if d := time.Since(changed); d > 1500*time.Millisecond {
		t.Errorf("followed after %s of a TTL of 1s", d)
	}
	s.on("a.test", nil) // NXDOMAIN counts at once
	becomes(t, r, nil)
	s.set("a.test", 1, "192.0.2.3")
	// Not before the negative answer's TTL (300 s, bounded by maxNegative) has passed: that is in the table test.
	r.SetNames(nil)
	r.SetNames([]string{"a.test"})
	becomes(t, r, map[string]string{"a.test": "192.0.2.3"})
}

func TestAliases(t *testing.T) {
	s := newServer(t)
	s.on("whole.test", func(_ string, q, reply *dns.Msg) {
		reply.Answer = append([]dns.RR{cname(q.Question[0].Name, 300, "Mid.test"), cname("mid.TEST.", 300, "end.test")},
			records("END.test.", q.Question[0].Qtype, 300, "192.0.2.1", "2001:db8::1")...)
	})
	s.on("only.test", func(_ string, q, reply *dns.Msg) { reply.Answer = []dns.RR{cname(q.Question[0].Name, 300, "hop.test")} })
	s.on("hop.test", func(_ string, q, reply *dns.Msg) {
		reply.Answer = []dns.RR{cname(q.Question[0].Name, 300, "target.test")}
	})
	s.set("target.test", 300, "192.0.2.2")
	s.on("self.test", func(_ string, q, reply *dns.Msg) {
		reply.Answer = []dns.RR{cname(q.Question[0].Name, 300, "self.test")}
	})
	s.on("ping.test", func(_ string, q, reply *dns.Msg) {
		reply.Answer = []dns.RR{cname(q.Question[0].Name, 300, "pong.test")}
	})
	s.on("pong.test", func(_ string, q, reply *dns.Msg) {
		reply.Answer = []dns.RR{cname(q.Question[0].Name, 300, "ping.test")}
	})
	s.on("dangling.test", func(_ string, q, reply *dns.Msg) {
		reply.Answer = []dns.RR{cname(q.Question[0].Name, 300, "nowhere.test")}
		reply.Rcode = dns.RcodeNameError
	})
	s.on("poison.test", func(_ string, q, reply *dns.Msg) {
		reply.Answer = append(records(q.Question[0].Name, q.Question[0].Qtype, 300, "192.0.2.3"),
			records("target.test.", q.Question[0].Qtype, 300, "192.0.2.66")...)
		reply.Extra = records(q.Question[0].Name, q.Question[0].Qtype, 300, "192.0.2.67")
	})
	s.on("endless.test", func(_ string, q, reply *dns.Msg) {
		reply.Answer = []dns.RR{cname(q.Question[0].Name, 300, "x0.endless.test")}
	})
	for i := range 40 {
		s.on(fmt.Sprintf("x%d.endless.test", i), func(_ string, q, reply *dns.Msg) {
			reply.Answer = []dns.RR{cname(q.Question[0].Name, 300, fmt.Sprintf("x%d.endless.test", i+1))}
		})
	}
	r := start(t, Options{Servers: []string{s.address}},
		"whole.test", "only.test", "self.test", "ping.test", "dangling.test", "poison.test", "endless.test")
	becomes(t, r, map[string]string{"whole.test": "192.0.2.1 2001:db8::1", "only.test": "192.0.2.2", "poison.test": "192.0.2.3"})
	for name, want := range map[string]string{
		"self.test": "loop+loop", "ping.test": "loop+loop", "endless.test": "loop+loop", "dangling.test": ReasonNoSuchName} {
		if got := reasons(r, name); got != want {
			t.Errorf("problems of %s: %q, want %q", name, got, want)
		}
	}
	if n := s.count("udp A x39.endless.test"); n != 0 {
		t.Error("followed aliases without an end")
	}
}

func TestTruncatedAnswersComeOverTCP(t *testing.T) {
	s := newServer(t)
	var all []string
	for i := range 200 {
		all = append(all, fmt.Sprintf("198.51.100.%d", i+1))
	}
	s.on("many.test", func(network string, q, reply *dns.Msg) {
		reply.Answer = records(q.Question[0].Name, q.Question[0].Qtype, 300, all...)
		if network == "udp" {
			reply.Truncate(512)
		}
	})
	s.on("cut.test", func(network string, q, reply *dns.Msg) { // no more than the header and the question
		reply.Answer = records(q.Question[0].Name, q.Question[0].Qtype, 300, all[:1]...)
		if network == "udp" {
			reply.Answer, reply.Truncated = nil, true
		}
	})
	r := start(t, Options{Servers: []string{s.address}}, "many.test", "cut.test")
	slices.SortFunc(all, func(a, b string) int { return netip.MustParseAddr(a).Compare(netip.MustParseAddr(b)) })
	becomes(t, r, map[string]string{"many.test": strings.Join(all, " "), "cut.test": "198.51.100.1"})
	if s.count("tcp A many.test") != 1 {
		t.Errorf("asked over TCP %d times", s.count("tcp A many.test"))
	}
}

// A server may send the name back in lower case. Over UDP that is no proof; over TCP it needs none.
func TestServerThatFoldsCase(t *testing.T) {
	s := newServer(t)
	s.on("a-name-with-many-letters.test", func(_ string, q, reply *dns.Msg) {
		reply.Answer = records(q.Question[0].Name, q.Question[0].Qtype, 300, "192.0.2.1")
		reply.Question = []dns.Question{{Name: "a-name-with-many-letters.test.", Qtype: q.Question[0].Qtype, Qclass: dns.ClassINET}}
	})
	r := start(t, Options{Servers: []string{s.address}}, "a-name-with-many-letters.test")
	becomes(t, r, map[string]string{"a-name-with-many-letters.test": "192.0.2.1"})
	if s.count("tcp A a-name-with-many-letters.test") == 0 {
		t.Error("an answer in another case was believed over UDP")
	}
}

func TestServerWithoutEDNS(t *testing.T) {
	s := newServer(t)
	s.on("old.test", func(_ string, q, reply *dns.Msg) {
		if q.IsEdns0() != nil {
			reply.Rcode, reply.Question = dns.RcodeFormatError, nil
			return
		}
		reply.Answer = records(q.Question[0].Name, q.Question[0].Qtype, 300, "192.0.2.1")
	})
	r := start(t, Options{Servers: []string{s.address}}, "old.test")
	becomes(t, r, map[string]string{"old.test": "192.0.2.1"})
}

func TestFailuresKeepTheLastGood(t *testing.T) {
	s := newServer(t)
	s.set("a.test", 0, "192.0.2.1")
	s.set("b.test", 300, "192.0.2.5")
	r := start(t, Options{Servers: []string{s.address}, Keep: 1500 * time.Millisecond}, "a.test", "b.test")
	becomes(t, r, map[string]string{"a.test": "192.0.2.1", "b.test": "192.0.2.5"})
	s.on("a.test", fails)
	failing := time.Now()
	for reasons(r, "a.test") == "" {
		if time.Since(failing) > 5*time.Second {
			t.Fatal("no problem is reported")
		}
		time.Sleep(10 * time.Millisecond)
	}
	if diff := cmp.Diff(table(map[string]string{"a.test": "192.0.2.1", "b.test": "192.0.2.5"}), r.Table(), compareAddr); diff != "" {
		t.Errorf("a failure took addresses away:\n%s", diff)
	}
	becomes(t, r, map[string]string{"b.test": "192.0.2.5"}) // in the end they are too old
	if d := time.Since(failing); d < 1300*time.Millisecond {
		t.Errorf("dropped after %s, kept for 1.5s", d)
	}
	s.set("a.test", 0, "192.0.2.2")
	becomes(t, r, map[string]string{"a.test": "192.0.2.2", "b.test": "192.0.2.5"})
	if n := testutil.ToFloat64(r.errors.WithLabelValues(ReasonServerFailure)); n < 1 {
		t.Errorf("drawbridge_resolve_errors_total is %v", n)
	}
}

func TestNextServer(t *testing.T) {
	mute, broken, good := newServer(t), newServer(t), newServer(t)
	closed, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := closed.LocalAddr().String()
	_ = closed.Close()
	mute.on("a.test", silent)
	broken.on("a.test", func(_ string, _, reply *dns.Msg) { reply.Rcode = dns.RcodeRefused })
	good.set("a.test", 0, "192.0.2.1")
	r := start(t, Options{Servers: []string{gone, mute.address, broken.address, good.address}}, "a.test")
	becomes(t, r, map[string]string{"a.test": "192.0.2.1"})
	time.Sleep(500 * time.Millisecond)
	if n := mute.count("udp A a.test"); n > 2 {
		t.Errorf("a server that keeps silent was asked %d times", n)
	}
	if good.count("udp A a.test") < 3 {
		t.Errorf("the server that answers was asked %d times", good.count("udp A a.test"))
	}
}

func TestRefusedAddresses(t *testing.T) {
	s := newServer(t)
	s.set("rebind.test", 0, "192.0.2.1")
	s.set("inside.test", 300, "127.0.0.1", "169.254.169.254", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::1", "fd00:ec2::254", "64:ff9b::7f00:1", "0.0.0.0", "192.0.2.8")
	s.set("service.test", 300, "10.96.0.1", "192.0.2.9")
	s.set("mapped.test", 300, "::ffff:192.0.2.7", "192.0.2.7")
	serviceRange := netip.MustParsePrefix("10.96.0.0/16")
	check := func(_ string, a netip.Addr) error {
		if serviceRange.Contains(a.Unmap()) {
			return fmt.Errorf("'%s' is a Service\nof this cluster", a)
		}
		return policy.Addresses{}.Check(a)
	}
	r := start(t, Options{Servers: []string{s.address}, Check: check}, "rebind.test", "inside.test", "service.test", "mapped.test")
	rest := map[string]string{"inside.test": "192.0.2.8", "service.test": "192.0.2.9", "mapped.test": "192.0.2.7", "rebind.test": "192.0.2.1"}
	becomes(t, r, rest)
	s.set("rebind.test", 0, "127.0.0.1")
	delete(rest, "rebind.test")
	becomes(t, r, rest)
	if got := reasons(r, "rebind.test"); got != ReasonRefused {
		t.Errorf("problems: %q", got)
	}
	for _, p := range r.Problems() {
		if strings.ContainsAny(p.Message, "\n\r") {
			t.Errorf("message is not one line: %q", p.Message)
		}
	}
	if n := testutil.ToFloat64(r.errors.WithLabelValues(ReasonRefused)); n < 9 {
		t.Errorf("counted %v refused addresses", n)
	}
	// A new policy counts at once, without a new answer.
	before := s.count("udp A service.test")
	r.SetCheck(func(_ string, a netip.Addr) error {
		if a == netip.MustParseAddr("192.0.2.9") {
			return errors.New("forbidden now")
		}
		return policy.Addresses{}.Check(a)
	})
	rest["service.test"] = "10.96.0.1"
	becomes(t, r, rest)
	if s.count("udp A service.test") != before {
		t.Error("the name was asked for again")
	}
	if _, err := New(Options{Servers: []string{s.address}}); err == nil {
		t.Error("a Resolver without a check was made")
	}
}

func TestWrongAnswersAreIgnored(t *testing.T) {
	s := newServer(t)
	wrong := map[string]func(q, reply *dns.Msg){
		"id.test":       func(_, reply *dns.Msg) { reply.Id++ },
		"query.test":    func(_, reply *dns.Msg) { reply.Response = false },
		"question.test": func(_, reply *dns.Msg) { reply.Question[0].Name = "other.test." },
		"type.test":     func(_, reply *dns.Msg) { reply.Question[0].Qtype = dns.TypeTXT },
		"none.test":     func(_, reply *dns.Msg) { reply.Question = nil },
		"opcode.test":   func(_, reply *dns.Msg) { reply.Opcode = dns.OpcodeUpdate },
	}
	var names []string
	for name, spoil := range wrong {
		names = append(names, name)
		s.on(name, func(_ string, q, reply *dns.Msg) {
			reply.Answer = records(q.Question[0].Name, q.Question[0].Qtype, 300, "192.0.2.66")
			spoil(q, reply)
		})
	}
	r := start(t, Options{Servers: []string{s.address}}, names...)
	becomes(t, r, nil)
	for _, name := range names {
		if got := reasons(r, name); got != "timeout+timeout" {
			t.Errorf("problems of %s: %q", name, got)
		}
	}
}

// A spoofed datagram that comes before the true answer does no harm.
func TestTrueAnswerAfterAWrongOne(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			q := new(dns.Msg)
			if q.Unpack(buf[:n]) != nil {
				continue
			}
			spoof := new(dns.Msg).SetReply(q)
			spoof.Id ^= 0x5555
			spoof.Answer = records(q.Question[0].Name, q.Question[0].Qtype, 300, "192.0.2.66")
			other := new(dns.Msg).SetReply(q)
			other.Question[0].Name = "other.test."
			other.Answer = records("other.test.", q.Question[0].Qtype, 300, "192.0.2.66")
			answer := new(dns.Msg).SetReply(q)
			answer.Answer = records(q.Question[0].Name, q.Question[0].Qtype, 300, "192.0.2.1")
			for _, m := range []*dns.Msg{spoof, other, answer} {
				out, _ := m.Pack()
				_, _ = conn.WriteTo([]byte("no message"), from)
				_, _ = conn.WriteTo(out, from)
			}
		}
	}()
	r := start(t, Options{Servers: []string{conn.LocalAddr().String()}}, "a.test")
	becomes(t, r, map[string]string{"a.test": "192.0.2.1"})
}

func TestSlowNamesDelayNoOther(t *testing.T) {
	s := newServer(t)
	names := []string{"late.test"}
	for i := range 60 {
		name := fmt.Sprintf("slow%d.test", i)
		names = append(names, name)
		s.on(name, silent)
	}
	s.set("late.test", 0, "192.0.2.1")
	r := start(t, Options{Servers: []string{s.address}, Workers: 8, Timeout: 100 * time.Millisecond, FirstWait: 100 * time.Millisecond}, names...)
	// The slow ones had their first turn and share the other lane now.
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		r.mu.Lock()
		left := len(r.pending)
		r.mu.Unlock()
		if left == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d names had no turn", left)
		}
	}
	s.set("late.test", 0, "192.0.2.2")
	changed := time.Now()
	becomes(t, r, map[string]string{"late.test": "192.0.2.2"})
	if d := time.Since(changed); d > time.Second {
		t.Errorf("a name waited %s behind slow ones", d)
	}
	s.set("new.test", 0, "192.0.2.3")
	r.SetNames(append(names, "new.test"))
	changed = time.Now()
	becomes(t, r, map[string]string{"late.test": "192.0.2.2", "new.test": "192.0.2.3"})
	if d := time.Since(changed); d > time.Second {
		t.Errorf("a new name waited %s behind slow ones", d)
	}
}

func TestOneFamilyDoesNotHoldUpTheOther(t *testing.T) {
	s := newServer(t)
	s.on("a.test", func(_ string, q, reply *dns.Msg) {
		if q.Question[0].Qtype == dns.TypeAAAA {
			reply.Id = 0
			return
		}
		reply.Answer = records(q.Question[0].Name, dns.TypeA, 300, "192.0.2.1")
	})
	began := time.Now()
	r := start(t, Options{Servers: []string{s.address}, Timeout: 3 * time.Second}, "a.test")
	becomes(t, r, map[string]string{"a.test": "192.0.2.1"})
	if d := time.Since(began); d > time.Second || !r.Ready("a.test") {
		t.Errorf("waited %s", d)
	}
}

func TestSettledIsBounded(t *testing.T) {
	s := newServer(t)
	s.on("slow.test", silent)
	began := time.Now()
	r := start(t, Options{Servers: []string{s.address}, Timeout: 5 * time.Second, FirstWait: 200 * time.Millisecond}, "slow.test")
	if d := time.Since(began); d < 200*time.Millisecond || d > 2*time.Second {
		t.Errorf("settled after %s", d)
	}
	if r.Ready("slow.test") {
		t.Error("a name without an answer is ready")
	}
}

func TestRemovedNamesAreNotAsked(t *testing.T) {
	s := newServer(t)
	s.set("a.test", 0, "192.0.2.1")
	s.set("b.test", 0, "192.0.2.2")
	r := start(t, Options{Servers: []string{s.address}}, "a.test", "b.test")
	becomes(t, r, map[string]string{"a.test": "192.0.2.1", "b.test": "192.0.2.2"})
	held := r.Table()
	r.SetNames([]string{"b.test"})
	becomes(t, r, map[string]string{"b.test": "192.0.2.2"})
	if len(held) != 2 {
		t.Error("a table that was given away was changed")
	}
	time.Sleep(100 * time.Millisecond) // for what was on its way
	before, other := s.count("udp A a.test"), s.count("udp A b.test")
	time.Sleep(300 * time.Millisecond)
	if s.count("udp A a.test") != before {
		t.Error("a name that nobody wants is asked for")
	}
	if s.count("udp A b.test") == other {
		t.Error("the other is not asked for any more")
	}
}

func TestManyNames(t *testing.T) {
	s := newServer(t)
	want := map[string]string{}
	var names []string
	for i := range 10_000 {
		name, addr := fmt.Sprintf("n%d.test", i), fmt.Sprintf("198.18.%d.%d", i/250, i%250+1)
		s.set(name, 300, addr)
		want[name] = addr
		names = append(names, name)
	}
	began := time.Now()
	r := start(t, Options{Servers: []string{s.address}, Timeout: 5 * time.Second, FirstWait: 60 * time.Second}, names...)
	becomes(t, r, want)
	t.Logf("10,000 names after %s", time.Since(began).Round(time.Millisecond))
}
