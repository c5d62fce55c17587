package audit

import (
	"context"
	"fmt"
	"reflect"
	"runtime"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/rules"
	"drawbridge.dev/drawbridge/webhook"
)

// filled is a cache whose informers are real, and are filled from lists instead of by an API server.
type filled struct {
	cache.Cache
	objects map[reflect.Type][]apiruntime.Object
	started []toolscache.SharedIndexInformer
}

func (f *filled) GetInformer(_ context.Context, o client.Object, _ ...cache.InformerGetOption) (cache.Informer, error) {
	items := f.objects[reflect.TypeOf(o)]
	gvks, _, err := scheme.Scheme.ObjectKinds(o)
	if err != nil {
		return nil, err
	}
	list, err := scheme.Scheme.New(gvks[0].GroupVersion().WithKind(gvks[0].Kind + "List"))
	if err != nil {
		return nil, err
	}
	if err := meta.SetList(list, items); err != nil {
		return nil, err
	}
	informer := toolscache.NewSharedIndexInformer(toolscache.ToListWatcherWithWatchListSemantics(&toolscache.ListWatch{
		ListWithContextFunc: func(context.Context, metav1.ListOptions) (apiruntime.Object, error) { return list, nil },
		WatchFuncWithContext: func(context.Context, metav1.ListOptions) (watch.Interface, error) {
			return watch.NewFake(), nil
		},
	}, noWatchList{}), o, 0, toolscache.Indexers{toolscache.NamespaceIndex: toolscache.MetaNamespaceIndexFunc})
	f.started = append(f.started, informer)
	return informer, nil
}

// noWatchList tells the reflector to list first and then to watch.
type noWatchList struct{}

func (noWatchList) IsWatchListSemanticsUnSupported() bool { return true }

// worldOf is the World of the manager, holding these objects.
func worldOf(tb testing.TB, objects []policy.Object) *webhook.Cluster {
	tb.Helper()
	f := &filled{objects: map[reflect.Type][]apiruntime.Object{}}
	for _, o := range objects {
		f.objects[reflect.TypeOf(o)] = append(f.objects[reflect.TypeOf(o)], o)
	}
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(networkingv1.SchemeGroupVersion.WithKind("ServiceCIDR"), meta.RESTScopeRoot)
	w, err := webhook.NewCluster(tb.Context(), f, nil, mapper, nil)
	if err != nil {
		tb.Fatal(err)
	}
	for _, informer := range f.started {
		go informer.RunWithContext(tb.Context())
	}
	for !w.HasSynced() {
		time.Sleep(10 * time.Millisecond)
	}
	return w
}

func metaOf(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: namespace, Name: name, UID: types.UID(namespace + "/" + name), ResourceVersion: "1",
		Labels: map[string]string{"app.kubernetes.io/name": name, "app.kubernetes.io/managed-by": "Helm"},
	}
}

