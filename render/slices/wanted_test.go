package slices

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"

	"drawbridge.dev/drawbridge/policy"
)

func endpoints(subsets ...corev1.EndpointSubset) *corev1.Endpoints {
	return &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Name: "ext", Namespace: "team", UID: "uid-1"}, Subsets: subsets}
}

func addresses(ips ...string) []corev1.EndpointAddress {
	var out []corev1.EndpointAddress
	for _, ip := range ips {
		out = append(out, corev1.EndpointAddress{IP: ip})
	}
	return out
}

func tcp(name string, number int32) corev1.EndpointPort {
	return corev1.EndpointPort{Name: name, Port: number, Protocol: corev1.ProtocolTCP}
}

func service(ports ...corev1.ServicePort) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "ext", Namespace: "team"}, Spec: corev1.ServiceSpec{Ports: ports, ClusterIP: "10.96.0.9"}}
}

// show writes slices so that a test can say what it expects, one line a slice, without the hash of the names.
func show(list []*discoveryv1.EndpointSlice) string {
	var b strings.Builder
	for _, s := range list {
		fmt.Fprintf(&b, "%s", s.AddressType)
		for _, p := range s.Ports {
			fmt.Fprintf(&b, " %s:%d/%s", *p.Name, *p.Port, *p.Protocol)
			if p.AppProtocol != nil {
				fmt.Fprintf(&b, "(%s)", *p.AppProtocol)
			}
		}
		b.WriteString(" =")
		for _, e := range s.Endpoints {
			b.WriteString(" " + e.Addresses[0])
			if !*e.Conditions.Ready {
				b.WriteString("!")
			}
			if !*e.Conditions.Serving {
				b.WriteString("~")
			}
			if e.Hostname != nil {
				b.WriteString("@" + *e.Hostname)
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestWanted(t *testing.T) {
	named := corev1.ServicePort{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080)}
	app := "https"
	for _, tt := range []struct {
		name     string
		ep       *corev1.Endpoints
		svc      *corev1.Service
		want     string
		problems []string // reason and field
	}{
		{
			name: "an unnamed port gets the name of the Service's",
			ep:   endpoints(corev1.EndpointSubset{Addresses: addresses("192.0.2.2", "192.0.2.1"), Ports: []corev1.EndpointPort{tcp("", 8080)}}),
			svc:  service(named),
			want: "IPv4 http:8080/TCP = 192.0.2.1 192.0.2.2\n",
		},
		{
			name: "two families, one not ready",
			ep: endpoints(corev1.EndpointSubset{Addresses: addresses("192.0.2.1", "2001:DB8::1"), NotReadyAddresses: addresses("192.0.2.2"),
				Ports: []corev1.EndpointPort{tcp("http", 8080)}}),
			svc:  service(named),
			want: "IPv4 http:8080/TCP = 192.0.2.1 192.0.2.2!~\nIPv6 http:8080/TCP = 2001:db8::1\n",
		},
		{
			name: "an address that is listed twice stands once, ready where either is",
			ep: endpoints(
				corev1.EndpointSubset{NotReadyAddresses: addresses("192.0.2.1"), Ports: []corev1.EndpointPort{tcp("", 8080)}},
				corev1.EndpointSubset{Addresses: []corev1.EndpointAddress{{IP: "192.0.2.01", Hostname: "a"}, {IP: "::ffff:192.0.2.1"}}, Ports: []corev1.EndpointPort{tcp("http", 8080)}}),
			svc:  service(named),
			want: "IPv4 http:8080/TCP = 192.0.2.1@a\n",
		},
		{
			name: "the ports of an address come together",
			ep: endpoints(
				corev1.EndpointSubset{Addresses: addresses("192.0.2.1", "192.0.2.2"), Ports: []corev1.EndpointPort{tcp("http", 8080)}},
				corev1.EndpointSubset{Addresses: addresses("192.0.2.1"), Ports: []corev1.EndpointPort{{Name: "tls", Port: 8443, AppProtocol: &app}}}),
			svc:  service(named, corev1.ServicePort{Name: "tls", Port: 443}),
			want: "IPv4 http:8080/TCP = 192.0.2.2\nIPv4 http:8080/TCP tls:8443/TCP(https) = 192.0.2.1\n",
		},
		{
			name: "a name stands once in a slice",
			ep: endpoints(
				corev1.EndpointSubset{Addresses: addresses("192.0.2.1"), Ports: []corev1.EndpointPort{tcp("http", 8080)}},
				corev1.EndpointSubset{Addresses: addresses("192.0.2.1"), Ports: []corev1.EndpointPort{tcp("http", 8081)}}),
			svc:  service(named),
			want: "IPv4 http:8080/TCP = 192.0.2.1\nIPv4 http:8081/TCP = 192.0.2.1\n",
		},
		{
			name: "what the API server refuses is left out by itself",
			ep: endpoints(corev1.EndpointSubset{Addresses: addresses("127.0.0.1", "192.0.2.1", "::1", "169.254.169.254", "0.0.0.0", "fe80::1%eth0", "ff02::1", "example.com", "::ffff:127.0.0.1"),
				Ports: []corev1.EndpointPort{tcp("http", 8080), tcp("Bad Name", 1), tcp("high", 70000)}}),
			svc:  service(named),
			want: "IPv4 http:8080/TCP = 192.0.2.1\n",
			problems: []string{"InvalidPort subsets[0].ports[1]", "InvalidPort subsets[0].ports[2]",
				"InvalidAddress subsets[0].addresses[0].ip", "InvalidAddress subsets[0].addresses[2].ip", "InvalidAddress subsets[0].addresses[3].ip",
				"InvalidAddress subsets[0].addresses[4].ip", "InvalidAddress subsets[0].addresses[5].ip", "InvalidAddress subsets[0].addresses[6].ip",
				"InvalidAddress subsets[0].addresses[7].ip", "InvalidAddress subsets[0].addresses[8].ip"},
		},
		{
			name:     "a port of the Service that nothing serves is reported",
			ep:       endpoints(corev1.EndpointSubset{Addresses: addresses("192.0.2.1"), Ports: []corev1.EndpointPort{tcp("web", 8080)}}),
			svc:      service(named),
			want:     "IPv4 web:8080/TCP = 192.0.2.1\n",
			problems: []string{"PortNameMismatch subsets"},
		},
		{
			name: "a headless Service without ports",
			ep:   endpoints(corev1.EndpointSubset{Addresses: addresses("192.0.2.1")}),
			svc:  &corev1.Service{Spec: corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone}},
			want: "IPv4 = 192.0.2.1\n",
		},
		{
			name: "addresses that are published before they are ready",
			ep:   endpoints(corev1.EndpointSubset{NotReadyAddresses: addresses("192.0.2.1"), Ports: []corev1.EndpointPort{tcp("http", 8080)}}),
			svc:  &corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{named}, PublishNotReadyAddresses: true}},
			want: "IPv4 http:8080/TCP = 192.0.2.1~\n",
		},
		{
			name: "hostnames that the API server refuses are left off",
			ep: endpoints(corev1.EndpointSubset{Addresses: []corev1.EndpointAddress{{IP: "192.0.2.1", Hostname: "not_a.label"}, {IP: "192.0.2.2", Hostname: "b"}},
				Ports: []corev1.EndpointPort{tcp("http", 8080)}}),
			svc:  service(named),
			want: "IPv4 http:8080/TCP = 192.0.2.1 192.0.2.2@b\n",
		},
		{name: "nothing", ep: endpoints(), svc: service(named)},
		{
			name: "without its Service the names stay",
			ep:   endpoints(corev1.EndpointSubset{Addresses: addresses("192.0.2.1"), Ports: []corev1.EndpointPort{tcp("", 8080)}}),
			want: "IPv4 :8080/TCP = 192.0.2.1\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := tt.ep.DeepCopy()
			got, problems := Wanted(tt.ep, tt.svc, nil)
			text := strings.Split(strings.TrimSuffix(show(got), "\n"), "\n")
			want := strings.Split(strings.TrimSuffix(tt.want, "\n"), "\n")
			if diff := cmp.Diff(want, text, unordered); diff != "" {
				t.Errorf("slices (-want +got):\n%s", diff)
			}
			var short []string
			for _, p := range problems {
				short = append(short, p.Reason+" "+p.Field)
				if strings.ContainsAny(p.Message, "\n\r\x00") {
					t.Errorf("message is not one line: %q", p.Message)
				}
			}
			if diff := cmp.Diff(tt.problems, short); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, tt.ep); diff != "" {
				t.Errorf("the input was changed:\n%s", diff)
			}
			valid(t, tt.ep, got)
		})
	}
}

