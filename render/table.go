package render

import (
	"hash/maphash"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/types"
)

// shards bounds what one change copies: 1/shards of a table and one array of this many pointers.
const shards = 256

var seed = maphash.MakeSeed()

// table is a map that is copied shard by shard: a copy of the struct shares everything, and set or del on the copy
// leaves the original as it was.
type table[K comparable, V any] struct {
	shards *[shards]map[K]V
}

func newTable[K comparable, V any]() table[K, V] { return table[K, V]{new([shards]map[K]V)} }

func (t table[K, V]) shard(k K) uint64 { return maphash.Comparable(seed, k) % shards }

func (t table[K, V]) get(k K) V { return t.shards[t.shard(k)][k] }

// put changes the table in place: only while nobody shares it.
func (t table[K, V]) put(k K, v V) {
	i := t.shard(k)
	if t.shards[i] == nil {
		t.shards[i] = map[K]V{}
	}
	t.shards[i][k] = v
}

func (t *table[K, V]) set(k K, v V) {
	fresh := t.own(k)
	fresh[k] = v
}

func (t *table[K, V]) del(k K) { delete(t.own(k), k) }

// own gives t a shard for k that no other table shares.
func (t *table[K, V]) own(k K) map[K]V {
	i := t.shard(k)
	array := *t.shards
	fresh := maps.Clone(array[i])
	if fresh == nil {
		fresh = map[K]V{}
	}
	array[i] = fresh
	t.shards = &array
	return fresh
}

// all visits every entry, in no order.
func (t table[K, V]) all(yield func(K, V) bool) {
	for _, m := range t.shards {
		for k, v := range m {
			if !yield(k, v) {
				return
			}
		}
	}
}

// name identifies an object of one kind; Namespace is empty for an IngressClass.
type name = types.NamespacedName

func compareNames(a, b name) int {
	if a.Namespace != b.Namespace {
		if a.Namespace < b.Namespace {
			return -1
		}
		return 1
	}
	switch {
	case a.Name < b.Name:
		return -1
	case a.Name > b.Name:
		return 1
	}
	return 0
}

// index holds sorted lists of names by key.
type index[K comparable] struct{ table[K, []name] }

func newIndex[K comparable]() index[K] { return index[K]{newTable[K, []name]()} }

// gather appends in place; sort must follow.
func (x index[K]) gather(k K, n name) { x.put(k, append(x.get(k), n)) }

func (x index[K]) sort() {
	for _, m := range x.shards {
		for k, l := range m {
			slices.SortFunc(l, compareNames)
			m[k] = slices.Clip(slices.Compact(l))
		}
	}
}

func (x *index[K]) add(k K, n name) {
	list := x.get(k)
	i, found := slices.BinarySearchFunc(list, n, compareNames)
	if found {
		return
	}
	fresh := make([]name, 0, len(list)+1)
	fresh = append(fresh, list[:i]...)
	fresh = append(fresh, n)
	x.set(k, append(fresh, list[i:]...))
}

func (x *index[K]) remove(k K, n name) {
	list := x.get(k)
	i, found := slices.BinarySearchFunc(list, n, compareNames)
	switch {
	case !found:
	case len(list) == 1:
		x.del(k)
	default:
		fresh := make([]name, 0, len(list)-1)
		x.set(k, append(append(fresh, list[:i]...), list[i+1:]...))
	}
}
