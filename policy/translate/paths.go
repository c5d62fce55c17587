package translate

import (
	"fmt"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"

	"drawbridge.dev/drawbridge/policy/intent"
)

// carryPaths carries rewrites and regular expressions over. The two belong together: what a rewrite replaces is the
// whole path in some dialects and the matched prefix in others, and "/prefix(/|$)(.*)" with "/to/$2" is the one written
// in terms of the other.
func (t *translation) carryPaths(in *ingress) {
	wishes := intent.Read(in.from, in.said)
	regex, regexKey := wishes.Get(intent.WishRegex)
	target, targetKey := wishes.Get(intent.WishRewrite)
	if targetKey == "" {
		// It may stand on the Service, or be a list.
		for _, b := range in.backends {
			if value, key := b.wishes.Get(intent.WishRewrite); key != "" {
				target, targetKey = value, key
				break
			}
		}
	}
	paths := pathsOf(in.next)
	grouped := strings.Contains(target, "$")
	expressions := in.from.Limit(intent.WishRegex) == nil && (regex == "on" || grouped) && anyExpression(paths)
	_, canRegex := t.to.Spell(intent.WishRegex, "on", intent.Target{})
	_, canRewrite := t.to.Spell(intent.WishRewrite, "/", intent.Target{})

	if expressions && (!canRegex || grouped) {
		prefixes, to, ok := asPrefixes(paths, target)
		switch {
		case ok && (target == "" || canRewrite && (t.to.Rewrite == intent.RewritePrefix || t.replacesPrefix(prefixes))):
			for i, p := range paths {
				p.Path, p.PathType = prefixes[i], new(networkingv1.PathTypePrefix)
			}
			if regexKey != "" {
				t.carried(in, intent.WishRegex, regexKey)
			}
			if target != "" {
				t.putRewrite(in, prefixes[0], to, targetKey)
			}
			return
		case target != "":
			in.refuse(targetKey, t.noRewrite("replaces what the groups of a regular expression leave"))
			if regexKey != "" {
				in.refuse(regexKey, "the paths are regular expressions that "+t.to.Title+" has no prefix for")
			}
		case regexKey != "":
			in.refuse(regexKey, t.limit(intent.WishRegex))
		}
		return
	}
	if regex == "on" && regexKey != "" {
		if expressions && canRegex {
			if why := t.put(in, intent.WishRegex, "on", in.backends); why != "" {
				in.refuse(regexKey, why)
				return
			}
		}
		// Without an expression among the paths it says nothing.
		t.carried(in, intent.WishRegex, regexKey)
	}
	if targetKey == "" {
		return
	}
	switch {
	case grouped:
		in.refuse(targetKey, t.noRewrite("refers to a group of a path"))
	case !canRewrite:
		in.refuse(targetKey, t.limit(intent.WishRewrite))
	case in.from.Rewrite == intent.RewritePrefix && t.replacesPrefix(literals(paths)):
		t.putRewrite(in, paths[0].Path, target, targetKey)
	case in.from.Rewrite != t.to.Rewrite && !allExact(paths):
		what, other := "the whole path", "the matched prefix"
		if in.from.Rewrite == intent.RewritePrefix {
			what, other = other, what
		}
		in.refuse(targetKey, fmt.Sprintf("%s replaces %s, and %s %s; write the rewrite anew", in.from.Title, what, t.to.Title, other))
	default:
		t.carryWish(in, intent.WishRewrite)
	}
}

// replacesPrefix tells whether the new dialect, which replaces whole paths, can replace one prefix all the same.
func (t *translation) replacesPrefix(prefixes []string) bool {
	if t.to.Rewrite != intent.RewritePath || len(t.to.PrefixRewrite) == 0 || len(prefixes) == 0 {
		return false
	}
	for _, p := range prefixes {
		if p != prefixes[0] || isExpression(p) || strings.ContainsAny(p, ". \t") {
			return false
		}
	}
	return true
}

