package render_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/rules"
	"drawbridge.dev/drawbridge/render"
	"drawbridge.dev/drawbridge/render/model"
)

// world makes random objects of few names, so that they refer to each other and collide.
type world struct{ *rand.Rand }

func pick[T any](w world, list ...T) T { return list[w.IntN(len(list))] }

func (w world) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: name, Namespace: pick(w, "one", "one", "one", "one", "two"),
		CreationTimestamp: metav1.NewTime(time.Unix(int64(w.IntN(3)), 0)),
	}
}

func (w world) serviceName() string { return pick(w, "a", "b", "a-b", "c") }

func (w world) host() string {
	return pick(w, "", "a.example.com", "A.example.com", "b.example.com", "b.example.com", "*.example.com", "not a host")
}

func (w world) backend() networkingv1.IngressBackend {
	port := networkingv1.ServiceBackendPort{Number: pick[int32](w, 80, 443, 8080)}
	if w.IntN(6) == 0 {
		port = networkingv1.ServiceBackendPort{Name: pick(w, "http", "https")}
	}
	return networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: w.serviceName(), Port: port}}
}

func (w world) object(t *testing.T) policy.Object {
	switch w.IntN(12) {
	case 0, 1, 2, 3:
		ing := &networkingv1.Ingress{ObjectMeta: w.meta(pick(w, "i", "j", "k"))}
		class := pick(w, "drawbridge", "drawbridge", "drawbridge", "drawbridge", "drawbridge", "other", "mine")
		ing.Spec.IngressClassName = &class
		if w.IntN(4) == 0 {
			b := w.backend()
			ing.Spec.DefaultBackend = &b
		}
		if w.IntN(4) == 0 {
			ing.Annotations = map[string]string{pick(w, "ingress.kubernetes.io/preserve-host", "drawbridge.dev/tls-server-name"): pick(w, "true", "x.example.org")}
		}
		for range w.IntN(4) {
			rule := networkingv1.IngressRule{Host: w.host()}
			if w.IntN(5) > 0 {
				rule.HTTP = &networkingv1.HTTPIngressRuleValue{}
				for range 1 + w.IntN(3) {
					match := pick(w, networkingv1.PathTypeExact, networkingv1.PathTypePrefix)
					rule.HTTP.Paths = append(rule.HTTP.Paths, networkingv1.HTTPIngressPath{
						Path: pick(w, "/", "/a", "/a/", "/a b"), PathType: &match, Backend: w.backend(),
					})
				}
			}
			ing.Spec.Rules = append(ing.Spec.Rules, rule)
		}
		for range w.IntN(3) {
			entry := networkingv1.IngressTLS{SecretName: pick(w, "s", "t")}
			for range w.IntN(3) {
				entry.Hosts = append(entry.Hosts, w.host())
			}
			ing.Spec.TLS = append(ing.Spec.TLS, entry)
		}
		return ing
	case 4, 5, 6:
		svc := &corev1.Service{ObjectMeta: w.meta(w.serviceName())}
		switch w.IntN(6) {
		case 0:
			svc.Spec.Type = corev1.ServiceTypeExternalName
			svc.Spec.ExternalName = pick(w, "site.example.org", "192.0.2.1", "in.other.svc", "Bad Name")
		case 1:
			svc.Spec.Selector = map[string]string{"app": "x"}
			fallthrough
		default:
			svc.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080)}, {Name: "https", Port: 443}}[:1+w.IntN(2)]
		}
		return svc
	case 7, 8, 9:
		slice := &discoveryv1.EndpointSlice{ObjectMeta: w.meta(pick(w, "a-1", "a-b-1", "c-1", "x")), AddressType: discoveryv1.AddressTypeIPv4}
		if w.IntN(2) > 0 {
			slice.Labels = map[string]string{discoveryv1.LabelServiceName: w.serviceName()}
		}
		name, number := pick(w, "", "http", "https"), pick[int32](w, 8080, 443)
		slice.Ports = []discoveryv1.EndpointPort{{Name: &name, Port: &number}}
		for range 1 + w.IntN(3) {
			ready := w.IntN(5) > 0
			slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
				Addresses:  []string{pick(w, "192.0.2.1", "192.0.2.2", "127.0.0.1")},
				Conditions: discoveryv1.EndpointConditions{Ready: &ready},
			})
		}
		return slice
	case 10:
		secret := &corev1.Secret{ObjectMeta: w.meta(pick(w, "s", "t")), Type: pick(w, corev1.SecretTypeTLS, corev1.SecretTypeTLS, corev1.SecretTypeOpaque)}
		secret.StringData = map[string]string{"names": pick(w, "a.example.com", "*.example.com"), "key": pick(w, "1", "2")}
		fill(t, secret)
		return secret
	}
	switch w.IntN(8) {
	case 0:
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: pick(w, "one", "two"), Labels: pick(w, nil, map[string]string{"tier": "strict"}),
		}}
	case 1, 2:
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: pick(w, "n", "m")}}
		node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: pick(w, "192.0.2.1", "192.0.2.2", "203.0.113.1")}}
		node.Spec.PodCIDRs = pick(w, nil, []string{"192.0.2.2/31"})
		return node
	case 3, 4, 5:
		return w.object(t)
	}
	ic := &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: pick(w, "drawbridge", "mine")}}
	ic.Spec.Controller = pick(w, "drawbridge.dev/ingress", "example.com/other")
	return ic
}

