package rules

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"

	corev1 "k8s.io/api/core/v1"

	"drawbridge.dev/drawbridge/policy"
)

// aliasHost is the host that an externalName means, however it is spelled: lower case, without a scheme, a port and
// dots at its end. Guards judge it, because the rules about its spelling may be exempted by its author.
func aliasHost(svc *corev1.Service) string { return hostIn(svc.Spec.ExternalName) }

func hostIn(text string) string {
	if isPlainHost(text) {
		return text
	}
	return strings.ToLower(strings.TrimRight(locate(text).host, "."))
}

// lets tells whether an object may get past a rule that its author can exempt it from, or that the policy does not
// have deny: a Guard then judges what that rule would have kept out. Where the rule denies, it is left to it, so that
// one mistake is told of once.
func lets[T policy.Object](p *policy.Pass[T], id string, levels policy.Levels) bool {
	return p.Config.Level(id, levels) != policy.Deny ||
		strings.TrimSpace(p.Object.GetAnnotations()[policy.AllowPrefix+id]) != "" ||
		slices.ContainsFunc(p.Config.Exemptions, func(e policy.Exemption) bool { return slices.Contains(e.Rules, id) })
}

// forbiddenNames lead to the machine itself or to credentials, whoever asks. Sources: hosts(5) as Debian, Fedora and
// macOS install it; the documentation of Google Compute Engine, Tencent Cloud, IBM Cloud VPC and Exoscale about their
// metadata services; instance-data.ec2.internal and instance-data are what the DNS of an AWS VPC answers with
// 169.254.169.254; the documentation of Docker Desktop, Podman, minikube, k3d, Lima and Rancher. Azure's metadata
// service has no name.
var forbiddenNames = map[string]string{
	"localhost":               nameOfLoopback,
	"localhost.localdomain":   nameOfLoopback,
	"localhost4":              nameOfLoopback,
	"localhost4.localdomain4": nameOfLoopback,
	"localhost6":              nameOfLoopback,
	"localhost6.localdomain6": nameOfLoopback,
	"ip6-localhost":           nameOfLoopback,
	"ip6-loopback":            nameOfLoopback,
	"ip6-allnodes":            "a name of multicast addresses",
	"ip6-allrouters":          "a name of multicast addresses",
	"broadcasthost":           "a name of the broadcast address",

	"metadata":                   "the metadata service of Google Cloud",
	"metadata.google.internal":   "the metadata service of Google Cloud",
	"metadata.goog":              "the metadata service of Google Cloud",
	"instance-data":              "the metadata service of AWS",
	"instance-data.ec2.internal": "the metadata service of AWS",
	"metadata.tencentyun.com":    "the metadata service of Tencent Cloud",
	"api.metadata.cloud.ibm.com": "the metadata service of IBM Cloud",
	"metadata.exoscale.com":      "the metadata service of Exoscale",
	"rancher-metadata":           "the metadata service of Rancher",

	"host.docker.internal":          nameOfMachine,
	"gateway.docker.internal":       nameOfMachine,
	"kubernetes.docker.internal":    nameOfMachine,
	"vm.docker.internal":            nameOfMachine,
	"docker.for.mac.host.internal":  nameOfMachine,
	"host.containers.internal":      nameOfMachine,
	"host.minikube.internal":        nameOfMachine,
	"host.k3d.internal":             nameOfMachine,
	"host.lima.internal":            nameOfMachine,
	"host.rancher-desktop.internal": nameOfMachine,
}

const (
	nameOfLoopback = "a name of the loopback address"
	nameOfMachine  = "the name of the machine that containers run on"
)

// loopbackDomains are public domains under which every name has the address 127.0.0.1.
var loopbackDomains = []string{"localtest.me", "lvh.me", "vcap.me", "lacolhost.com", "fuf.me", "ddev.site", "127-0-0-1.org.uk"}

// addressDomains are public domains under which a name has the address that it spells.
var addressDomains = []string{"nip.io", "sslip.io", "xip.io", "traefik.me", "iep.ee"}

// under tells whether a name is a domain or below it.
func under(name, domain string) bool {
	rest, ok := strings.CutSuffix(name, domain)
	return ok && (rest == "" || strings.HasSuffix(rest, "."))
}

// forbiddenName says what is wrong with a name that nobody may lead to, or with an address that it spells; empty where
// nothing is. The name is as hostIn gives it.
func forbiddenName(c *policy.Config, name string) string {
	if why := forbiddenNames[name]; why != "" {
		return "is " + why
	}
	// RFC 6761, section 6.3: every name below it is loopback too.
	if under(name, "localhost") || slices.ContainsFunc(loopbackDomains, func(d string) bool { return under(name, d) }) {
		return "is " + nameOfLoopback
	}
	for _, p := range c.ProxyNames {
		if suffix, wild := strings.CutPrefix(p, "*"); p == name || wild && strings.HasSuffix(name, suffix) {
			return "is a name of the cluster's own proxies, by `proxyNames` of the policy"
		}
	}
	for _, addr := range spelledIn(name, c.ClusterDomain) {
		if err := c.Addresses.Check(addr); err != nil {
			return meansForbidden(err)
		}
	}
	return ""
}

