package haproxy

import (
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"time"

	"drawbridge.dev/drawbridge/render/model"
)

// Options is all that haproxy.cfg depends on. It comes from whoever operates the proxy, never from an object.
type Options struct {
	// RunDir is an absolute folder that HAProxy and the agent share. Sockets lie in it, whose paths have at most 95
	// bytes.
	RunDir string
	// HTTP and HTTPS are the addresses to listen on, "address:port", or ":port" for both families (a kernel without
	// IPv6 wants "0.0.0.0:port"); without any there is no such listener.
	HTTP, HTTPS []string
	// Metrics is the address of HAProxy's own Prometheus exporter, empty for none.
	Metrics string
	// CAFile holds the CAs that upstreams are verified against; empty means the system's.
	CAFile string
	// Threads is the number of threads; 0 leaves it to HAProxy, which takes all cores.
	Threads int
	// HardStopAfter bounds the life of a worker that was replaced; 0 means 30 s.
	HardStopAfter time.Duration
	// ConnectTimeout, ClientTimeout, ServerTimeout and TunnelTimeout bound an upstream's connect, a silent client, a
	// silent upstream, and a silent connection after an upgrade; 0 means 5 s, 60 s, 60 s and 1 h.
	ConnectTimeout, ClientTimeout, ServerTimeout, TunnelTimeout time.Duration
	// AccessLog writes one line of JSON for each request to standard output.
	AccessLog bool
}

// The files in Options.RunDir.
const (
	configFile = "haproxy.cfg"
	mapFile    = "routes.map"
	listFile   = "crt-list"
	certFolder = "certs"
	// dummyFile is the certificate for clients that ask for no name we have; it never leaves.
	dummyFile    = "default.pem"
	statsSocket  = "haproxy.sock"
	masterSocket = "master.sock"
)

// maxSocketPath is what HAProxy 2.6 takes for a socket: sun_path, less what it appends while binding.
const maxSocketPath = 95

//go:embed routing.cfg
var routingText string

//go:embed pool.cfg
var poolText string

// Config writes haproxy.cfg. It is the same byte for byte whatever is served. The error names the option that is
// wrong.
func Config(o Options) ([]byte, error) { return config(o, listFile) }

// config is Config with another certificate list, with which a new one is tried before it takes the place of the old.
func config(o Options, list string) ([]byte, error) {
	dir, err := checkRunDir(o.RunDir)
	if err != nil {
		return nil, err
	}
	ca := "@system-ca"
	if o.CAFile != "" {
		t, err := filePath(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("CA file: %w", err)
		}
		ca = t.String()
	}
	if o.Threads < 0 || o.Threads > 64 {
		return nil, fmt.Errorf("threads: %d must be between 0 and 64", o.Threads)
	}

	var b strings.Builder
	line := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }

	line("# Written by drawbridge, the same whatever is served: what is served stands in %s.", mapFile)
	line("global")
	line("  stats socket %s mode 600 level admin expose-fd listeners", path.Join(dir, statsSocket))
	line("  stats timeout 1m")
	if o.Threads > 0 {
		line("  nbthread %d", o.Threads)
	}
	line("  hard-stop-after %s", milliseconds(o.HardStopAfter, 30*time.Second))
	// A container's limit of open files may be 2^30, and HAProxy would make its tables as large.
	line("  fd-hard-limit 200000")
	line("  expose-experimental-directives")
	// A file beside a certificate, 'x.pem.key' or '.ocsp', belongs to someone else.
	line("  ssl-load-extra-files none")
	line("  ssl-default-bind-options ssl-min-ver TLSv1.2")
	line("  ssl-default-server-options ssl-min-ver TLSv1.2")
	line("  tune.ssl.default-dh-param 2048")
	if o.AccessLog {
		line("  log stdout format raw local0")
	}
	line("")
	line("defaults base")
	base(line, o)

	binds, err := binds(o, dir, list)
	if err != nil {
		return nil, err
	}
	mapPath := path.Join(dir, mapFile)
	routing := strings.NewReplacer("@BINDS@", binds, "@MAP@", mapPath, "@STRIP@", strip(), "@CHOOSE@", choose(),
		"@NORMALIZE-WALK@", normalize("walk"), "@NORMALIZE-REWRITES@", normalize("rewrites")).Replace(routingText)
	b.WriteString(routing)

	if o.Metrics != "" {
		address, err := listenAddress(o.Metrics)
		if err != nil {
			return nil, fmt.Errorf("metrics address: %w", err)
		}
		line("")
		line("frontend metrics from base")
		line("  bind %s", address)
		line("  http-request use-service prometheus-exporter if { path /metrics }")
		line("  http-request return status 404")
	}
	pools(line, ca, o)
	return []byte(b.String()), nil
}

