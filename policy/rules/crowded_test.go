package rules

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"drawbridge.dev/drawbridge/policy"
)

// crowdedAllocs is the allocations of a review in a namespace with n objects of a sort, and what came of it.
func crowdedAllocs(object policy.Object, world []policy.Object) (float64, policy.Result) {
	req := policy.Request{Object: object, World: policy.NewIndex(world...)}
	return testing.AllocsPerRun(2, func() { All().Review(req) }), All().Review(req)
}

// TestReviewInCrowd holds that the cost of one review does not grow with the number of objects beside it, or whoever
// fills a namespace makes every review in it slow, and the audit's cost the square of what he wrote.
func TestReviewInCrowd(t *testing.T) {
	slice := func(name, service string) *discoveryv1.EndpointSlice {
		s := benchSlice(name, service)
		if service == "" {
			delete(s.Labels, discoveryv1.LabelServiceName)
		}
		return s
	}
	alias := func(i, n int) *corev1.Service {
		a := benchAlias(fmt.Sprintf("s%05d", i))
		a.Spec.ExternalName = fmt.Sprintf("s%05d.%s.svc", (i+1)%n, a.Namespace)
		return a
	}
	two := benchHeadless("s")
	two.Spec.Ports = append(two.Spec.Ports, corev1.ServicePort{Name: "unserved", Port: 9999})
	for name, c := range map[string]struct {
		object policy.Object
		fixed  []policy.Object
		crowd  func(i, n int) policy.Object
		rule   string // finds, in the larger crowd
		says   string
		silent string // does not find there what it finds in no crowd
	}{
		"slices of one Service": {
			object: slice("mine", "s"), fixed: []policy.Object{two},
			crowd:  func(i, _ int) policy.Object { return slice(fmt.Sprintf("s-%05d", i), "s") },
			silent: "endpointslice-port-name",
		},
		"Endpoints beside slices of others": {
			object: benchEndpoints("s"), fixed: []policy.Object{two},
			crowd: func(i, _ int) policy.Object {
				s := slice(fmt.Sprintf("s-%05d", i), "s")
				s.Labels[discoveryv1.LabelManagedBy] = "others.example"
				return s
			},
			silent: "endpoints-port-name",
		},
		"aliases of one another": {
			object: alias(0, 1000),
			crowd:  func(i, n int) policy.Object { return alias(i, n) },
			rule:   "service-external-name-loop", says: "more than 64 aliases",
		},
		"Services of a namespace": {
			object: slice("s-00007-x", ""),
			crowd:  func(i, _ int) policy.Object { return benchHeadless(fmt.Sprintf("s-%05d", i)) },
			rule:   "endpointslice-service-name", says: "by its owner or name 's-00007'",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var allocs [2]float64
			var last policy.Result
			for k, n := range [...]int{500, 5000} {
				world := append([]policy.Object{}, c.fixed...)
				for i := range n {
					world = append(world, c.crowd(i, n))
				}
				allocs[k], last = crowdedAllocs(c.object, world)
			}
			if allocs[1] > 1.5*allocs[0]+20 {
				t.Errorf("ten times the objects cost %v allocations after %v", allocs[1], allocs[0])
			}
			found := false
			for _, f := range findings(last) {
				found = found || f.Rule == c.rule && strings.Contains(f.Message(), c.says)
				if f.Rule == c.silent {
					t.Errorf("is told what can not be known: %s", f.Message())
				}
			}
			if c.rule != "" && !found {
				t.Errorf("is not found: %v", findings(last))
			}
			if c.silent == "" {
				return
			}
			alone := All().Review(policy.Request{Object: c.object, World: policy.NewIndex(append([]policy.Object{}, c.fixed...)...)})
			told := false
			for _, f := range findings(alone) {
				told = told || f.Rule == c.silent
			}
			if !told {
				t.Error("nothing is told where it can be known")
			}
		})
	}
}

// TestGuardBehindCrowd holds that more addresses than are judged are refused, wherever the forbidden one stands.
func TestGuardBehindCrowd(t *testing.T) {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: benchSpace}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort}}
	crowd := func(slices int) []policy.Object {
		world := []policy.Object{svc}
		for i := range slices {
			s := benchSlice(fmt.Sprintf("s-%05d", i), "s")
			s.Endpoints = make([]discoveryv1.Endpoint, 1000)
			for j := range s.Endpoints {
				s.Endpoints[j].Addresses = []string{largeAddress(i*1000 + j)}
			}
			world = append(world, s)
		}
		return world
	}
	ing := benchIngress("mine", "s", true)
	for i := range ing.Spec.Rules[0].HTTP.Paths {
		ing.Spec.Rules[0].HTTP.Paths[i].Backend.Service = &networkingv1.IngressServiceBackend{Name: "s", Port: networkingv1.ServiceBackendPort{Number: 443}}
	}
	for n, want := range map[int]bool{20: false, 21: true} {
		world := policy.NewIndex(crowd(n)...)
		for id, o := range map[string]policy.Object{"service-endpoints-address": svc, "ingress-backend-address": ing} {
			denied := false
			for _, f := range All().Review(policy.Request{Object: o, World: world}).Denied {
				denied = denied || f.Rule == id && strings.Contains(f.Message(), "more than 20000 endpoints")
			}
			if denied != want {
				t.Errorf("%s with %d thousand addresses: denied %v", id, n, denied)
			}
		}
	}
}

// TestHostsInCrowd holds how many hosts are asked of, and how many Ingresses of one are looked at.
func TestHostsInCrowd(t *testing.T) {
	ing, objects := manyPaths(1000, 4)
	world := countingWorld{policy.NewIndex(objects...), map[string]int{}}
	All().Review(policy.Request{Object: ing, World: world})
	hosts := 0
	for what := range world.asked {
		if strings.HasPrefix(what, "IngressesOf ") {
			hosts++
		}
	}
	if hosts != maxHosts {
		t.Errorf("asked of %d hosts", hosts)
	}
	for n, want := range map[int]bool{maxSharing - 1: true, maxSharing: false} {
		list := make([]*networkingv1.Ingress, n+1)
		for i := range list {
			list[i] = &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: ing.Namespace}, Spec: ing.Spec}
		}
		list[n].Namespace = "a"
		if got := firstOf(list, ing); (got != nil) != want {
			t.Errorf("behind %d others: found %v", n, got != nil)
		}
	}
}
