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
	comparing  = Token{"V"}
	single     = Token{"1"}
	manifold   = Token{"m"}
	stripAll   = Token{"*"}
	stripNone  = Token{"-"}
	bar        = Token{"|"}
	slash      = Token{"/"}
	semicolon  = Token{";"}
)

const (
	// stripBits is the number of bits of the longest path.
	stripBits = 11
	// addressBits is the number of bits of the number of addresses.
	addressBits = 8
	// maxAddresses keeps a record well below the longest command.
	maxAddresses = 1 << addressBits
)

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

// pack makes the record of a route.
func (r *route) pack() Token {
	pool := poolNames[r.protocol]
	names := compose(r.host, bar, r.serverName, bar, r.service)
	if len(r.addresses) == 1 && r.mode == model.KeepPath {
		return compose(single, bar, pool, bar, packAddress(r.addresses[0]), bar, names)
	}
	parts := []Token{manifold, bar, pool, bar, number(len(r.addresses)), bar, r.stripped(), bar, names, bar, r.target}
	between := bar
	for _, a := range r.addresses {
		parts = append(parts, between, packAddress(a))
		between = semicolon
	}
	return compose(parts...)
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

// unpack reads what pack wrote, into a route without path and match, which are in its key.
func unpack(value string) (model.Route, error) {
	fields := strings.Split(value, "|")
	var r model.Route
	switch {
	case fields[0] == single.text && len(fields) == 7:
		a, err := unpackAddress(fields[2] + "|" + fields[3])
		if err != nil {
			return r, err
		}
		r.Upstream.Addresses = []netip.AddrPort{a}
	case fields[0] == manifold.text && len(fields) >= 8:
		fields = strings.SplitN(value, "|", 9)
		if len(fields) == 9 {
			for text := range strings.SplitSeq(fields[8], ";") {
				a, err := unpackAddress(text)
				if err != nil {
					return r, err
				}
				r.Upstream.Addresses = append(r.Upstream.Addresses, a)
			}
		}
		if n, err := strconv.Atoi(fields[2]); err != nil || n != len(r.Upstream.Addresses) {
			return r, fmt.Errorf("it tells of %q addresses and has %d", fields[2], len(r.Upstream.Addresses))
		}
		switch fields[3] {
		case "":
		case stripAll.text:
			r.Rewrite = model.Rewrite{Mode: model.ReplacePath, Path: fields[7]}
		default:
			r.Rewrite = model.Rewrite{Mode: model.ReplacePrefix, Path: fields[7]}
		}
	default:
		return r, errors.New("neither a record of the short kind nor of the long one")
	}
	protocol := slices.Index(poolNames, Token{fields[1]})
	if protocol < 0 {
		return r, fmt.Errorf("no pool has the name %q", fields[1])
	}
	r.Upstream.Protocol = model.Protocol(protocol)
	r.Upstream.Host, r.Upstream.ServerName, r.Upstream.Service = fields[4], fields[5], fields[6]
	return r, nil
}

func unpackAddress(text string) (netip.AddrPort, error) {
	address, port, _ := strings.Cut(text, "|")
	a, err := netip.ParseAddr(address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(a, uint16(p)), nil
}