func base(line func(string, ...any), o Options) {
	line("  mode http")
	line("  timeout connect %s", milliseconds(o.ConnectTimeout, 5*time.Second))
	line("  timeout client %s", milliseconds(o.ClientTimeout, time.Minute))
	line("  timeout server %s", milliseconds(o.ServerTimeout, time.Minute))
	line("  timeout tunnel %s", milliseconds(o.TunnelTimeout, time.Hour))
	line("  timeout http-request 15s")
	line("  timeout http-keep-alive 60s")
	line("  option dontlognull")
	// Without it a reload fails the requests of clients that keep their connections open.
	line("  option idle-close-on-response")
	line(`  http-error status 400 content-type text/plain string "400 bad request\n"`)
	line(`  http-error status 408 content-type text/plain string "408 request timeout\n"`)
}

// logFormat is one JSON object; the service and the pool are tokens, all else that is text goes through json().
const logFormat = `{"time":"%T","client":"%ci","method":"%[method,json(utf8s)]","host":"%[var(txn.logged),json(utf8s)]",` +
	`"path":"%[capture.req.uri,json(utf8s)]","status":%ST,"bytes":%B,"service":"%[var(txn.r),field(7,|)]","state":"%tsc","ms":%Ta}`

// binds writes the listeners. The certificate list begins with one for names that nobody has: who asks for a name
// that has no certificate gets that one, never another tenant's.
func binds(o Options, dir, list string) (string, error) {
	var lines []string
	for _, a := range o.HTTP {
		address, err := listenAddress(a)
		if err != nil {
			return "", fmt.Errorf("HTTP address: %w", err)
		}
		lines = append(lines, "  bind "+address)
	}
	for _, a := range o.HTTPS {
		address, err := listenAddress(a)
		if err != nil {
			return "", fmt.Errorf("HTTPS address: %w", err)
		}
		lines = append(lines, fmt.Sprintf("  bind %s ssl crt-list %s alpn h2,http/1.1", address, path.Join(dir, list)))
	}
	if o.AccessLog {
		// The Host as it came, before the record replaces it.
		lines = append(lines, "  log global", "  log-format '"+logFormat+"'", "  http-request set-var(txn.logged) req.fhdr(host)")
	}
	if len(lines) == 0 {
		return "", errors.New("there must be an address to listen on, for HTTP or for HTTPS")
	}
	return strings.Join(lines, "\n"), nil
}

// normalize brings the path, and the path alone, to the form of RFC 3986, section 6.2.2, without empty elements. The
// query is put aside meanwhile: it may be signed as it stands, and a bare '%' in it harms nobody. "strict" and "full"
// are more than a taste: where such a normalizer has a condition but no option, HAProxy 2.6 runs another one in its
// place (haproxy/haproxy issue 3493).
func normalize(when string) string {
	lines := []string{
		`http-request return status 400 content-type text/plain string "400 bad request: no fragment belongs here\n" if WHEN { path -m sub -- \# }`,
		`http-request set-var(txn.query) query if WHEN { path -m sub % }`,
		`http-request set-pathq %[path] if WHEN { path -m sub % }`,
		`http-request normalize-uri percent-to-uppercase strict if WHEN { path -m sub % }`,
		`http-request normalize-uri percent-decode-unreserved strict if WHEN { path -m sub % }`,
		`http-request set-pathq %[path]?%[var(txn.query)] if WHEN { var(txn.query) -m found }`,
		`http-request normalize-uri path-merge-slashes if WHEN`,
		`http-request normalize-uri path-strip-dot if WHEN`,
		`http-request normalize-uri path-strip-dotdot full if WHEN`,
	}
	return strings.ReplaceAll("  "+strings.Join(lines, "\n  "), "WHEN", when)
}

// strip takes the sum of lengths in a record's fourth field off the path, a bit at a time: no converter of HAProxy 2.6
// takes an offset from a variable.
func strip() string {
	var lines []string
	for i := range stripBits {
		lines = append(lines, fmt.Sprintf("  http-request set-var(txn.rest) var(txn.rest),bytes(%d) if { var(txn.strip) -m sub %c }", 1<<i, 'a'+i))
	}
	return strings.Join(lines, "\n")
}

