package rules

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"drawbridge.dev/drawbridge/policy"
)

// largeLimit is far more than a review of the largest objects takes, and far less than one whose cost is a product. It is
// processor time: other programs may be busy.
const largeLimit = 5 * time.Second

// spent is the processor time of this process so far.
func spent(t *testing.T) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// reviewLarge reviews an object as large as a request can be, as it is created and as it is written again, and holds
// that it takes no more than its length and says no more than a person reads.
func reviewLarge(t *testing.T, req policy.Request, most int) policy.Result {
	t.Helper()
	start := spent(t)
	res := All().Review(req)
	req.Old = req.Object
	All().Review(req)
	if took := spent(t) - start; took > largeLimit {
		t.Errorf("took %s", took)
	}
	if n := len(res.Denied) + len(res.Warned); n > most {
		t.Errorf("%d findings", n)
	}
	return res
}

// manyDestinations is a policy of many ranges and ports, none of which covers everything.
func manyDestinations() *policy.Config {
	config := policy.DefaultConfig()
	for i := range 100 {
		config.Destinations.Allowed = append(config.Destinations.Allowed, policy.Destination{
			Hosts: []string{fmt.Sprintf("*.example-%d.com", i)},
			CIDRs: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, 0}), 16)},
			Ports: []policy.PortRange{{First: 1, Last: 65000}},
		})
	}
	config.Grants = make([]policy.Grant, 100)
	return config
}

func largeAddress(i int) string { return fmt.Sprintf("10.%d.%d.%d", i%200, i/200%250, i/50000+1) }

// TestReviewOfLargeEndpoints holds it of many addresses with many ports, in one subset and in as many as there are
// addresses, allowed and not, new and old.
func TestReviewOfLargeEndpoints(t *testing.T) {
	const n = 20000
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "a"}}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Spec: corev1.NodeSpec{PodCIDRs: []string{"10.7.0.0/16"}}}
	world := policy.NewIndex(svc, node)
	for _, config := range []*policy.Config{policy.DefaultConfig(), manyDestinations()} {
		one := &corev1.Endpoints{ObjectMeta: svc.ObjectMeta, Subsets: make([]corev1.EndpointSubset, 1)}
		many, same, hosts := one.DeepCopy(), one.DeepCopy(), one.DeepCopy()
		many.Subsets, same.Subsets = make([]corev1.EndpointSubset, n), make([]corev1.EndpointSubset, n)
		for i := range n {
			address := corev1.EndpointAddress{IP: largeAddress(i)}
			port := corev1.EndpointPort{Name: fmt.Sprint("p", i), Port: int32(i + 1)}
			one.Subsets[0].Addresses = append(one.Subsets[0].Addresses, address)
			one.Subsets[0].Ports = append(one.Subsets[0].Ports, port)
			many.Subsets[i] = corev1.EndpointSubset{Addresses: []corev1.EndpointAddress{address}, Ports: []corev1.EndpointPort{port}}
			same.Subsets[i] = corev1.EndpointSubset{Addresses: []corev1.EndpointAddress{{IP: "10.7.0.1"}}, Ports: []corev1.EndpointPort{port}}
			hosts.Subsets[0].Addresses = append(hosts.Subsets[0].Addresses, corev1.EndpointAddress{IP: fmt.Sprint("host-", i, ".example.com")})
		}
		for _, ep := range []*corev1.Endpoints{one, many, same, hosts} {
			res := reviewLarge(t, policy.Request{Object: ep, World: world, Config: config}, 30)
			if ep == hosts && (len(res.Denied) != 6 || !strings.Contains(res.Denied[5].Message(), "and 19995 more")) {
				t.Errorf("denied %d", len(res.Denied))
			}
		}
		// Beyond what is compared with the old object nothing old is taken for granted.
		shifted := same.DeepCopy()
		for i := range shifted.Subsets {
			shifted.Subsets[i].Ports[0].Port += n
		}
		start := spent(t)
		All().Review(policy.Request{Object: shifted, Old: same, World: world, Config: config})
		if took := spent(t) - start; took > largeLimit {
			t.Errorf("took %s", took)
		}
	}
}

