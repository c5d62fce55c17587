package policy

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/labels"
)

// wholePolicy says something at every key.
const wholePolicy = `version: 1
profile: strict
rules: {ingress-preserve-host: "off"}
clusterDomain: corp.example
namespaces:
- names: [team-a, "dev-*"]
  labels: "env in (prod), !legacy"
  profile: baseline
  rules: {service-external-name-ip: warn, ingress-preserve-host: off}
  destinations:
    allowed:
    - {hosts: ["*.example.com", "*"], cidrs: [10.20.0.0/16, "fd00::/8"], ports: [443, "8000-8100", "9"]}
    forbidden:
    - {cidrs: [10.20.30.0/24]}
- labels: tier
  rules: {ingress-preserve-host: false}
- names: ["*"]
  destinations: {}
destinations:
  allowed: [{hosts: [api.example.com]}]
addresses: {allowed: [127.0.0.0/8], forbidden: [192.0.2.0/24]}
ranges: {pods: [10.244.0.0/16], services: [10.96.0.0/12], nodes: [192.0.2.0/25]}
proxyNames: [proxy.example.com, "*.apps.example.com"]
externalIPs: [203.0.113.0/24]
grants:
- {from: [team-a], to: ["shared-*"], kinds: [Service, Secret, ConfigMap], names: [api, "*.tls"]}
- {from: ["*"], to: [tailscale], kinds: [Service]}
hosts:
- {hosts: ["*.team-a.example", team-a.example], namespaces: [team-a, "team-a-*"]}
- {hosts: ["*"], namespaces: [edge]}
exemptions:
- {rules: [service-external-name-ip], namespaces: [legacy], users: ["system:serviceaccount:x:*", group], reason: " moves in May\n"}
classes:
- {class: edge, dialect: ingress-nginx}
- {controller: example.com/x, dialect: drawbridge}
inject: [host, labels]
slices: {scope: ingress, foreignManagers: [x]}
`