// meansForbidden tells of an address that a name means, in few words and without what to do about it.
func meansForbidden(err error) string {
	why, _, _ := strings.Cut(err.Error(), ", and `addresses.allowed`")
	return "means " + strings.Replace(why, "' is ", "', ", 1)
}

// spelledIn lists the addresses that a name spells: those of the public domains that answer with them, and of pods
// (the name 1-2-3-4.ns.pod of the cluster's domain, which CoreDNS by default answers with that address, whether there
// is such a pod or not).
func spelledIn(name, clusterDomain string) []netip.Addr {
	if len(name) > 253 { // which no resolver asks for
		return nil
	}
	var labels []string
	for _, d := range addressDomains {
		if rest, ok := strings.CutSuffix(name, "."+d); ok {
			labels = strings.Split(rest, ".")
		}
	}
	if rest := strings.TrimSuffix(strings.TrimSuffix(name, "."+clusterDomain), ".pod"); strings.HasSuffix(name, ".pod."+clusterDomain) || strings.HasSuffix(name, ".pod") {
		labels = strings.Split(rest, ".")
	}
	var list []netip.Addr
	add := func(s string) {
		if addr, err := netip.ParseAddr(s); err == nil {
			list = append(list, addr)
		}
	}
	// The services differ in which of several addresses they take: each is judged.
	for i, label := range labels {
		if i+4 <= len(labels) {
			add(dotted(tail(labels[i], "-") + "." + labels[i+1] + "." + labels[i+2] + "." + head(labels[i+3], "-")))
		}
		parts := strings.Split(label, "-")
		for j := range parts {
			if j+4 <= len(parts) {
				add(dotted(strings.Join(parts[j:j+4], ".")))
			}
			if s := parts[j]; len(s) == 8 && strings.Trim(s, "0123456789abcdef") == "" {
				n, _ := strconv.ParseUint(s, 16, 32)
				list = append(list, netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}))
			}
			// IPv6 with '-' for ':', perhaps behind a name and another '-'.
			if len(label) <= len("ffff-ffff-ffff-ffff-ffff-ffff-ffff-ffff")+maxSpelledPrefix && len(parts)-j >= 3 {
				add(strings.Join(parts[j:], ":"))
			}
		}
	}
	return list
}

// maxSpelledPrefix bounds the work on one label to what a label of DNS can be.
const maxSpelledPrefix = 63

// dotted is an IPv4 address without the zeros that parts may begin with.
func dotted(s string) string {
	parts := strings.Split(s, ".")
	for i, p := range parts {
		if trimmed := strings.TrimLeft(p, "0"); trimmed != "" {
			parts[i] = trimmed
		} else if p != "" {
			parts[i] = "0"
		}
	}
	return strings.Join(parts, ".")
}

func tail(s, sep string) string { return s[strings.LastIndex(s, sep)+1:] }

func head(s, sep string) string {
	first, _, _ := strings.Cut(s, sep)
	return first
}

// meantBy lists the addresses that a C library takes a host for that isIP tells is one. There is more than one where
// libraries differ: 010.0.0.1 is 8.0.0.1 to inet_aton and 10.0.0.1 to others.
func meantBy(host string) []netip.Addr {
	if i := strings.IndexFunc(host, unicode.IsSpace); i >= 0 {
		host = host[:i] // as isIP does
	}
	host = strings.TrimRight(host, ".")
	if strings.ContainsRune(host, ':') {
		host, _, _ = strings.Cut(strings.ReplaceAll(host, "%25", "%"), "%")
		if addr, err := netip.ParseAddr(host); err == nil {
			return []netip.Addr{addr}
		}
		return nil
	}
	var list []netip.Addr
	for _, base := range [...]int{0, 10} {
		var sum uint64
		parts := strings.Split(host, ".")
		ok := len(parts) <= 4
		for i, p := range parts {
			digits, b := p, base
			if base == 0 {
				switch {
				case len(p) > 1 && (p[1] == 'x' || p[1] == 'X'):
					digits, b = p[2:], 16
					if digits == "" {
						digits = "0"
					}
				case len(p) > 1 && p[0] == '0':
					b = 8
				default:
					b = 10
				}
			}
			n, err := strconv.ParseUint(digits, b, 32)
			bits := 8
			if i == len(parts)-1 {
				bits = 8 * (5 - len(parts))
			}
			if err != nil || bits < 0 || n>>min(bits, 63) != 0 {
				ok = false
				break
			}
			sum = sum<<bits | n
		}
		if addr := netip.AddrFrom4([4]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)}); ok && !slices.Contains(list, addr) {
			list = append(list, addr)
		}
	}
	return list
}
