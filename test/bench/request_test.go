package bench

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"drawbridge.dev/drawbridge/render/haproxy"
	"drawbridge.dev/drawbridge/render/model"
	"drawbridge.dev/drawbridge/test/lab"
)

const (
	connections = 32
	// batch is the number of requests between two readings; the contestants take turns, so that a machine whose speed
	// drifts is as slow for one as for the other.
	batch = 20_000
	// tick is the unit of /proc/PID/stat on Linux.
	tick = 10 * time.Millisecond
)

// BenchmarkRequest measures the CPU time of the HAProxy process for a request: with a haproxy.cfg by hand that has one
// backend and sets the Host, which is the floor, and with drawbridge's, by the number of hosts. An operation is a batch.
//
// The metrics are microseconds a request, and the ratio to the floor of the same round, as medians.
func BenchmarkRequest(b *testing.B) {
	program := lab.HAProxy(b)
	upstream := serve(b)
	floor := byHand(b, program, upstream)
	for _, hosts := range []int{1, 1000, 50_000} {
		b.Run(fmt.Sprintf("hosts=%d", hosts), func(b *testing.B) {
			ours := byDrawbridge(b, program, upstream, hosts)
			floor.send(b, batch/4)
			ours.send(b, batch/4)
			var least, cost, ratio []float64
			for b.Loop() {
				f, o := floor.send(b, batch), ours.send(b, batch)
				least, cost, ratio = append(least, f), append(cost, o), append(ratio, o/f)
			}
			b.ReportMetric(median(least), "floor-us/request")
			b.ReportMetric(median(cost), "us/request")
			b.ReportMetric(median(ratio), "ratio")
		})
	}
}

func median(x []float64) float64 {
	slices.Sort(x)
	return x[len(x)/2]
}

// contestant is a HAProxy to send requests to.
type contestant struct {
	address string
	pid     int
	hosts   int
}

// send makes requests over all connections, and gives the CPU time of HAProxy for each, in microseconds.
func (c *contestant) send(t lab.TB, requests int) float64 {
	t.Helper()
	before := cpu(t, c.pid)
	var wait sync.WaitGroup
	failed := make(chan error, connections)
	for i := range connections {
		wait.Add(1)
		go func() {
			defer wait.Done()
			if err := c.converse(i, requests/connections); err != nil {
				failed <- err
			}
		}()
	}
	wait.Wait()
	close(failed)
	if err := <-failed; err != nil {
		t.Fatalf("%v", err)
	}
	return float64((cpu(t, c.pid) - before).Microseconds()) / float64(requests/connections*connections)
}

// converse sends requests one after the other over one connection, for hosts that lie far apart.
func (c *contestant) converse(seed, requests int) error {
	conn, err := net.Dial("tcp", c.address)
	if err != nil {
		return err
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	for i := range requests {
		host := (seed*7919 + i*104_729) % c.hosts
		if _, err := fmt.Fprintf(conn, "GET /some/path HTTP/1.1\r\nHost: %s\r\n\r\n", name(host)); err != nil {
			return err
		}
		res, err := http.ReadResponse(answers, nil)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d: %s %w", res.StatusCode, body, err)
		}
	}
	return nil
}

func name(host int) string { return fmt.Sprintf("host-%d.bench.example", host) }

// cpu is the user and system time of a process so far.
func cpu(t lab.TB, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatalf("%v", err)
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	var total int
	for _, f := range fields[11:13] { // utime and stime: proc(5)
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatalf("%v", err)
		}
		total += n
	}
	return time.Duration(total) * tick
}

// serve is the site outside: it answers 15 bytes to whoever sends its Host.
func serve(t lab.TB) netip.AddrPort {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("%v", err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "site.example" {
			http.Error(w, "not my name: "+r.Host, http.StatusMisdirectedRequest)
			return
		}
		_, _ = io.WriteString(w, "fifteen bytes\r\n")
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return netip.MustParseAddrPort(l.Addr().String())
}

func port(t lab.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("%v", err)
	}
	defer l.Close()
	return l.Addr().String()
}

// byHand is the least that a proxy does for a request: one backend, one Host.
func byHand(t lab.TB, program string, upstream netip.AddrPort) *contestant {
	c := &contestant{address: port(t), hosts: 1}
	config := filepath.Join(lab.Dir(t), "haproxy.cfg")
	if err := os.WriteFile(config, fmt.Appendf(nil, `global
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  http-reuse safe
frontend f
  bind %s
  default_backend b
backend b
  http-request set-header Host site.example
  server s %s
`, c.address, upstream), 0o600); err != nil {
		t.Fatalf("%v", err)
	}
	child := exec.Command(program, "-db", "-f", config)
	if err := child.Start(); err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		_ = child.Process.Kill()
		_ = child.Wait()
	})
	c.pid = child.Process.Pid
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", c.address)
		if err == nil {
			_ = conn.Close()
			return c
		}
		if time.Now().After(end) {
			t.Fatalf("%v", err)
		}
	}
}

// byDrawbridge is drawbridge's HAProxy with a number of hosts, each of which has one path and one address.
func byDrawbridge(t lab.TB, program string, upstream netip.AddrPort, hosts int) *contestant {
	c := &contestant{address: port(t), hosts: hosts}
	run := lab.Dir(t)
	proxy, err := haproxy.NewProxy(haproxy.ProxyOptions{
		Options: haproxy.Options{RunDir: run, HTTP: []string{c.address}, Threads: 1}, Binary: program,
	})
	if err != nil {
		t.Fatalf("%v", err)
	}
	var m model.Model
	for i := range hosts {
		m.Hosts = append(m.Hosts, model.Host{Name: name(i), Routes: []model.Route{{Path: "/", Match: model.Prefix, Upstream: model.Upstream{
			Service: "team/site", Host: "site.example", Addresses: []netip.AddrPort{upstream},
		}}}})
	}
	slices.SortFunc(m.Hosts, func(x, y model.Host) int { return strings.Compare(x.Name, y.Name) })
	state, problems := haproxy.Render(&m, nil)
	if len(problems) > 0 {
		t.Fatalf("%v", problems[0])
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := proxy.Start(ctx); err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() { _ = proxy.Close() })
	if _, err := proxy.Apply(ctx, state); err != nil {
		t.Fatalf("%v", err)
	}
	c.pid = worker(t, filepath.Join(run, "haproxy.sock"))
	return c
}

// worker is the process that answers requests, as it says itself.
func worker(t lab.TB, socket string) int {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatalf("%v", err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "show info\n"); err != nil {
		t.Fatalf("%v", err)
	}
	info, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("%v", err)
	}
	for line := range strings.Lines(string(info)) {
		if text, ok := strings.CutPrefix(line, "Pid: "); ok {
			pid, err := strconv.Atoi(strings.TrimSpace(text))
			if err != nil {
				t.Fatalf("%v", err)
			}
			return pid
		}
	}
	t.Fatalf("no pid in %q", info)
	return 0
}