func kindOf(o policy.Object) string { return reflect.TypeOf(o).Elem().Name() }

// TestIncremental changes objects at random: what is kept, and what is built anew of all objects, must never differ,
// and an update must name the hosts that differ and no others.
func TestIncremental(t *testing.T) {
	for _, level := range []policy.Level{policy.Deny, policy.Fix} {
		for seed := range uint64(6) {
			t.Run(fmt.Sprintf("%s-%d", level, seed), func(t *testing.T) {
				config := policy.DefaultConfig()
				config.Rules = map[string]policy.Level{"endpointslice-service-name": level}
				strict, err := labels.Parse("tier=strict")
				if err != nil {
					t.Fatal(err)
				}
				config.Namespaces = []policy.Override{{Labels: strict, Profile: policy.Strict, Rules: map[string]policy.Level{"endpointslice-address": policy.Warn}}}
				incremental(t, world{rand.New(rand.NewPCG(seed, 7))}, render.Options{Book: rules.All(), Config: config})
			})
		}
	}
}

func incremental(t *testing.T, w world, o render.Options) {
	type id struct{ kind, namespace, name string }
	objects := map[id]policy.Object{}
	var owners policy.Owners
	o.Owner = owners.Owner
	var learned []netip.Prefix // whose owners changed since the last update
	s := render.NewSnapshot()
	kept := render.NewIncremental(s, o)
	var early *render.Snapshot
	earlyOptions := o
	var earlyModel model.Model
	var touched render.Touched
	served, problems := 0, 0
	before := kept.Model()
	for step := range 250 {
		obj := w.object(t)
		n := id{kindOf(obj), obj.GetNamespace(), obj.GetName()}
		var u render.Touched
		for _, o := range []policy.Object{objects[n], obj} {
			if o == nil {
				continue
			}
			for _, p := range policy.PlacesOf(o) {
				learned = append(learned, p.Prefixes...)
				for _, a := range p.Addrs {
					learned = append(learned, netip.PrefixFrom(a, a.BitLen()))
				}
			}
		}
		if w.IntN(4) == 0 {
			owners.Replace(objects[n], nil)
			delete(objects, n)
			s, u = s.Without(n.kind, n.namespace, n.name)
		} else {
			owners.Replace(objects[n], obj)
			objects[n] = obj
			s, u = s.With(obj)
		}
		touched = touched.Merge(u)
		if w.IntN(3) == 0 {
			continue
		}
		touched = touched.Merge(s.TouchedByOwners(learned))
		changed := kept.Update(s, touched)
		touched, learned = render.Touched{}, nil

		var list []policy.Object
		for _, o := range objects {
			list = append(list, o)
		}
		fresh := render.NewSnapshot(list...)
		want, wantProblems := render.Build(fresh, o)
		got := kept.Model()
		if diff := cmp.Diff(printModel(want), printModel(got)); diff != "" || !reflect.DeepEqual(want, got) {
			t.Fatalf("step %d, after %v: (-full +incremental):\n%s", step, n, diff)
		}
		if diff := cmp.Diff(printProblems(wantProblems), printProblems(kept.Problems())); diff != "" {
			t.Fatalf("step %d, after %v: problems (-full +incremental):\n%s", step, n, diff)
		}
		if diff := cmp.Diff(fresh.Hosts(), s.Hosts()); diff != "" {
			t.Fatalf("step %d: hosts (-new +changed):\n%s", step, diff)
		}
		if diff := cmp.Diff(differing(before, got), changed.Hosts); diff != "" {
			t.Fatalf("step %d, after %v: changed hosts (-want +got):\n%s", step, n, diff)
		}
		if changed.Default != !reflect.DeepEqual(before.Default, got.Default) {
			t.Fatalf("step %d: Changed.Default is %t", step, changed.Default)
		}
		checkModel(t, got, wantProblems)
		before = got
		served += len(got.Hosts)
		problems += len(wantProblems)
		if step > 100 && early == nil {
			early, earlyModel = s, want
			// The owners of addresses are no part of a snapshot: they must be as they were.
			var then policy.Owners
			for _, o := range list {
				then.Replace(nil, o)
			}
			earlyOptions.Owner = then.Owner
		}
	}
	if m, _ := render.Build(early, earlyOptions); !reflect.DeepEqual(m, earlyModel) {
		t.Error("a snapshot changed after it was made")
	}
	if served < 50 || problems < 50 {
		t.Errorf("too little was built to mean anything: %d hosts, %d problems", served, problems)
	}
}

