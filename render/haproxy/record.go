package haproxy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"drawbridge.dev/drawbridge/render/model"
)

// entry is a line of the map.
type entry struct{ key, value Token }

// route is a route of the model whose every text has been checked, with addresses in place of a name.
type route struct {
	path                      Token
	match                     model.Match
	mode                      model.RewriteMode
	target                    Token
	service, host, serverName Token
	protocol                  model.Protocol
	addresses                 []netip.AddrPort
}

// The keys and values that are no name; see routing.cfg.
var (
	anyHost    = Token{"ANY"}
	byDefault  = Token{"DEFAULT"}
	wildcard   = Token{"W"}
	exactPath  = Token{"E"}
	prefixPath = Token{"P"}
	address    = Token{"A"}
	comparing  = Token{"V"}
	single     = Token{"1"}
	manifold   = Token{"m"}
	stripAll   = Token{"*"}
	stripNone  = Token{"-"}
	bar        = Token{"|"}
	slash      = Token{"/"}
)

// stripBits is the number of bits of the longest path.
const stripBits = 11

// poolNames names the backend of each protocol.
var poolNames = []Token{model.HTTP: {"http"}, model.HTTPS: {"https"}, model.H2C: {"h2c"}, model.H2: {"h2"}}

// hostKey is the key under which a host's first lookup finds it.
func hostKey(host Token) Token {
	switch {
	case host.text == "":
		return anyHost
	case strings.HasPrefix(host.text, "*."):
		return compose(wildcard, host)
	default:
		return host
	}
}

// key is the key of a route of a host that compares paths. A Prefix ends with a slash, and so does what is looked up:
// '/foo' becomes '/foo/', which matches '/foo/bar/' and '/foo/', but not '/foobar/'.
func (r *route) key(host Token) Token {
	switch {
	case r.match == model.Exact:
		return compose(exactPath, host, r.path)
	case r.path == slash:
		return compose(prefixPath, host, slash)
	default:
		return compose(prefixPath, host, r.path, slash)
	}
}

// pack makes the lines of one route: its record under the key and, where there is more than one address or a path to
// rewrite, its addresses.
func (r *route) pack(key Token) []entry {
	pool := poolNames[r.protocol]
	names := compose(r.host, bar, r.serverName, bar, r.service)
	if len(r.addresses) == 1 && r.mode == model.KeepPath {
		return []entry{{key, compose(single, bar, pool, bar, packAddress(r.addresses[0]), bar, names)}}
	}
	entries := make([]entry, 0, len(r.addresses)+1)
	for i, a := range r.addresses {
		entries = append(entries, entry{compose(address, number(i), slash, key), packAddress(a)})
	}
	return append(entries, entry{key, compose(manifold, bar, pool, bar, number(len(r.addresses)), bar, r.stripped(), bar, names, bar, r.target, bar, key)})
}

func packAddress(a netip.AddrPort) Token { return compose(ip(a.Addr()), bar, number(a.Port())) }

// stripped tells how much of the path the rewrite takes away, as a sum of powers of two: 'a' is 1, 'b' 2, 'c' 4. No
// length at all is '-', which is no letter of a sum but isn't empty either.
func (r *route) stripped() Token {
	switch r.mode {
	case model.ReplacePath:
		return stripAll
	case model.ReplacePrefix:
		length := len(r.path.text)
		if r.match == model.Prefix && r.path == slash {
			return stripNone
		}
		var b strings.Builder
		for i := range stripBits {
			if length>>i&1 == 1 {
				b.WriteByte('a' + byte(i))
			}
		}
		return Token{b.String()}
	default:
		return Token{}
	}
}

// record is what a value says; the route's path and match are in the key.
type record struct {
	upstream  model.Upstream
	addresses int
	rewrite   model.Rewrite
	id        string
}

// unpack reads what pack wrote.
func unpack(value string) (record, error) {
	fields := strings.Split(value, "|")
	var r record
	switch {
	case fields[0] == single.text && len(fields) == 7:
		a, err := addressOf(fields[2], fields[3])
		if err != nil {
			return r, err
		}
		r.addresses, r.upstream.Addresses = 1, []netip.AddrPort{a}
	case fields[0] == manifold.text && len(fields) == 9:
		n, err := strconv.ParseUint(fields[2], 10, 31)
		if err != nil {
			return r, err
		}
		r.addresses, r.id = int(n), fields[8]
		switch fields[3] {
		case "":
		case stripAll.text:
			r.rewrite = model.Rewrite{Mode: model.ReplacePath, Path: fields[7]}
		default:
			r.rewrite = model.Rewrite{Mode: model.ReplacePrefix, Path: fields[7]}
		}
	default:
		return r, errors.New("neither a record of the short kind nor of the long one")
	}
	protocol := slices.Index(poolNames, Token{fields[1]})
	if protocol < 0 {
		return r, fmt.Errorf("no pool has the name %q", fields[1])
	}
	r.upstream.Protocol = model.Protocol(protocol)
	r.upstream.Host, r.upstream.ServerName, r.upstream.Service = fields[4], fields[5], fields[6]
	return r, nil
}

func addressOf(ip, port string) (netip.AddrPort, error) {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return netip.AddrPort{}, err
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(a, uint16(p)), nil
}
