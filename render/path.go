package render

import (
	"fmt"
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
	if why := checkPath(m.path); why != "" {
		return m, refuse(BadPath, "path "+quote(m.path)+" "+why)
	}
	if m.match == model.Prefix {
		m.path = trimSlash(m.path)
	}
	if target == "" {
		return m, nil
	}
	if why := checkPath(target); why != "" {
		return m, refuse(BadAnnotation, fmt.Sprintf("`%s` %s %s", annotation, quote(target), why))
	}
	switch {
	case whole && strings.Contains(target, "$"):
		return m, refuse(BadAnnotation, fmt.Sprintf("`%s` %s refers to a group, and path %s has none", annotation, quote(target), quote(m.path)))
	case whole && target == p.Path:
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
	if why := checkPath(prefix); why != "" {
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
	if why := checkPath(to); why != "" || strings.Contains(to, "$") {
		if why == "" {
			why = "refers to a group other than what follows the prefix"
		}
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

// checkPath tells why a path is none that a request can have once it is normalized, and "" where it can. The API
// server asks as much of Exact and Prefix; the characters are those of RFC 3986, section 3.3.
func checkPath(path string) string {
	switch {
	case !strings.HasPrefix(path, "/"):
		return "must begin with '/'"
	case len(path) > maxPath:
		return fmt.Sprintf("must have at most %d bytes", maxPath)
	case strings.Contains(path, "//"), strings.Contains(path+"/", "/./"), strings.Contains(path+"/", "/../"):
		return "must not contain '//', '/./' or '/../'"
	}
	for i := 0; i < len(path); i++ {
		c := path[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("/-._~!$&'()*+,;=:@", c) >= 0:
		case c == '%' && i+2 < len(path) && isHex(path[i+1]) && isHex(path[i+2]):
			if strings.EqualFold(path[i:i+3], "%2f") {
				return "must not contain '%2F'"
			}
		default:
			return "must consist of the characters of a URL's path; others are written as '%' and two hexadecimal digits"
		}
	}
	return ""
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}