// unordered compares lines as a set: the hash in a slice's name decides its place.
var unordered = cmp.Transformer("unordered", func(in []string) map[string]int {
	out := map[string]int{}
	for _, s := range in {
		out[s]++
	}
	return out
})

// valid holds what is true of any result.
func valid(t *testing.T, ep *corev1.Endpoints, got []*discoveryv1.EndpointSlice) {
	t.Helper()
	names := map[string]bool{}
	once := map[string]bool{}
	for _, s := range got {
		if names[s.Name] {
			t.Errorf("name %q stands twice", s.Name)
		}
		names[s.Name] = true
		if errs := validation.IsDNS1123Subdomain(s.Name); len(errs) > 0 && len(validation.IsDNS1123Subdomain(ep.Name)) == 0 {
			t.Errorf("name %q: %v", s.Name, errs)
		}
		if len(s.Endpoints) == 0 || len(s.Endpoints) > MaxEndpoints {
			t.Errorf("%s has %d endpoints", s.Name, len(s.Endpoints))
		}
		if s.Labels[discoveryv1.LabelServiceName] != ep.Name || s.Labels[discoveryv1.LabelManagedBy] != policy.ManagedBy {
			t.Errorf("labels: %v", s.Labels)
		}
		if (ep.UID != "") != Owns(ep, s) {
			t.Errorf("owner: %v", s.OwnerReferences)
		}
		ports := map[string]bool{}
		for _, p := range s.Ports {
			if ports[*p.Name] {
				t.Errorf("port name %q stands twice in %s", *p.Name, s.Name)
			}
			ports[*p.Name] = true
			q := port{name: *p.Name, number: *p.Port, protocol: *p.Protocol}
			if err := q.check(); err != nil {
				t.Errorf("port: %v", err)
			}
		}
		for _, e := range s.Endpoints {
			if len(e.Addresses) != 1 {
				t.Fatalf("%d addresses in one endpoint", len(e.Addresses))
			}
			addr, err := netip.ParseAddr(e.Addresses[0])
			if err != nil || addr.String() != e.Addresses[0] || addr.Is4In6() || addr.IsLoopback() || addr.IsUnspecified() ||
				addr.IsLinkLocalUnicast() || addr.IsLinkLocalMulticast() || addr.Is4() != (s.AddressType == discoveryv1.AddressTypeIPv4) {
				t.Errorf("address %q in a slice of %s", e.Addresses[0], s.AddressType)
			}
			for _, p := range s.Ports {
				key := fmt.Sprintf("%s %s %d %s", addr, *p.Name, *p.Port, *p.Protocol)
				if p.AppProtocol != nil {
					key += *p.AppProtocol
				}
				if once[key] {
					t.Errorf("%s stands twice", key)
				}
				once[key] = true
			}
		}
	}
}

