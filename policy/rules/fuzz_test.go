package rules

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/randfill"

	"drawbridge.dev/drawbridge/policy"
)

// FuzzReviewJSON reviews what a request may hold: whatever the API types take, beside a World of the same make.
func FuzzReviewJSON(f *testing.F) {
	const few = 4 // of each rule, or a short run is over before it is through with what it is given
	of := map[string]int{}
	for _, c := range cases(f) {
		if id := ruleOf(c.name); len(c.world) > 0 {
			if of[id]++; of[id] > few {
				continue
			}
		}
		object, err := json.Marshal(c.req.Object)
		if err != nil {
			f.Fatal(err)
		}
		for _, o := range c.world {
			world, err := json.Marshal(o)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(object, world)
		}
	}
	f.Fuzz(func(t *testing.T, object, other []byte) {
		var world []policy.Object
		for _, o := range []policy.Object{
			&corev1.Service{}, &corev1.Endpoints{}, &discoveryv1.EndpointSlice{}, &networkingv1.Ingress{}, &networkingv1.IngressClass{},
			&corev1.Node{}, &networkingv1.ServiceCIDR{},
		} {
			if json.Unmarshal(other, o) == nil {
				o.SetNamespace("team-a")
				world = append(world, o)
			}
		}
		for _, o := range []policy.Object{&corev1.Service{}, &corev1.Endpoints{}, &discoveryv1.EndpointSlice{}, &networkingv1.Ingress{}} {
			if json.Unmarshal(object, o) != nil {
				continue
			}
			o.SetNamespace("team-a")
			checkInvariants(t, world, policy.Request{Object: o, World: policy.NewIndex(world...)})
		}
	})
}

// TestReviewRandom reviews objects with every field filled at random, beside others that bear the names they speak of.
func TestReviewRandom(t *testing.T) {
	for seed := range int64(100) {
		fill := randfill.NewWithSeed(seed).NilChance(.2).NumElements(0, 3).MaxDepth(14).Funcs(
			func(s *string, c randfill.Continue) {
				*s = [...]string{
					"", "a", "http", "a.example", "1.2.3.4", "nginx", "ExternalName", "TCP", "a\x00\u202e", "api", "443",
					"a.a.svc", "localhost", "169.254.169.254", "FQDN", "2001:db8::1",
				}[c.Intn(16)]
			},
			func(n *int32, c randfill.Continue) { *n = [...]int32{0, 80, 443, -1}[c.Intn(4)] },
			func(st *corev1.ServiceType, c randfill.Continue) {
				*st = [...]corev1.ServiceType{corev1.ServiceTypeExternalName, corev1.ServiceTypeClusterIP}[c.Intn(2)]
			},
		)
		var world []policy.Object
		for _, o := range []policy.Object{
			&corev1.Service{}, &corev1.Service{}, &corev1.Endpoints{}, &discoveryv1.EndpointSlice{}, &networkingv1.Ingress{}, &networkingv1.IngressClass{},
		} {
			fill.Fill(o)
			o.SetManagedFields(nil) // random bytes are no FieldsV1
			o.SetNamespace("a")
			if svc, ok := o.(*corev1.Service); ok && seed%2 == 0 {
				svc.Spec.Selector = nil
			}
			world = append(world, o)
		}
		for _, o := range world[1:5] {
			req := policy.Request{Object: o, World: policy.NewIndex(world...)}
			checkInvariants(t, world, req)
			req.Old = o.DeepCopyObject().(policy.Object)
			req.Old.SetLabels(nil)
			checkInvariants(t, world, req)
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// TestReviewOfManyPorts holds that an object as large as the API server lets it be costs no more than its length:
// nothing limits the ports of a Service, and whoever may write one must not be able to stop the webhook.
func TestReviewOfManyPorts(t *testing.T) {
	const n = 20000
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "a"}}
	ep := &corev1.Endpoints{ObjectMeta: svc.ObjectMeta, Subsets: make([]corev1.EndpointSubset, 1)}
	for i := range int32(n) {
		svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{Name: fmt.Sprint("p", i), Port: i + 1})
		ep.Subsets[0].Ports = append(ep.Subsets[0].Ports, corev1.EndpointPort{Port: i + 1})
	}
	res := All().Review(policy.Request{Object: ep, World: policy.NewIndex(svc)})
	if len(res.Fixed) != n || len(res.Denied)+len(res.Warned) > 0 {
		t.Errorf("fixed %d, denied %d, warned %d", len(res.Fixed), len(res.Denied), len(res.Warned))
	}
	ep.Subsets[0].Ports = ep.Subsets[0].Ports[:1]
	res = All().Review(policy.Request{Object: ep, World: policy.NewIndex(svc)})
	if len(res.Fixed) != 1 || len(res.Warned) != 5 {
		t.Errorf("fixed %d, warned %d", len(res.Fixed), len(res.Warned))
	}
	if got := res.Warned[4].Message(); !strings.Contains(got, "and 19995 more ports") {
		t.Error(got)
	}
}
