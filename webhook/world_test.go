package webhook

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"

	"drawbridge.dev/drawbridge/policy"
)

// TestListsOfOneReview holds that a namespace is gathered and sorted once for a review, however many rules ask, and anew
// for the next one.
func TestListsOfOneReview(t *testing.T) {
	services := toolscache.NewSharedIndexInformer(nil, &corev1.Service{}, 0, toolscache.Indexers{toolscache.NamespaceIndex: toolscache.MetaNamespaceIndexFunc})
	add := func(name string) {
		t.Helper()
		if err := services.GetIndexer().Add(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name}}); err != nil {
			t.Fatal(err)
		}
	}
	cluster := &Cluster{informers: map[string]toolscache.SharedIndexInformer{"Service": services}}
	names := func(w policy.World) (names string) {
		for _, s := range w.Services("a") {
			names += s.Name
		}
		return names
	}
	add("y")
	add("x")
	w := cluster.For(t.Context())
	if got := names(w); got != "xy" {
		t.Errorf("listed %q", got)
	}
	if got := len(w.Services("b")); got != 0 {
		t.Errorf("listed %d Services of another namespace", got)
	}
	add("z")
	if got := names(w); got != "xy" {
		t.Errorf("the same review listed %q", got)
	}
	if allocs := testing.AllocsPerRun(10, func() { w.Services("a") }); allocs > 3 {
		t.Errorf("what is known cost %v allocations", allocs)
	}
	if got := names(cluster.For(t.Context())); got != "xyz" {
		t.Errorf("the next review listed %q", got)
	}
	// What looks through the whole cache keeps its last list alone.
	all := cluster.Cached()
	if got := names(all); got != "xyz" {
		t.Errorf("the cache listed %q", got)
	}
	if kept := all.(*cached).lists; len(kept) != 0 {
		t.Errorf("%d lists are kept", len(kept))
	}
}
