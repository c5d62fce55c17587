package audit

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	findingsDesc = prometheus.NewDesc("drawbridge_audit_findings",
		"Findings in stored objects as of the last audit, by rule, namespace, kind and level (deny, warn, exempt).",
		[]string{"rule", "namespace", "kind", "level"}, nil)
	objectsDesc = prometheus.NewDesc("drawbridge_audit_objects",
		"Stored objects that the last audit judged, by kind.", []string{"kind"}, nil)
	failedDesc = prometheus.NewDesc("drawbridge_audit_failed_objects",
		"Stored objects that the last audit could not judge, because a rule panicked or their namespace took too long.", nil, nil)
	timestampDesc = prometheus.NewDesc("drawbridge_audit_last_run_timestamp_seconds",
		"When the last audit ended, in seconds since 1970.", nil, nil)
	durationDesc = prometheus.NewDesc("drawbridge_audit_last_run_duration_seconds",
		"How long the last audit took, its pauses included, in seconds.", nil, nil)
	generationDesc = prometheus.NewDesc("drawbridge_audit_policy_generation",
		"The policy that the last audit judged by, by the hash of its text; always 1.", []string{"generation"}, nil)
)

// metrics shows the last run as a whole: a scrape never sees half of one, and what is mended is gone at once.
type metrics struct{ last atomic.Pointer[shown] }

type shown struct {
	out    *outcome
	counts map[series]int
}

func (m *metrics) show(out *outcome) {
	// What the run kept to be told is not needed here, and holds on to objects that the cache may have let go.
	kept := *out
	kept.subjects = nil
	m.last.Store(&shown{out: &kept, counts: kept.bounded(maxNamespaces)})
}

// Describe is for the registry.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range [...]*prometheus.Desc{findingsDesc, objectsDesc, failedDesc, timestampDesc, durationDesc, generationDesc} {
		ch <- d
	}
}

// Collect is for the registry. Before the first run, and on every replica but the leader, there is nothing to show.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	s := m.last.Load()
	if s == nil {
		return
	}
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	for at, n := range s.counts {
		gauge(findingsDesc, float64(n), at.rule, at.namespace, at.kind, at.level)
	}
	for kind, n := range s.out.objects {
		gauge(objectsDesc, float64(n), kind)
	}
	gauge(failedDesc, float64(s.out.failed))
	gauge(timestampDesc, float64(s.out.started.Add(s.out.took).UnixMilli())/1000)
	gauge(durationDesc, s.out.took.Seconds())
	gauge(generationDesc, 1, s.out.generation)
}
