package webhook

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"drawbridge.dev/drawbridge/policy"
)

// Metrics counts what reviews came to.
type Metrics struct {
	reviews *prometheus.CounterVec
	seconds *prometheus.HistogramVec
	panics  *prometheus.CounterVec
	errors  *prometheus.CounterVec
	reads   *prometheus.CounterVec
}

// NewMetrics registers the metrics of admission:
//
//   - drawbridge_reviews_total{kind,rule,level}: findings, by what came of them (deny, warn, fix, exempt), and reviews
//     that found nothing (rule "", level "none"). A finding counts once though both webhook paths see it.
//   - drawbridge_review_seconds{path,kind}: time from a decoded request to its answer, live reads included.
//   - drawbridge_review_panics_total{kind} and drawbridge_review_errors_total{kind}: objects that passed unreviewed.
//   - drawbridge_live_reads_total{kind,result}: reads of names that the cache missed: found, absent,
//     failed, or refused because the review had used up its reads or its time.
//
// It panics where one of them is registered already.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		reviews: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "drawbridge_reviews_total",
			Help: "Findings of admission reviews by rule and what came of them, and reviews without one (level none).",
		}, []string{"kind", "rule", "level"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "drawbridge_review_seconds",
			Help: "Time that an admission review took, in seconds.",
			Buckets: []float64{
				.00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5,
			},
		}, []string{"path", "kind"}),
		panics: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "drawbridge_review_panics_total",
			Help: "Reviews that panicked; the object passed unreviewed.",
		}, []string{"kind"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "drawbridge_review_errors_total",
			Help: "Reviews that failed; the object passed unreviewed.",
		}, []string{"kind"}),
		reads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "drawbridge_live_reads_total",
			Help: "Reads of the API server for names that the cache missed, by result (found, absent, failed, refused).",
		}, []string{"kind", "result"}),
	}
	registry.MustRegister(m.reviews, m.seconds, m.panics, m.errors, m.reads)
	for _, kind := range [...]string{"Service", "Endpoints", "EndpointSlice", "Ingress", "ConfigMap"} {
		m.panics.WithLabelValues(kind)
		m.errors.WithLabelValues(kind)
	}
	return m
}

func (m *Metrics) panicked(kind string) { m.panics.WithLabelValues(kind).Inc() }

func (m *Metrics) failed(kind string) { m.errors.WithLabelValues(kind).Inc() }

func (m *Metrics) took(path, kind string, d time.Duration) {
	m.seconds.WithLabelValues(path, kind).Observe(d.Seconds())
}

func (m *Metrics) read(kind, result string) {
	if m != nil {
		m.reads.WithLabelValues(kind, result).Inc()
	}
}

// reviewed counts a finding on the path that settles it: denials where they end the request, fixes on /mutate, the
// rest on /validate.
func (m *Metrics) reviewed(kind string, mend bool, result policy.Result) {
	count := func(found []policy.Finding, level string) {
		for _, f := range found {
			m.reviews.WithLabelValues(kind, f.Rule, level).Inc()
		}
	}
	count(result.Denied, "deny")
	switch {
	case len(result.Denied) > 0:
	case mend:
		count(result.Fixed, "fix")
	default:
		count(result.Warned, "warn")
		count(result.Exempt, "exempt")
		if len(result.Warned)+len(result.Exempt) == 0 {
			m.reviews.WithLabelValues(kind, "", "none").Inc()
		}
	}
}