// differing compares two models by host, the certificates' text included.
func differing(a, b model.Model) []string {
	type served struct {
		host model.Host
		pem  model.Secret
	}
	index := func(m model.Model) map[string]served {
		pems := map[string]model.Secret{}
		for _, c := range m.Certificates {
			pems[c.ID] = c.PEM
		}
		hosts := map[string]served{}
		for _, h := range m.Hosts {
			hosts[h.Name] = served{h, pems[h.Certificate]}
		}
		return hosts
	}
	was, is := index(a), index(b)
	var names []string
	for name, h := range was {
		if now, ok := is[name]; !ok || !reflect.DeepEqual(h, now) {
			names = append(names, name)
		}
	}
	for name := range is {
		if _, ok := was[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// TestTouched names the dependencies that are easily forgotten.
func TestTouched(t *testing.T) {
	objects := decodeAll(t, []byte(`
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: i}
spec:
  ingressClassName: drawbridge
  defaultBackend: {service: {name: ext, port: {number: 80}}}
  tls: [{secretName: cert}]
  rules:
  - {host: b.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: ext, port: {number: 80}}}}]}}
  - {host: A.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: other, port: {number: 80}}}}]}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: j}
spec:
  ingressClassName: drawbridge
  rules:
  - {host: c.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: third, port: {number: 80}}}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: s, labels: {kubernetes.io/service-name: third}}
addressType: IPv4
endpoints: []
`))
	s := render.NewSnapshot(objects...)
	labeled := objects[2].(*discoveryv1.EndpointSlice)
	orphan := labeled.DeepCopy()
	orphan.Labels = nil
	moved := labeled.DeepCopy()
	moved.Labels = map[string]string{discoveryv1.LabelServiceName: "other"}
	service := func(name string) policy.Object {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	}
	withOrphan, _ := s.With(orphan)
	everything := render.Touched{Hosts: []string{"a.example.com", "b.example.com", "c.example.com"}, Default: true}
	first := render.Touched{Hosts: []string{"a.example.com", "b.example.com"}, Default: true}
	third := render.Touched{Hosts: []string{"c.example.com"}}
	for _, test := range []struct {
		name string
		s    *render.Snapshot
		obj  policy.Object
		want render.Touched
	}{
		{"a Service touches every host of its Ingress", s, service("ext"), first},
		{"a Service that nobody names", s, service("nobody"), render.Touched{}},
		{"a Service beside a slice of nobody's may be its own", withOrphan, service("nobody"), everything},
		{"a slice", s, labeled, third},
		{"a slice that changes Services touches both", s, moved, everything},
		{"a slice that loses its Service may be anybody's", s, orphan, everything},
		{"a slice that gains its Service was anybody's", withOrphan, labeled, everything},
		{"a certificate", s, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "cert"}, Type: corev1.SecretTypeTLS}, first},
		{"a class", s, &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "drawbridge"}}, everything},
		{"Endpoints are not served", s, &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "ext"}}, render.Touched{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, got := test.s.With(test.obj); !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
	if _, got := s.Without("Ingress", "default", "j"); !reflect.DeepEqual(got, third) {
		t.Errorf("an Ingress that goes: got %+v, want %+v", got, third)
	}
	if same, got := s.Without("Ingress", "default", "nobody"); same != s || !reflect.DeepEqual(got, render.Touched{}) {
		t.Errorf("an Ingress that never was: %+v", got)
	}
}

