package lab

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// SiteOptions says what an external site is like.
type SiteOptions struct {
	Address    string       // "1.2.3.4:80", "[2001:db8::1]:443"; its IP is put on the loopback interface
	Name       string       // which site it is, in its answers; Address when empty
	Hosts      []string     // the Hosts it is there for, any when empty: another one gets 404, or 421 over TLS
	TLS        *Certificate // serves TLS with it; nil serves plain HTTP
	RequireSNI bool         // refuses a TLS handshake without a server name, or with one that is not in Hosts
	Handler    http.Handler // answers the requests for Hosts; when nil they get a [Request] as JSON
}

// Request is what a site saw of one request. A site without a handler answers with it, as JSON.
type Request struct {
	Site    string      `json:"site"`
	Method  string      `json:"method"`
	Host    string      `json:"host"` // as sent, with a port if there was one
	Path    string      `json:"path"` // as sent, still escaped
	Query   string      `json:"query"`
	Proto   string      `json:"proto"` // "HTTP/1.1", "HTTP/2.0"
	SNI     string      `json:"sni"`   // empty without TLS, or without a server name
	TLS     bool        `json:"tls"`
	Local   string      `json:"local"`  // the site's address and port
	Remote  string      `json:"remote"` // the client's
	Headers http.Header `json:"headers"`
	Status  int         `json:"status"` // what it was answered with: 200, 404 or 421, or a handler's; 0 for a failed handshake
}

// Site is an HTTP site outside the cluster.
type Site struct {
	options SiteOptions
	server  *http.Server
	served  chan struct{}

	mu       sync.Mutex
	requests []Request
}

// StartSite runs a site until the test ends. It speaks HTTP/1.1 and, over TLS or with prior knowledge, HTTP/2.
func StartSite(t TB, o SiteOptions) *Site {
	t.Helper()
	host, _, err := net.SplitHostPort(o.Address)
	if err != nil {
		t.Fatalf("site %q: %v", o.Address, err)
	}
	AddAddress(t, host)
	if o.Name == "" {
		o.Name = o.Address
	}
	listener, err := net.Listen("tcp", o.Address)
	if err != nil {
		t.Fatalf("site %s: %v", o.Name, err)
	}
	s := &Site{options: o, served: make(chan struct{})}
	s.server = &http.Server{Handler: s, ErrorLog: log.New(logWriter{t}, "", 0), Protocols: new(http.Protocols)}
	s.server.Protocols.SetHTTP1(true)
	s.server.Protocols.SetHTTP2(true)
	s.server.Protocols.SetUnencryptedHTTP2(true)
	serve := func() error { return s.server.Serve(listener) }
	if o.TLS != nil {
		s.server.TLSConfig = &tls.Config{
			MinVersion:         tls.VersionTLS12,
			Certificates:       []tls.Certificate{o.TLS.TLS},
			GetConfigForClient: s.hello,
		}
		serve = func() error { return s.server.ServeTLS(listener, "", "") }
	}
	go func() {
		defer close(s.served)
		if err := serve(); err != nil && !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("site %s: %v", o.Name, err)
		}
	}()
	t.Cleanup(s.Stop)
	return s
}

// Stop closes the site's listener and its connections. New ones are refused from then on.
func (s *Site) Stop() {
	// The listener's error on closing twice is of no interest.
	_ = s.server.Close()
	<-s.served
}

// Requests returns what the site has been sent so far, what it refused included.
func (s *Site) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// hello refuses a handshake whose server name is not the site's, where the site is strict about it.
func (s *Site) hello(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	known := hello.ServerName != "" && (len(s.options.Hosts) == 0 || slices.ContainsFunc(s.options.Hosts, func(host string) bool {
		return strings.EqualFold(host, hello.ServerName)
	}))
	if !s.options.RequireSNI || known {
		return nil, nil
	}
	s.record(Request{
		Site: s.options.Name, SNI: hello.ServerName, TLS: true,
		Local: hello.Conn.LocalAddr().String(), Remote: hello.Conn.RemoteAddr().String(),
	})
	return nil, fmt.Errorf("site %s: server name %q is not mine", s.options.Name, hello.ServerName)
}

// ServeHTTP answers one request, for the server behind it.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	seen := Request{
		Site: s.options.Name, Method: r.Method, Host: r.Host, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery,
		Proto: r.Proto, Remote: r.RemoteAddr, Headers: r.Header.Clone(), Status: http.StatusOK,
	}
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		seen.Local = local.String()
	}
	if r.TLS != nil {
		seen.TLS, seen.SNI = true, r.TLS.ServerName
	}
	if !s.mine(r.Host) {
		seen.Status = http.StatusNotFound
		if seen.TLS {
			seen.Status = http.StatusMisdirectedRequest
		}
		s.record(seen)
		http.Error(w, fmt.Sprintf("site %s: no such host %q", s.options.Name, r.Host), seen.Status)
		return
	}
	if s.options.Handler != nil {
		answer := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		s.options.Handler.ServeHTTP(answer, r)
		seen.Status = answer.status
		s.record(seen)
		return
	}
	s.record(seen)
	body, err := json.MarshalIndent(seen, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	// A client that is gone needs no answer.
	_, _ = w.Write(append(body, '\n'))
}

func (s *Site) record(r Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r)
}

// mine says whether the site is there for a Host header. Like most servers it takes its own port in it, no other.
func (s *Site) mine(header string) bool {
	if len(s.options.Hosts) == 0 {
		return true
	}
	_, port, err := net.SplitHostPort(s.options.Address)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(s.options.Hosts, func(host string) bool {
		return strings.EqualFold(header, host) || strings.EqualFold(header, net.JoinHostPort(host, port))
	})
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach what the server's writer can do.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// logWriter sends a server's error log to the test.
type logWriter struct{ t TB }

func (w logWriter) Write(line []byte) (int, error) {
	// A test that has ended takes no more lines.
	if w.t.Context().Err() == nil {
		w.t.Logf("%s", bytes.TrimSpace(line))
	}
	return len(line), nil
}