func TestSliceIsComplete(t *testing.T) {
	node := "node-1"
	ep := endpoints(corev1.EndpointSubset{
		Addresses: []corev1.EndpointAddress{{IP: "192.0.2.1", NodeName: &node, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: "p"}}},
		Ports:     []corev1.EndpointPort{tcp("http", 8080)},
	})
	svc := service(corev1.ServicePort{Name: "http", Port: 80})
	svc.Spec.ClusterIP = corev1.ClusterIPNone
	svc.Labels = map[string]string{serviceProxyName: "other", "mine": "not copied"}
	got, _ := Wanted(ep, svc, nil)
	if len(got) != 1 {
		t.Fatalf("%d slices", len(got))
	}
	yes, no := true, false
	name, number, protocol := "http", int32(8080), corev1.ProtocolTCP
	want := &discoveryv1.EndpointSlice{
		TypeMeta: metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"},
		ObjectMeta: metav1.ObjectMeta{
			Name: got[0].Name, Namespace: "team",
			Labels: map[string]string{"kubernetes.io/service-name": "ext", "endpointslice.kubernetes.io/managed-by": "drawbridge.dev",
				"service.kubernetes.io/headless": "", "service.kubernetes.io/service-proxy-name": "other"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Endpoints", Name: "ext", UID: "uid-1", Controller: &yes}},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &number, Protocol: &protocol}},
		Endpoints: []discoveryv1.Endpoint{{
			Addresses: []string{"192.0.2.1"}, NodeName: &node, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: "p"},
			Conditions: discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes, Terminating: &no},
		}},
	}
	if diff := cmp.Diff(want, got[0]); diff != "" {
		t.Error(diff)
	}
	if !strings.HasPrefix(got[0].Name, "ext-") || !strings.HasSuffix(got[0].Name, "-0") {
		t.Errorf("name %q", got[0].Name)
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"a", strings.Repeat("a", 253), strings.Repeat("a.", 126) + "a", strings.Repeat("b-", 126) + "b"} {
		taken := map[string]bool{}
		for range 12 {
			got := freeName(name, "key", taken)
			if errs := validation.IsDNS1123Subdomain(got); len(errs) > 0 {
				t.Errorf("%q: %v", got, errs)
			}
			if taken[got] {
				t.Errorf("%q is taken", got)
			}
			taken[got] = true
		}
	}
}

