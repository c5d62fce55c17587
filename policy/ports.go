package policy

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// EndpointPort is a port of a subset of Endpoints or of an EndpointSlice.
type EndpointPort struct {
	Name     string
	Port     int32
	Protocol corev1.Protocol // empty means TCP
}

// SlicePorts are the ports of an EndpointSlice; what is not set is empty.
func SlicePorts(s *discoveryv1.EndpointSlice) []EndpointPort {
	ports := make([]EndpointPort, len(s.Ports))
	for i, p := range s.Ports {
		if p.Name != nil {
			ports[i].Name = *p.Name
		}
		if p.Port != nil {
			ports[i].Port = *p.Port
		}
		if p.Protocol != nil {
			ports[i].Protocol = *p.Protocol
		}
	}
	return ports
}

// SubsetPorts are the ports of a subset of Endpoints.
func SubsetPorts(s *corev1.EndpointSubset) []EndpointPort {
	ports := make([]EndpointPort, len(s.Ports))
	for i, p := range s.Ports {
		ports[i] = EndpointPort{Name: p.Name, Port: p.Port, Protocol: p.Protocol}
	}
	return ports
}

// PortNames gives the name that each port ought to have, so that kube-proxy and every controller find it: they match
// a Service's ports to endpoints by name and protocol alone. An empty name is filled where just one Service port
// without a partner has that target port and protocol, or where the Service has one port and the endpoints one port
// without a name. A name that is set stays, and no name is given twice.
//
// The rules, the slice builder and the proxy all call it, so that the order of applying does not matter. matched
// says for each Service port whether a port bears its name in the end. A port number of 0 stands for "not known".
func PortNames(service []corev1.ServicePort, ports []EndpointPort) (names []string, matched []bool) {
	names = make([]string, len(ports))
	matched = make([]bool, len(service))
	// Maps, because nothing limits the number of ports that a Service can have.
	type named struct {
		name     string
		protocol corev1.Protocol
	}
	wanted := make(map[named]bool, len(ports))
	taken := make(map[string]bool, len(ports))
	unnamed := 0
	for i, p := range ports {
		names[i] = p.Name
		wanted[named{p.Name, protocol(p.Protocol)}] = true
		taken[p.Name] = true
		if p.Name == "" {
			unnamed++
		}
	}
	for j, sp := range service {
		matched[j] = wanted[named{sp.Name, protocol(sp.Protocol)}]
	}
	// Where a port of the Service has no name, the empty name is right as it is: of its only port that is, or of one
	// that the API server would refuse.
	if unnamed == 0 || slices.ContainsFunc(service, func(p corev1.ServicePort) bool { return p.Name == "" }) {
		return names, matched
	}
	type target struct {
		port     int32
		protocol corev1.Protocol
	}
	free := make(map[target][]int, len(service))
	for j, sp := range service {
		if n := targetNumber(sp); n != 0 && sp.Name != "" && !matched[j] {
			t := target{n, protocol(sp.Protocol)}
			free[t] = append(free[t], j)
		}
	}
	for i, p := range ports {
		if p.Name != "" {
			continue
		}
		t := target{p.Port, protocol(p.Protocol)}
		candidates := free[t]
		if len(candidates) == 0 && unnamed == 1 && len(service) == 1 && !matched[0] && protocol(service[0].Protocol) == t.protocol {
			candidates = []int{0}
		}
		if len(candidates) != 1 || taken[service[candidates[0]].Name] {
			continue
		}
		j := candidates[0]
		names[i], matched[j] = service[j].Name, true
		taken[names[i]] = true
		delete(free, t)
	}
	return names, matched
}

// targetNumber is the port number that a Service port leads to, 0 where only a name says it.
func targetNumber(p corev1.ServicePort) int32 {
	switch {
	case p.TargetPort.Type == intstr.String:
		return 0
	case p.TargetPort.IntVal != 0:
		return p.TargetPort.IntVal
	}
	return p.Port
}

func protocol(p corev1.Protocol) corev1.Protocol {
	if p == "" {
		return corev1.ProtocolTCP
	}
	return p
}
