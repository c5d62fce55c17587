package rules

import (
	"net/netip"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// isExternalName tells whether a Service is an alias with something to judge: the API server itself asks for a name
// that is missing.
func isExternalName(svc *corev1.Service) bool {
	return svc.Spec.Type == corev1.ServiceTypeExternalName && strings.Trim(svc.Spec.ExternalName, ".") != ""
}

// location is what people write where a host name is meant, taken apart.
type location struct {
	scheme string // lower case, without "://"
	host   string // without brackets
	port   string // digits
	path   string // with its "/", "?" or "#"
	user   bool
}

// locate takes apart "scheme://user@host:port/path", of which everything but the host may be missing. Text in the
// forms that Unicode holds equal to ASCII counts as ASCII: a resolver with IDN support maps it before it looks.
func locate(text string) location {
	var l location
	rest := strings.TrimSpace(norm.NFKC.String(text))
	rest = strings.Map(func(r rune) rune {
		if r == '\u3002' { // the ideographic full stop separates labels (RFC 3490, section 3.1)
			return '.'
		}
		return r
	}, rest)
	if scheme, after, ok := strings.Cut(rest, "://"); ok && !strings.ContainsAny(scheme, "/?#@") {
		l.scheme, rest = strings.ToLower(scheme), after
	} else {
		rest = strings.TrimPrefix(rest, "//")
	}
	if i := strings.IndexAny(rest, "/?#\\"); i >= 0 {
		rest, l.path = rest[:i], rest[i:]
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		rest, l.user = rest[i+1:], true
	}
	switch {
	case strings.HasPrefix(rest, "["):
		host, after, _ := strings.Cut(rest[1:], "]")
		l.host = host
		after = strings.TrimLeft(after, ".")
		l.port = digits(strings.TrimPrefix(after, ":"))
	case strings.Count(rest, ":") == 1:
		host, port, _ := strings.Cut(rest, ":")
		l.host, l.port = host, digits(port)
	default:
		l.host = rest
	}
	l.host = strings.TrimSpace(l.host)
	return l
}

// digits is s where it is a port number, and empty otherwise.
func digits(s string) string {
	if n, err := strconv.ParseUint(s, 10, 16); err != nil || n == 0 {
		return ""
	}
	return s
}

// isIP tells whether a resolver, or what stands before one, takes a host for an address instead of asking DNS for it:
//   - inet_pton: IPv4 in four decimal parts, IPv6 with or without a zone;
//   - inet_aton, which getaddrinfo tries first: one to four parts, each decimal, octal (0177) or hexadecimal (0x7f).
//
// Parts that are too large or not octal count as well, since libraries differ in what they make of them and no name
// that ends in a number can be found in DNS. Dots at the end change nothing.
func isIP(host string) bool {
	// inet_aton of glibc stops at white space and takes what was before it.
	if i := strings.IndexFunc(host, unicode.IsSpace); i >= 0 {
		host = host[:i]
	}
	host = strings.TrimRight(host, ".")
	if strings.ContainsRune(host, ':') {
		host = strings.ReplaceAll(host, "%25", "%") // RFC 6874
		if host, _, _ = strings.Cut(host, "%"); host == "" {
			return false
		}
		_, err := netip.ParseAddr(host)
		return err == nil
	}
	parts := strings.Split(host, ".")
	if len(parts) > 4 {
		return false
	}
	for _, p := range parts {
		if !isNumber(p) {
			return false
		}
	}
	return true
}

func isNumber(s string) bool {
	if len(s) > 1 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X') {
		return strings.Trim(s[2:], "0123456789abcdefABCDEF") == ""
	}
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// isName tells whether a host is a DNS name that the API server and DNS both take: RFC 1123 in lower case, labels of
// at most 63 characters, which the API server does not check, and perhaps one dot at the end.
func isName(host string) bool {
	name := strings.TrimSuffix(host, ".")
	if len(validation.IsDNS1123Subdomain(name)) > 0 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if len(label) > validation.DNS1123LabelMaxLength {
			return false
		}
	}
	return true
}

// shown is an externalName as it may stand in a message, without the password that a URL can hold.
func shown(text string) string {
	begin := 0
	if i := strings.Index(text, "://"); i >= 0 {
		begin = i + 3
	}
	end := len(text)
	if i := strings.IndexAny(text[begin:], "/?#\\"); i >= 0 {
		end = begin + i
	}
	if i := strings.LastIndexByte(text[begin:end], '@'); i >= 0 {
		return text[:begin] + "***" + text[begin+i:]
	}
	return text
}
