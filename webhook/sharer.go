package webhook

import (
	"hash/maphash"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

const (
	// sharedTexts, sharedLists and sharedTargets are how many values a sharer remembers of each kind.
	sharedTexts, sharedLists, sharedTargets = 1 << 15, 1 << 10, 1 << 10
	// longestShared bounds a text that is remembered, in bytes: an annotation may be a quarter of a megabyte.
	longestShared = 128
	// mostShared bounds a list or a map that is remembered.
	mostShared = 16
)

// sharer lets equal parts of many objects share memory: names stand in labels, selectors, hosts and references, and the
// ports of most Services are the same. It remembers a bounded number of values, a new one in the place of an old, so
// that whoever makes objects of ever new names fills nothing but his own. What it returns must not be changed.
//
// mu guards it; who uses it holds the lock.
type sharer struct {
	mu           sync.Mutex
	seed         maphash.Seed
	strings      []string
	pointers     []*string
	maps         []map[string]string
	targets      []*corev1.ObjectReference
	servicePorts lists[corev1.ServicePort]
	slicePorts   lists[discoveryv1.EndpointPort]
}

func newSharer() *sharer {
	return &sharer{
		seed: maphash.MakeSeed(), strings: make([]string, sharedTexts), pointers: make([]*string, sharedLists),
		maps:    make([]map[string]string, sharedLists),
		targets: make([]*corev1.ObjectReference, sharedTargets),
		servicePorts: lists[corev1.ServicePort]{slots: make([][]corev1.ServicePort, sharedLists),
			name: func(p *corev1.ServicePort) (string, int32) { return p.Name, p.Port },
			same: func(a, b corev1.ServicePort) bool {
				return a.Name == b.Name && a.Protocol == b.Protocol && a.Port == b.Port && a.TargetPort == b.TargetPort &&
					a.NodePort == b.NodePort && equal(a.AppProtocol, b.AppProtocol)
			}},
		slicePorts: lists[discoveryv1.EndpointPort]{slots: make([][]discoveryv1.EndpointPort, sharedLists),
			name: func(p *discoveryv1.EndpointPort) (name string, number int32) {
				if p.Name != nil {
					name = *p.Name
				}
				if p.Port != nil {
					number = *p.Port
				}
				return name, number
			},
			same: func(a, b discoveryv1.EndpointPort) bool {
				return equal(a.Name, b.Name) && equal(a.Protocol, b.Protocol) && equal(a.Port, b.Port) && equal(a.AppProtocol, b.AppProtocol)
			}},
	}
}

func equal[T comparable](a, b *T) bool { return a == b || a != nil && b != nil && *a == *b }

// text is one of equal texts.
func (s *sharer) text(t string) string {
	if t == "" || len(t) > longestShared {
		return t
	}
	slot := &s.strings[maphash.String(s.seed, t)%sharedTexts]
	if *slot != t {
		*slot = t
	}
	return *slot
}

// same replaces texts by equal ones.
func (s *sharer) same(texts ...*string) {
	for _, t := range texts {
		*t = s.text(*t)
	}
}

// list makes a list no larger than it needs to be, of shared texts.
func (s *sharer) list(list *[]string) {
	*list = exact(*list)
	for i, t := range *list {
		(*list)[i] = s.text(t)
	}
}

// pointer replaces a pointer by one to an equal text.
func (s *sharer) pointer(p **string) {
	if *p == nil || len(**p) > longestShared {
		return
	}
	slot := &s.pointers[maphash.String(s.seed, **p)%sharedLists]
	if *slot == nil || **slot != **p {
		*slot = new(s.text(**p))
	}
	*p = *slot
}

// texts is a map without the keys that are not kept, one of equal ones. Of an empty one nothing is left.
func (s *sharer) texts(m map[string]string, kept func(string) bool) map[string]string {
	n, hash := 0, uint64(0)
	for key, value := range m {
		if kept(key) {
			n++
			hash += maphash.String(s.seed, key) ^ 3*maphash.String(s.seed, value)
		}
	}
	if n == 0 {
		return nil
	}
	slot := &s.maps[hash%sharedLists]
	if len(*slot) == n && contains(m, *slot) {
		return *slot
	}
	out := make(map[string]string, n)
	small := true
	for key, value := range m {
		if kept(key) {
			out[s.text(key)] = s.text(value)
			small = small && len(key)+len(value) <= longestShared
		}
	}
	if small && n <= mostShared {
		*slot = out
	}
	return out
}

// contains tells whether all of part is in m.
func contains(m, part map[string]string) bool {
	for key, value := range part {
		if v, ok := m[key]; !ok || v != value {
			return false
		}
	}
	return true
}

// target is a reference that tells kind and namespace alone.
func (s *sharer) target(kind, namespace string) *corev1.ObjectReference {
	slot := &s.targets[(maphash.String(s.seed, kind)^maphash.String(s.seed, namespace))%sharedTargets]
	if *slot == nil || (*slot).Kind != kind || (*slot).Namespace != namespace {
		*slot = &corev1.ObjectReference{Kind: s.text(kind), Namespace: s.text(namespace)}
	}
	return *slot
}

// lists remembers lists of ports.
type lists[T any] struct {
	slots [][]T
	// name tells most lists apart by their first item; same compares items whole.
	name func(*T) (string, int32)
	same func(a, b T) bool
}

// get is one of equal lists.
func (l *lists[T]) get(list []T) []T {
	if len(list) == 0 || len(list) > mostShared {
		return list
	}
	text, number := l.name(&list[0])
	slot := &l.slots[(maphash.Comparable(listSeed, struct {
		text   string
		number int32
		length int
	}{text, number, len(list)}))%uint64(len(l.slots))]
	if !slices.EqualFunc(*slot, list, l.same) {
		*slot = list
	}
	return *slot
}

var listSeed = maphash.MakeSeed()

// exact is a list that takes no more room than its items; decoding leaves up to twice that.
func exact[T any](list []T) []T {
	switch {
	case len(list) == 0:
		return nil
	case cap(list) == len(list):
		return list
	}
	return append(make([]T, 0, len(list)), list...)
}

// one is a pointer to the one of the values that p points to an equal of, which all objects share; p where there is none.
func one[T comparable](p *T, values []T) *T {
	if p != nil {
		for i := range values {
			if values[i] == *p {
				return &values[i]
			}
		}
	}
	return p
}
