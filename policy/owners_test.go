package policy

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func slice(namespace, service, manager string, addresses ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: service, Labels: map[string]string{
			discoveryv1.LabelServiceName: service, discoveryv1.LabelManagedBy: manager,
		}},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	for _, a := range addresses {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}, TargetRef: &corev1.ObjectReference{Kind: "Pod"}})
	}
	return s
}

func clusterService(namespace, name string, ips ...string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: corev1.ServiceSpec{ClusterIPs: ips}}
}

func node(name, address string, ranges ...string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.NodeSpec{PodCIDRs: ranges},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: address}, {Type: corev1.NodeHostName, Address: name},
		}},
	}
}

func TestOwners(t *testing.T) {
	balanced := clusterService("web", "lb", "10.96.0.9", "fd00:96::9")
	balanced.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "203.0.113.7"}, {Hostname: "lb.example.com"}}
	balanced.Spec.ExternalIPs = []string{"198.51.100.1"}
	headless := clusterService("web", "headless", "None")
	alias := clusterService("web", "alias", "10.96.7.7")
	alias.Spec.Type = corev1.ServiceTypeExternalName
	kubernetes := slice("default", "kubernetes", "", "192.0.2.10")
	kubernetes.Endpoints[0].TargetRef = nil
	forged := slice("evil", "kubernetes", "", "192.0.2.66")
	byHand := slice("evil", "mine", "hand-written.drawbridge.dev", "192.0.2.67")
	notPods := slice("web", "x", ManagedByPods, "192.0.2.68")
	notPods.Endpoints[0].TargetRef = nil
	names := slice("web", "fqdn", ManagedByPods, "192.0.2.69")
	names.AddressType = discoveryv1.AddressTypeFQDN

	objects := []Object{
		balanced, headless, alias, kubernetes, forged, byHand, notPods, names,
		clusterService("default", "kubernetes", "10.96.0.1"),
		slice("web", "app", ManagedByPods, "10.244.0.5", "192.0.2.2"), // one is on the host network
		slice("db", "shared", ManagedByPods, "10.244.0.5"),
		node("n1", "192.0.2.2", "10.244.0.0/24", "fd00:244::/64"),
		node("n2", "192.0.2.3", "10.244.1.0/24"),
		&networkingv1.ServiceCIDR{Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.96.0.0/12", "fd00:96::/112"}}},
		&networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "more"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.244.1.128/25"}}},
	}
	var x Owners
	for _, o := range objects {
		x.Replace(nil, o)
	}
	for _, tt := range []struct {
		namespace, addr string
		want            Owner
		known           bool
	}{
		{"web", "10.96.0.9", Owner{OwnerService, "web"}, true},
		{"web", "fd00:96::9", Owner{OwnerService, "web"}, true},
		{"web", "203.0.113.7", Owner{OwnerLoadBalancer, "web"}, true},
		{"web", "198.51.100.1", Owner{}, false}, // anyone may write externalIPs
		{"web", "10.96.0.1", Owner{Kind: OwnerAPIServer}, true},
		{"web", "192.0.2.10", Owner{Kind: OwnerAPIServer}, true},
		{"web", "10.96.77.77", Owner{Kind: OwnerService}, false},
		{"web", "10.96.7.7", Owner{Kind: OwnerService}, false},
		// Pods of the namespace itself are no strangers; those of others with the address are.
		{"web", "10.244.0.5", Owner{OwnerPod, "db"}, true},
		{"db", "10.244.0.5", Owner{OwnerPod, "web"}, true},
		{"web", "192.0.2.2", Owner{Kind: OwnerNode}, true},
		{"web", "192.0.2.3", Owner{Kind: OwnerNode}, true},
		// Nobody knows whose a pod is that only a range tells of.
		{"web", "10.244.0.99", Owner{Kind: OwnerPod}, false},
		{"web", "fd00:244::7", Owner{Kind: OwnerPod}, false},
		{"web", "10.244.1.200", Owner{Kind: OwnerService}, false}, // of two ranges the stronger
		{"web", "::ffff:10.96.0.1", Owner{Kind: OwnerAPIServer}, true},
		{"web", "192.0.2.66", Owner{}, false},
		{"web", "192.0.2.67", Owner{}, false},
		{"web", "192.0.2.68", Owner{}, false},
		{"web", "192.0.2.69", Owner{}, false},
		{"web", "8.8.8.8", Owner{}, false},
	} {
		if got, known := x.Owner(tt.namespace, netip.MustParseAddr(tt.addr)); got != tt.want || known != tt.known {
			t.Errorf("%s of %s: %+v, %t; want %+v, %t", tt.addr, tt.namespace, got, known, tt.want, tt.known)
		}
	}
	// Only the namespace's own pod is left where the other one goes.
	x.Replace(objects[10], slice("db", "shared", ManagedByPods))
	if got, known := x.Owner("web", netip.MustParseAddr("10.244.0.5")); got != (Owner{}) || !known {
		t.Errorf("%+v, %t", got, known)
	}
	x.Replace(slice("db", "shared", ManagedByPods), objects[10])
	// What two objects tell of stays until neither does.
	twin := slice("web", "app2", ManagedByPods, "10.244.0.5")
	x.Replace(nil, twin)
	x.Replace(twin, nil)
	if got, _ := x.Owner("db", netip.MustParseAddr("10.244.0.5")); got != (Owner{OwnerPod, "web"}) {
		t.Errorf("%+v", got)
	}
	for _, o := range objects {
		x.Replace(o, o)
		x.Replace(o, nil)
	}
	if len(x.addrs)+len(x.prefixes)+len(x.lengths) > 0 {
		t.Errorf("objects that are gone are remembered: %v %v %v", x.addrs, x.prefixes, x.lengths)
	}
}

func TestForeign(t *testing.T) {
	world := NewIndex(
		clusterService("web", "s", "10.96.0.9"),
		slice("web", "app", ManagedByPods, "10.244.0.5"),
		slice("db", "app", ManagedByPods, "10.244.0.6"),
		node("n1", "192.0.2.2"),
	)
	c := parsed(t, "ranges: {pods: [10.244.0.0/16], services: [10.96.0.0/12, 172.16.0.0/24], nodes: [192.0.2.0/24]}")
	for addr, want := range map[string]Owner{
		"10.96.0.9":          {OwnerService, "web"},
		"10.96.0.10":         {Kind: OwnerService},
		"172.16.0.1":         {Kind: OwnerService},
		"10.244.0.5":         {}, // known to be its own, whatever the range says
		"10.244.0.6":         {OwnerPod, "db"},
		"10.244.0.7":         {Kind: OwnerPod},
		"192.0.2.2":          {Kind: OwnerNode},
		"192.0.2.3":          {Kind: OwnerNode},
		"::ffff:192.0.2.3":   {Kind: OwnerNode},
		"64:ff9b::10.96.0.9": {OwnerService, "web"},
		"2002:c000:203::1":   {Kind: OwnerNode},
		"2001:db8::1":        {},
		"8.8.8.8":            {},
	} {
		if got := c.Foreign(world, "web", netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %+v, want %+v", addr, got, want)
		}
	}
	if got := DefaultConfig().Foreign(Nothing{}, "web", netip.MustParseAddr("10.96.0.9")); got != (Owner{}) {
		t.Errorf("%+v", got)
	}
}