// A foreign slice may have the label, or the reference, or the very name: it is passed over, and its endpoints aren't
// taken for ours.
func TestForeignSlices(t *testing.T) {
	ep := endpoints(corev1.EndpointSubset{Addresses: addresses("192.0.2.1"), Ports: []corev1.EndpointPort{tcp("http", 8080)}})
	first, _ := Wanted(ep, nil, nil)
	for name, change := range map[string]func(*discoveryv1.EndpointSlice){
		"no reference":             func(s *discoveryv1.EndpointSlice) { s.OwnerReferences = nil },
		"no controller":            func(s *discoveryv1.EndpointSlice) { s.OwnerReferences[0].Controller = nil },
		"former Endpoints":         func(s *discoveryv1.EndpointSlice) { s.OwnerReferences[0].UID = "uid-0" },
		"another kind":             func(s *discoveryv1.EndpointSlice) { s.OwnerReferences[0].Kind = "Service" },
		"another label":            func(s *discoveryv1.EndpointSlice) { s.Labels[discoveryv1.LabelManagedBy] = "me" },
		"on its way to be deleted": func(s *discoveryv1.EndpointSlice) { s.DeletionTimestamp = &metav1.Time{} },
	} {
		t.Run(name, func(t *testing.T) {
			foreign := first[0].DeepCopy()
			change(foreign)
			got, _ := Wanted(ep, nil, []*discoveryv1.EndpointSlice{foreign})
			if len(got) != 1 || got[0].Name == foreign.Name || len(got[0].Endpoints) != 1 {
				t.Errorf("got %s of name %s beside %s", show(got), got[0].Name, foreign.Name)
			}
		})
	}
}

// The property that nodes pay for: the change of one address changes one slice.
func TestPackingIsStable(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	ports := []corev1.EndpointPort{tcp("http", 8080)}
	free := rng.Perm(5000)
	next := func() string { n := free[0]; free = free[1:]; return fmt.Sprintf("198.18.%d.%d", n/250, n%250+1) }
	var ips []string
	for range 730 {
		ips = append(ips, next())
	}
	ep := endpoints(corev1.EndpointSubset{Addresses: addresses(ips...), Ports: ports})
	stored, _ := Wanted(ep, nil, nil)
	if len(stored) != 8 {
		t.Fatalf("%d slices for 730 endpoints", len(stored))
	}
	for step := range 400 {
		i := rng.IntN(len(ips))
		most := 1
		switch rng.IntN(4) {
		case 0: // replaced
			ips[i] = next()
		case 1: // added
			ips = append(ips, next())
		case 2: // removed
			ips[i] = ips[len(ips)-1]
			ips = ips[:len(ips)-1]
		case 3: // listed in another order
			rng.Shuffle(len(ips), func(i, j int) { ips[i], ips[j] = ips[j], ips[i] })
			most = 0
		}
		ep = endpoints(corev1.EndpointSubset{Addresses: addresses(ips...), Ports: ports})
		rng.Shuffle(len(stored), func(i, j int) { stored[i], stored[j] = stored[j], stored[i] })
		got, _ := Wanted(ep, nil, stored)
		valid(t, ep, got)
		apply, remove := changes(got, stored)
		if n := len(apply) + len(remove); n > most {
			t.Fatalf("step %d wrote %d slices", step, n)
		}
		count := 0
		for _, s := range got {
			count += len(s.Endpoints)
		}
		if count != len(ips) {
			t.Fatalf("step %d: %d endpoints for %d addresses", step, count, len(ips))
		}
		stored = got
		for _, s := range stored {
			s.UID = "" // as a slice read from the API server has another object
		}
	}
}

