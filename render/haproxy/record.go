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

// The keys and values that are no name; see routing.cfg.
const (
	anyHost    = "ANY"
	byDefault  = "DEFAULT"
	wildcard   = "W"
	exactPath  = "E"
	prefixPath = "P"
	address    = "A"
	comparing  = "V"
	single     = "1"
	manifold   = "m"
	stripAll   = "*"
	stripBits  = 11 // 2^11 > maxPath
)

// pools names the backend of each protocol.
var poolNames = []string{model.HTTP: "http", model.HTTPS: "https", model.H2C: "h2c", model.H2: "h2"}

// hostKey is the key under which a host's first lookup finds it.
func hostKey(host string) string {
	switch {
	case host == "":
		return anyHost
	case strings.HasPrefix(host, "*."):
		return wildcard + host
	default:
		return host
	}
}

// routeKey is the key of a route of a host that compares paths. A Prefix ends with a slash, and so does what is
// looked up: '/foo' becomes '/foo/', which matches '/foo/bar/' and '/foo/', but not '/foobar/'.
func routeKey(host string, r *model.Route) string {
	if r.Match == model.Exact {
		return exactPath + host + r.Path
	}
	return prefixPath + host + strings.TrimSuffix(r.Path, "/") + "/"
}

// pack makes the lines of one route: its record under the key and, where there is more than one address or a path to
// rewrite, its addresses. The route has been checked.
func pack(key string, r *model.Route) []entry {
	u := &r.Upstream
	names := u.Host + "|" + u.ServerName + "|" + u.Service
	if len(u.Addresses) == 1 && r.Rewrite.Mode == model.KeepPath {
		a := u.Addresses[0]
		value := single + "|" + poolNames[u.Protocol] + "|" + a.Addr().String() + "|" + strconv.Itoa(int(a.Port())) + "|" + names
		return []entry{{Token{key}, Token{value}}}
	}
	entries := make([]entry, 0, len(u.Addresses)+1)
	for i, a := range u.Addresses {
		entries = append(entries, entry{
			Token{address + strconv.Itoa(i) + "/" + key},
			Token{a.Addr().String() + "|" + strconv.Itoa(int(a.Port()))},
		})
	}
	value := manifold + "|" + poolNames[u.Protocol] + "|" + strconv.Itoa(len(u.Addresses)) + "|" + stripped(r) + "|" + names + "|" + r.Rewrite.Path + "|" + key
	return append(entries, entry{Token{key}, Token{value}})
}

// stripped tells how much of the path the rewrite takes away, as a sum of powers of two: 'a' is 1, 'b' 2, 'c' 4. A
// prefix of no length is '-', which is no letter of a sum but isn't empty either.
func stripped(r *model.Route) string {
	switch r.Rewrite.Mode {
	case model.ReplacePath:
		return stripAll
	case model.ReplacePrefix:
		length := len(strings.TrimSuffix(r.Path, "/"))
		if r.Match == model.Exact {
			length = len(r.Path)
		}
		if length == 0 {
			return "-"
		}
		var b strings.Builder
		for i := range stripBits {
			if length>>i&1 == 1 {
				b.WriteByte('a' + byte(i))
			}
		}
		return b.String()
	default:
		return ""
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
	case fields[0] == single && len(fields) == 7:
		a, err := addressOf(fields[2], fields[3])
		if err != nil {
			return r, err
		}
		r.addresses, r.upstream.Addresses = 1, []netip.AddrPort{a}
	case fields[0] == manifold && len(fields) == 9:
		n, err := strconv.ParseUint(fields[2], 10, 31)
		if err != nil {
			return r, err
		}
		r.addresses, r.id = int(n), fields[8]
		switch fields[3] {
		case "":
		case stripAll:
			r.rewrite = model.Rewrite{Mode: model.ReplacePath, Path: fields[7]}
		default:
			r.rewrite = model.Rewrite{Mode: model.ReplacePrefix, Path: fields[7]}
		}
	default:
		return r, errors.New("neither a record of the short kind nor of the long one")
	}
	protocol := slices.Index(poolNames, fields[1])
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