// TestReviewOfLargeSlices holds it of slices, and of Endpoints that stand beside many of them.
func TestReviewOfLargeSlices(t *testing.T) {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "a"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort}}
	ep := &corev1.Endpoints{ObjectMeta: svc.ObjectMeta, Subsets: make([]corev1.EndpointSubset, 500)}
	objects := []policy.Object{svc}
	for i := range 100 {
		s := &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Name: fmt.Sprint("s-", i), Namespace: "a", Labels: map[string]string{discoveryv1.LabelServiceName: "s"}},
			AddressType: discoveryv1.AddressTypeIPv4,
		}
		for j := range 1000 {
			s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{"10.1.2.3", largeAddress(j), "169.254.169.254"}})
			s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: new(fmt.Sprint("p", j)), Port: new(int32(j + 1))})
		}
		objects = append(objects, s)
	}
	for i := range ep.Subsets {
		for j := range 40 {
			ep.Subsets[i].Addresses = append(ep.Subsets[i].Addresses, corev1.EndpointAddress{IP: "10.1.2.3"})
			ep.Subsets[i].Ports = append(ep.Subsets[i].Ports, corev1.EndpointPort{Name: fmt.Sprint("p", j), Port: int32(j + 1)})
		}
	}
	world := policy.NewIndex(objects...)
	for _, config := range []*policy.Config{policy.DefaultConfig(), manyDestinations()} {
		res := reviewLarge(t, policy.Request{Object: objects[1], World: world, Config: config}, 20)
		last := res.Denied[len(res.Denied)-1].Message()
		if !strings.HasPrefix(last, "endpoints: Required value: and ") {
			t.Error(last)
		}
		reviewLarge(t, policy.Request{Object: ep, World: world, Config: config}, 20)
		reviewLarge(t, policy.Request{Object: svc, World: world, Config: config}, 20)
	}
}

// TestReviewOfLargeServices holds it of aliases with many ports and long names, of chains of aliases, and of Services
// with many external IPs.
func TestReviewOfLargeServices(t *testing.T) {
	const n = 20000
	alias := func(name, to string) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "a"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: to}}
	}
	ports := alias("ports", "api.example-7.com")
	taken := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "taken", Namespace: "a"}}
	var chain []policy.Object
	for i := range n {
		ports.Spec.Ports = append(ports.Spec.Ports, corev1.ServicePort{Name: fmt.Sprint("p", i), Port: 65100, TargetPort: intstr.FromInt(i + 1)})
		taken.Spec.ExternalIPs = append(taken.Spec.ExternalIPs, largeAddress(i))
		taken.Status.LoadBalancer.Ingress = append(taken.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: largeAddress(i)})
		chain = append(chain, alias(fmt.Sprint("s", i), fmt.Sprintf("s%d.a.svc", (i+1)%n)))
	}
	world := policy.NewIndex(append(chain, ports, taken)...)
	strict := manyDestinations()
	strict.Profile = policy.Strict
	for _, o := range []*corev1.Service{
		ports, taken, alias("long", strings.Repeat("1-", 1<<18)+"1.nip.io"), alias("labels", strings.Repeat("1.", 1<<18)+"nip.io"),
		alias("dots", strings.Repeat(".", 1<<19)+"a"), alias("slashes", strings.Repeat("//@", 1<<18)),
	} {
		reviewLarge(t, policy.Request{Object: o, World: world, Config: strict}, 30)
		reviewLarge(t, policy.Request{Object: o, World: world, Config: strict, Status: true}, 30)
	}
	res := reviewLarge(t, policy.Request{Object: chain[0], World: world, Config: strict}, 30)
	if len(res.Denied) != 1 || !strings.Contains(res.Denied[0].Message(), "must not lead through more than 64 aliases") {
		t.Error(res.Denied)
	}
}

// TestReviewOfPortsOnBothSides holds it of a Service and its endpoints, and of an Ingress to it, that have many ports each.
func TestReviewOfPortsOnBothSides(t *testing.T) {
	const n = 15000
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s0", Namespace: benchSpace}}
	ep := &corev1.Endpoints{ObjectMeta: svc.ObjectMeta, Subsets: []corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: "192.0.2.1"}}}}}
	for i := range n {
		svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{Name: fmt.Sprintf("port-%05d", i), Port: int32(i + 1)})
		ep.Subsets[0].Ports = append(ep.Subsets[0].Ports, corev1.EndpointPort{Name: fmt.Sprintf("else-%05d", i), Port: int32(i + 1)})
	}
	ing, _ := manyPaths(4000, 1)
	for i := range ing.Spec.Rules {
		ing.Spec.Rules[i].HTTP.Paths[0].Backend.Service.Port.Number = int32(n - i)
	}
	world := policy.NewIndex(svc, ep, ing)
	for _, o := range []policy.Object{svc, ep, ing} {
		reviewLarge(t, policy.Request{Object: o, World: world}, 30)
	}
}