// putRewrite writes a rewrite of the prefix for all backends.
func (t *translation) putRewrite(in *ingress, prefix, to, key string) {
	if t.to.Rewrite == intent.RewritePath {
		for _, a := range t.to.PrefixRewrite {
			in.write[a.Key] = strings.NewReplacer("$prefix", strings.TrimRight(prefix, "/"), "$to", strings.TrimRight(to, "/")).Replace(a.Text)
		}
	} else if why := t.put(in, intent.WishRewrite, to, in.backends); why != "" {
		in.refuse(key, why)
		return
	}
	t.carried(in, intent.WishRewrite, key)
}

func (t *translation) limit(wish intent.Wish) string {
	if l := t.to.Limit(wish); l != nil {
		return t.to.Title + " " + l.Why + "; " + l.Instead
	}
	return t.to.Title + " has no annotation for it"
}

func (t *translation) noRewrite(what string) string {
	if t.to.Limit(intent.WishRewrite) != nil {
		return t.limit(intent.WishRewrite)
	}
	return "it " + what + ", which is written in another way for " + t.to.Title + "; write the rewrite anew"
}

func pathsOf(ing *networkingv1.Ingress) []*networkingv1.HTTPIngressPath {
	var list []*networkingv1.HTTPIngressPath
	for i := range ing.Spec.Rules {
		if http := ing.Spec.Rules[i].HTTP; http != nil {
			for j := range http.Paths {
				list = append(list, &http.Paths[j])
			}
		}
	}
	return list
}

func literals(paths []*networkingv1.HTTPIngressPath) []string {
	var list []string
	for _, p := range paths {
		list = append(list, p.Path)
	}
	return list
}

func isExpression(path string) bool { return strings.ContainsAny(path, `^$*+?()[]{}|\`) }

func anyExpression(paths []*networkingv1.HTTPIngressPath) bool {
	for _, p := range paths {
		if isExpression(p.Path) {
			return true
		}
	}
	return false
}

func allExact(paths []*networkingv1.HTTPIngressPath) bool {
	for _, p := range paths {
		if p.PathType == nil || *p.PathType != networkingv1.PathTypeExact {
			return false
		}
	}
	return true
}

// asPrefixes writes regular expressions of the common forms as prefixes: "/prefix(/|$)(.*)", whose second group is what
// follows the prefix, "/(.*)" and "/.*". to is the prefix that a target of such groups puts in the place of the matched
// one. ok is false where a path is none of these, or keeps something else.
func asPrefixes(paths []*networkingv1.HTTPIngressPath, target string) (prefixes []string, to string, ok bool) {
	for n, p := range paths {
		prefix, groups, fits := asPrefix(p.Path)
		if !fits {
			return nil, "", false
		}
		prefixes = append(prefixes, prefix)
		if target == "" {
			continue
		}
		replaced, found := "", false
		for _, end := range groups {
			if replaced, found = strings.CutSuffix(target, end); found {
				break
			}
		}
		if !found || strings.Contains(replaced, "$") {
			return nil, "", false
		}
		if replaced == "" {
			replaced = "/"
		}
		if n > 0 && replaced != to {
			return nil, "", false
		}
		to = replaced
	}
	return prefixes, to, len(paths) > 0
}

// asPrefix is the prefix of one path, and the ends of a target that keep what follows it.
func asPrefix(path string) (prefix string, groups []string, ok bool) {
	expr := strings.TrimPrefix(path, "^")
	if strings.HasSuffix(expr, "*)$") {
		expr = strings.TrimSuffix(expr, "$")
	}
	if before, found := strings.CutSuffix(expr, "(/|$)(.*)"); found {
		prefix, groups = before, []string{"$1$2", "/$2"}
		if prefix == "" {
			prefix = "/"
		}
	} else {
		switch expr {
		case "/(.*)":
			prefix, groups = "/", []string{"/$1"}
		case "/.*":
			prefix = "/"
		default:
			return "", nil, false
		}
	}
	return prefix, groups, strings.HasPrefix(prefix, "/") && !isExpression(prefix)
}