// TestOneChangeTouchesOneHost pins what a change costs where there are many hosts.
func TestOneChangeTouchesOneHost(t *testing.T) {
	s := render.NewSnapshot(many(2000)...)
	svc := s.Service("ns-7", "ext-7").DeepCopy()
	svc.Spec.ExternalName = "moved.example.org"
	o := render.Options{Book: rules.All()}
	kept := render.NewIncremental(s, o)
	next, touched := s.With(svc)
	if diff := cmp.Diff(render.Touched{Hosts: []string{"h7.example.com"}}, touched); diff != "" {
		t.Fatal(diff)
	}
	if diff := cmp.Diff(render.Changed{Hosts: []string{"h7.example.com"}}, kept.Update(next, touched)); diff != "" {
		t.Fatal(diff)
	}
	if h, _, ok := kept.Host("h7.example.com"); !ok || h.Routes[0].Upstream.Name != "moved.example.org" {
		t.Fatalf("not moved: %+v", h)
	}
	if changed := kept.Update(next, touched); !changed.Empty() {
		t.Fatalf("nothing changed, and still: %+v", changed)
	}
}

func many(n int) []policy.Object {
	var objects []policy.Object
	class, prefix := "drawbridge", networkingv1.PathTypePrefix
	for i := range n {
		meta := metav1.ObjectMeta{Namespace: fmt.Sprintf("ns-%d", i%1000), Name: fmt.Sprintf("ext-%d", i)}
		svc := &corev1.Service{ObjectMeta: meta}
		svc.Spec.Type, svc.Spec.ExternalName = corev1.ServiceTypeExternalName, fmt.Sprintf("e%d.example.org", i)
		ing := &networkingv1.Ingress{ObjectMeta: meta}
		ing.Spec.IngressClassName = &class
		ing.Spec.Rules = []networkingv1.IngressRule{{Host: fmt.Sprintf("h%d.example.com", i), IngressRuleValue: networkingv1.IngressRuleValue{
			HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{Path: "/", PathType: &prefix, Backend: networkingv1.IngressBackend{
				Service: &networkingv1.IngressServiceBackend{Name: meta.Name, Port: networkingv1.ServiceBackendPort{Number: 443}},
			}}}},
		}}}
		objects = append(objects, svc, ing)
	}
	return objects
}

// BenchmarkChange is one Service that changes among 50,000.
func BenchmarkChange(b *testing.B) {
	s := render.NewSnapshot(many(50_000)...)
	kept := render.NewIncremental(s, render.Options{Book: rules.All()})
	svc := s.Service("ns-7", "ext-7")
	for i := 0; b.Loop(); i++ {
		next := svc.DeepCopy()
		next.Spec.ExternalName = fmt.Sprintf("moved-%d.example.org", i)
		var touched render.Touched
		s, touched = s.With(next)
		if len(kept.Update(s, touched).Hosts) != 1 {
			b.Fatal("one host must change")
		}
	}
}

// BenchmarkBuild is all of 50,000 Services and Ingresses at once.
func BenchmarkBuild(b *testing.B) {
	objects := many(50_000)
	for b.Loop() {
		render.Build(render.NewSnapshot(objects...), render.Options{Book: rules.All()})
	}
}
