package rules

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"drawbridge.dev/drawbridge/policy"
)

// TestSpelledIn holds which addresses a name spells, as nip.io and sslip.io document it, and that no other name does.
func TestSpelledIn(t *testing.T) {
	for name, want := range map[string]string{
		"10.0.0.1.nip.io":                            "10.0.0.1",
		"10-0-0-1.nip.io":                            "10.0.0.1",
		"app.10.8.0.1.nip.io":                        "10.8.0.1",
		"app-116-203-255-68.nip.io":                  "116.203.255.68",
		"app-10.0.0.1.sslip.io":                      "10.0.0.1",
		"customer1.app.10.0.0.1.nip.io":              "10.0.0.1",
		"customer2-app-127-0-0-1.nip.io":             "127.0.0.1",
		"customer3-app-7f000101.nip.io":              "127.0.1.1",
		"0a000803.nip.io":                            "10.0.8.3",
		"010.000.000.001.nip.io":                     "10.0.0.1",
		"2a01-4f8-c17-b8f--2.sslip.io":               "2a01:4f8:c17:b8f::2",
		"www.2a01-4f8-c17-b8f--2.sslip.io":           "2a01:4f8:c17:b8f::2",
		"--1.sslip.io":                               "::1",
		"192.168.1.1.xip.io":                         "192.168.1.1",
		"10-244-1-7.team-a.pod.cluster.local":        "10.244.1.7",
		"10-244-1-7.team-a.pod":                      "10.244.1.7",
		"fd00--7.team-a.pod.cluster.local":           "fd00::7",
		"10-0-0-1.nip.io.example.com":                "",
		"10-0-0-1.example.com":                       "",
		"nip.io":                                     "",
		"notnip.io":                                  "",
		"web.pod.cluster.local":                      "",
		strings.Repeat("a.", 119) + "1.2.3.4.nip.io": "1.2.3.4",
		strings.Repeat("a.", 128) + "1.2.3.4.nip.io": "",
	} {
		list := spelledIn(name, "cluster.local")
		got := ""
		for _, addr := range list {
			if got = addr.String(); got == want {
				break
			}
		}
		if got != want {
			t.Errorf("%s spells %v, want %q", name, list, want)
		}
	}
}

// TestMeantBy holds which addresses a C library takes a host for.
func TestMeantBy(t *testing.T) {
	for host, want := range map[string]string{
		"127.0.0.1": "[127.0.0.1]", "127.1": "[127.0.0.1]", "0177.0.0.1": "[127.0.0.1 177.0.0.1]", "2130706433": "[127.0.0.1]", "0x7f000001": "[127.0.0.1]",
		"0x7f.1": "[127.0.0.1]", "127.0.1": "[127.0.0.1]", "010.0.0.1": "[8.0.0.1 10.0.0.1]", "0": "[0.0.0.0]", "::1": "[::1]", "fe80::1%25eth0": "[fe80::1]",
		"1.2.3.4.": "[1.2.3.4]", "127.0.0.1 x": "[127.0.0.1]", "256.1.1.1": "[]", "1.2.3.4.5": "[]", "0x": "[0.0.0.0]", "4294967296": "[]", "": "[]", "::x": "[]", "08.0.0.1": "[8.0.0.1]",
	} {
		if got := fmt.Sprint(meantBy(host)); got != want {
			t.Errorf("%s means %s, want %s", host, got, want)
		}
	}
}

// FuzzNames holds that no name stops its judge, and that an address which is allowed is never called forbidden.
func FuzzNames(f *testing.F) {
	for _, name := range []string{"localhost", "169.254.169.254.nip.io", "0x7f.1", "a-b-c-d.ns.pod.cluster.local", "x.ns.svc", "http://[::1]:80/"} {
		f.Add(name)
	}
	config := policy.DefaultConfig()
	open := policy.DefaultConfig()
	open.Addresses.Allowed = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	f.Fuzz(func(t *testing.T, text string) {
		name := hostIn(text)
		forbiddenName(config, name)
		clusterNameOf(policy.Nothing{}, name, "cluster.local")
		if why := forbiddenName(open, name); strings.Contains(why, "address, and") {
			t.Errorf("%q %s", name, why)
		}
		for _, addr := range append(spelledIn(name, "cluster.local"), meantBy(name)...) {
			if !addr.IsValid() {
				t.Errorf("%q means no address", name)
			}
		}
	})
}
