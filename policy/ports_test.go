package policy

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestPortNames(t *testing.T) {
	to := func(name string, port int32, target intstr.IntOrString) corev1.ServicePort {
		return corev1.ServicePort{Name: name, Port: port, TargetPort: target}
	}
	plain := func(name string, port int32) corev1.ServicePort { return corev1.ServicePort{Name: name, Port: port} }
	udp := func(name string, port int32) corev1.ServicePort {
		return corev1.ServicePort{Name: name, Port: port, Protocol: corev1.ProtocolUDP}
	}
	for name, c := range map[string]struct {
		service []corev1.ServicePort
		ports   []EndpointPort
		names   []string
		matched []bool
	}{
		"nothing":              {nil, nil, []string{}, []bool{}},
		"equal":                {[]corev1.ServicePort{plain("a", 1), plain("b", 2)}, []EndpointPort{{Name: "b"}, {Name: "a"}}, []string{"b", "a"}, []bool{true, true}},
		"no names":             {[]corev1.ServicePort{plain("", 1)}, []EndpointPort{{Port: 9}}, []string{""}, []bool{true}},
		"seed 001":             {[]corev1.ServicePort{to("http", 80, intstr.FromInt32(80))}, []EndpointPort{{Port: 80}}, []string{"http"}, []bool{true}},
		"by target":            {[]corev1.ServicePort{to("a", 1, intstr.FromInt32(8080)), plain("b", 2)}, []EndpointPort{{Port: 8080}, {Port: 2}}, []string{"a", "b"}, []bool{true, true}},
		"only port":            {[]corev1.ServicePort{plain("a", 1)}, []EndpointPort{{Port: 9}}, []string{"a"}, []bool{true}},
		"only port, one of us": {[]corev1.ServicePort{plain("a", 1)}, []EndpointPort{{Name: "x", Port: 8}, {Port: 9}}, []string{"x", "a"}, []bool{true}},
		"only port, two of us": {[]corev1.ServicePort{plain("a", 1)}, []EndpointPort{{Port: 8}, {Port: 9}}, []string{"", ""}, []bool{false}},
		"only port, taken":     {[]corev1.ServicePort{plain("a", 1)}, []EndpointPort{{Name: "a", Port: 8}, {Port: 1}}, []string{"a", ""}, []bool{true}},
		"ambiguous": {[]corev1.ServicePort{to("a", 1, intstr.FromInt32(8)), to("b", 2, intstr.FromInt32(8))},
			[]EndpointPort{{Port: 8}}, []string{""}, []bool{false, false}},
		"one of two has its partner": {[]corev1.ServicePort{to("a", 1, intstr.FromInt32(8)), to("b", 2, intstr.FromInt32(8))},
			[]EndpointPort{{Port: 8}, {Name: "a", Port: 8}}, []string{"b", "a"}, []bool{true, true}},
		"a set name stays":             {[]corev1.ServicePort{plain("a", 1)}, []EndpointPort{{Name: "x", Port: 1}}, []string{"x"}, []bool{false}},
		"protocol":                     {[]corev1.ServicePort{plain("a", 1)}, []EndpointPort{{Name: "a", Port: 1, Protocol: "UDP"}}, []string{"a"}, []bool{false}},
		"protocol of an empty name":    {[]corev1.ServicePort{plain("a", 53), udp("b", 53)}, []EndpointPort{{Port: 53, Protocol: "UDP"}}, []string{"b"}, []bool{false, true}},
		"TCP is empty":                 {[]corev1.ServicePort{plain("a", 1)}, []EndpointPort{{Name: "a", Protocol: "TCP"}}, []string{"a"}, []bool{true}},
		"no name twice":                {[]corev1.ServicePort{plain("a", 1)}, []EndpointPort{{Name: "a", Port: 9, Protocol: "UDP"}, {Port: 1}}, []string{"a", ""}, []bool{false}},
		"named target":                 {[]corev1.ServicePort{to("a", 1, intstr.FromString("web")), plain("b", 2)}, []EndpointPort{{Port: 1}}, []string{""}, []bool{false, false}},
		"unknown number, named target": {[]corev1.ServicePort{to("a", 1, intstr.FromString("web")), plain("b", 2)}, []EndpointPort{{}}, []string{""}, []bool{false, false}},
		"the Service's has no name":    {[]corev1.ServicePort{plain("", 1)}, []EndpointPort{{Name: "http", Port: 1}}, []string{"http"}, []bool{false}},
	} {
		names, matched := PortNames(c.service, c.ports)
		if diff := cmp.Diff(c.names, names) + cmp.Diff(c.matched, matched); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
	}
}

// FuzzPortNames holds what its callers count on: a set name stays, no name is given twice, a second run changes
// nothing, and matched tells the truth.
func FuzzPortNames(f *testing.F) {
	f.Add("http/80/80 https/443/8443", "/80 /8443")
	f.Add("a/1/8 b/2/8", "/8 a/8")
	f.Add("a/1/0/u", "/1/u x/2")
	f.Add("/8 b/2/8", "/8 a/8")
	f.Fuzz(func(t *testing.T, serviceText, portsText string) {
		var service []corev1.ServicePort
		var ports []EndpointPort
		number := func(s string) (n int32) {
			for _, c := range []byte(s) {
				n = n*10 + int32(c&15)%10
			}
			return n % 70000
		}
		part := func(parts []string, i int) string {
			if i < len(parts) {
				return parts[i]
			}
			return ""
		}
		seen := map[string]bool{}
		for _, w := range strings.Fields(serviceText) {
			p := strings.Split(w, "/")
			if seen[p[0]] || len(service) == 8 { // the API server holds the names of a Service's ports unique
				continue
			}
			seen[p[0]] = true
			sp := corev1.ServicePort{Name: p[0], Port: number(part(p, 1)), TargetPort: intstr.Parse(part(p, 2))}
			if part(p, 3) != "" {
				sp.Protocol = corev1.ProtocolUDP
			}
			service = append(service, sp)
		}
		for _, w := range strings.Fields(portsText) {
			p := strings.Split(w, "/")
			ep := EndpointPort{Name: p[0], Port: number(part(p, 1))}
			if part(p, 2) != "" {
				ep.Protocol = corev1.ProtocolUDP
			}
			if len(ports) < 8 {
				ports = append(ports, ep)
			}
		}
		names, matched := PortNames(service, ports)
		if len(names) != len(ports) || len(matched) != len(service) {
			t.Fatal("lengths")
		}
		mended := slices.Clone(ports)
		for i := range ports {
			if ports[i].Name != "" && names[i] != ports[i].Name {
				t.Errorf("'%s' became '%s'", ports[i].Name, names[i])
			}
			for j := range i {
				if names[i] != "" && names[i] == names[j] && ports[i].Name != ports[j].Name {
					t.Errorf("'%s' is given twice", names[i])
				}
			}
			mended[i].Name = names[i]
		}
		for j, sp := range service {
			has := slices.ContainsFunc(mended, func(p EndpointPort) bool {
				return p.Name == sp.Name && protocol(p.Protocol) == protocol(sp.Protocol)
			})
			if has != matched[j] {
				t.Errorf("matched of '%s' is %t", sp.Name, matched[j])
			}
		}
		again, matchedAgain := PortNames(service, mended)
		if !slices.Equal(again, names) || !slices.Equal(matchedAgain, matched) {
			t.Errorf("the second run makes %q of %q", again, names)
		}
	})
}