func TestWholePolicy(t *testing.T) {
	got, err := ParseConfig([]byte(wholePolicy), knownRule)
	if err != nil {
		t.Fatal(err)
	}
	cidr := func(texts ...string) (list []netip.Prefix) {
		for _, text := range texts {
			list = append(list, netip.MustParsePrefix(text))
		}
		return list
	}
	selector := func(text string) labels.Selector {
		s, err := labels.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	want := &Config{
		Profile: Strict, ClusterDomain: "corp.example",
		Rules: map[string]Level{"ingress-preserve-host": Off},
		Namespaces: []Override{{
			Names: []Pattern{"team-a", "dev-*"}, Labels: selector("env in (prod), !legacy"), Profile: Baseline,
			Rules: map[string]Level{"service-external-name-ip": Warn, "ingress-preserve-host": Off},
			Destinations: &Destinations{
				Allowed: []Destination{{
					Hosts: []string{"*.example.com", "*"}, CIDRs: cidr("10.20.0.0/16", "fd00::/8"),
					Ports: []PortRange{{443, 443}, {8000, 8100}, {9, 9}},
				}},
				Forbidden: []Destination{{CIDRs: cidr("10.20.30.0/24")}},
			},
		}, {
			Labels: selector("tier"), Rules: map[string]Level{"ingress-preserve-host": Off},
		}, {
			Names: []Pattern{"*"}, Destinations: &Destinations{},
		}},
		Destinations: Destinations{Allowed: []Destination{{Hosts: []string{"api.example.com"}}}},
		Addresses:    Addresses{Allowed: cidr("127.0.0.0/8"), Forbidden: cidr("192.0.2.0/24")},
		Ranges:       Ranges{Pods: cidr("10.244.0.0/16"), Services: cidr("10.96.0.0/12"), Nodes: cidr("192.0.2.0/25")},
		ProxyNames:   []string{"proxy.example.com", "*.apps.example.com"},
		ExternalIPs:  cidr("203.0.113.0/24"),
		Grants: []Grant{
			{From: []Pattern{"team-a"}, To: []Pattern{"shared-*"}, Kinds: GrantKinds, Names: []Pattern{"api", "*.tls"}},
			{From: []Pattern{"*"}, To: []Pattern{"tailscale"}, Kinds: []string{"Service"}},
		},
		Hosts: []HostOwner{
			{Hosts: []string{"*.team-a.example", "team-a.example"}, Namespaces: []Pattern{"team-a", "team-a-*"}},
			{Hosts: []string{"*"}, Namespaces: []Pattern{"edge"}},
		},
		Exemptions: []Exemption{{
			Rules: []string{"service-external-name-ip"}, Namespaces: []Pattern{"legacy"},
			Users: []Pattern{"system:serviceaccount:x:*", "group"}, Reason: "moves in May",
		}},
		Classes: []Class{{Class: "edge", Dialect: "ingress-nginx"}, {Controller: "example.com/x", Dialect: "drawbridge"}},
		Inject:  []string{"host", "labels"},
		Slices:  Slices{Scope: SlicesIngress, ForeignManagers: []string{"x"}},
	}
	same := cmp.Comparer(func(a, b labels.Selector) bool {
		return (a == nil) == (b == nil) && (a == nil || a.String() == b.String())
	})
	if diff := cmp.Diff(want, got, ignored, comparePrefixes, same); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// Each new key refuses what it can not mean, and says where.
func TestParseConfigRefusesValues(t *testing.T) {
	for text, want := range map[string]string{
		"namespaces: {a: {}}":                                                                              "line 2, column 13: `namespaces`: must be a list",
		"namespaces: [~]":                                                                                  "`namespaces[0]`: an empty item; must be a mapping of keys to values",
		"namespaces: [team-a]":                                                                             "line 2, column 14: `namespaces[0]`: must be a mapping of keys to values",
		"namespaces: [{profile: strict}]":                                                                  "`namespaces[0]`: must have `names` or `labels`",
		"namespaces: [{names: [], profile: strict}]":                                                       "`namespaces[0].names`: must not be empty",
		"namespaces: [{names: [Team]}]":                                                                    "line 2, column 23: `namespaces[0].names[0]`: 'Team' must be the name of a namespace, in which '*' may stand",
		"namespaces: [{names: [a, a]}]":                                                                    "line 2, column 26: `namespaces[0].names[1]`: 'a' stands on line 2 already; write it once",
		"namespaces: [{names: [a.b]}]":                                                                     "'a.b' must be the name of a namespace",
		"namespaces: [{names: [12]}]":                                                                      "`namespaces[0].names[0]`: must be a string; write it in quotes",
		"namespaces: [{labels: ''}]":                                                                       "`namespaces[0].labels`: must not be empty",
		"namespaces: [{labels: 'env in'}]":                                                                 "`namespaces[0].labels`: 'env in' must be a label selector such as",
		"namespaces: [{labels: {env: prod}}]":                                                              "`namespaces[0].labels`: must be a string",
		"namespaces: [{labels: a, profile: lax}]":                                                          "`namespaces[0].profile`: unknown profile 'lax': must be 'baseline' or 'strict'",
		"namespaces: [{labels: a, rules: {nope: warn}}]":                                                   "line 2, column 34: unknown rule 'nope'",
		"namespaces: [{labels: a, rules: {ingress-preserve-host: x}}]":                                     "line 2, column 57: `namespaces[0].rules.ingress-preserve-host`: unknown level 'x'",
		"namespaces: [{labels: a, clusterDomain: x}]":                                                      "unknown key 'namespaces[0].clusterDomain': must be one of 'destinations', 'labels', 'names', 'profile', 'rules'",
		"destinations: []":                                                                                 "`destinations`: must be a mapping",
		"destinations: {allowed: [{ports: [443]}]}":                                                        "`destinations.allowed[0]`: must have `hosts` or `cidrs`",
		"destinations: {allowed: [{hosts: [Example.com]}]}":                                                "'Example.com' must be a DNS name in lower case",
		"destinations: {allowed: [{hosts: [example.com.]}]}":                                               "'example.com.' must be a DNS name",
		"destinations: {allowed: [{hosts: ['*example.com']}]}":                                             "'*example.com' must be a DNS name",
		"destinations: {allowed: [{hosts: ['a.*.com']}]}":                                                  "'a.*.com' must be a DNS name",
		"destinations: {allowed: [{hosts: [192.0.2.1]}]}":                                                  "'192.0.2.1' must be a host name; an address is written as a CIDR",
		"destinations: {allowed: [{cidrs: [192.0.2.1]}]}":                                                  "'192.0.2.1' must be a CIDR; write '192.0.2.1/32'",
		"destinations: {allowed: [{hosts: ['*'], ports: [0]}]}":                                            "`destinations.allowed[0].ports[0]`: '0' must be a port from 1 to 65535 or a range of them, such as 443 or '8000-8100'",
		"destinations: {allowed: [{hosts: ['*'], ports: [65536]}]}":                                        "'65536' must be a port",
		"destinations: {allowed: [{hosts: ['*'], ports: [0443]}]}":                                         "'0443' must be a port",
		"destinations: {allowed: [{hosts: ['*'], ports: [0x1bb]}]}":                                        "'0x1bb' must be a port",
		"destinations: {allowed: [{hosts: ['*'], ports: [9-8]}]}":                                          "'9-8' must be a port",
		"destinations: {allowed: [{hosts: ['*'], ports: ['1 - 2']}]}":                                      "'1 - 2' must be a port",
		"destinations: {allowed: [{hosts: ['*'], ports: [http]}]}":                                         "'http' must be a port",
		"destinations: {allowed: [{hosts: ['*'], ports: [4.5]}]}":                                          "must be a port or a range of ports, such as 443",
		"destinations: {allowed: [{hosts: ['*'], ports: [~]}]}":                                            "an empty item; must be a port or a range of ports",
		"destinations: {allowed: [{hosts: ['*'], ports: []}]}":                                             "`destinations.allowed[0].ports`: must not be empty",
		"ranges: {pod: []}":                                                                                "unknown key 'ranges.pod': must be 'pods'",
		"ranges: {pods: [10.0.0.0/8, 10.0.0.0/8]}":                                                         "`ranges.pods[1]`: '10.0.0.0/8' stands on line 2 already",
		"proxyNames: ['*']":                                                                                "'*' must not be a name of the proxy",
		"externalIPs: [all]":                                                                               "'all' must be a CIDR",
		"grants: [{from: [a], to: [b]}]":                                                                   "line 2, column 10: `grants[0]`: must have `kinds`",
		"grants: [{from: [a], to: [b], kinds: [Services]}]":                                                "unknown kind 'Services': must be 'Service', 'Secret' or 'ConfigMap'",
		"grants: [{from: [a], kinds: [Secret]}]":                                                           "`grants[0]`: must have `to`",
		"grants: [{from: , to: [b], kinds: [Secret]}]":                                                     "`grants[0]`: must have `from`",
		"grants: [{from: [a], to: [b], kinds: [Secret], names: ['A']}]":                                    "'A' must be the name of an object",
		"hosts: [{hosts: [a.example]}]":                                                                    "`hosts[0]`: must have `namespaces`",
		"hosts: [{hosts: [a.example], namespaces: [a]}, {hosts: [b.example, a.example], namespaces: [b]}]": "column 68: `hosts[1].hosts[1]`: 'a.example' stands on line 2 already; write it once",
		"exemptions: [{rules: [ingress-preserve-host]}]":                                                   "`exemptions[0]`: must have `reason`",
		"exemptions: [{rules: [ingress-preserve-host], reason: ' '}]":                                      "`exemptions[0].reason`: must say why",
		"exemptions: [{rules: [nope], reason: x}]":                                                         "line 2, column 23: unknown rule 'nope'",
		"exemptions: [{rules: [], reason: x}]":                                                             "`exemptions[0].rules`: must not be empty",
		"exemptions: [{rules: [ingress-preserve-host], users: [\"a\\nb\"], reason: x}]":                    "must be the name of a user or a group",
		"classes: [{class: a, controller: b.c/d, dialect: drawbridge}]":                                    "`classes[0]`: must have only one of `class` or `controller`",
		"classes: [{dialect: drawbridge}]":                                                                 "`classes[0]`: must have `class` or `controller`",
		"classes: [{class: a}]":                                                                            "`classes[0]`: must have `dialect`",
		"classes: [{class: a, dialect: nginx}]":                                                            "`classes[0].dialect`: unknown dialect 'nginx': must be 'drawbridge'",
		"classes: [{class: a, dialect: drawbridge}, {class: a, dialect: drawbridge}]":                      "`classes[1].class`: 'a' stands on line 2 already",
		"classes: [{controller: nginx, dialect: drawbridge}]":                                              "'nginx' must be the `spec.controller` of an IngressClass",
		"inject: [Host]":       "unknown injection 'Host': must be 'host', 'protocol'",
		"inject: [host, host]": "`inject[1]`: 'host' stands on line 2 already",
	} {
		_, err := ParseConfig([]byte("version: 1\n"+text), knownRule)
		if err == nil {
			t.Errorf("%s is read", text)
			continue
		}
		if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s:\n%v, want\n%s", text, err, want)
		}
	}
}

// Whatever is wrong, wherever it is, is told at once, in the order of the text, with line and column.
func TestMistakes(t *testing.T) {
	_, err := ParseConfig([]byte("version: 1\nprofil: x\nrules:\n  nope: warn\nhosts:\n- hosts: [A.b]\n  namespaces: [a]\nslices:\n    scope: x\n"), knownRule)
	want := []Mistake{
		{2, 1, "unknown key 'profil': must be 'profile'"},
		{4, 3, "unknown rule 'nope': must be one that `drawbridge rules` lists"},
		{6, 11, "`hosts[0].hosts[0]`: 'A.b' must be a DNS name in lower case without a last dot, or '*.' and one, or '*'"},
		{9, 12, "`slices.scope`: unknown scope 'x': must be 'all', 'ingress', 'annotated' or 'off'"},
	}
	var got []Mistake
	for _, m := range Mistakes(err) {
		got = append(got, *m)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	for text, want := range map[string]string{
		"":                     "policy: " + emptyPolicy,
		"version: 1\nrules: {": "policy: line 2: must be YAML: did not find expected node content",
		"{version: 1}}":        "policy: ",
	} {
		_, err := ParseConfig([]byte(text), nil)
		if list := Mistakes(err); len(list) != 1 || !strings.HasPrefix(list[0].Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if list := Mistakes(errors.New("x")); list != nil {
		t.Errorf("%v", list)
	}
}
