package bench

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"drawbridge.dev/drawbridge/test/lab"
	"drawbridge.dev/drawbridge/webhook"
)

// The ways of admission. Each has a namespace of its own in one API server.
const (
	none  = "none"
	cel   = "cel"
	empty = "empty"
	ours  = "drawbridge"
)

var ways = []string{none, cel, empty, ours}

// BenchmarkWrites measures how long a client waits for each kind of write, by the way of admission. A round is one write
// each way. The metrics are, of all rounds: the median and the 99th percentile without admission, in microseconds, what
// each way adds to them, and what drawbridge adds by what the empty webhook adds, which is to be at most 1.3 at the
// median and 1.5 at the 99th percentile.
func BenchmarkWrites(b *testing.B) {
	cluster := lab.Shared(b)
	ca := lab.NewCA(b)
	startEmpty(b, ca)
	startManager(b, cluster, ca)
	benchWrites(b, admit(b, cluster, ca), writeRounds)
}

const writeRounds = 1000

// benchWrites makes a number of rounds of each kind of write an operation.
func benchWrites(b *testing.B, a *admitted, rounds int) {
	defer a.answered(b)
	for _, w := range writes {
		b.Run(w.name, func(b *testing.B) {
			took := map[string][]time.Duration{}
			a.rounds(b, w, 50)
			for b.Loop() {
				for way, d := range a.rounds(b, w, rounds) {
					took[way] = append(took[way], d...)
				}
			}
			b.ReportMetric(0, "ns/op") // of all ways together
			for _, p := range []struct {
				name string
				at   float64
			}{{"p50", .5}, {"p99", .99}} {
				floor := quantile(took[none], p.at)
				b.ReportMetric(us(floor), p.name+"-us")
				for _, way := range ways[1:] {
					b.ReportMetric(us(quantile(took[way], p.at)-floor), p.name+"-"+way+"-adds-us")
				}
				b.ReportMetric(us(quantile(took[ours], p.at)-floor)/us(quantile(took[empty], p.at)-floor), p.name+"-ratio")
			}
		})
	}
}

