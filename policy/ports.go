package policy

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// EndpointPort is a port of a subset of Endpoints or of an EndpointSlice.
type EndpointPort struct {
	Name     string
	Port     int32
	Protocol corev1.Protocol // empty means TCP
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
	taken := func(name string) bool {
		return slices.Contains(names, name)
	}
	unnamed := 0
	for i, p := range ports {
		names[i] = p.Name
		if p.Name == "" {
			unnamed++
		}
		for j := range service {
			if service[j].Name == p.Name && protocol(service[j].Protocol) == protocol(p.Protocol) {
				matched[j] = true
			}
		}
	}
	for i, p := range ports {
		// Where the Service's only port has no name, the empty name is right as it is.
		if p.Name != "" || len(service) == 1 && service[0].Name == "" {
			continue
		}
		candidate, count := -1, 0
		for j, sp := range service {
			if matched[j] || sp.Name == "" || protocol(sp.Protocol) != protocol(p.Protocol) {
				continue
			}
			if n := targetNumber(sp); n != 0 && n == p.Port {
				candidate = j
				count++
			}
		}
		if count == 0 && unnamed == 1 && len(service) == 1 && !matched[0] && protocol(service[0].Protocol) == protocol(p.Protocol) {
			candidate, count = 0, 1
		}
		if count == 1 && !taken(service[candidate].Name) {
			names[i] = service[candidate].Name
			matched[candidate] = true
		}
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
