package rules

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"drawbridge.dev/drawbridge/policy"
)

const (
	benchSpace = "team-a"
	// neighbors is the number of objects of each kind beside the one under review, in its namespace.
	neighbors = 50
	// ingressGoal is what a review of a typical Ingress may take, in nanoseconds.
	ingressGoal = 20_000
)

func benchMeta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: benchSpace, Name: name, UID: "5f0c6d3e-3a3e-4e0a-9c0e-1f2a3b4c5d6e", ResourceVersion: "123456", Generation: 2,
		Labels: map[string]string{
			"app.kubernetes.io/name": name, "app.kubernetes.io/instance": name, "app.kubernetes.io/managed-by": "Helm",
		},
		Annotations: map[string]string{"meta.helm.sh/release-name": name, "meta.helm.sh/release-namespace": benchSpace},
	}
}

func benchAlias(name string) *corev1.Service {
	return &corev1.Service{ObjectMeta: benchMeta(name), Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeExternalName, ExternalName: name + ".example.com", SessionAffinity: corev1.ServiceAffinityNone,
		Ports: []corev1.ServicePort{{Name: "https", Protocol: corev1.ProtocolTCP, Port: 443, TargetPort: intstr.FromInt32(443)}},
	}}
}

// benchHeadless is a Service whose addresses somebody wrote.
func benchHeadless(name string) *corev1.Service {
	return &corev1.Service{ObjectMeta: benchMeta(name), Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeClusterIP, ClusterIP: "10.96.7.8", ClusterIPs: []string{"10.96.7.8"}, SessionAffinity: corev1.ServiceAffinityNone,
		Ports: []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromInt32(8080)}},
	}}
}

func benchEndpoints(name string) *corev1.Endpoints {
	return &corev1.Endpoints{ObjectMeta: benchMeta(name), Subsets: []corev1.EndpointSubset{{
		Addresses: []corev1.EndpointAddress{{IP: "203.0.113.7"}, {IP: "203.0.113.8"}, {IP: "203.0.113.9"}},
		Ports:     []corev1.EndpointPort{{Name: "http", Port: 8080, Protocol: corev1.ProtocolTCP}},
	}}}
}

func benchSlice(name, service string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: benchMeta(name), AddressType: discoveryv1.AddressTypeIPv4,
		Ports: []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(8080)), Protocol: new(corev1.ProtocolTCP)}},
	}
	s.Labels[discoveryv1.LabelServiceName] = service
	s.Labels[discoveryv1.LabelManagedBy] = policy.HandWritten
	for i := range 3 {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{fmt.Sprintf("203.0.113.%d", i+7)}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)},
		})
	}
	return s
}

// benchIngress has one host with two paths to a site outside, and what its controller needs to reach it.
func benchIngress(name, service string, annotated bool) *networkingv1.Ingress {
	ing := &networkingv1.Ingress{ObjectMeta: benchMeta(name), Spec: networkingv1.IngressSpec{
		IngressClassName: new("drawbridge"),
		TLS:              []networkingv1.IngressTLS{{Hosts: []string{name + ".apps.example"}, SecretName: name + "-tls"}},
	}}
	backend := networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{
		Name: service, Port: networkingv1.ServiceBackendPort{Number: 443},
	}}
	ing.Spec.Rules = []networkingv1.IngressRule{{
		Host: name + ".apps.example",
		IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{
			{Path: "/", PathType: new(networkingv1.PathTypePrefix), Backend: backend},
			{Path: "/api", PathType: new(networkingv1.PathTypePrefix), Backend: backend},
		}}},
	}}
	if annotated {
		ing.Annotations["ingress.kubernetes.io/preserve-host"] = "false"
		ing.Annotations["ingress.kubernetes.io/backend-protocol"] = "HTTPS"
	}
	return ing
}

// benchWorld is a namespace of a few dozen objects of each kind.
func benchWorld() policy.World {
	objects := []policy.Object{
		&networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "drawbridge"}, Spec: networkingv1.IngressClassSpec{Controller: "drawbridge.dev/ingress"}},
	}
	for i := range neighbors {
		alias, addresses := fmt.Sprint("alias-", i), fmt.Sprint("addresses-", i)
		objects = append(objects, benchAlias(alias), benchIngress(alias, alias, true),
			benchHeadless(addresses), benchEndpoints(addresses), benchSlice(addresses+"-1", addresses))
	}
	return policy.NewIndex(objects...)
}

// typical is an object of each kind that no rule denies, as it is written most often.
var typical = []struct {
	name   string
	object policy.Object
}{
	{"Service", benchAlias("alias-0")},
	{"Endpoints", benchEndpoints("addresses-0")},
	{"EndpointSlice", benchSlice("addresses-0-1", "addresses-0")},
	{"Ingress", benchIngress("alias-0", "alias-0", true)},
}

// BenchmarkReview measures all rules of a kind, as the profile baseline has them, on a typical object: as it is
// created, as it is written again, and an Ingress that is mended. Of the first Ingress the metric goal is the share of
// the 20 microseconds that it may take.
func BenchmarkReview(b *testing.B) {
	world, config := benchWorld(), policy.DefaultConfig()
	run := func(name string, req policy.Request) {
		req.World, req.Config = world, config
		b.Run(name, func(b *testing.B) {
			if denied := All().Review(req).Denied; len(denied) > 0 {
				b.Fatal(denied[0].Message())
			}
			b.ReportAllocs()
			for b.Loop() {
				All().Review(req)
			}
			if name == "Ingress/create" {
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/ingressGoal, "goal")
			}
		})
	}
	for _, t := range typical {
		run(t.name+"/create", policy.Request{Object: t.object})
		run(t.name+"/update", policy.Request{Object: t.object, Old: t.object})
	}
	run("Ingress/mend", policy.Request{Object: benchIngress("alias-0", "alias-0", false)})
}

// BenchmarkRule measures each rule alone on the typical object of its kind. One that the profile has off is run as a
// warning. What a review costs without any rule is BenchmarkRule/none.
func BenchmarkRule(b *testing.B) {
	world, book := benchWorld(), All()
	run := func(kind, id string, levels policy.Levels, one policy.Book) {
		req := policy.Request{World: world, Config: policy.DefaultConfig()}
		if levels.Baseline == policy.Off {
			req.Config.Rules = map[string]policy.Level{id: policy.Warn}
		}
		for _, t := range typical {
			if t.name == kind {
				req.Object = t.object
			}
		}
		b.Run(id+"/"+kind, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				one.Review(req)
			}
		})
	}
	run("Ingress", "none", policy.Same(policy.Warn), policy.Book{})
	for _, r := range book.Services {
		run("Service", r.ID, r.Levels, policy.Book{Services: []policy.Rule[*corev1.Service]{r}})
	}
	for _, r := range book.Endpoints {
		run("Endpoints", r.ID, r.Levels, policy.Book{Endpoints: []policy.Rule[*corev1.Endpoints]{r}})
	}
	for _, r := range book.EndpointSlices {
		run("EndpointSlice", r.ID, r.Levels, policy.Book{EndpointSlices: []policy.Rule[*discoveryv1.EndpointSlice]{r}})
	}
	for _, r := range book.Ingresses {
		run("Ingress", r.ID, r.Levels, policy.Book{Ingresses: []policy.Rule[*networkingv1.Ingress]{r}})
	}
}
