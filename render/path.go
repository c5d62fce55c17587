package render

import (
	"fmt"
	"strconv"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"

	"drawbridge.dev/drawbridge/policy/intent"
	"drawbridge.dev/drawbridge/render/model"
)

// maxPath bounds a path, in bytes; proxies refuse requests with much longer ones.
const maxPath = 1024

// matching is what a path and its annotations come to.
type matching struct {
	path    string
	match   model.Match
	rewrite model.Rewrite
}

// matchingOf reads a path in the dialect of its Ingress. ImplementationSpecific is Prefix, and so is no type at all,
// which is what the old API versions meant by it.
func matchingOf(p *networkingv1.HTTPIngressPath, d *intent.Dialect, w intent.Wishes) (matching, *refusal) {
	m := matching{path: p.Path, match: model.Prefix}
	literal := false
	if p.PathType != nil {
		switch *p.PathType {
		case networkingv1.PathTypeExact:
			m.match, literal = model.Exact, true
		case networkingv1.PathTypePrefix:
			literal = true
		case networkingv1.PathTypeImplementationSpecific:
		default:
			return m, refuse(BadPath, "`pathType` must be 'Exact', 'Prefix' or 'ImplementationSpecific', not "+quote(string(*p.PathType)))
		}
	}
	if m.path == "" {
		m.path = "/"
	}
	target, annotation := w.Get(intent.WishRewrite)
	regex, _ := w.Get(intent.WishRegex)
	whole := d.Rewrite == intent.RewritePath && !strings.HasPrefix(annotation, intent.Prefix)
	if knowsRegex(d) && (!literal || regex == "on" || target != "" && whole) && strings.ContainsAny(m.path, `^$*+?()[]{}|\`) {
		return matchingOfRegex(m.path, target, annotation)
	}
	written, why := canonicalPath(m.path)
	if why != "" {
		return m, refuse(BadPath, "path "+quote(m.path)+" "+why)
	}
	m.path = written
	if m.match == model.Prefix {
		m.path = trimSlash(written)
	}
	if target == "" {
		return m, nil
	}
	if target, why = canonicalPath(target); why != "" {
		said, _ := w.Get(intent.WishRewrite)
		return m, refuse(BadAnnotation, fmt.Sprintf("`%s` %s %s", annotation, quote(said), why))
	}
	switch {
	case whole && strings.Contains(target, "$"):
		return m, refuse(BadAnnotation, fmt.Sprintf("`%s` %s refers to a group, and path %s has none", annotation, quote(target), quote(m.path)))
	case whole && target == written:
		// ingress-nginx writes no rewrite where both are equal; a rewrite would lose what follows the prefix.
	case whole || m.match == model.Exact:
		m.rewrite = model.Rewrite{Mode: model.ReplacePath, Path: target}
	case trimSlash(target) != m.path:
		m.rewrite = model.Rewrite{Mode: model.ReplacePrefix, Path: trimSlash(target)}
	}
	return m, nil
}

func knowsRegex(d *intent.Dialect) bool {
	for i := range d.Keys {
		if d.Keys[i].Wish == intent.WishRegex {
			return true
		}
	}
	return false
}

// matchingOfRegex understands the regular expressions that ingress-nginx's documentation made common, and which a
// prefix can say: '/foo(/|$)(.*)', whose second group is what follows the prefix, '/(.*)' and '/.*'.
func matchingOfRegex(path, target, annotation string) (matching, *refusal) {
	m := matching{match: model.Prefix}
	expr := strings.TrimPrefix(path, "^")
	if strings.HasSuffix(expr, "*)$") {
		expr = strings.TrimSuffix(expr, "$")
	}
	// rest holds the ends of a target that keep what follows the prefix.
	var rest []string
	prefix, ok := strings.CutSuffix(expr, "(/|$)(.*)")
	switch {
	case ok:
		rest = []string{"$1$2", "/$2"}
		if prefix == "" {
			prefix = "/"
		}
	case expr == "/(.*)":
		prefix, rest = "/", []string{"/$1"}
	case expr == "/.*":
		prefix = "/"
	default:
		prefix = "("
	}
	if strings.ContainsAny(prefix, `^$*+?()[]{}|\`) {
		return m, refuse(BadPath, "path "+quote(path)+" is a regular expression; must be a prefix, or of the form '/prefix(/|$)(.*)'")
	}
	prefix, why := canonicalPath(prefix)
	if why != "" {
		return m, refuse(BadPath, "path "+quote(path)+" "+why)
	}
	m.path = trimSlash(prefix)
	if target == "" {
		return m, nil
	}
	mode := model.ReplacePath
	to := target
	for _, end := range rest {
		if before, ok := strings.CutSuffix(target, end); ok {
			mode, to = model.ReplacePrefix, before
			if to == "" {
				to = "/"
			}
			break
		}
	}
	to, why = canonicalPath(to)
	if why == "" && strings.Contains(to, "$") {
		why = "refers to a group other than what follows the prefix"
	}
	if why != "" {
		return m, refuse(BadAnnotation, fmt.Sprintf("`%s` %s %s", annotation, quote(target), why))
	}
	if mode == model.ReplacePrefix {
		to = trimSlash(to)
	}
	if mode == model.ReplacePath || to != m.path {
		m.rewrite = model.Rewrite{Mode: mode, Path: to}
	}
	return m, nil
}

func trimSlash(path string) string {
	if trimmed := strings.TrimRight(path, "/"); trimmed != "" {
		return trimmed
	}
	return "/"
}

// canonicalPath is a path in the one form that requests are brought to before they are compared (RFC 3986, section
// 6.2.2): escapes in upper case, and none for a character that needs none. why tells what is wrong with a path that no
// request can have in this form; the API server asks as much of Exact and Prefix.
func canonicalPath(path string) (canonical, why string) {
	if len(path) > maxPath {
		return "", fmt.Sprintf("must have at most %d bytes", maxPath)
	}
	b := make([]byte, 0, len(path))
	for i := 0; i < len(path); i++ {
		c := path[i]
		switch {
		case c == '%' && i+2 < len(path) && isHex(path[i+1]) && isHex(path[i+2]):
			code, _ := strconv.ParseUint(path[i+1:i+3], 16, 8)
			switch d := byte(code); {
			case d == '/':
				return "", "must not contain '%2F'"
			case isUnreserved(d):
				b = append(b, d)
			default:
				b = fmt.Appendf(b, "%%%02X", d)
			}
			i += 2
		case isUnreserved(c) || strings.IndexByte("/!$&'()*+,;=:@", c) >= 0:
			b = append(b, c)
		default:
			return "", "must consist of the characters of a URL's path; others are written as '%' and two hexadecimal digits"
		}
	}
	canonical = string(b)
	switch {
	case !strings.HasPrefix(canonical, "/"):
		return "", "must begin with '/'"
	case strings.Contains(canonical, "//"), strings.Contains(canonical+"/", "/./"), strings.Contains(canonical+"/", "/../"):
		return "", "must not contain '//', '/./' or '/../'"
	}
	return canonical, ""
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func isUnreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}
