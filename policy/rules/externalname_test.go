package rules

import (
	"math/big"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"drawbridge.dev/drawbridge/policy"
)

func TestExternalNameSpellings(t *testing.T) {
	const ip, format, fine = "service-external-name-ip", "service-external-name-format", ""
	for text, want := range map[string]string{
		"1.2.3.4": ip, "1.2.3.4.": ip, "1.2.3.4..": ip, "127.1": ip, "127.0.1": ip, "1": ip, "0": ip, "0x7f000001": ip, "0X7F.1": ip,
		"2130706433": ip, "0177.0.0.1": ip, "0x7f.0.0.0x1": ip, "010.8.8.8": ip, "1.2.3.256": ip, "99999999999": ip, "08.1.1.1": ip,
		"::1": ip, "[::1]": ip, "[::1].": ip, "[::1]:443": ip, "::ffff:1.2.3.4": ip, "2001:DB8::1": ip, "fe80::1%eth0": ip, "fe80::1%25eth0": ip,
		"[fe80::1%eth0]": ip, " 1.2.3.4": ip, "1.2.3.4 ": ip, "1.2.3.4\tfoo": ip, "1.2.3.4\n": ip, "1.2.3.4:443": ip, "1.2.3.4/32": ip,
		"http://1.2.3.4": ip, "HTTPS://user@1.2.3.4:8443/v1?x#y": ip, "//1.2.3.4": ip, "１.２.３.４": ip, "1。2。3。4": ip, "①.1.1.1": ip,
		"http://[::1]:80/": ip, "1.2.3.4?x": ip, "x@1.2.3.4": ip,

		"1.2.3.4.5": fine, "1.2.3.4.example.com": fine, "example.com": fine, "example.com.": fine, "db": fine, "1e100.net": fine,
		"0x.example.com": fine, "deadbeef": fine, "xn--bcher-kva.example": fine, "a--b.example": fine, "": fine, ".": fine,

		"Example.com": format, "example.com..": format, "http://example.com": format, "example.com:80": format, "example.com/": format,
		"*.example.com": format, "_sip.example.com": format, "a..b": format, "-a.example": format, "a b": format, "bücher.example": format,
		"1::2::3": format, "[1.2.3.4.example]": format, "user@example.com": format, strings.Repeat("a", 64): format,
		strings.Repeat("a.", 127) + "aa": format, "example.com\x00": format, "\xff": format, "%": format, "[": format, "[]": format, "://": format,
	} {
		svc := &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: text}}
		res := All().Review(policy.Request{Object: svc})
		got := ""
		for _, f := range findings(res) {
			if got != "" {
				t.Errorf("%q is found by %s and %s", text, got, f.Rule)
			}
			got = f.Rule
			checkMessage(t, f)
		}
		if got != want {
			t.Errorf("%q is found by %q, want %q", text, got, want)
		}
	}
}

func TestFormatAdvice(t *testing.T) {
	for text, want := range map[string]string{
		"https://api.example.com:8443/v1": "write 'api.example.com', with port 8443 and the path in the Ingress",
		"https://user@API.example.com/":   "write 'api.example.com', with port 443 in the Ingress backend",
		"api.example.com:08080":           "write 'api.example.com', with port 08080 in the Ingress backend",
		"api.example.com:0":               "must be a bare DNS name; write 'api.example.com'",
		"api.example.com/v1":              "write 'api.example.com', with the path in the Ingress",
		"*.example.com":                   "must be one DNS name, without '*'; write a Service for each name",
	} {
		if got := formatAdvice(locate(text)); !strings.HasSuffix(got, want) {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"https://me:pass@word@a.example/x@y": "https://***@a.example/x@y", "me:p@a.example": "***@a.example", "a.example/@": "a.example/@", "": "",
	} {
		if got := shown(text); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
}

// inetAton is what the C function of that name takes, written anew from its manual page.
func inetAton(s string) bool {
	parts := strings.Split(s, ".")
	if len(parts) > 4 {
		return false
	}
	for i, p := range parts {
		limit := big.NewInt(256)
		if i == len(parts)-1 {
			limit = new(big.Int).Lsh(big.NewInt(1), uint(8*(5-len(parts))))
		}
		if p == "" || strings.ContainsAny(p, "_+-oObB") && !strings.HasPrefix(strings.ToLower(p), "0x") {
			return false
		}
		n, ok := new(big.Int).SetString(p, 0)
		if !ok || strings.Contains(p, "_") || n.Sign() < 0 || n.Cmp(limit) >= 0 {
			return false
		}
	}
	return true
}

// FuzzExternalName holds that no spelling of an address gets through, that no name is found by both rules, and that
// the name which a message tells people to write is one that passes.
func FuzzExternalName(f *testing.F) {
	for _, s := range []string{"1.2.3.4", "0x7f.1", "[::1]:80", "https://a.example:8443/v1", "a.example.", "１.1", "fe80::1%25e"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		svc := &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: s}}
		list := findings(All().Review(policy.Request{Object: svc}))
		if len(list) > 1 {
			t.Fatalf("%q has %d findings", s, len(list))
		}
		_, err := netip.ParseAddr(s)
		if err == nil || inetAton(s) {
			if len(list) == 0 || list[0].Rule != serviceExternalNameIP.ID {
				t.Errorf("%q is an address", s)
			}
		}
		if len(list) == 0 {
			if s != "" && strings.Trim(s, ".") != "" && !isName(s) {
				t.Errorf("%q passes and is no name", s)
			}
			return
		}
		checkMessage(t, list[0])
		if _, after, ok := strings.Cut(list[0].Err.Detail, "write '"); ok {
			name, _, _ := strings.Cut(after, "'")
			if strings.HasSuffix(name, "…") {
				return
			}
			svc.Spec.ExternalName = name
			if more := findings(All().Review(policy.Request{Object: svc})); len(more) > 0 {
				t.Errorf("the advice '%s' for %q is found fault with: %s", name, s, more[0].Message())
			}
		}
	})
}
