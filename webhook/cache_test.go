package webhook_test

import (
	"fmt"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/randfill"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/rules"
	"drawbridge.dev/drawbridge/webhook"
)

// shrink makes what the cache does of each object that it is given.
func shrink(t *testing.T) func(policy.Object) policy.Object {
	transforms := map[string]toolscache.TransformFunc{}
	for object, options := range webhook.CacheOptions() {
		transforms[fmt.Sprintf("%T", object)] = options.Transform
	}
	return func(o policy.Object) policy.Object {
		t.Helper()
		out, err := transforms[fmt.Sprintf("%T", o)](o.DeepCopyObject())
		if err != nil {
			t.Fatal(err)
		}
		return out.(policy.Object)
	}
}

// TestCacheKeepsWhatRulesRead reviews random objects beside others as they are, and as the cache has them: every rule,
// in each profile, must come to the same. Where the audit judges what the cache holds it must, too.
func TestCacheKeepsWhatRulesRead(t *testing.T) {
	cached := shrink(t)
	found := 0
	for seed := range int64(1500) {
		word := func(c randfill.Continue, words ...string) string { return words[c.Intn(len(words))] }
		fill := randfill.NewWithSeed(seed).NilChance(.25).NumElements(0, 3).MaxDepth(14).Funcs(
			func(s *string, c randfill.Continue) {
				*s = word(c, "", "a", "http", "a.example", "1.2.3.4", "10.0.0.7", "nginx", "ExternalName", "TCP", "api", "443", "Pod", "Service")
			},
			func(n *int32, c randfill.Continue) { *n = [...]int32{0, 80, 443}[c.Intn(3)] },
			func(s *corev1.ServiceType, c randfill.Continue) {
				*s = corev1.ServiceType(word(c, "ExternalName", "ClusterIP", "LoadBalancer"))
			},
			func(s *discoveryv1.AddressType, c randfill.Continue) {
				*s = discoveryv1.AddressType(word(c, "IPv4", "IPv4", "FQDN"))
			},
			func(m *metav1.ObjectMeta, c randfill.Continue) {
				*m = metav1.ObjectMeta{
					Name: word(c, "a", "api"), Namespace: "team-a", ResourceVersion: "7", UID: "u", GenerateName: "x-",
					Labels: map[string]string{"app.kubernetes.io/name": "a", "team": "b"},
					Annotations: map[string]string{
						"kubectl.kubernetes.io/last-applied-configuration":                                                      "{}",
						"nginx.ingress.kubernetes.io/" + word(c, "backend-protocol", "upstream-vhost", "configuration-snippet"): word(c, "HTTPS", "a.example"),
						"ingress.kubernetes.io/" + word(c, "preserve-host", "backend-protocol"):                                 word(c, "true", "false", "HTTP"),
					},
				}
				if c.Bool() {
					m.Labels[discoveryv1.LabelServiceName] = "api"
				}
				if by := word(c, "", "", policy.ManagedByPods, policy.ManagedByMirroring, policy.HandWritten, policy.ManagedBy, "someone"); by != "" {
					m.Labels[discoveryv1.LabelManagedBy] = by
				}
				if c.Intn(4) == 0 {
					m.Labels["endpoints.kubernetes.io/managed-by"] = "endpoint-controller"
				}
				if c.Intn(4) == 0 {
					m.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: word(c, "Service", "Endpoints"), Name: "api", UID: "u", Controller: new(true)}}
				}
			},
			func(ing *networkingv1.Ingress, c randfill.Continue) {
				c.Fill(&ing.ObjectMeta)
				c.Fill(&ing.Spec)
				ing.Spec.IngressClassName = new("nginx")
			},
		)
		objects := []policy.Object{&networkingv1.IngressClass{
			ObjectMeta: metav1.ObjectMeta{Name: "nginx"}, Spec: networkingv1.IngressClassSpec{Controller: "k8s.io/ingress-nginx"},
		}}
		for range 2 {
			for _, o := range []policy.Object{&corev1.Service{}, &corev1.Endpoints{}, &discoveryv1.EndpointSlice{}, &networkingv1.Ingress{}} {
				fill.Fill(o)
				objects = append(objects, o)
			}
		}
		var small []policy.Object
		for _, o := range objects {
			small = append(small, cached(o))
		}
		whole, part := policy.NewIndex(objects...), policy.NewIndex(small...)
		for _, profile := range []policy.Profile{policy.Baseline, policy.Strict} {
			config := policy.DefaultConfig()
			config.Profile = profile
			for i, o := range objects {
				req := policy.Request{Object: o, Config: config, World: whole}
				want := told(rules.All().Review(req))
				found += len(want)
				req.World = part
				if diff := cmp.Diff(want, told(rules.All().Review(req))); diff != "" {
					t.Fatalf("seed %d: %T '%s' beside what the cache holds:\n%s", seed, o, o.GetName(), diff)
				}
				req = policy.Request{Object: o, Config: config, World: whole, Stored: true, NoFix: true}
				want = told(rules.All().Review(req))
				req.Object, req.World = small[i], part
				if diff := cmp.Diff(want, told(rules.All().Review(req))); diff != "" {
					t.Fatalf("seed %d: %T '%s' as the cache holds it:\n%s", seed, o, o.GetName(), diff)
				}
			}
		}
	}
	if found < 1000 {
		t.Errorf("%d findings: the objects are too dull to show anything", found)
	}
}

func told(r policy.Result) []string {
	var out []string
	for _, list := range [][]policy.Finding{r.Denied, r.Warned, r.Fixed, r.Exempt} {
		for _, f := range list {
			out = append(out, f.Level.String()+" "+f.Message())
		}
	}
	return out
}

// TestCacheShares holds that equal parts of objects are one in memory, and that nothing is shared that differs.
func TestCacheShares(t *testing.T) {
	cached := shrink(t)
	make1 := func(name string) *corev1.Service {
		return cached(&corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "team", Labels: map[string]string{"app": "x"}, ManagedFields: make([]metav1.ManagedFieldsEntry, 1)},
			Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": name}, Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
			Status:     corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: "192.0.2.7"}}}, Conditions: make([]metav1.Condition, 1)},
		}).(*corev1.Service)
	}
	a, b := make1("a"), make1("b")
	if unsafe.StringData(a.Namespace) != unsafe.StringData(b.Namespace) || &a.Spec.Ports[0] != &b.Spec.Ports[0] {
		t.Error("equal parts are stored twice")
	}
	if a.Name != "a" || b.Name != "b" || len(a.Labels) > 0 || len(a.ManagedFields) > 0 || len(a.Status.Conditions) > 0 {
		t.Errorf("%v", a)
	}
	if len(a.Spec.Selector) == 0 || len(a.Status.LoadBalancer.Ingress) != 1 {
		t.Errorf("that there is a selector, and the load balancer's address, must stay: %v", a)
	}
	for i := range 100_000 { // more than is remembered
		if s := make1(fmt.Sprint("s", i)); s.Name != fmt.Sprint("s", i) || s.Spec.Ports[0].Name != "http" {
			t.Fatalf("%v", s)
		}
	}
	if a.Namespace != "team" || a.Spec.Ports[0].Port != 80 {
		t.Errorf("%v", a)
	}
}
