package envtest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"drawbridge.dev/drawbridge/test/lab"
	"drawbridge.dev/drawbridge/webhook"
)

// slow is a reader that never answers.
type slow struct{ client.Reader }

func (slow) Get(ctx context.Context, _ client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
	<-ctx.Done()
	return ctx.Err()
}

// TestWorld reads a cluster through informers that have not started, as late as can be, and then through ones that run.
func TestWorld(t *testing.T) {
	cluster := lab.Shared(t)
	namespace := cluster.Namespace(t)
	cluster.Apply(t, namespace, `
apiVersion: v1
kind: Service
metadata: {name: b}
spec: {type: ExternalName, externalName: b.example.com}
---
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {type: ExternalName, externalName: a.example.com}
---
`+strings.ReplaceAll(slice, "NAME", "a")+`
---
apiVersion: v1
kind: Endpoints
metadata: {name: a}
subsets: [{addresses: [{ip: 1.2.3.4}], ports: [{port: 80}]}]
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: world}
spec: {controller: drawbridge.dev/ingress}
`)
	t.Cleanup(func() { cluster.Kubectl(t, "delete", "ingressclass", "world") })
	registry := prometheus.NewRegistry()
	c, err := cache.New(cluster.Config, cache.Options{Scheme: scheme.Scheme, ByObject: webhook.CacheOptions()})
	if err != nil {
		t.Fatal(err)
	}
	w, err := webhook.NewCluster(t.Context(), c, cluster.Client(t), cluster.Client(t).RESTMapper(), webhook.NewMetrics(registry))
	if err != nil {
		t.Fatal(err)
	}
	if w.HasSynced() {
		t.Error("synced before it started")
	}

	world := w.For(t.Context())
	for range 2 { // asked once and remembered
		if got := world.Service(namespace, "a"); got == nil || got.Spec.ExternalName != "a.example.com" {
			t.Errorf("a name that the cache misses: %v", got)
		}
		if got := world.Service(namespace, "absent"); got != nil {
			t.Errorf("a name that is not there: %v", got)
		}
		if world.Service(namespace, "") != nil {
			t.Error("no name at all is a Service")
		}
		if world.IngressClass("world") == nil || world.Endpoints(namespace, "a") == nil {
			t.Error("a class or Endpoints that the cache misses")
		}
	}
	want := `
# HELP drawbridge_live_reads_total Reads of the API server for names that the cache missed, by result (found, absent, failed, refused).
# TYPE drawbridge_live_reads_total counter
drawbridge_live_reads_total{kind="Endpoints",result="found"} 1
drawbridge_live_reads_total{kind="IngressClass",result="found"} 1
drawbridge_live_reads_total{kind="Service",result="absent"} 1
drawbridge_live_reads_total{kind="Service",result="found"} 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "drawbridge_live_reads_total"); err != nil {
		t.Error(err)
	}

	// An Ingress may name thousands of Services.
	world = w.For(t.Context())
	for i := range 40 {
		world.Service(namespace, fmt.Sprint("absent-", i))
	}
	if world.Service(namespace, "a") != nil {
		t.Error("one review may read without end")
	}
	if got := testutil.CollectAndCount(registry, "drawbridge_live_reads_total"); got != 5 {
		t.Errorf("%d series: refused reads are not counted", got)
	}

	// An API server that does not answer costs a review a second, whatever it asks for.
	stuck, err := webhook.NewCluster(t.Context(), mustCache(t, cluster), slow{}, cluster.Client(t).RESTMapper(), nil)
	if err != nil {
		t.Fatal(err)
	}
	world = stuck.For(t.Context())
	begin := time.Now()
	for i := range 20 {
		if world.Service(namespace, fmt.Sprint(i)) != nil {
			t.Error("found in nothing")
		}
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("a review waited %s", took)
	}

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	lab.Eventually(t, patience, func() error {
		if !w.HasSynced() {
			return fmt.Errorf("not synced")
		}
		return nil
	})
	world = w.For(t.Context())
	var names []string
	for _, s := range world.Services(namespace) {
		names = append(names, s.Name)
	}
	if got := strings.Join(names, " "); got != "a b" {
		t.Errorf("Services %q", got)
	}
	if got := world.EndpointSlices(namespace, "a"); len(got) != 1 || got[0].Name != "site-1" {
		t.Errorf("slices of a: %v", got)
	}
	if got := world.EndpointSlices(namespace, "b"); len(got) != 0 {
		t.Errorf("slices of b: %v", got)
	}
	if got := world.IngressesTo(namespace, "a"); len(got) != 0 {
		t.Errorf("Ingresses %v", got)
	}
	if world.IngressClass("world") == nil {
		t.Error("no IngressClass from the cache")
	}
	for object, managed := range map[metav1.Object]bool{world.Service(namespace, "a"): false, world.Endpoints(namespace, "a"): true} {
		if len(object.GetAnnotations()) != 0 || (len(object.GetManagedFields()) > 0) != managed {
			t.Errorf("%T: annotations %v, %d managed fields", object, object.GetAnnotations(), len(object.GetManagedFields()))
		}
	}
	if once, again := world.Service(namespace, "a"), world.Service(namespace, "a"); once != again {
		t.Error("what is read from the cache is copied for each review")
	}
}

func mustCache(t *testing.T, cluster *lab.ControlPlane) cache.Cache {
	t.Helper()
	c, err := cache.New(cluster.Config, cache.Options{Scheme: scheme.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
