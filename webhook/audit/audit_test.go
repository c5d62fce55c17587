package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/tools/events"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/rules"
)

// finds is a book of one rule that finds in a Service what its annotations say: "deny" and "warn" are numbers of
// findings, "panic" is a panic.
func finds(id string, guard bool) policy.Book {
	return policy.Book{Services: []policy.Rule[*corev1.Service]{{
		ID: id, Levels: policy.Same(policy.Deny), Guard: guard,
		Check: func(p *policy.Pass[*corev1.Service]) {
			if _, ok := p.Object.Annotations["panic"]; ok {
				panic("at the disco")
			}
			for i := range number(p.Object, "deny") {
				p.Report(field.Invalid(field.NewPath("spec").Index(i), i, "must not be"), nil)
			}
			for i := range number(p.Object, "warn") {
				p.Warn(field.Invalid(field.NewPath("spec").Index(i), i, "may be wrong"))
			}
		},
	}}}
}

func number(o policy.Object, key string) (n int) {
	_, _ = fmt.Sscan(o.GetAnnotations()[key], &n)
	return n
}

func service(namespace, name string, annotations ...string) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metaOf(namespace, name)}
	s.Annotations = map[string]string{}
	for i := 0; i < len(annotations); i += 2 {
		s.Annotations[annotations[i]] = annotations[i+1]
	}
	return s
}

