package policy

import (
	"fmt"
	"net/netip"
	"testing"
)

func TestDestinations(t *testing.T) {
	d := parsed(t, `
destinations:
  allowed:
  - {hosts: ["*.example.com", example.com], ports: [443, "8000-8100"]}
  - {hosts: [api.example.com], cidrs: [10.0.0.0/8, "64:ff9b::/96"], ports: [80]}
  - {cidrs: [192.0.2.0/24, "2001:db8::/32"]}
  forbidden:
  - {hosts: [secret.example.com], cidrs: [10.1.0.0/16]}
  - {hosts: ["*"], cidrs: [0.0.0.0/0, "::/0"], ports: [8022]}
`).Destinations
	const (
		absent    = "%s is not among the destinations that the policy allows here (%s)"
		banned    = "%s is among the destinations that the policy forbids here"
		wrongPort = "the policy does not allow port %d of %s here"
	)
	hosts, cidrs := "*.example.com, example.com, api.example.com", "10.0.0.0/8, 64:ff9b::/96, 192.0.2.0/24, ..."
	for _, tt := range []struct {
		what string
		port int32
		want string
	}{
		{"www.example.com", 443, ""},
		{"www.example.com", 8000, ""},
		{"www.example.com", 8100, ""},
		{"www.example.com", 8101, fmt.Sprintf(wrongPort, 8101, "'www.example.com'")},
		{"www.example.com", 0, ""},
		{"example.com", 443, ""},
		{"api.example.com", 80, ""},
		{"api.example.com", 443, ""},
		{"example.org", 443, fmt.Sprintf(absent, "'example.org'", hosts)},
		{"notexample.com", 0, fmt.Sprintf(absent, "'notexample.com'", hosts)},
		{"secret.example.com", 443, fmt.Sprintf(banned, "'secret.example.com'")},
		{"secret.example.com", 0, fmt.Sprintf(banned, "'secret.example.com'")},
		{"www.example.com", 8022, fmt.Sprintf(banned, "'www.example.com'")},

		{"10.2.3.4", 80, ""},
		{"10.2.3.4", 0, ""},
		{"10.2.3.4", EveryPort, fmt.Sprintf(banned, "'10.2.3.4'")},
		{"10.2.3.4", 443, fmt.Sprintf(wrongPort, 443, "'10.2.3.4'")},
		{"10.1.2.3", 80, fmt.Sprintf(banned, "'10.1.2.3'")},
		{"192.0.2.1", 9, ""},
		{"192.0.2.1", 8022, fmt.Sprintf(banned, "'192.0.2.1'")},
		{"198.51.100.1", 80, fmt.Sprintf(absent, "'198.51.100.1'", cidrs)},
		{"2001:db8::1", 80, ""},
		{"::ffff:10.2.3.4", 80, ""},
		{"::ffff:10.1.2.3", 80, fmt.Sprintf(banned, "'10.1.2.3'")},
		// NAT64 is judged as it stands and as what it reaches.
		{"64:ff9b::10.2.3.4", 80, ""},
		{"64:ff9b::10.1.2.3", 80, fmt.Sprintf(banned, "'10.1.2.3'")},
		{"64:ff9b::198.51.100.1", 80, fmt.Sprintf(absent, "'198.51.100.1'", cidrs)},
		{"2002:a02:304::1", 80, fmt.Sprintf(absent, "'2002:a02:304::1'", cidrs)},
	} {
		var err error
		if addr, notAddr := netip.ParseAddr(tt.what); notAddr == nil {
			err = d.CheckAddress(addr, tt.port)
		} else {
			err = d.CheckHost(tt.what, tt.port)
		}
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s:%d: %q, want %q", tt.what, tt.port, got, tt.want)
		}
	}
	// No list allows everything; a list of addresses alone allows no name, and the reverse.
	var all Destinations
	every := func(ports ...PortRange) error {
		d := Destinations{Allowed: []Destination{{Hosts: []string{"x.example"}, Ports: ports}}}
		return d.CheckHost("x.example", EveryPort)
	}
	if every() != nil || every(PortRange{1, 65535}) != nil || every(PortRange{443, 443}) == nil || every(PortRange{0, 65534}) == nil {
		t.Error("every port is more than one of them")
	}
	if all.CheckHost("x", 1) != nil || all.CheckAddress(netip.MustParseAddr("::1"), 1) != nil {
		t.Error("no destinations are told of, and one is refused")
	}
	addressesOnly := parsed(t, "destinations: {allowed: [{cidrs: [10.0.0.0/8]}]}").Destinations
	if err := addressesOnly.CheckHost("x.example", 1); err == nil || err.Error() != "'x.example' is not among the destinations that the policy allows here" {
		t.Error(err)
	}
	namesOnly := parsed(t, "destinations: {allowed: [{hosts: ['*']}]}").Destinations
	if namesOnly.CheckHost("x.example", 1) != nil || namesOnly.CheckAddress(netip.MustParseAddr("10.0.0.1"), 1) == nil {
		t.Error("a list of names is one of addresses")
	}
}
