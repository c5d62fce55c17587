package controller_test

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/render/controller"
)

// TestFacts holds whom the facts are taken from: what a tenant writes must not forbid an address to others, and an
// address of the cluster is one in every spelling.
func TestFacts(t *testing.T) {
	slice := func(namespace, name, manager, service, address string) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{
				discoveryv1.LabelServiceName: service, discoveryv1.LabelManagedBy: manager,
			}},
			AddressType: discoveryv1.AddressTypeIPv4,
			Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{address}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: "p"}}},
		}
	}
	facts, err := controller.NewFacts()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []policy.Object{
		slice("team-a", "pods", "endpointslice-controller.k8s.io", "web", "203.0.113.1"),
		slice("team-b", "by-hand", policy.HandWritten, "web", "203.0.113.2"),
		slice("team-b", "mirrored", "endpointslicemirroring-controller.k8s.io", "web", "203.0.113.3"),
		slice("team-b", "ours", policy.ManagedBy, "web", "203.0.113.4"),
		slice("default", "kubernetes", "", "kubernetes", "203.0.113.5"),
		slice("default", "by-hand", "", "kubernetes", "203.0.113.6"),
		&corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "web"},
			Spec:       corev1.ServiceSpec{ClusterIPs: []string{"203.0.113.7"}, ExternalIPs: []string{"203.0.113.8"}},
			Status:     corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: "203.0.113.9"}}}},
		},
		&corev1.Node{Spec: corev1.NodeSpec{PodCIDRs: []string{"198.51.100.0/24"}}},
	} {
		facts.Observe(o)
	}
	for address, refused := range map[string]bool{
		"203.0.113.1": true, "203.0.113.2": false, "203.0.113.3": false, "203.0.113.4": false,
		"203.0.113.5": true, "203.0.113.6": false,
		"203.0.113.7": true, "203.0.113.8": false, "203.0.113.9": true, "203.0.113.10": false,
		"198.51.100.7": true,
		// NAT64, 6to4, mapped: the address inside is what is reached.
		"64:ff9b::203.0.113.7": true, "64:ff9b::198.51.100.7": true, "2002:cb00:7107::1": true, "::ffff:203.0.113.7": true,
		"64:ff9b::203.0.113.10": false,
	} {
		if err := facts.Check(policy.DefaultConfig(), "site.example.com", netip.MustParseAddr(address)); (err != nil) != refused {
			t.Errorf("%s: %v, want refused: %t", address, err, refused)
		}
	}
	// A name of the cluster's DNS leads to what is in its namespace, and no further.
	for name, refused := range map[string]bool{
		"web.team-a.svc.cluster.local": false, "p-0.web.team-a.svc.cluster.local": false, "WEB.team-a.svc.cluster.local.": false,
		"web.team-b.svc.cluster.local": true, "team-a.svc.cluster.local": true, "web.team-a.svc.cluster.local.example.com": true,
		"web.team-a.svc": true,
	} {
		for _, address := range []string{"203.0.113.1", "203.0.113.7"} {
			if err := facts.Check(policy.DefaultConfig(), name, netip.MustParseAddr(address)); (err != nil) != refused {
				t.Errorf("%s at %s: %v, want refused: %t", name, address, err, refused)
			}
		}
		if facts.Check(policy.DefaultConfig(), name, netip.MustParseAddr("203.0.113.5")) == nil {
			t.Errorf("%s leads to the API server", name)
		}
	}
	config := policy.DefaultConfig()
	config.Destinations.Forbidden = []policy.Destination{{CIDRs: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}}
	config.Ranges.Pods = []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}
	for address, refused := range map[string]bool{"192.0.2.1": true, "10.244.1.1": true, "10.243.1.1": false} {
		if err := facts.Check(config, "site.example.com", netip.MustParseAddr(address)); (err != nil) != refused {
			t.Errorf("%s: %v, want refused: %t", address, err, refused)
		}
	}
}