func auditOf(tb testing.TB, book policy.Book, objects ...policy.Object) *outcome {
	tb.Helper()
	a := &auditor{metrics: &metrics{}, Options: Options{
		Book: book, World: func() policy.World { return policy.NewIndex(objects...) }, Objects: func() []policy.Object { return objects },
		Exempt: []string{"kube-system"},
	}}
	out, err := a.judge(tb.Context(), policy.DefaultConfig(), false)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

func TestScope(t *testing.T) {
	leader := &corev1.Endpoints{ObjectMeta: metaOf("a", "leader")}
	leader.Annotations = map[string]string{"control-plane.alpha.kubernetes.io/leader": "{}"}
	forged := leader.DeepCopy()
	forged.Subsets = []corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: "203.0.113.1"}}}}
	for name, tc := range map[string]struct {
		object policy.Object
		covers bool
	}{
		"a Service":                          {service("a", "b"), true},
		"of an exempt namespace":             {service("kube-system", "b"), false},
		"the API server's":                   {service("default", "kubernetes"), false},
		"of its name in another namespace":   {service("a", "kubernetes"), true},
		"an Ingress of its name":             {&networkingv1.Ingress{ObjectMeta: metaOf("default", "kubernetes")}, true},
		"the record of an election":          {leader, false},
		"a record of an election and more":   {forged, true},
		"an object of a kind that is passed": {&corev1.Endpoints{ObjectMeta: metaOf("a", "b")}, true},
	} {
		scan := Scan{Exempt: []string{"kube-system"}}
		if got := scan.covers(tc.object); got != tc.covers {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// A rule that panics over one object is no reason to leave the others unjudged.
func TestPanic(t *testing.T) {
	out := auditOf(t, finds("r", false), service("a", "1", "panic", ""), service("a", "2", "deny", "1"))
	if out.failed != 1 || out.objects["Service"] != 1 || out.total(levelDeny) != 1 {
		t.Errorf("%+v", out)
	}
}

func TestEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	scan := Scan{Book: finds("r", false)}
	n := 0
	err := scan.Run(ctx, []policy.Object{service("a", "1"), service("a", "2")}, func(policy.Object, policy.Result, error) {
		n++
		cancel()
	})
	if err == nil || n != 1 {
		t.Errorf("%d objects, %v", n, err)
	}
}

// A namespace that takes too long is left, and the next one judged.
func TestBudget(t *testing.T) {
	book := policy.Book{Services: []policy.Rule[*corev1.Service]{{
		ID: "slow", Levels: policy.Same(policy.Deny), Check: func(*policy.Pass[*corev1.Service]) { time.Sleep(2 * time.Millisecond) },
	}}}
	var objects []policy.Object
	for i := range 50 {
		objects = append(objects, service("slow", fmt.Sprint(i)))
	}
	objects = append(objects, service("z", "z"))
	judged, late := map[string]int{}, map[string]int{}
	scan := Scan{Book: book, Budget: 10 * time.Millisecond}
	if err := scan.Run(t.Context(), objects, func(o policy.Object, _ policy.Result, err error) {
		if errors.Is(err, errBudget) {
			late[o.GetNamespace()]++
		} else {
			judged[o.GetNamespace()]++
		}
	}); err != nil {
		t.Fatal(err)
	}
	if judged["z"] != 1 || judged["slow"] == 0 || judged["slow"] > 6 || judged["slow"]+late["slow"] != 50 {
		t.Errorf("judged %v, late %v", judged, late)
	}
}

func TestPauses(t *testing.T) {
	scan := Scan{Book: finds("r", false), Slice: time.Nanosecond, Pause: 5 * time.Millisecond}
	began := time.Now()
	if err := scan.Run(t.Context(), []policy.Object{service("a", "1"), service("a", "2")}, func(policy.Object, policy.Result, error) {}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 10*time.Millisecond {
		t.Errorf("took %s, two pauses included", took)
	}
}

// What the last run did not find is gone, at once.
func TestMetrics(t *testing.T) {
	m := &metrics{}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(m)
	if n, err := testutil.GatherAndCount(registry); n != 0 || err != nil {
		t.Errorf("%d series before the first run, %v", n, err)
	}
	exempt := service("b", "3", "deny", "1", policy.AllowPrefix+"r", "known")
	m.show(auditOf(t, finds("r", false), service("a", "1", "deny", "2"), service("a", "2", "deny", "1", "warn", "30"), exempt))
	want := `
# HELP drawbridge_audit_findings Findings in stored objects as of the last audit, by rule, namespace, kind and level (deny, warn, exempt).
# TYPE drawbridge_audit_findings gauge
drawbridge_audit_findings{kind="Service",level="deny",namespace="a",rule="r"} 3
drawbridge_audit_findings{kind="Service",level="exempt",namespace="b",rule="r"} 1
drawbridge_audit_findings{kind="Service",level="warn",namespace="a",rule="r"} 30
# HELP drawbridge_audit_objects Stored objects that the last audit judged, by kind.
# TYPE drawbridge_audit_objects gauge
drawbridge_audit_objects{kind="EndpointSlice"} 0
drawbridge_audit_objects{kind="Endpoints"} 0
drawbridge_audit_objects{kind="Ingress"} 0
drawbridge_audit_objects{kind="Service"} 3
# HELP drawbridge_audit_policy_generation The policy that the last audit judged by, by the hash of its text; always 1.
# TYPE drawbridge_audit_policy_generation gauge
drawbridge_audit_policy_generation{generation="default"} 1
`
	names := []string{"drawbridge_audit_findings", "drawbridge_audit_objects", "drawbridge_audit_policy_generation"}
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
	m.show(auditOf(t, finds("r", false), service("a", "2", "warn", "1")))
	if n, err := testutil.GatherAndCount(registry, "drawbridge_audit_findings"); n != 1 || err != nil {
		t.Errorf("%d series, %v", n, err)
	}
}

func TestBounded(t *testing.T) {
	var objects []policy.Object
	for i := range maxNamespaces + 20 {
		objects = append(objects, service(fmt.Sprintf("quiet-%03d", i), "s", "warn", "1"))
	}
	objects = append(objects, service("worst", "s", "deny", "1"), service("loud", "s", "warn", "50"))
	out := auditOf(t, finds("r", false), objects...)
	counts := out.bounded(maxNamespaces)
	names := map[string]bool{}
	total := 0
	for s, n := range counts {
		names[s.namespace] = true
		total += n
	}
	if len(names) != maxNamespaces+1 || !names["worst"] || !names["loud"] || !names[elsewhere] || total != maxNamespaces+20+51 {
		t.Errorf("%d names, %d findings: %v", len(names), total, names)
	}
	if got := counts[series{"r", elsewhere, "Service", levelWarn}]; got != 22 {
		t.Errorf("%d elsewhere", got)
	}
}

// drain takes what was recorded.
func drain(r *events.FakeRecorder) (got []string) {
	for {
		select {
		case e := <-r.Events:
			got = append(got, e)
		default:
			return got
		}
	}
}

func TestTell(t *testing.T) {
	recorder := events.NewFakeRecorder(1000)
	teller := newTeller(recorder)
	tell := func(want int, objects ...policy.Object) []string {
		t.Helper()
		sent, waiting := teller.tell(auditOf(t, finds("r", false), objects...).subjects)
		got := drain(recorder)
		if sent != want || waiting != 0 || len(got) != want {
			t.Errorf("%d sent, %d waiting: %q", sent, waiting, got)
		}
		return got
	}
	warned := service("a", "1", "warn", "2")
	if got := tell(1, warned); len(got) == 1 && got[0] != "Warning WouldBeWarned as it is stored now: spec[0]: Invalid value: 0: may be wrong (r); spec[1]: Invalid value: 1: may be wrong (r)" {
		t.Errorf("%q", got)
	}
	tell(0, warned)
	tell(0, service("a", "1", "warn", "3"))
	// Worse is news, and better is not.
	if got := tell(1, service("a", "1", "warn", "1", "deny", "1")); !strings.HasPrefix(got[0], "Warning WouldBeDenied ") {
		t.Errorf("%q", got)
	}
	tell(0, warned)
	// What comes back is news.
	tell(0)
	tell(1, warned)
	going := service("a", "2", "deny", "1")
	going.DeletionTimestamp = new(metav1.Now())
	tell(0, warned, going, service("a", "3", "deny", "1", policy.AllowPrefix+"r", "known"))
}

// A namespace full of findings does not keep others from being told, and nobody is forgotten.
func TestTellInTurn(t *testing.T) {
	var objects []policy.Object
	for i := range 2 * eventsAtOnce {
		objects = append(objects, service("full", fmt.Sprintf("s-%03d", i), "deny", "1"))
	}
	objects = append(objects, service("other", "s", "deny", "1"), service("third", "s", "warn", "1"))
	out := auditOf(t, finds("r", false), objects...)
	recorder := events.NewFakeRecorder(1000)
	teller := newTeller(recorder)
	sent, waiting := teller.tell(out.subjects)
	if sent != eventsAtOnce || sent+waiting != len(objects) {
		t.Errorf("%d sent, %d waiting", sent, waiting)
	}
	if _, ok := teller.told["other/s"]; !ok {
		t.Error("the other namespace was not told")
	}
	if again, waiting := teller.tell(out.subjects); again > 2 || again+waiting != len(objects)-sent {
		t.Errorf("then %d sent, %d waiting", again, waiting)
	}
}

func TestNote(t *testing.T) {
	s := subject{object: service("a", "b"), more: 7}
	for range 10 {
		s.found = append(s.found, found{levelDeny, policy.Finding{
			Rule: "r", Err: field.Invalid(field.NewPath("spec"), strings.Repeat("\U0001F600", 60), strings.Repeat("\U0001F600", 200)),
		}})
	}
	got := note(&s)
	if len(got) > maxNote || !utf8.ValidString(got) {
		t.Errorf("%d bytes: %q", len(got), got)
	}
	s.found = s.found[:0]
	for range 10 {
		s.found = append(s.found, found{levelDeny, policy.Finding{Rule: "r", Err: field.Invalid(field.NewPath("spec"), "x", strings.Repeat("y", 200))}})
	}
	if got := note(&s); len(got) > maxNote || !strings.HasSuffix(got, "(r); and 13 more") {
		t.Errorf("%d bytes: %q", len(got), got)
	}
}

// reportsOf are the Reports of objects of one namespace.
func reportsOf(t *testing.T, r *reporter, at int64, objects ...policy.Object) (names []string, results []int, last string) {
	t.Helper()
	out := auditOf(t, finds("r", true), objects...)
	since := map[findingID]int64{}
	for _, report := range r.reports(out.subjects, since, time.Unix(at, 0)) {
		names = append(names, *report.Name)
		results = append(results, len(report.Results))
		s := report.Summary
		if *s.Fail+*s.Warn+*s.Skip != len(report.Results) {
			t.Errorf("summary of %d results: %+v", len(report.Results), *s)
		}
		last = *report.Results[len(report.Results)-1].Description
	}
	r.since = since
	return names, results, last
}

func TestReports(t *testing.T) {
	r := newReporter(nil, nil, finds("r", true))
	names, results, last := reportsOf(t, r, 1, service("a", "1", "deny", "1"))
	if !cmp.Equal(names, []string{"drawbridge"}) || !cmp.Equal(results, []int{1}) || last != "spec[0]: Invalid value: 0: must not be (r)" {
		t.Errorf("%v %v %q", names, results, last)
	}
	// Of one object no more than perObject, and what is left out is told.
	_, results, last = reportsOf(t, r, 2, service("a", "1", "deny", "1000"))
	if !cmp.Equal(results, []int{perObject + 1}) || !strings.HasPrefix(last, "980 more findings are left out here") {
		t.Errorf("%v %q", results, last)
	}
	var many []policy.Object
	for i := range 2 * resultsPerReport * reportsPerNamespace {
		many = append(many, service("a", fmt.Sprint(i), "warn", "1"))
	}
	names, results, last = reportsOf(t, r, 3, many...)
	if len(names) != reportsPerNamespace || names[1] != "drawbridge-2" || results[0] != resultsPerReport ||
		!strings.HasPrefix(last, fmt.Sprintf("%d more findings", resultsPerReport*reportsPerNamespace)) {
		t.Errorf("%v %v %q", names, results, last)
	}
	for _, name := range names {
		if !ownName(name) {
			t.Errorf("%s is not called drawbridge's own", name)
		}
	}
	for _, name := range []string{"drawbridge-1", "drawbridge-02", "drawbridge-x", "other", "drawbridge-", ""} {
		if ownName(name) {
			t.Errorf("%q is called drawbridge's own", name)
		}
	}
}

// A finding keeps the time at which it was seen first, so that a Report without news is not written.
func TestSince(t *testing.T) {
	r := newReporter(nil, nil, finds("r", true))
	reportsOf(t, r, 1, service("a", "1", "deny", "1"))
	reportsOf(t, r, 2, service("a", "1", "deny", "1"), service("a", "2", "deny", "1"))
	var times []int64
	for _, at := range r.since {
		times = append(times, at)
	}
	slices.Sort(times)
	if !cmp.Equal(times, []int64{1, 2}) {
		t.Errorf("%v", times)
	}
}

// The mix of the benchmark is judged the same from the caches of the manager as from an index, which the command line
// uses; and nothing is found in what the control plane wrote without fault.
func TestSameJudgement(t *testing.T) {
	objects := mix(1000)
	cluster := worldOf(t, objects)
	book := rules.All()
	judge := func(world policy.World, objects []policy.Object) (found []string) {
		scan := Scan{Book: book, World: world}
		err := scan.Run(t.Context(), objects, func(o policy.Object, res policy.Result, err error) {
			if err != nil {
				t.Error(err)
			}
			_, kind := kindOf(o)
			for _, f := range slices.Concat(res.Denied, res.Warned) {
				found = append(found, fmt.Sprintf("%s/%s/%s: %s: %s", o.GetNamespace(), kind, o.GetName(), f.Level, f.Message()))
			}
		})
		if err != nil {
			t.Error(err)
		}
		slices.Sort(found)
		return found
	}
	var judged []policy.Object
	for _, o := range objects {
		if Judges(o) {
			judged = append(judged, o)
		}
	}
	stored := cluster.Objects()
	if len(stored) != len(judged) {
		t.Fatalf("%d objects in the cache, %d made", len(stored), len(judged))
	}
	if !slices.IsSortedFunc(stored, func(a, b policy.Object) int { return strings.Compare(a.GetNamespace(), b.GetNamespace()) }) {
		t.Error("not by namespace")
	}
	fromCache, fromIndex := judge(cluster.Cached(), stored), judge(policy.NewIndex(objects...), judged)
	if diff := cmp.Diff(fromIndex, fromCache); diff != "" || len(fromIndex) == 0 {
		t.Errorf("(-index +cache):\n%s", diff)
	}
	for _, f := range fromIndex {
		if strings.Contains(f, "-x7k2p:") {
			t.Errorf("a false alarm: %s", f)
		}
	}
}
