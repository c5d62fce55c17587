package policy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func TestAddressesCheck(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1": "", "10.0.0.1": "", "8.8.8.8": "", "2001:db8::1": "", "fd00::1": "", "169.253.255.255": "", "128.0.0.1": "",
		"::ffff:192.0.2.1": "", "64:ff9b::192.0.2.1": "", "2002:c000:201::1": "",

		"127.0.0.1": "loopback", "127.255.255.255": "loopback", "::1": "loopback", "0.0.0.0": "unspecified", "::": "unspecified",
		"0.1.2.3": "unspecified", "169.254.169.254": "metadata", "169.254.0.1": "link-local", "fe80::1": "link-local", "fe80::1%eth0": "link-local",
		"100.100.100.200": "Alibaba", "168.63.129.16": "Azure", "192.0.0.192": "Oracle", "fd00:ec2::254": "AWS", "fd20:ce::254": "Google",
		"224.0.0.1": "multicast", "ff02::1": "multicast", "255.255.255.255": "broadcast",

		"::ffff:127.0.0.1": "loopback", "::ffff:169.254.169.254": "metadata", "::127.0.0.1": "loopback", "::ffff:0:127.0.0.1": "loopback",
		"64:ff9b::127.0.0.1": "loopback", "64:ff9b::a9fe:a9fe": "metadata", "64:ff9b:1::169.254.169.254": "metadata",
		"2002:7f00:1::": "loopback", "2002:a9fe:a9fe::1": "metadata", "2001:0:53aa:64c:0:0:80ff:fffe": "loopback",
		"2001:db8::5efe:127.0.0.1": "loopback", "2001:db8::200:5efe:169.254.169.254": "metadata",
	} {
		err := Addresses{}.Check(netip.MustParseAddr(text))
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	if (Addresses{}).Check(netip.Addr{}) == nil {
		t.Error("no address is allowed")
	}
}

func TestAddressesPolicy(t *testing.T) {
	prefixes := func(texts ...string) (list []netip.Prefix) {
		for _, s := range texts {
			list = append(list, netip.MustParsePrefix(s))
		}
		return list
	}
	a := Addresses{Allowed: prefixes("127.0.0.53/32", "10.1.2.0/24", "64:ff9b::/96"), Forbidden: prefixes("10.0.0.0/8", "2001:db8::/32")}
	for text, ok := range map[string]bool{
		"127.0.0.53": true, "127.0.0.1": false, "10.1.2.3": true, "10.1.3.3": false, "2001:db8::1": false, "2001:db9::1": true,
		"::ffff:10.1.2.3": true, "::ffff:10.9.9.9": false, "2002:0a01:0203::": true, "2002:0a09:0909::": false,
		// The translator's prefix is allowed, and what it leads to is judged all the same.
		"64:ff9b::127.0.0.1": false, "64:ff9b::8.8.8.8": true, "64:ff9b::127.0.0.53": true,
	} {
		if err := a.Check(netip.MustParseAddr(text)); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// FuzzAddressesCheck holds that no way of writing an IPv4 address as IPv6 makes a forbidden one pass.
func FuzzAddressesCheck(f *testing.F) {
	f.Add([]byte{127, 0, 0, 1})
	f.Add([]byte{169, 254, 169, 254})
	f.Add([]byte{8, 8, 8, 8})
	f.Fuzz(func(t *testing.T, b []byte) {
		addr, ok := netip.AddrFromSlice(b)
		if !ok {
			return
		}
		err := Addresses{}.Check(addr)
		if err != nil && strings.ContainsAny(err.Error(), "\n\r") {
			t.Errorf("%q", err)
		}
		if !addr.Is4() || err == nil {
			return
		}
		v4 := addr.As4()
		for _, form := range []string{"::ffff:%s", "::ffff:0:%s", "64:ff9b::%s", "64:ff9b:1::%s", "2001:db8::5efe:%s"} {
			text := fmt.Sprintf(form, addr)
			if (Addresses{}).Check(netip.MustParseAddr(text)) == nil {
				t.Errorf("%s passes", text)
			}
		}
		six := netip.AddrFrom16([16]byte{0x20, 0x02, v4[0], v4[1], v4[2], v4[3], 15: 1})
		teredo := netip.AddrFrom16([16]byte{0x20, 0x01, 12: ^v4[0], ^v4[1], ^v4[2], ^v4[3]})
		for _, a := range []netip.Addr{six, teredo} {
			if (Addresses{}).Check(a) == nil {
				t.Errorf("%s passes for %s", a, addr)
			}
		}
	})
}
