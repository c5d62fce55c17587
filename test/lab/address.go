package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// addresses counts who needs each address of the loopback interface.
var addresses = struct {
	sync.Mutex
	users map[netip.Addr]int
}{users: map[netip.Addr]int{}}

// AddAddress puts IPv4 or IPv6 addresses on the world's loopback interface, each by itself (/32, /128), until the test
// ends. Several tests may need the same one: it goes with the last.
func AddAddress(t TB, list ...string) {
	t.Helper()
	if !Inside() {
		t.Fatalf("lab.AddAddress must be called inside: give the package a TestMain that calls lab.Main")
	}
	for _, text := range list {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			t.Fatalf("%v", err)
		}
		if err := holdAddress(ip); err != nil {
			t.Fatalf("adding %s to lo: %v", ip, err)
		}
		t.Cleanup(func() {
			if err := releaseAddress(ip); err != nil {
				t.Errorf("removing %s from lo: %v", ip, err)
			}
		})
	}
}

func holdAddress(ip netip.Addr) error {
	addresses.Lock()
	defer addresses.Unlock()
	if own(ip) {
		return nil
	}
	if addresses.users[ip] == 0 {
		if err := onLoopback(netlink.AddrAdd, netip.PrefixFrom(ip, ip.BitLen())); err != nil {
			return err
		}
	}
	addresses.users[ip]++
	return nil
}

func releaseAddress(ip netip.Addr) error {
	addresses.Lock()
	defer addresses.Unlock()
	if own(ip) {
		return nil
	}
	addresses.users[ip]--
	if addresses.users[ip] > 0 {
		return nil
	}
	return onLoopback(netlink.AddrDel, netip.PrefixFrom(ip, ip.BitLen()))
}

// own says whether the world has the address by itself.
func own(ip netip.Addr) bool { return ip.IsLoopback() || ip.String() == Address }

// loopbackUp brings lo up, with 127.0.0.1, ::1 and Address.
func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	return onLoopback(netlink.AddrAdd, netip.PrefixFrom(netip.MustParseAddr(Address), 24))
}

func onLoopback(do func(netlink.Link, *netlink.Addr) error, prefix netip.Prefix) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	bits := prefix.Addr().BitLen()
	address := &netlink.Addr{IPNet: &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), bits)}}
	if prefix.Addr().Is6() {
		// Without it the address is tentative for a moment, on lo too, and can't be bound.
		address.Flags = unix.IFA_F_NODAD
	}
	err = do(lo, address)
	if errors.Is(err, syscall.EOPNOTSUPP) && prefix.Addr().Is6() {
		return fmt.Errorf("%w: IPv6 must be enabled in the kernel", err)
	}
	return err
}
