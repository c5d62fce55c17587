package lab

import (
	"net"
	"net/netip"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

// DNS is an authoritative server for every name there is, with a zone that tests change as they go. Names are without
// regard to case and to a trailing dot.
type DNS struct {
	Address string // "192.0.2.1:53"; by UDP and TCP

	mu      sync.Mutex
	records map[string]record
	queries map[string]int
}

type record struct {
	ttl       uint32 // seconds
	addresses []netip.Addr
	cname     string
	fail      bool
}

// StartDNS starts a server on port 53 of [Address], which the world's resolv.conf names, until the test ends. Its zone is
// empty: every name is NXDOMAIN.
func StartDNS(t TB) *DNS {
	t.Helper()
	if !Inside() {
		t.Fatalf("lab.StartDNS must be called inside: give the package a TestMain that calls lab.Main")
	}
	d := &DNS{Address: net.JoinHostPort(Address, "53"), records: map[string]record{}, queries: map[string]int{}}
	packets, err := net.ListenPacket("udp", d.Address)
	if err != nil {
		t.Fatalf("%v", err)
	}
	streams, err := net.Listen("tcp", d.Address)
	if err != nil {
		t.Fatalf("%v", err)
	}
	for _, server := range []*dns.Server{
		{PacketConn: packets, Handler: d},
		{Listener: streams, Handler: d},
	} {
		ready := make(chan struct{})
		server.NotifyStartedFunc = func() { close(ready) }
		go func() {
			if err := server.ActivateAndServe(); err != nil {
				t.Errorf("DNS: %v", err)
			}
		}()
		<-ready
		t.Cleanup(func() {
			if err := server.Shutdown(); err != nil {
				t.Errorf("DNS: %v", err)
			}
		})
	}
	return d
}

func canonical(name string) string { return strings.ToLower(dns.Fqdn(name)) }

// Set gives a name these addresses, IPv4 and IPv6, in place of all that it had. Without addresses the name exists and
// has none. An address that does not parse is a mistake of the test, and panics.
func (d *DNS) Set(name string, ttlSeconds uint32, addresses ...string) {
	r := record{ttl: ttlSeconds}
	for _, text := range addresses {
		r.addresses = append(r.addresses, netip.MustParseAddr(text))
	}
	d.put(name, r)
}

// SetCNAME makes a name an alias of target, in place of all that it had. Queries for addresses are answered with the
// alias and what target has, through further aliases if need be.
func (d *DNS) SetCNAME(name string, ttlSeconds uint32, target string) {
	d.put(name, record{ttl: ttlSeconds, cname: canonical(target)})
}

// Fail lets queries for a name be answered SERVFAIL until it is set or removed.
func (d *DNS) Fail(name string) { d.put(name, record{fail: true}) }

// Remove makes a name NXDOMAIN.
func (d *DNS) Remove(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.records, canonical(name))
}

// Queries returns how many queries for a name came in, of every type.
func (d *DNS) Queries(name string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.queries[canonical(name)]
}

func (d *DNS) put(name string, r record) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.records[canonical(name)] = r
}

// negativeTTL is how long, in seconds, a resolver may remember that there was no answer.
const negativeTTL = 1

// ServeDNS answers one query, for the servers behind it.
func (d *DNS) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	reply := new(dns.Msg)
	reply.SetReply(query)
	reply.Authoritative = true
	if len(query.Question) == 1 {
		d.answer(reply, query.Question[0])
	} else {
		reply.Rcode = dns.RcodeFormatError
	}
	if _, datagram := w.RemoteAddr().(*net.UDPAddr); datagram {
		size := dns.MinMsgSize
		if options := query.IsEdns0(); options != nil {
			size = int(options.UDPSize())
		}
		reply.Truncate(size)
	}
	// A client that is gone needs no answer.
	_ = w.WriteMsg(reply)
}

func (d *DNS) answer(reply *dns.Msg, question dns.Question) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name := canonical(question.Name)
	d.queries[name]++
	for range 8 {
		r, found := d.records[name]
		header := dns.RR_Header{Name: name, Class: dns.ClassINET, Ttl: r.ttl}
		switch {
		case !found:
			reply.Rcode = dns.RcodeNameError
		case r.fail:
			reply.Rcode = dns.RcodeServerFailure
		case r.cname != "":
			header.Rrtype = dns.TypeCNAME
			reply.Answer = append(reply.Answer, &dns.CNAME{Hdr: header, Target: r.cname})
			if question.Qtype != dns.TypeCNAME {
				name = r.cname
				continue
			}
		default:
			reply.Answer = append(reply.Answer, r.of(question.Qtype, header)...)
		}
		break
	}
	if len(reply.Answer) == 0 && reply.Rcode != dns.RcodeServerFailure {
		reply.Ns = append(reply.Ns, &dns.SOA{
			Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: negativeTTL},
			Ns:  "ns.", Mbox: "hostmaster.", Serial: 1, Refresh: 60, Retry: 60, Expire: 60, Minttl: negativeTTL,
		})
	}
}

// of returns the addresses of one record type.
func (r record) of(kind uint16, header dns.RR_Header) []dns.RR {
	var answers []dns.RR
	header.Rrtype = kind
	for _, ip := range r.addresses {
		switch {
		case kind == dns.TypeA && ip.Is4():
			answers = append(answers, &dns.A{Hdr: header, A: ip.AsSlice()})
		case kind == dns.TypeAAAA && ip.Is6():
			answers = append(answers, &dns.AAAA{Hdr: header, AAAA: ip.AsSlice()})
		}
	}
	return answers
}
