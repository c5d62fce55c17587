package resolve

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

const (
	// maxAliases bounds the way from a name to its addresses, within an answer and over several.
	maxAliases = 16
	// rounds is how often a server that keeps silent is asked: a datagram may get lost.
	rounds = 2
	// udpSize is what is asked for at most in one datagram: it is never fragmented (DNS flag day 2020).
	udpSize = 1232
)

// asker asks servers. It is safe for concurrent use.
type asker struct {
	servers []string
	timeout time.Duration
	// preferred is the index of the server that answered last: one that is down costs its timeout once, not each time.
	preferred atomic.Int64
}

// lookup asks for the addresses of one family, following aliases over as many questions as it takes.
func (k *asker) lookup(ctx context.Context, name string, kind uint16) answer {
	seen := map[string]bool{}
	ttl := time.Duration(-1)
	for at := canonical(name); ; {
		if seen[at] || len(seen) == maxAliases {
			return answer{reason: ReasonLoop}
		}
		seen[at] = true
		a := k.ask(ctx, at, kind)
		if a.failed() {
			return a
		}
		if ttl >= 0 && ttl < a.ttl {
			a.ttl = ttl
		}
		if a.next == "" {
			return a
		}
		ttl, at = a.ttl, a.next
	}
}

// ask puts one question to the servers in turn, until one has an answer.
func (k *asker) ask(ctx context.Context, name string, kind uint16) answer {
	first := int(k.preferred.Load())
	gaveUp := make([]bool, len(k.servers))
	worst := answer{reason: ReasonTimeout}
	for range rounds {
		for i := range k.servers {
			n := (first + i) % len(k.servers)
			if gaveUp[n] {
				continue
			}
			m, err := k.exchange(ctx, k.servers[n], name, kind)
			if ctx.Err() != nil {
				return answer{reason: ReasonTimeout}
			}
			if err != nil {
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					gaveUp[n] = true
					worst = answer{reason: ReasonServerFailure}
				}
				continue
			}
			a := interpret(m, name, kind)
			if !a.failed() {
				k.preferred.Store(int64(n))
				return a
			}
			gaveUp[n] = true
			worst = a
		}
	}
	return worst
}

// errUnreadable is an answer over TCP that isn't one to the question.
var errUnreadable = errors.New("not an answer to the question")

// exchange puts one question to one server: over UDP first, and over TCP where the answer is truncated, or where the
// server doesn't keep the letters' case as they were sent, which over UDP is a part of the proof that it is the server.
func (k *asker) exchange(ctx context.Context, server, name string, kind uint16) (*dns.Msg, error) {
	m, err := k.udp(ctx, server, question(name, kind, true))
	if err == nil && (m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeNotImplemented || m.Rcode == dns.RcodeBadVers) {
		m, err = k.udp(ctx, server, question(name, kind, false)) // a server from before EDNS
	}
	if err == nil && m.Truncated {
		m, err = k.tcp(ctx, server, question(name, kind, true))
	}
	return m, err
}

// question is the message that asks for a name, with an ID and letter cases that can't be guessed.
func question(name string, kind uint16, edns bool) *dns.Msg {
	q := new(dns.Msg)
	q.SetQuestion(mix(name), kind)
	q.Id = dns.Id()
	if edns {
		q.SetEdns0(udpSize, false)
	}
	return q
}

// mix writes each letter of a name in upper or lower case at random (draft-vixie-dnsext-dns0x20).
func mix(name string) string {
	b := []byte(strings.ToLower(name))
	coins := make([]byte, len(b))
	_, _ = rand.Read(coins) // never fails
	for i, c := range b {
		// A letter within an escape (\DDD has none, \X may) stays what it is in either case.
		if c >= 'a' && c <= 'z' && coins[i]&1 == 1 {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

// verdict is what a message means for a question.
type verdict uint8

const (
	stranger verdict = iota // not an answer to it
	folded                  // an answer, but for the case of the letters
	exact
)

func judge(q, m *dns.Msg) verdict {
	if m.Id != q.Id || !m.Response || m.Opcode != dns.OpcodeQuery {
		return stranger
	}
	if len(m.Question) == 0 && m.Rcode == dns.RcodeFormatError {
		return exact // a server from before EDNS may send its header back and nothing else
	}
	if len(m.Question) != 1 {
		return stranger
	}
	a, b := q.Question[0], m.Question[0]
	switch {
	case a.Qtype != b.Qtype || a.Qclass != b.Qclass || !strings.EqualFold(a.Name, b.Name):
		return stranger
	case a.Name != b.Name:
		return folded
	}
	return exact
}

func (k *asker) dial(ctx context.Context, network, server string) (net.Conn, func(), error) {
	ctx, cancel := context.WithTimeout(ctx, k.timeout)
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, server)
	if err != nil {
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			err = os.ErrDeadlineExceeded
		}
		return nil, nil, err
	}
	// The context's end, by its deadline too, ends a read that waits.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return conn, func() {
		stop()
		cancel()
		_ = conn.Close()
	}, nil
}

// udp asks in one datagram and waits for the answer; others are passed over. The socket is new, so that its port is
// random, and connected, so that the kernel takes datagrams from the server alone.
func (k *asker) udp(ctx context.Context, server string, q *dns.Msg) (*dns.Msg, error) {
	conn, done, err := k.dial(ctx, "udp", server)
	if err != nil {
		return nil, err
	}
	defer done()
	out, err := q.Pack()
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(out); err != nil {
		return nil, err
	}
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, err
		}
		m := new(dns.Msg)
		err = m.Unpack(buf[:n])
		v := judge(q, m)
		switch {
		case v == stranger:
		case v == folded, m.Truncated:
			m.Truncated = true // over TCP it is
			return m, nil
		case err == nil:
			return m, nil
		}
	}
}

func (k *asker) tcp(ctx context.Context, server string, q *dns.Msg) (*dns.Msg, error) {
	conn, done, err := k.dial(ctx, "tcp", server)
	if err != nil {
		return nil, err
	}
	defer done()
	c := &dns.Conn{Conn: conn}
	if err := c.WriteMsg(q); err != nil {
		return nil, err
	}
	m, err := c.ReadMsg()
	if err != nil {
		return nil, err
	}
	if judge(q, m) == stranger || m.Truncated {
		return nil, errUnreadable
	}
	return m, nil
}
