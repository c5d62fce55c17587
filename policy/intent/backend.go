package intent

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// PortError tells that an Ingress names a port of a backend that nothing can resolve.
type PortError struct {
	Service string
	Port    string
	// Alias tells that the Service is an ExternalName, whose ports have no names for this dialect.
	Alias bool
}

func (e *PortError) Error() string {
	if e.Alias {
		return fmt.Sprintf("Service '%s' is an ExternalName, and port '%s' is a name; write the number", e.Service, e.Port)
	}
	return fmt.Sprintf("Service '%s' has no port '%s'", e.Service, e.Port)
}

// BackendOf tells what stands behind a backend of an Ingress. svc is nil where it is not known: the backend is then
// Unknown. The Service port that was found comes with it, nil where the Service declares none such.
func (d *Dialect) BackendOf(svc *corev1.Service, port networkingv1.ServiceBackendPort, clusterDomain string) (Backend, *corev1.ServicePort, error) {
	if svc == nil {
		return Backend{Port: port.Number}, nil, nil
	}
	sp := portOf(svc, port)
	b := Backend{Port: port.Number}
	if sp != nil {
		b.Port, b.PortName = sp.Port, sp.Name
		if sp.AppProtocol != nil {
			b.AppProtocol = *sp.AppProtocol
		}
	}
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		b.Kind = ExternalName
		b.Name = ExternalNameOf(svc)
		b.Internal = Internal(b.Name, clusterDomain)
		switch {
		case port.Name != "" && (sp == nil || !d.PortNames):
			return b, sp, &PortError{Service: svc.Name, Port: port.Name, Alias: true}
		case sp != nil && d.TargetPort && sp.TargetPort.Type == intstr.Int && sp.TargetPort.IntVal != 0:
			b.Port = sp.TargetPort.IntVal
		}
		return b, sp, nil
	}
	b.Kind = Pods
	if len(svc.Spec.Selector) == 0 {
		b.Kind = Addresses
	}
	if sp == nil {
		name := port.Name
		if name == "" {
			name = fmt.Sprint(port.Number)
		}
		return b, nil, &PortError{Service: svc.Name, Port: name}
	}
	return b, sp, nil
}

// portOf is the Service port that an Ingress means, nil where the Service declares none such.
func portOf(svc *corev1.Service, port networkingv1.ServiceBackendPort) *corev1.ServicePort {
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		if port.Name != "" && p.Name == port.Name || port.Name == "" && p.Port == port.Number {
			return p
		}
	}
	return nil
}

// ExternalNameOf is the name of an ExternalName Service as DNS compares it: lower case, without its last dot.
func ExternalNameOf(svc *corev1.Service) string {
	return strings.ToLower(strings.TrimSuffix(svc.Spec.ExternalName, "."))
}

// Internal tells whether a name is inside the cluster: under its domain, or ending in ".svc".
func Internal(name, clusterDomain string) bool {
	return name == clusterDomain || strings.HasSuffix(name, "."+clusterDomain) || strings.HasSuffix(name, ".svc")
}

// Absolute is the name to ask DNS for: what ends in ".svc" is relative to the cluster's domain, as it is for a pod's
// search list; every other external name is absolute already.
func Absolute(name, clusterDomain string) string {
	if strings.HasSuffix(name, ".svc") {
		return name + "." + clusterDomain
	}
	return name
}