func us(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

// quantile sorts took.
func quantile(took []time.Duration, at float64) time.Duration {
	slices.Sort(took)
	return took[min(len(took)-1, int(at*float64(len(took))))]
}

// write is one kind of write.
type write struct {
	name   string
	object func(namespace, name string) client.Object
	update bool
}

var writes = []write{
	{"Service/create", func(namespace, name string) client.Object { return alias(namespace, name) }, false},
	{"Service/update", func(namespace, name string) client.Object { return alias(namespace, name) }, true},
	{"Ingress/create", func(namespace, name string) client.Object { return route(namespace, name, "site", 443, true) }, false},
	{"Ingress/update", func(namespace, name string) client.Object { return route(namespace, name, "site", 443, true) }, true},
	{"Ingress/mend", func(namespace, name string) client.Object { return route(namespace, name, "site", 443, false) }, false},
}

// admitted is an API server with a namespace for each way of admission.
type admitted struct {
	cluster    *lab.ControlPlane
	client     client.Client
	namespaces map[string]string // by way
	number     int
}

// admit puts the ways in force. The empty webhook and the manager run already.
func admit(t lab.TB, cluster *lab.ControlPlane, ca *lab.CA) *admitted {
	t.Helper()
	a := &admitted{cluster: cluster, client: fast(t, cluster), namespaces: map[string]string{}}
	if err := client.IgnoreAlreadyExists(a.client.Create(t.Context(), class())); err != nil {
		t.Fatalf("%v", err)
	}
	for _, way := range ways {
		a.namespaces[way] = cluster.Namespace(t)
		create(t, a.client, alias(a.namespaces[way], "site"))
	}
	in := func(way string) metav1.LabelSelectorRequirement {
		return metav1.LabelSelectorRequirement{Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpIn, Values: []string{a.namespaces[way]}}
	}
	mutating, validating := webhook.Configurations(webhook.ConfigurationOptions{URL: "https://" + managerAddress, CABundle: ca.PEM})
	floorM, floorV := webhook.Configurations(webhook.ConfigurationOptions{Name: "empty", URL: "https://" + emptyAddress, CABundle: ca.PEM})
	for i := range mutating.Webhooks {
		selector := mutating.Webhooks[i].NamespaceSelector
		selector.MatchExpressions = append(selector.MatchExpressions, in(ours))
		floor := &floorM.Webhooks[i]
		floor.NamespaceSelector.MatchExpressions = []metav1.LabelSelectorRequirement{in(empty)}
		floor.MatchConditions = nil
		floor.Name = strings.Replace(floor.Name, "drawbridge", "empty", 1)
	}
	for i := range validating.Webhooks {
		selector := validating.Webhooks[i].NamespaceSelector
		selector.MatchExpressions = append(selector.MatchExpressions, in(ours))
		floor := &floorV.Webhooks[i]
		floor.NamespaceSelector.MatchExpressions = []metav1.LabelSelectorRequirement{in(empty)}
		floor.MatchConditions = nil
		floor.Name = strings.Replace(floor.Name, "drawbridge", "empty", 1)
	}
	policy := &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "cel"},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			FailurePolicy: new(admissionregistrationv1.Fail),
			MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{
				{RuleWithOperations: floorV.Webhooks[0].Rules[0]}, {RuleWithOperations: floorV.Webhooks[3].Rules[0]},
			}},
			Validations: []admissionregistrationv1.Validation{{
				Expression: `!has(object.spec.externalName) || !object.spec.externalName.matches('^[0-9.]+$')`, Message: "must be a name",
			}},
		},
	}
	binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "cel"},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: "cel", ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
			MatchResources: &admissionregistrationv1.MatchResources{
				NamespaceSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{in(cel)}},
			},
		},
	}
	for _, o := range []client.Object{mutating, validating, floorM, floorV, policy, binding} {
		create(t, a.client, o)
	}
	for _, way := range []string{cel, ours} {
		bad := alias(a.namespaces[way], "bad")
		bad.Spec.ExternalName = "1.2.3.4"
		lab.Eventually(t, patience, func() error {
			if err := a.client.Create(t.Context(), bad.DeepCopy(), client.DryRunAll); err == nil {
				return fmt.Errorf("%s is not in force yet", way)
			}
			return nil
		})
	}
	return a // the empty webhook can't be seen; the API server has read of it with the others
}

// answered asserts that no write passed because a webhook did not answer.
func (a *admitted) answered(t lab.TB) {
	t.Helper()
	if n := a.cluster.FailOpenCount(t); n != 0 {
		t.Errorf("%d requests passed because a webhook did not answer", n)
	}
}

// rounds writes one object each way, n times over, and gives how long each write took, by way. What was created is
// deleted again, which is not counted.
func (a *admitted) rounds(t lab.TB, w write, n int) map[string][]time.Duration {
	t.Helper()
	took := map[string][]time.Duration{}
	objects := map[string]client.Object{}
	do := func(way string, f func() error) {
		begin := time.Now()
		err := f()
		took[way] = append(took[way], time.Since(begin))
		if err != nil {
			t.Fatalf("%s %s: %v", way, w.name, err)
		}
	}
	remove := func() {
		for _, way := range ways {
			if err := a.client.Delete(t.Context(), objects[way]); err != nil {
				t.Fatalf("%v", err)
			}
		}
	}
	if w.update {
		a.number++
		for _, way := range ways {
			objects[way] = w.object(a.namespaces[way], fmt.Sprint("updated-", a.number))
			if err := a.client.Create(t.Context(), objects[way]); err != nil {
				t.Fatalf("%v", err)
			}
		}
		defer remove()
	}
	for i := range n {
		// Each way comes first, and after each other, as often.
		for j := range ways {
			way := ways[(i+j)%len(ways)]
			if w.update {
				labels := objects[way].GetLabels()
				labels["round"] = fmt.Sprint(i)
				objects[way].SetLabels(labels)
				do(way, func() error { return a.client.Update(t.Context(), objects[way]) })
			} else {
				objects[way] = w.object(a.namespaces[way], fmt.Sprintf("created-%d-%d", a.number, i))
				do(way, func() error { return a.client.Create(t.Context(), objects[way]) })
			}
		}
		if !w.update {
			remove()
		}
	}
	a.number++
	return took
}
