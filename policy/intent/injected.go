package intent

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Injected is the annotation that lists, by key and separated by commas, the annotations that drawbridge wrote on an
// Ingress or a Service. An object that has it is drawbridge's to complete when what it depends on comes or changes; the
// list may be empty. One without it is left alone.
const Injected = Prefix + "injected"

// Inject writes one annotation and enters it in the list of what drawbridge injected. A key that is set stays.
func Inject(o metav1.Object, annotation, text string) {
	if _, set := o.GetAnnotations()[annotation]; set {
		return
	}
	Mark(o)
	set(o, annotation, text)
	list := append(listed(o), annotation)
	slices.Sort(list)
	setList(o, slices.Compact(list))
}

// Marked tells whether the object is drawbridge's to complete.
func Marked(o metav1.Object) bool {
	_, set := o.GetAnnotations()[Injected]
	return set
}

// Mark makes the object drawbridge's to complete: an empty list, where there is none.
func Mark(o metav1.Object) {
	if !Marked(o) {
		set(o, Injected, "")
	}
}

// set writes an annotation into the map that the object has, or a new one.
func set(o metav1.Object, key, text string) {
	m := o.GetAnnotations()
	if m == nil {
		m = map[string]string{}
	}
	m[key] = text
	o.SetAnnotations(m)
}

// InjectedKeys are the annotations that drawbridge injected into the object by its list, and would take away. nil for
// none.
func InjectedKeys(o metav1.Object) map[string]bool {
	var keys map[string]bool
	for _, key := range listed(o) {
		if tables().spelled[key] {
			if keys == nil {
				keys = map[string]bool{}
			}
			keys[key] = true
		}
	}
	return keys
}

// Withdraw takes away what drawbridge injected, by the list, and leaves the mark. The list is open to anyone who may
// write the object: only an annotation that some dialect is spelled in is taken away.
func Withdraw(o metav1.Object) {
	if !Marked(o) {
		return
	}
	for key := range InjectedKeys(o) {
		delete(o.GetAnnotations(), key)
	}
	setList(o, nil)
}

// Disown takes from the list what a person made his own by an update of old: an annotation that he changed or took
// away, and one that he wrote before and lists only now, as a file does in which its author keeps what was injected
// once. An annotation that comes together with its entry in the list counts as it does in a new object: it is injected.
func Disown(o, old metav1.Object) {
	if !Marked(o) {
		return
	}
	before := listed(old)
	list := listed(o)
	kept := slices.DeleteFunc(slices.Clone(list), func(key string) bool {
		text, set := o.GetAnnotations()[key]
		was, had := old.GetAnnotations()[key]
		return !set || had && (text != was || !slices.Contains(before, key))
	})
	if len(kept) < len(list) {
		setList(o, kept)
	}
}

// listed are the entries of the list as they stand.
func listed(o metav1.Object) []string {
	text := o.GetAnnotations()[Injected]
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}

func setList(o metav1.Object, keys []string) { set(o, Injected, strings.Join(keys, ",")) }
