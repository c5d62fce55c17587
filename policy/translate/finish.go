package translate

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/intent"
)

const classAnnotation = "kubernetes.io/ingress.class"

// finish writes what was carried over, takes away what it replaces, and lists the rest.
func (t *translation) finish(moved []*ingress) {
	for _, in := range moved {
		t.rest(in)
		annotations := in.next.Annotations
		delete(annotations, classAnnotation)
		for key := range in.carried {
			delete(annotations, key)
		}
		for _, key := range slices.Sorted(maps.Keys(in.write)) {
			if was, set := annotations[key]; set && was != in.write[key] {
				t.lose(in.given, annotationField(key), key, fmt.Sprintf("it says '%s' already, and '%s' was to be carried over", was, in.write[key]))
				continue
			}
			if annotations == nil {
				annotations = map[string]string{}
			}
			annotations[key] = in.write[key]
		}
		in.next.Annotations = annotations
		in.next.Spec.IngressClassName = &t.class
		t.out.Changed[in.given] = in.next
	}
	for _, name := range slices.Sorted(maps.Keys(t.services)) {
		t.finishService(t.services[name], moved)
	}
	t.halves(moved)
}

// finishService does the same for a Service. What the old dialect reads there stays while an Ingress that did not move
// leads to it.
func (t *translation) finishService(s *service, moved []*ingress) {
	for key, ports := range s.ports {
		slices.Sort(ports)
		s.write[key] = strings.Join(slices.Compact(ports), ",")
	}
	all := true
	for _, ing := range t.world.IngressesTo(s.given.Namespace, s.given.Name) {
		all = all && slices.ContainsFunc(moved, func(in *ingress) bool { return in.given == ing })
	}
	from := map[*intent.Dialect]bool{}
	for _, in := range moved {
		for _, b := range in.backends {
			if b.svc == s {
				from[in.from] = true
			}
		}
	}
	next := s.bare.DeepCopy()
	changed := false
	if all {
		for key := range s.carried {
			if _, set := next.Annotations[key]; set && s.why[key] == "" {
				delete(next.Annotations, key)
				changed = true
			}
		}
	}
	for d := range from {
		for _, key := range slices.Sorted(maps.Keys(next.Annotations)) {
			if !hasPrefix(d, key) && !slices.Contains(intent.KeyOwners(key), d) || s.carried[key] && s.why[key] == "" {
				continue
			}
			why := s.why[key]
			if why == "" {
				why = t.unknown(d, key, next.Annotations[key])
			}
			t.loseAccess(s.given, d, key, next.Annotations[key], why)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(s.write)) {
		if was, set := next.Annotations[key]; set {
			if was != s.write[key] {
				t.lose(s.given, annotationField(key), key, fmt.Sprintf("it says '%s' already, and '%s' was to be carried over", was, s.write[key]))
			}
			continue
		}
		if next.Annotations == nil {
			next.Annotations = map[string]string{}
		}
		next.Annotations[key] = s.write[key]
		changed = true
	}
	if changed || intent.Marked(s.given) && len(from) > 0 {
		t.out.Changed[s.given] = next
	}
}

// rest lists the annotations of the old dialect that are not carried over. They stay: they are inert under the new
// class, and tell what is to be done.
func (t *translation) rest(in *ingress) {
	for key, text := range in.next.Annotations {
		mine := (hasPrefix(in.from, key) || in.from.IsRestriction(key, text) || in.from.IsShare(key, text)) && (in.from == intent.Drawbridge || !strings.HasPrefix(key, intent.Prefix))
		if strings.HasPrefix(key, intent.Prefix+"allow-") || !mine && !slices.Contains(intent.KeyOwners(key), in.from) {
			continue
		}
		why, failed := in.why[key]
		switch {
		case failed:
			delete(in.carried, key)
		case in.carried[key]:
			continue
		case !asks(text) && slices.Contains(intent.KeyOwners(key), in.from):
			// It asks for nothing.
			in.carried[key] = true
			continue
		default:
			why = t.unknown(in.from, key, text)
		}
		t.loseAccess(in.given, in.from, key, text, why)
	}
}

// loseAccess tells of an annotation that is not carried over, in stronger words where it says who is served.
func (t *translation) loseAccess(o policy.Object, from *intent.Dialect, key, text, why string) {
	var what string
	switch {
	case from.IsRestriction(key, text):
		what = "access control is lost"
	case from.IsShare(key, text):
		what = "it would serve requests that are another's"
	default:
		t.lose(o, annotationField(key), key, why)
		return
	}
	instead := hint(key[strings.LastIndexByte(key, '/')+1:], t.to)
	switch {
	case instead != "":
		instead += " before it moves"
	case t.to == intent.Drawbridge:
		instead = "drawbridge can not do this; keep it on " + from.Title + ", or put it in front by other means"
	default:
		instead = "no word of " + t.to.Title + " for it is known; keep it on " + from.Title + ", or put it in front by other means"
	}
	t.out.Lost = append(t.out.Lost, Lost{o, annotationField(key), key, what + ": " + instead, true})
}

func asks(text string) bool {
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "", "false", "off":
		return false
	}
	return true
}

// unknown says why an annotation that the tables can not carry over is not, and what to use instead where that is
// known.
func (t *translation) unknown(from *intent.Dialect, key, text string) string {
	name := key[strings.LastIndexByte(key, '/')+1:]
	switch {
	case intent.SnippetOf(key) != nil:
		return "it is configuration of " + from.Title + " itself; write in the words of " + t.to.Title + " what it means"
	case slices.Contains(intent.KeyOwners(key), from):
		for _, i := range intent.Read(from, map[string]string{key: text}).Invalid {
			return fmt.Sprintf("its value means nothing to %s, which knows '%s'", from.Title, strings.Join(i.Allowed, "', '"))
		}
		return "it says more than one of the wishes that are carried over; write it anew for " + t.to.Title
	}
	if h := hint(name, t.to); h != "" {
		return h
	}
	if t.to == intent.Drawbridge {
		return "drawbridge can not do this"
	}
	return fmt.Sprintf("it is no wish that drawbridge knows how to say to %s; look for it in %s", t.to.Title, cmpSource(t.to))
}

func cmpSource(d *intent.Dialect) string {
	if d.Source == "" {
		return "its documentation"
	}
	return d.Source
}

// halves tells of what was written and does nothing by itself.
func (t *translation) halves(moved []*ingress) {
	for _, in := range moved {
		told := map[string]bool{}
		for _, b := range in.backends {
			svc := b.object()
			if b.svc != nil {
				if next, ok := t.out.Changed[b.svc.given]; ok {
					svc, _ = next.(*corev1.Service)
				}
			}
			what, _, _ := t.to.BackendOf(svc, b.at.Service.Port, t.config.ClusterDomain)
			for _, h := range t.to.Halves(in.next.Annotations, svc, b.at.Service.Port, what) {
				if !told[h.Annotation+h.Why] {
					told[h.Annotation+h.Why] = true
					t.lose(in.given, "metadata.annotations", "", fmt.Sprintf("`%s` %s; %s", h.Annotation, h.Why, h.Write))
				}
			}
		}
	}
}
