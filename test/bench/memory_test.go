package bench

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"drawbridge.dev/drawbridge/test/lab"
)

const (
	// memoryObjects is the number of Services, of EndpointSlices and of Ingresses in the manager's cache.
	memoryObjects = 10_000
	// perNamespace is how many of each a namespace has.
	perNamespace = 100
	// memoryGoal is what may be resident, in MiB.
	memoryGoal = 96
	// clients fill the API server.
	clients = 12
)

// BenchmarkMemory measures what of the manager's process is resident with 10,000 each of Services, EndpointSlices and
// Ingresses in its cache, as it leads, generates and audits: once it is ready, once that has come to rest, and once it
// has come to rest after 6,000 writes, in MiB; goal is the share of 96 MiB after those. The peak is the most that ever
// was. A third or so is the program itself, file-MiB, which all replicas on a node share; the rest is its heap. Then it
// measures writes again, beside such a cache.
func BenchmarkMemory(b *testing.B) {
	cluster := lab.Shared(b)
	ca := lab.NewCA(b)
	fill(b, cluster, memoryObjects)
	startEmpty(b, ca)
	manager := startManager(b, cluster, ca)
	a := admit(b, cluster, ca)
	b.Run("resident", func(b *testing.B) {
		var m memory
		for b.Loop() {
			m = a.memory(b, manager, 300)
		}
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(m.ready, "ready-MiB")
		b.ReportMetric(m.settled, "settled-MiB")
		b.ReportMetric(m.written, "written-MiB")
		b.ReportMetric(m.peak, "peak-MiB")
		b.ReportMetric(m.file, "file-MiB")
		b.ReportMetric(m.written/memoryGoal, "goal")
	})
	b.Run("writes", func(b *testing.B) { benchWrites(b, a, writeRounds/2) })
}

// memory is what was resident of a process, in MiB.
type memory struct{ ready, settled, written, peak, file float64 }

// memory measures the manager, which has just become ready, and writes to the API server meanwhile.
func (a *admitted) memory(t lab.TB, manager *lab.Running, rounds int) memory {
	t.Helper()
	var m memory
	m.ready = resident(t, manager, "VmRSS")
	m.settled = settle(t, manager)
	for _, w := range writes {
		a.rounds(t, w, rounds)
	}
	m.written = settle(t, manager)
	m.peak, m.file = resident(t, manager, "VmHWM"), resident(t, manager, "RssFile")
	return m
}

// settle waits until what is resident of a process has not changed by more than a hundredth for longer than the manager
// takes to give memory back.
func settle(t lab.TB, p *lab.Running) float64 {
	t.Helper()
	const window, most = 40 * time.Second, 2 * time.Minute
	begin := time.Now()
	low, high, since := 1e9, 0.0, begin
	for {
		now := resident(t, p, "VmRSS")
		if low, high = min(low, now), max(high, now); high > low*1.01 {
			low, high, since = now, now, time.Now()
		}
		if time.Since(since) > window || time.Since(begin) > most {
			return now
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// resident reads one of VmRSS, VmHWM and RssFile of a process, in MiB: proc(5).
func resident(t lab.TB, p *lab.Running, key string) float64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid()))
	if err != nil {
		t.Fatalf("%v", err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, key+":"); ok {
			n, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")))
			if err != nil {
				t.Fatalf("%v", err)
			}
			return float64(n) / 1024
		}
	}
	t.Fatalf("no %s in %s", key, text)
	return 0
}

// fill makes n each of Services, EndpointSlices and Ingresses, as kubectl and the control plane write them: nine Services
// in ten are of pods, the tenth is an alias; each has an Ingress. Slices beyond one a Service of pods are seconds.
func fill(t lab.TB, cluster *lab.ControlPlane, n int) {
	t.Helper()
	cl := fast(t, cluster)
	if err := client.IgnoreAlreadyExists(cl.Create(t.Context(), class())); err != nil {
		t.Fatalf("%v", err)
	}
	numbers := make(chan int)
	failed := make(chan error, clients)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wait sync.WaitGroup
	for range clients {
		wait.Go(func() {
			for i := range numbers {
				if err := fillOne(ctx, t, cl, i); err != nil {
					failed <- err
					cancel()
					return
				}
			}
		})
	}
	for i := 0; i < n && ctx.Err() == nil; i++ {
		if i%perNamespace == 0 {
			ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: space(i)}}
			if err := cl.Create(ctx, ns); err != nil {
				t.Fatalf("%v", err)
			}
		}
		select {
		case numbers <- i:
		case <-ctx.Done():
		}
	}
	close(numbers)
	wait.Wait()
	close(failed)
	if err := <-failed; err != nil {
		t.Fatalf("%v", err)
	}
}

func space(i int) string { return fmt.Sprintf("team-%d", i/perNamespace) }

// fillOne makes the object of a number of each kind.
func fillOne(ctx context.Context, t lab.TB, cl client.Client, i int) error {
	namespace, name := space(i), fmt.Sprintf("web-%d", i)
	kubectl := client.FieldOwner("kubectl-client-side-apply")
	if i%10 == 0 {
		if err := cl.Create(ctx, applied(t, alias(namespace, name)), kubectl); err != nil {
			return err
		}
		if err := cl.Create(ctx, applied(t, route(namespace, name, name, 443, true)), kubectl); err != nil {
			return err
		}
		// The second slice of a larger Service.
		return cl.Create(ctx, sliceOf(inside(namespace, fmt.Sprintf("web-%d", i+1)), i), client.FieldOwner("kube-controller-manager"))
	}
	svc := applied(t, inside(namespace, name))
	if err := cl.Create(ctx, svc, kubectl); err != nil {
		return err
	}
	slice := sliceOf(svc, i)
	if err := cl.Create(ctx, slice, client.FieldOwner("kube-controller-manager")); err != nil {
		return err
	}
	return cl.Create(ctx, applied(t, route(namespace, name, name, 80, false)), kubectl)
}