func TestChangesGainFirst(t *testing.T) {
	ports := []corev1.EndpointPort{tcp("http", 8080)}
	var ips []string
	for i := range 150 {
		ips = append(ips, fmt.Sprintf("198.18.0.%d", i+1))
	}
	ep := endpoints(corev1.EndpointSubset{Addresses: addresses(ips...), Ports: ports})
	stored, _ := Wanted(ep, nil, nil)
	moved := []*discoveryv1.EndpointSlice{stored[0].DeepCopy(), stored[1].DeepCopy()}
	last := len(moved[0].Endpoints) - 1
	moved[1].Endpoints = append(moved[1].Endpoints, moved[0].Endpoints[last])
	moved[0].Endpoints = moved[0].Endpoints[:last]
	apply, remove := changes(moved, stored)
	if len(apply) != 2 || apply[0].Name != moved[1].Name || len(remove) != 0 {
		t.Errorf("the slice that gains must come first: %v", show(apply))
	}
}

// FuzzWanted feeds Endpoints as hostile as a file can hold, and slices that somebody changed.
func FuzzWanted(f *testing.F) {
	f.Add("192.0.2.1 2001:db8::1", "192.0.2.1", "http", int32(80), "", int32(443), "ext", "http", uint8(3))
	f.Add("::ffff:127.0.0.1 010.1.2.3", "x\ny", "", int32(0), "UPPER", int32(70000), strings.Repeat("a", 253), "", uint8(200))
	f.Fuzz(func(t *testing.T, ready, notReady, name1 string, port1 int32, name2 string, port2 int32, epName, svcPort string, many uint8) {
		ips := strings.Fields(ready)
		for i := range int(many) {
			ips = append(ips, fmt.Sprintf("198.51.100.%d", i))
		}
		ep := endpoints(
			corev1.EndpointSubset{Addresses: addresses(ips...), NotReadyAddresses: addresses(strings.Fields(notReady)...), Ports: []corev1.EndpointPort{tcp(name1, port1), tcp(name2, port2)}},
			corev1.EndpointSubset{Addresses: addresses(strings.Fields(notReady)...), Ports: []corev1.EndpointPort{{Name: name2, Port: port1, Protocol: corev1.Protocol(name1)}}},
		)
		ep.Name = epName
		svc := service(corev1.ServicePort{Name: svcPort, Port: port1})
		got, problems := Wanted(ep, svc, nil)
		valid(t, ep, got)
		for _, p := range problems {
			if strings.ContainsAny(p.Message, "\n\r\x00\x1b") {
				t.Errorf("message is not one clean line: %q", p.Message)
			}
		}
		again, _ := Wanted(ep, svc, got)
		if apply, remove := changes(again, got); len(apply)+len(remove) != 0 {
			t.Errorf("not settled: %d to apply, %d to remove", len(apply), len(remove))
		}
		// Somebody took slices of ours apart; the result is whole again all the same.
		for _, s := range got {
			s.Endpoints = append(s.Endpoints, s.Endpoints...)
			s.Endpoints[0].Addresses = append(s.Endpoints[0].Addresses, "not an address")
		}
		mended, _ := Wanted(ep, svc, got)
		valid(t, ep, mended)
	})
}