// mix is n objects as clusters hold them, and what is beside them: of ten four are Services (two with pods, one with
// addresses that somebody wrote, one external name), three EndpointSlices, of which the control plane made two, one
// Endpoints, and two Ingresses. Every tenth of a kind has something wrong with it. A namespace holds about a hundred.
func mix(n int) []policy.Object {
	objects := []policy.Object{
		&networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "nginx"}, Spec: networkingv1.IngressClassSpec{Controller: "k8s.io/ingress-nginx"}},
		&networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "drawbridge"}, Spec: networkingv1.IngressClassSpec{Controller: "drawbridge.dev/ingress"}},
	}
	for i := range 50 {
		objects = append(objects, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("node-", i)}, Status: corev1.NodeStatus{
			Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("10.0.0.%d", i+1)}},
		}})
	}
	for i := range n / 10 {
		namespace := fmt.Sprintf("team-%d", i/10)
		wrong := i%10 == 0
		if i%10 == 0 {
			objects = append(objects, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
		}
		for _, name := range []string{fmt.Sprint("web-", i), fmt.Sprint("api-", i)} {
			objects = append(objects, &corev1.Service{ObjectMeta: metaOf(namespace, name), Spec: corev1.ServiceSpec{
				Type: corev1.ServiceTypeClusterIP, ClusterIP: fmt.Sprintf("10.96.%d.%d", i/250, i%250), ClusterIPs: []string{fmt.Sprintf("10.96.%d.%d", i/250, i%250)},
				Selector: map[string]string{"app": name}, Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080), Protocol: corev1.ProtocolTCP}},
			}})
			slice := &discoveryv1.EndpointSlice{
				ObjectMeta: metaOf(namespace, name+"-x7k2p"), AddressType: discoveryv1.AddressTypeIPv4,
				Ports: []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(8080)), Protocol: new(corev1.ProtocolTCP)}},
			}
			slice.Labels = map[string]string{discoveryv1.LabelServiceName: name, discoveryv1.LabelManagedBy: policy.ManagedByPods}
			slice.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: name, Controller: new(true)}}
			for j := range 5 {
				slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
					Addresses: []string{fmt.Sprintf("10.244.%d.%d", i%250, j+1)}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)},
					TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: namespace, Name: fmt.Sprint(name, "-", j)},
				})
			}
			objects = append(objects, slice)
		}
		external, legacy := fmt.Sprint("site-", i), fmt.Sprint("legacy-", i)
		host := external + ".example.com"
		address := "203.0.113.7"
		if wrong {
			host, address = "203.0.113.9", "169.254.169.254"
		}
		objects = append(objects,
			&corev1.Service{ObjectMeta: metaOf(namespace, external), Spec: corev1.ServiceSpec{
				Type: corev1.ServiceTypeExternalName, ExternalName: host, Ports: []corev1.ServicePort{{Name: "https", Port: 443, TargetPort: intstr.FromInt32(443), Protocol: corev1.ProtocolTCP}},
			}},
			&corev1.Service{ObjectMeta: metaOf(namespace, legacy), Spec: corev1.ServiceSpec{
				Type: corev1.ServiceTypeClusterIP, ClusterIP: corev1.ClusterIPNone, ClusterIPs: []string{corev1.ClusterIPNone},
				Ports: []corev1.ServicePort{{Name: "db", Port: 5432, TargetPort: intstr.FromInt32(5432), Protocol: corev1.ProtocolTCP}},
			}},
			&corev1.Endpoints{ObjectMeta: metaOf(namespace, legacy), Subsets: []corev1.EndpointSubset{{
				Addresses: []corev1.EndpointAddress{{IP: address}}, Ports: []corev1.EndpointPort{{Name: "db", Port: 5432, Protocol: corev1.ProtocolTCP}},
			}}})
		slice := &discoveryv1.EndpointSlice{
			ObjectMeta: metaOf(namespace, legacy+"-b2c4d"), AddressType: discoveryv1.AddressTypeIPv4,
			Ports:     []discoveryv1.EndpointPort{{Name: new("db"), Port: new(int32(5432)), Protocol: new(corev1.ProtocolTCP)}},
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)}}},
		}
		slice.Labels = map[string]string{discoveryv1.LabelServiceName: legacy, discoveryv1.LabelManagedBy: policy.ManagedByMirroring}
		objects = append(objects, slice)
		for _, service := range []string{external, fmt.Sprint("web-", i)} {
			ing := &networkingv1.Ingress{ObjectMeta: metaOf(namespace, service), Spec: networkingv1.IngressSpec{IngressClassName: new("nginx")}}
			if service == external && !wrong {
				ing.Annotations = map[string]string{
					"nginx.ingress.kubernetes.io/backend-protocol": "HTTPS", "nginx.ingress.kubernetes.io/upstream-vhost": host,
				}
			}
			ing.Spec.Rules = []networkingv1.IngressRule{{Host: service + ".apps.example", IngressRuleValue: networkingv1.IngressRuleValue{
				HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{
					{Path: "/", PathType: new(networkingv1.PathTypePrefix), Backend: backendOf(service)},
					{Path: "/api", PathType: new(networkingv1.PathTypePrefix), Backend: backendOf(service)},
				}},
			}}}
			objects = append(objects, ing)
		}
	}
	return objects
}

func backendOf(service string) networkingv1.IngressBackend {
	port := int32(80)
	if service[0] == 's' {
		port = 443
	}
	return networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: service, Port: networkingv1.ServiceBackendPort{Number: port}}}
}

// goal is what an audit of 10,000 objects may take on one core.
const goal = 2 * time.Second

// BenchmarkAudit measures a whole run over 10,000 stored objects on one core, from the caches to the metrics: as the
// leader does it, with its pauses, and without. The metric goal is the share of the two seconds that it may take.
func BenchmarkAudit(b *testing.B) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	world := worldOf(b, mix(10_000))
	for name, pauses := range map[string]bool{"with pauses": true, "without": false} {
		b.Run(name, func(b *testing.B) {
			a := &auditor{metrics: &metrics{}, Options: Options{
				Book: rules.All(), World: world.Cached, Objects: world.Objects, Policy: policy.DefaultConfig,
			}}
			for b.Loop() {
				out, err := a.judge(b.Context(), a.Policy(), pauses)
				if err != nil {
					b.Fatal(err)
				}
				a.metrics.show(out)
				if n := sum(out.objects); n != 10_000 || out.total(levelDeny) == 0 || out.total(levelWarn) == 0 {
					b.Fatalf("%d objects, %d denied, %d warned of", n, out.total(levelDeny), out.total(levelWarn))
				}
			}
			took := b.Elapsed() / time.Duration(b.N)
			if took > goal {
				b.Errorf("%s for 10,000 objects, more than %s", took, goal)
			}
			b.ReportMetric(float64(took)/float64(goal), "goal")
			b.ReportMetric(float64(took.Microseconds())/10_000, "µs/object")
		})
	}
}
