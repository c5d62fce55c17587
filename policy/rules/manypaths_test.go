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

// countingWorld counts what is asked of a World, by what is asked and for which name.
type countingWorld struct {
	policy.World
	asked map[string]int
}

func (w countingWorld) Service(namespace, name string) *corev1.Service {
	w.asked["Service "+namespace+"/"+name]++
	return w.World.Service(namespace, name)
}

func (w countingWorld) EndpointSlices(namespace, service string) []*discoveryv1.EndpointSlice {
	w.asked["EndpointSlices "+namespace+"/"+service]++
	return w.World.EndpointSlices(namespace, service)
}

func (w countingWorld) Endpoints(namespace, name string) *corev1.Endpoints {
	w.asked["Endpoints "+namespace+"/"+name]++
	return w.World.Endpoints(namespace, name)
}

func (w countingWorld) IngressesOf(host string) []*networkingv1.Ingress {
	w.asked["IngressesOf "+host]++
	return w.World.IngressesOf(host)
}

// manyPaths is an Ingress of n hosts with a path each to one of m Services, and those Services: aliases, addresses and
// pods in turn.
func manyPaths(n, m int) (*networkingv1.Ingress, []policy.Object) {
	ing := benchIngress("many", "s0", true)
	ing.Spec.Rules = nil
	for i := range n {
		port := networkingv1.ServiceBackendPort{Number: 443}
		if i%2 == 1 {
			port.Number = 80
		}
		ing.Spec.Rules = append(ing.Spec.Rules, networkingv1.IngressRule{Host: fmt.Sprintf("h%d.apps.example", i),
			IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{
				Path: fmt.Sprintf("/p%d(/|$)(.*)", i), PathType: new(networkingv1.PathTypeImplementationSpecific),
				Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: fmt.Sprint("s", i%m), Port: port}},
			}}}}})
	}
	var world []policy.Object
	for i := range m {
		name := fmt.Sprint("s", i)
		switch i % 4 {
		case 0:
			world = append(world, benchAlias(name))
		case 1:
			world = append(world, benchHeadless(name), benchEndpoints(name), benchSlice(name+"-1", name))
		case 2:
			alias := benchAlias(name)
			alias.Spec.ExternalName = name + ".team-b.svc.cluster.local"
			world = append(world, alias)
		}
	}
	return ing, world
}

// TestReviewOfManyPaths holds that an Ingress as large as the API server lets it be costs no more than its length, and
// that each rule asks once for a Service, however many paths lead there: a question may go to the API server.
func TestReviewOfManyPaths(t *testing.T) {
	rules := len(All().Ingresses)
	allocs := map[int]float64{}
	for _, c := range []struct{ paths, services int }{{1000, 1000}, {4000, 4000}, {4000, 3}} {
		ing, objects := manyPaths(c.paths, c.services)
		world := countingWorld{policy.NewIndex(objects...), map[string]int{}}
		req := policy.Request{Object: ing, World: world}
		res := All().Review(req)
		for what, n := range world.asked {
			// Following aliases may ask once more.
			if n > 2*rules {
				t.Fatalf("%d paths to %d Services: asked %d times for %s", c.paths, c.services, n, what)
			}
		}
		denied, warned := map[string]int{}, map[string]int{}
		for _, f := range res.Denied {
			denied[f.Rule]++
		}
		for _, f := range res.Warned {
			warned[f.Rule]++
		}
		// Every path is denied by itself, so that the proxy leaves out each of them, and no other.
		if want := c.paths / 4; c.services > 3 && denied["ingress-backend-cluster-local"] != want {
			t.Errorf("%d paths to %d Services: %d are denied, not %d", c.paths, c.services, denied["ingress-backend-cluster-local"], want)
		}
		for id, n := range warned {
			if n > maxRepeated+1 {
				t.Errorf("%d paths to %d Services: %s warns %d times", c.paths, c.services, id, n)
			}
		}
		if c.services > 3 {
			allocs[c.paths] = testing.AllocsPerRun(1, func() { All().Review(req) })
		}
	}
	if ratio := allocs[4000] / allocs[1000]; ratio > 6 {
		t.Errorf("four times the paths cost %.1f times the allocations", ratio)
	}
}

// TestReviewOfLongTexts holds the same of a text of a megabyte in every place that is read as a text.
func TestReviewOfLongTexts(t *testing.T) {
	const n = 1 << 20
	ing := benchIngress("long", "s0", true)
	ing.Spec.Rules[0].Host = strings.Repeat("xn--a.", n/6)
	ing.Spec.Rules[0].HTTP.Paths[0].Path = "/" + strings.Repeat("{a:", n/3)
	ing.Spec.Rules[0].HTTP.Paths[1].Path = "/" + strings.Repeat("(a|b)*", n/6)
	ing.Spec.TLS = []networkingv1.IngressTLS{{Hosts: []string{strings.Repeat("a-", n/2), strings.Repeat("xn--", n/4)}}}
	for key, text := range map[string]string{
		"nginx.ingress.kubernetes.io/rewrite-target":  "/" + strings.Repeat("$1", n/2),
		"nginx.ingress.kubernetes.io/auth-url":        strings.Repeat("${", n/2),
		"nginx.ingress.kubernetes.io/server-alias":    strings.Repeat("a,", n/2),
		"haproxy-ingress.github.io/headers":           strings.Repeat("%[", n/2),
		"konghq.com/ca-certificates-secrets":          strings.Repeat("a/b,", n/4),
		"ingress.kubernetes.io/tls-server-name":       strings.Repeat("a.", n/2),
		"nginx.ingress.kubernetes.io/proxy-ssl-name":  strings.Repeat("$", n),
		"nginx.ingress.kubernetes.io/upstream-vhost":  strings.Repeat("1:", n/2),
		"traefik.ingress.kubernetes.io/router.middle": strings.Repeat("@", n),
	} {
		metav1.SetMetaDataAnnotation(&ing.ObjectMeta, key, text)
	}
	for _, class := range []string{"drawbridge", "nginx", "traefik", "kong"} {
		ing.Spec.IngressClassName = &class
		svc := benchAlias("s0")
		svc.Annotations = ing.Annotations
		config := policy.DefaultConfig()
		config.Hosts = []policy.HostOwner{{Hosts: []string{"*.shop.example"}, Namespaces: []policy.Pattern{"shop"}}}
		for _, o := range []policy.Object{ing, svc} {
			res := All().Review(policy.Request{Object: o, World: policy.NewIndex(svc), Config: config})
			if o == policy.Object(ing) && len(res.Denied) == 0 {
				t.Error("nothing of that is denied")
			}
			for _, f := range findings(res) {
				checkMessage(t, f)
			}
		}
	}
}

// TestReviewOfManyAliases holds that aliases which end in the name of a large namespace cost no more than their number.
func TestReviewOfManyAliases(t *testing.T) {
	const n = 2000
	ing, _ := manyPaths(n, n)
	var objects []policy.Object
	for i := range n {
		alias := benchAlias(fmt.Sprint("s", i))
		alias.Spec.ExternalName = fmt.Sprintf("nobody%d.%s", i, benchSpace)
		objects = append(objects, alias)
	}
	world := &listCounting{World: policy.NewIndex(objects...)}
	All().Review(policy.Request{Object: ing, World: world})
	if world.lists > len(All().Ingresses) {
		t.Errorf("the Services of the namespace are listed %d times", world.lists)
	}
}

type listCounting struct {
	policy.World
	lists int
}

func (w *listCounting) Services(namespace string) []*corev1.Service {
	w.lists++
	return w.World.Services(namespace)
}
