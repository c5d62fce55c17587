package haproxy

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Token is text that has been checked against the grammar of what it stands for. It is the one string type that
// records, maps, certificate lists and commands are made of; the zero value is the empty text.
//
// Whatever the grammar, a token has no white space, control character, double quote, backslash, '|' or '#', so that it can
// neither end a field of a record nor a line of a map, nor begin a comment.
type Token struct{ text string }

// String is the text.
func (t Token) String() string { return t.text }

// compose puts tokens together to one: a record of its fields, a key of its parts.
func compose(parts ...Token) Token {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString(p.text)
	}
	return Token{b.String()}
}

// number is a number in decimal.
func number[T ~int | ~uint16](n T) Token { return Token{strconv.Itoa(int(n))} }

// ip is an address without a zone.
func ip(a netip.Addr) Token { return Token{a.WithZone("").String()} }

const (
	maxHost = 253
	maxPath = 1024
	// maxSecret keeps "namespace_secret.pem" within the 255 bytes of a file name.
	maxSecret = 250
)

// Hostname checks a host of a rule: a DNS name in lower case without a last dot, or one with "*." in front.
func Hostname(s string) (Token, error) {
	rest := strings.TrimPrefix(s, "*.")
	if err := checkName(rest); err != nil {
		return Token{}, fmt.Errorf("host %q: %w", s, err)
	}
	return Token{s}, nil
}

// ServerName checks a name for SNI, against which an upstream's certificate is verified: a DNS name in lower case
// without port or last dot.
func ServerName(s string) (Token, error) {
	if err := checkName(s); err != nil {
		return Token{}, fmt.Errorf("server name %q: %w", s, err)
	}
	return Token{s}, nil
}

// HostHeader checks the value of a Host header: a DNS name or an IPv4 address, or an IPv6 address in brackets, and
// a port where it is wanted. Upper case is let be.
func HostHeader(s string) (Token, error) {
	name := s
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		name = s[:i]
		if n, err := strconv.ParseUint(s[i+1:], 10, 16); err != nil || n == 0 || !digits(s[i+1:]) {
			return Token{}, fmt.Errorf("Host %q: the port must be a number between 1 and 65535", s)
		}
	}
	if inner, ok := strings.CutPrefix(name, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		if !ok || inner == "" || strings.Trim(inner, "0123456789abcdefABCDEF:.") != "" {
			return Token{}, fmt.Errorf("Host %q: must have an IPv6 address in its brackets", s)
		}
		return Token{s}, nil
	}
	if err := checkName(strings.ToLower(name)); err != nil {
		return Token{}, fmt.Errorf("Host %q: %w", s, err)
	}
	return Token{s}, nil
}

// Path checks the path of a route or of a rewrite: rooted, in the characters of RFC 3986, without empty, "." or ".."
// elements. It comes back in the form that requests are brought to before they are compared: escapes in upper case,
// and none for a letter, a digit or one of '-._~', which needs none.
func Path(s string) (Token, error) {
	canonical, err := canonicalPath(s)
	if err == nil {
		err = checkElements(canonical)
	}
	if err != nil {
		return Token{}, fmt.Errorf("path %q: %w", s, err)
	}
	return Token{canonical}, nil
}

// ServiceName checks "namespace/name".
func ServiceName(s string) (Token, error) {
	namespace, name, ok := strings.Cut(s, "/")
	if !ok || checkName(namespace) != nil || checkName(name) != nil {
		return Token{}, fmt.Errorf("service %q: must be 'namespace/name'", s)
	}
	return Token{s}, nil
}

// CertificateID checks "namespace/secret", from which the name of a file is made.
func CertificateID(s string) (Token, error) {
	namespace, name, ok := strings.Cut(s, "/")
	if !ok || checkName(namespace) != nil || checkName(name) != nil {
		return Token{}, fmt.Errorf("certificate %q: must be 'namespace/secret'", s)
	}
	if len(s) > maxSecret {
		return Token{}, fmt.Errorf("certificate %q: namespace and name must have at most %d characters together", s, maxSecret)
	}
	return Token{s}, nil
}

// filePath checks an absolute path of a file or a socket that an operator, never an object, has named.
func filePath(s string) (Token, error) {
	if !strings.HasPrefix(s, "/") {
		return Token{}, fmt.Errorf("file %q: must be absolute", s)
	}
	for i := range len(s) {
		if !alphanumeric(s[i]) && !strings.ContainsRune("/._-+@", rune(s[i])) {
			return Token{}, fmt.Errorf("file %q: must have letters, digits and '/._-+@' only", s)
		}
	}
	return Token{s}, nil
}

var errName = errors.New("must be a DNS name in lower case: labels of a-z, 0-9 and '-', with dots between them")

// checkName accepts the names of RFC 1123, a little wider: a label may begin or end with '-', as some real ones do.
func checkName(s string) error {
	if s == "" || len(s) > maxHost {
		return errName
	}
	label := 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == '.':
			if label == 0 {
				return errName
			}
			label = 0
		case c == '-' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
			label++
		default:
			return errName
		}
		if label > 63 {
			return errName
		}
	}
	if label == 0 {
		return errName
	}
	return nil
}

func canonicalPath(s string) (string, error) {
	if !strings.HasPrefix(s, "/") {
		return "", errors.New("must begin with '/'")
	}
	if len(s) > maxPath {
		return "", fmt.Errorf("must have at most %d characters", maxPath)
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case alphanumeric(c) || strings.IndexByte("/-._~!$&()*+,;=:@'", c) >= 0:
			b = append(b, c)
		case c == '%':
			if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
				return "", errors.New("'%' must be followed by two hexadecimal digits")
			}
			if d := unhex(s[i+1])<<4 | unhex(s[i+2]); alphanumeric(d) || strings.IndexByte("-._~", d) >= 0 {
				b = append(b, d)
			} else {
				b = fmt.Appendf(b, "%%%02X", d)
			}
			i += 2
		default:
			return "", fmt.Errorf("%q must be written as '%%%02X'", s[i:i+1], c)
		}
	}
	return string(b), nil
}

func checkElements(path string) error {
	elements := strings.Split(path[1:], "/")
	for i, e := range elements {
		if e == "." || e == ".." || e == "" && i < len(elements)-1 {
			return fmt.Errorf("must not have the element %q", e)
		}
	}
	return nil
}

func alphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func unhex(c byte) byte {
	if c >= 'A' {
		return c&^0x20 - 'A' + 10
	}
	return c - '0'
}

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
