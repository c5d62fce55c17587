package audit

import (
	"cmp"
	"slices"
	"time"

	"drawbridge.dev/drawbridge/policy"
)

const (
	// perObject bounds the findings of one object that are kept to be told: an Ingress may have thousands. All are counted.
	perObject = 20
	// elsewhere stands in metrics for the namespaces beyond maxNamespaces; no namespace can have the name.
	elsewhere = "_other"
	// maxNamespaces bounds the series of the metrics: those with most denials, then with most findings, have their own.
	maxNamespaces = 100
)

// The levels of findings of the audit, as its metrics name them.
const (
	levelDeny   = "deny"
	levelWarn   = "warn"
	levelExempt = "exempt"
)

// series is one of drawbridge_audit_findings.
type series struct{ rule, namespace, kind, level string }

// outcome is what one run of the audit came to.
type outcome struct {
	generation string
	started    time.Time
	took       time.Duration
	objects    map[string]int // judged, by kind
	failed     int            // objects that were not judged: a rule panicked, or their namespace took too long
	late       map[string]int // of those, the latter by namespace
	counts     map[series]int
	// subjects are the objects with findings, in the order of the run.
	subjects []subject
}

// subject is an object with findings.
type subject struct {
	object policy.Object
	found  []found
	more   int // findings beyond those in found
}

type found struct {
	level string
	policy.Finding
}

func newOutcome(generation string, started time.Time) *outcome {
	out := &outcome{generation: generation, started: started, objects: map[string]int{}, late: map[string]int{}, counts: map[series]int{}}
	for _, kind := range [...]string{"Service", "Endpoints", "EndpointSlice", "Ingress"} {
		out.objects[kind] = 0
	}
	return out
}

// add counts what was found in one object.
func (out *outcome) add(o policy.Object, res policy.Result) {
	_, kind := kindOf(o)
	out.objects[kind]++
	if len(res.Denied)+len(res.Warned)+len(res.Exempt) == 0 {
		return
	}
	s := subject{object: o}
	for _, list := range [...]struct {
		level string
		found []policy.Finding
	}{{levelDeny, res.Denied}, {levelWarn, res.Warned}, {levelExempt, res.Exempt}} {
		for _, f := range list.found {
			out.counts[series{f.Rule, o.GetNamespace(), kind, list.level}]++
			if len(s.found) < perObject {
				s.found = append(s.found, found{list.level, f})
			} else {
				s.more++
			}
		}
	}
	out.subjects = append(out.subjects, s)
}

// total is the number of findings of a level.
func (out *outcome) total(level string) int {
	n := 0
	for s, count := range out.counts {
		if s.level == level {
			n += count
		}
	}
	return n
}

// bounded are the counts with at most limit namespaces by name, and those of all others together.
func (out *outcome) bounded(limit int) map[series]int {
	type weight struct{ denied, all int }
	weights := map[string]weight{}
	for s, n := range out.counts {
		w := weights[s.namespace]
		w.all += n
		if s.level == levelDeny {
			w.denied += n
		}
		weights[s.namespace] = w
	}
	if len(weights) <= limit {
		return out.counts
	}
	names := make([]string, 0, len(weights))
	for name := range weights {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		x, y := weights[a], weights[b]
		return cmp.Or(cmp.Compare(y.denied, x.denied), cmp.Compare(y.all, x.all), cmp.Compare(a, b))
	})
	named := map[string]bool{}
	for _, name := range names[:limit] {
		named[name] = true
	}
	counts := map[series]int{}
	for s, n := range out.counts {
		if !named[s.namespace] {
			s.namespace = elsewhere
		}
		counts[s] += n
	}
	return counts
}