// choose skips as many addresses as the number says that was drawn, a bit at a time, as strip does. They stand in the
// record itself: one that were looked up apart could be gone with the next map.
func choose() string {
	var lines []string
	for i := range addressBits {
		lines = append(lines, fmt.Sprintf("  http-request set-var(txn.address) var(txn.address),field(%d,;,0) if { var(txn.i),and(%d) -m int gt 0 }", 1<<i+1, 1<<i))
	}
	return strings.Join(lines, "\n")
}

// failure says in fixed words why there was no connection: HAProxy's own text, and OpenSSL's, name what they like.
const failure = `%[bc_err_str,set-var(txn.e),bytes(9999)]%[ssl_bc_err_str,set-var(txn.e),bytes(9999)]` +
	`%[var(txn.e,none),regsub(.*certificate verify failed.*,C),regsub(.*SSL.*,T),regsub(...*,F),` +
	`regsub(^C,certificate verification failed),regsub(^T,TLS handshake failed),regsub(^F,connection failed)]`

// pools writes a backend for each protocol. Its two servers are the same: a failed connect is tried once more
// without the second that HAProxy waits before it tries the same server again. verifyhost makes an empty server name
// fail, with which HAProxy would take any certificate of the CA; a server name that is set goes before it.
func pools(line func(string, ...any), ca string, o Options) {
	for _, tls := range []bool{false, true} {
		name := "plain"
		if tls {
			name = "tls"
		}
		line("")
		line("defaults %s", name)
		base(line, o)
		line(`  http-error status 502 content-type text/plain lf-string "502 %%[var(txn.r),field(7,|)]: bad response\n"`)
		line(`  http-error status 503 content-type text/plain lf-string "503 %%[var(txn.r),field(7,|)]: %s\n"`, failure)
		line(`  http-error status 504 content-type text/plain lf-string "504 %%[var(txn.r),field(7,|)]: timeout\n"`)
		line("%s", strings.TrimSuffix(poolText, "\n"))
		if tls {
			line("  http-request set-var(txn.sni) var(txn.r),field(6,|)")
			line("  http-request set-var(txn.sni) req.fhdr(host),host_only,rtrim(.) if { var(txn.sni) -m len eq 0 }")
		}
		line("  http-request set-header Host %%[var(txn.r),field(5,|)] if { var(txn.r),field(5,|) -m len gt 0 }")
	}
	verified := " ssl verify required verifyhost none.invalid ca-file " + ca + " sni var(txn.sni)"
	for protocol, pool := range []struct{ defaults, server string }{
		model.HTTP:  {"plain", ""},
		model.HTTPS: {"tls", verified + " alpn http/1.1"},
		model.H2C:   {"plain", " proto h2"},
		model.H2:    {"tls", verified + " alpn h2 proto h2"},
	} {
		line("")
		line("backend %s from %s", poolNames[protocol], pool.defaults)
		line("  use-server first if TRUE")
		line("  server first 0.0.0.0:0%s", pool.server)
		line("  server again 0.0.0.0:0%s", pool.server)
	}
}

// milliseconds writes a duration with its unit: HAProxy takes a bare number for milliseconds, silently.
func milliseconds(d, otherwise time.Duration) string {
	if d <= 0 {
		d = otherwise
	}
	return strconv.FormatInt(max(d.Milliseconds(), 1), 10) + "ms"
}

func checkRunDir(dir string) (string, error) {
	t, err := filePath(dir)
	if err != nil {
		return "", fmt.Errorf("run directory: %w", err)
	}
	clean := path.Clean(t.String())
	if s := path.Join(clean, statsSocket); len(s) > maxSocketPath {
		return "", fmt.Errorf("run directory: %s has %d bytes, a socket's path may have %d: choose a shorter folder", s, len(s), maxSocketPath)
	}
	return clean, nil
}

// listenAddress accepts "host:port" and ":port"; the latter listens on both families.
func listenAddress(s string) (string, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", fmt.Errorf("%q: must be 'address:port' or ':port'", s)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("%q: the port must be between 1 and 65535", s)
	}
	if host == "" {
		return ":::" + port + " v4v6", nil
	}
	address, err := netip.ParseAddr(host)
	if err != nil || address.Zone() != "" {
		return "", fmt.Errorf("%q: must have an IP address before its port, or none", s)
	}
	if address.Is6() {
		return "[" + address.String() + "]:" + port, nil
	}
	return address.String() + ":" + port, nil
}
