package bench

import (
	"testing"

	"drawbridge.dev/drawbridge/test/lab"
)

// TestMeasures runs what the benchmarks measure with sizes that show nothing, so that it works when it is wanted.
func TestMeasures(t *testing.T) {
	cluster := lab.Shared(t)
	ca := lab.NewCA(t)
	const objects = 2 * perNamespace
	fill(t, cluster, objects)
	startEmpty(t, ca)
	manager := startManager(t, cluster, ca)
	a := admit(t, cluster, ca)
	for _, w := range writes {
		for way, took := range a.rounds(t, w, 2) {
			if len(took) != 2 || quantile(took, .99) <= 0 {
				t.Errorf("%s %s: %v", w.name, way, took)
			}
		}
	}
	a.answered(t)
	if rss, peak := resident(t, manager, "VmRSS"), resident(t, manager, "VmHWM"); rss < 10 || peak < rss {
		t.Errorf("%f MiB are resident, %f at most", rss, peak)
	}

	h := startHandlers(t, cluster)
	for kind, requests := range h.requests {
		for _, address := range []string{oursInside, emptyInside} {
			if each, p99 := h.send(t, address, requests, 4, 8*len(requests)); each <= 0 || p99 <= 0 {
				t.Errorf("%s: %s, %s", kind, each, p99)
			}
		}
	}
}

// TestRequest does the same for what HAProxy spends.
func TestRequest(t *testing.T) {
	program := lab.HAProxy(t)
	upstream := serve(t)
	for _, c := range []*contestant{byHand(t, program, upstream), byDrawbridge(t, program, upstream, 3)} {
		c.send(t, 2*connections)
	}
}
