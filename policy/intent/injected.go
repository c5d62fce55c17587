package intent

import (
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
)

// Injected is the annotation that lists, by key and separated by commas, the annotations that drawbridge wrote. An
// Ingress that has it is drawbridge's to complete when its Services come or change; the list may be empty. One without
// it is left alone.
const Injected = Prefix + "injected"

// Inject writes one annotation and enters it in the list of what drawbridge injected. A key that is set stays.
func Inject(ing *networkingv1.Ingress, annotation, text string) {
	if _, set := ing.Annotations[annotation]; set {
		return
	}
	Mark(ing)
	ing.Annotations[annotation] = text
	list := append(listed(ing), annotation)
	slices.Sort(list)
	setList(ing, slices.Compact(list))
}

// Marked tells whether the Ingress is drawbridge's to complete.
func Marked(ing *networkingv1.Ingress) bool {
	_, set := ing.Annotations[Injected]
	return set
}

// Mark makes the Ingress drawbridge's to complete: an empty list, where there is none.
func Mark(ing *networkingv1.Ingress) {
	if Marked(ing) {
		return
	}
	if ing.Annotations == nil {
		ing.Annotations = map[string]string{}
	}
	ing.Annotations[Injected] = ""
}

// Withdraw takes away what drawbridge injected, by the list, and leaves the mark. The list is open to anyone who may
// write the Ingress: only an annotation that some dialect is spelled in is taken away.
func Withdraw(ing *networkingv1.Ingress) {
	if !Marked(ing) {
		return
	}
	for _, key := range listed(ing) {
		if spelled(key) {
			delete(ing.Annotations, key)
		}
	}
	setList(ing, nil)
}

// Disown takes from the list what a person made his own by an update of old: an annotation that he changed or took
// away, and one that he wrote before and lists only now, as a file does in which its author keeps what was injected
// once. An annotation that comes together with its entry in the list counts as it does in a new object: it is injected.
func Disown(ing, old *networkingv1.Ingress) {
	if !Marked(ing) {
		return
	}
	before := listed(old)
	list := listed(ing)
	kept := slices.DeleteFunc(slices.Clone(list), func(key string) bool {
		text, set := ing.Annotations[key]
		was, had := old.Annotations[key]
		return !set || had && (text != was || !slices.Contains(before, key))
	})
	if len(kept) < len(list) {
		setList(ing, kept)
	}
}

// listed are the entries of the list as they stand.
func listed(ing *networkingv1.Ingress) []string {
	text := ing.Annotations[Injected]
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}

func setList(ing *networkingv1.Ingress, keys []string) {
	ing.Annotations[Injected] = strings.Join(keys, ",")
}

// spelled tells whether a dialect says a wish by the annotation.
func spelled(annotation string) bool {
	for _, d := range Dialects {
		if slices.ContainsFunc(d.Spellings, func(s Spelling) bool { return s.Annotation == annotation }) {
			return true
		}
	}
	return false
}
