package render

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// TestPortsOfSlice holds that the ports of a slice are matched once for a Service, however many of its ports are asked
// of, and anew for another Service.
func TestPortsOfSlice(t *testing.T) {
	svc := &corev1.Service{}
	s := &endpointSlice{object: &discoveryv1.EndpointSlice{}}
	for i := range 1000 {
		svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{Name: fmt.Sprint("p", i), Port: int32(i + 1)})
		s.object.Ports = append(s.object.Ports, discoveryv1.EndpointPort{Name: new(fmt.Sprint("p", i)), Port: new(int32(i + 2001))})
	}
	s.object.Ports[7].Protocol = new(corev1.ProtocolUDP)
	for port, want := range map[string][]uint16{"p0": {2001}, "p999": {3000}, "p7": nil, "other": nil} {
		if got := s.portsNamed(svc, port); !slices.Equal(got, want) {
			t.Errorf("%s: %v", port, got)
		}
	}
	if allocs := testing.AllocsPerRun(10, func() { s.portsNamed(svc, "p5") }); allocs != 0 {
		t.Errorf("a port that is known costs %v allocations", allocs)
	}
	s.object.Ports = s.object.Ports[:1]
	s.object.Ports[0].Name = nil
	only := &corev1.Service{}
	only.Spec.Ports = []corev1.ServicePort{{Name: "only", Port: 2001}}
	if got := s.portsNamed(only, "only"); !slices.Equal(got, []uint16{2001}) {
		t.Errorf("of another Service: %v", got)
	}
}
