package policy

import (
	"fmt"
	"net/netip"
)

// forbidden lists what no upstream may be unless the policy allows it: addresses that mean the proxy itself or its
// link, and the metadata services of clouds, which hand out credentials to whoever can reach them.
var forbidden = []struct {
	prefix netip.Prefix
	why    string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "an unspecified address"},
	{netip.MustParsePrefix("127.0.0.0/8"), "a loopback address"},
	{netip.MustParsePrefix("169.254.0.0/16"), "a link-local address, where clouds keep their metadata services"},
	{netip.MustParsePrefix("100.100.100.200/32"), "the metadata service of Alibaba Cloud"},
	{netip.MustParsePrefix("168.63.129.16/32"), "the platform address of Azure"},
	{netip.MustParsePrefix("192.0.0.192/32"), "the metadata service of Oracle Cloud"},
	{netip.MustParsePrefix("224.0.0.0/4"), "a multicast address"},
	{netip.MustParsePrefix("255.255.255.255/32"), "the broadcast address"},
	{netip.MustParsePrefix("::/128"), "the unspecified address"},
	{netip.MustParsePrefix("::1/128"), "the loopback address"},
	{netip.MustParsePrefix("fe80::/10"), "a link-local address"},
	{netip.MustParsePrefix("ff00::/8"), "a multicast address"},
	{netip.MustParsePrefix("fd00:ec2::254/128"), "the metadata service of AWS"},
	{netip.MustParsePrefix("fd20:ce::254/128"), "the metadata service of Google Cloud"},
}

var (
	nat64      = netip.MustParsePrefix("64:ff9b::/96")    // RFC 6052
	nat64Local = netip.MustParsePrefix("64:ff9b:1::/48")  // RFC 8215; the address is taken to be in the last 32 bits
	sixTo4     = netip.MustParsePrefix("2002::/16")       // RFC 3056
	teredo     = netip.MustParsePrefix("2001::/32")       // RFC 4380: the client's address, inverted
	translated = netip.MustParsePrefix("::ffff:0:0:0/96") // RFC 2765
	v4compat   = netip.MustParsePrefix("::/96")           // RFC 4291
)

// Check tells why an address must not be served, and nil where it may. An IPv4 address that is written as IPv6
// (mapped, compatible, translated, NAT64, 6to4, Teredo, ISATAP) is judged as what it reaches, and as it stands.
func (a Addresses) Check(addr netip.Addr) error {
	addr = addr.WithZone("")
	if !addr.IsValid() {
		return fmt.Errorf("is no address")
	}
	if err := a.check(addr.Unmap()); err != nil {
		return err
	}
	if inner, ok := Embedded(addr); ok {
		if err := a.check(inner); err != nil {
			return fmt.Errorf("%w (written as '%s')", err, addr)
		}
	}
	return nil
}

func (a Addresses) check(addr netip.Addr) error {
	for _, p := range a.Allowed {
		if p.Contains(addr) {
			return nil
		}
	}
	for _, p := range a.Forbidden {
		if p.Contains(addr) {
			return fmt.Errorf("'%s' is in '%s', which the policy forbids", addr, p)
		}
	}
	for _, f := range forbidden {
		if f.prefix.Contains(addr) {
			return fmt.Errorf("'%s' is %s, and `addresses.allowed` of the policy does not have it", addr, f.why)
		}
	}
	return nil
}

// Embedded is the IPv4 address inside an IPv6 one that a translator would deliver to: compatible, translated, NAT64,
// 6to4, Teredo, ISATAP. A mapped address is the IPv4 address itself, for netip.Addr.Unmap to tell.
func Embedded(addr netip.Addr) (netip.Addr, bool) {
	if !addr.Is6() || addr.Is4In6() {
		return netip.Addr{}, false
	}
	b := addr.As16()
	switch {
	case nat64.Contains(addr), nat64Local.Contains(addr), translated.Contains(addr):
		return netip.AddrFrom4([4]byte(b[12:16])), true
	case sixTo4.Contains(addr):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	case teredo.Contains(addr):
		return netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]}), true
	case b[8]&^2 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe: // ISATAP, RFC 5214
		return netip.AddrFrom4([4]byte(b[12:16])), true
	case v4compat.Contains(addr) && addr != netip.IPv6Unspecified() && addr != netip.IPv6Loopback():
		return netip.AddrFrom4([4]byte(b[12:16])), true
	}
	return netip.Addr{}, false
}
