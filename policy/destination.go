package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Destinations says where the objects of a namespace may lead.
type Destinations struct {
	// Allowed, where it is not empty, lists all that is allowed: a name must match a host, an address a CIDR.
	Allowed []Destination
	// Forbidden comes before Allowed.
	Forbidden []Destination
}

// Destination is some hosts and addresses, on some ports.
type Destination struct {
	// Hosts are names, "*.example.com" for every name below one, or "*".
	Hosts []string
	CIDRs []netip.Prefix
	// Ports; empty means all.
	Ports []PortRange
}

// PortRange is the ports from First to Last, both included.
type PortRange struct{ First, Last uint16 }

// EveryPort asks CheckHost and CheckAddress whether all ports may be reached: of endpoints without ports, for which
// ingress-nginx takes whatever targetPort the Service has.
const EveryPort = -1

func (d *Destination) port(port int32) bool {
	if port == EveryPort {
		return len(d.Ports) == 0 || slices.ContainsFunc(d.Ports, func(r PortRange) bool { return r.First <= 1 && r.Last == 65535 })
	}
	return port == 0 || len(d.Ports) == 0 || slices.ContainsFunc(d.Ports, func(r PortRange) bool {
		return int32(r.First) <= port && port <= int32(r.Last)
	})
}

// CheckHost tells why a name must not be reached on a port, nil where it may. The name is in lower case, without its
// last dot. Port 0 asks of the name alone: whether some port of it may be reached.
func (d *Destinations) CheckHost(name string, port int32) error {
	covers := func(x *Destination) bool {
		return slices.ContainsFunc(x.Hosts, func(p string) bool { return hostCovers(p, name) })
	}
	return d.check(covers, port, "'"+name+"'", func() []string {
		var all []string
		for i := range d.Allowed {
			all = append(all, d.Allowed[i].Hosts...)
		}
		return all
	})
}

// CheckAddress tells why an address must not be reached on a port, nil where it may. An IPv4 address that is written
// as IPv6 is judged as what it reaches and as it stands. Port 0 asks of the address alone.
func (d *Destinations) CheckAddress(addr netip.Addr, port int32) error {
	addr = addr.WithZone("").Unmap()
	forms := []netip.Addr{addr}
	if inner, ok := Embedded(addr); ok {
		forms = append(forms, inner)
	}
	for _, a := range forms {
		covers := func(x *Destination) bool {
			return slices.ContainsFunc(x.CIDRs, func(p netip.Prefix) bool { return p.Contains(a) })
		}
		if err := d.check(covers, port, "'"+a.String()+"'", func() []string {
			var all []string
			for i := range d.Allowed {
				for _, p := range d.Allowed[i].CIDRs {
					all = append(all, p.String())
				}
			}
			return all
		}); err != nil {
			return err
		}
	}
	return nil
}

func (d *Destinations) check(covers func(*Destination) bool, port int32, what string, list func() []string) error {
	for i := range d.Forbidden {
		x := &d.Forbidden[i]
		// Where a single port is asked of, a ban of some ports does not forbid the whole.
		if covers(x) && (len(x.Ports) == 0 || port == EveryPort || port != 0 && x.port(port)) {
			return fmt.Errorf("%s is among the destinations that the policy forbids here", what)
		}
	}
	if len(d.Allowed) == 0 {
		return nil
	}
	covered := false
	for i := range d.Allowed {
		if x := &d.Allowed[i]; covers(x) {
			if x.port(port) {
				return nil
			}
			covered = true
		}
	}
	switch {
	case covered && port == EveryPort:
		return fmt.Errorf("the policy does not allow every port of %s here, and none is listed", what)
	case covered:
		return fmt.Errorf("the policy does not allow port %d of %s here", port, what)
	}
	all := list()
	const shown = 3
	switch {
	case len(all) == 0:
		return fmt.Errorf("%s is not among the destinations that the policy allows here", what)
	case len(all) > shown:
		all = append(all[:shown:shown], "...")
	}
	return fmt.Errorf("%s is not among the destinations that the policy allows here (%s)", what, strings.Join(all, ", "))
}
