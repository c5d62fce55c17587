package rules

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
)

// ownEndpoints tells whether a Service has endpoints that a person keeps, and ports to match them by.
func ownEndpoints(svc *corev1.Service) bool {
	return svc != nil && len(svc.Spec.Selector) == 0 && svc.Spec.Type != corev1.ServiceTypeExternalName && len(svc.Spec.Ports) > 0
}

// sliceManager says who keeps a slice: a controller that owns it, or whom its label names where that is neither
// drawbridge nor the mark of hand-written ones.
func sliceManager(s *discoveryv1.EndpointSlice) (owned, foreign bool) {
	owned = metav1.GetControllerOfNoCopy(s) != nil
	switch s.Labels[discoveryv1.LabelManagedBy] {
	case "", policy.ManagedBy, policy.HandWritten:
	default:
		foreign = true
	}
	return owned, foreign
}

// reservedManagers are the values of managed-by that belong to whoever writes under them.
var reservedManagers = map[string]string{
	policy.ManagedByPods:      "kube-controller-manager",
	policy.ManagedByMirroring: "kube-controller-manager",
	policy.ManagedBy:          "drawbridge",
}

// merge enters in all what is true in some.
func merge(all, some []bool) {
	for i, ok := range some {
		all[i] = all[i] || ok
	}
}

// maxSiblings bounds the slices that are looked at beside the one under review: each of many would look at all others.
const maxSiblings = 100

// servedBeside enters in matched which ports of a Service its slices serve, of those that count. complete is false where
// a port is left and there are too many slices to tell that none of them serves it.
func servedBeside(w policy.World, svc *corev1.Service, matched []bool, counts func(*discoveryv1.EndpointSlice) bool) (complete bool) {
	if !slices.Contains(matched, false) {
		return true
	}
	list := w.EndpointSlices(svc.Namespace, svc.Name)
	for _, s := range list[:min(len(list), maxSiblings)] {
		if counts(s) {
			_, some := policy.PortNames(svc.Spec.Ports, policy.SlicePorts(s))
			merge(matched, some)
		}
	}
	return len(list) <= maxSiblings || !slices.Contains(matched, false)
}

func anyOf(list []bool) bool {
	return slices.Contains(list, true)
}

// unmatched is the finding that none of the ports at a path matches a port of the Service.
func unmatched(svc *corev1.Service, path *field.Path, ports []policy.EndpointPort) *field.Error {
	named := make(map[string]int, len(svc.Spec.Ports))
	for i, sp := range slices.Backward(svc.Spec.Ports) {
		named[sp.Name] = i
	}
	for i, p := range ports {
		at, found := named[p.Name]
		if !found {
			continue
		}
		sp := &svc.Spec.Ports[at]
		was, must := cmp.Or(p.Protocol, corev1.ProtocolTCP), cmp.Or(sp.Protocol, corev1.ProtocolTCP)
		return field.Invalid(path.Index(i).Child("protocol"), string(was),
			fmt.Sprintf("must be '%s', the protocol of port %d ('%s') of Service '%s'", must, sp.Port, quoted(sp.Name), quoted(svc.Name)))
	}
	if len(ports) == 0 {
		return field.Required(path, "must list the port: its name "+mustBeOneOf(svc))
	}
	return field.Invalid(path.Index(0).Child("name"), ports[0].Name, mustBeOneOf(svc))
}

// mustBeOneOf says how a port is to be called so that the Service finds it.
func mustBeOneOf(svc *corev1.Service) string {
	names := make([]string, 0, len(svc.Spec.Ports))
	for _, p := range svc.Spec.Ports {
		if p.Name == "" {
			return fmt.Sprintf("must have no name, as the port of Service '%s' has none", quoted(svc.Name))
		}
		names = append(names, p.Name)
	}
	if len(names) == 1 {
		return fmt.Sprintf("must be %s, the name of the port of Service '%s', or it gets no traffic", listed(names, 1), quoted(svc.Name))
	}
	return fmt.Sprintf("must be one of %s, the names of the ports of Service '%s', or it gets no traffic", listed(names, 4), quoted(svc.Name))
}

// filled says why an empty name gets the one that it gets.
func filled(svc *corev1.Service, name string) string {
	return fmt.Sprintf("must be '%s', as Service '%s' calls that port: they are matched by name", quoted(name), quoted(svc.Name))
}

// unserved tells which ports of a Service have no endpoints: a few of them in a finding each, the others by number.
func unserved(svc *corev1.Service, matched []bool, path *field.Path, warn func(*field.Error)) {
	const limit = 4
	left := 0
	for i, ok := range matched {
		switch {
		case ok:
		case left < limit:
			p := svc.Spec.Ports[i]
			warn(field.Required(path, fmt.Sprintf("port %d ('%s') of Service '%s' has no endpoints: a port must have the same name and protocol",
				p.Port, quoted(p.Name), quoted(svc.Name))))
			left++
		default:
			left++
		}
	}
	if left > limit {
		warn(field.Required(path, fmt.Sprintf("and %d more ports of Service '%s' must have endpoints of their name", left-limit, quoted(svc.Name))))
	}
}

var portNamesWhy = "kube-proxy and every Ingress controller match the ports of a Service to its endpoints by name and protocol, " +
	"not by number. Where the names differ, one of them missing for instance, the Service has no endpoints and connections are " +
	"refused. An empty name is filled where one Service port has that number as targetPort, or where there is one port only; " +
	"a name that is set is yours, and is denied where it leads nowhere."
