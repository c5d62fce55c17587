package policy

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Repeated is what of some Endpoints EndpointSlices hold as well that a person wrote beside them.
type Repeated struct {
	// Addresses counts those of the Endpoints, Held those that stand in such a slice too, with the same ports, and ready
	// there if they are here.
	Addresses, Held int
	// Slice names one that holds some.
	Slice string
}

// All tells that nothing would be lost if the Endpoints were not mirrored.
func (r Repeated) All() bool { return r.Held > 0 && r.Held == r.Addresses }

// maxSteps bounds a comparison: objects are made so that everything stands in everything. What is not compared to its
// end counts as not repeated.
const maxSteps = 1 << 21

// RepeatedIn compares Endpoints with the slices of their Service. Only those count that no controller owns and no
// manager keeps: where a program writes both, it knows why.
func RepeatedIn(ep *corev1.Endpoints, slices []*discoveryv1.EndpointSlice) Repeated {
	type place struct {
		slice int
		ready bool
	}
	held := map[netip.Addr][]place{}
	ports := make([]map[EndpointPort]bool, len(slices))
	for i, s := range slices {
		by := s.Labels[discoveryv1.LabelManagedBy]
		if by != "" && by != HandWritten || s.DeletionTimestamp != nil || metav1.GetControllerOfNoCopy(s) != nil ||
			s.AddressType == discoveryv1.AddressTypeFQDN {
			continue
		}
		ports[i] = map[EndpointPort]bool{}
		for _, p := range SlicePorts(s) {
			p.Protocol = protocol(p.Protocol)
			ports[i][p] = true
		}
		for j := range s.Endpoints {
			e := &s.Endpoints[j]
			for _, text := range e.Addresses {
				addr, err := netip.ParseAddr(text)
				if err != nil {
					continue
				}
				addr = addr.Unmap()
				ready := e.Conditions.Ready == nil || *e.Conditions.Ready
				if list := held[addr]; len(list) > 0 && list[len(list)-1].slice == i {
					list[len(list)-1].ready = list[len(list)-1].ready || ready
					continue
				}
				held[addr] = append(held[addr], place{i, ready})
			}
		}
	}
	var r Repeated
	if len(held) == 0 {
		return r
	}
	steps := 0
	for i := range ep.Subsets {
		subset := &ep.Subsets[i]
		wanted := SubsetPorts(subset)
		suits := map[int]bool{} // by slice: it has the ports of the subset
		suit := func(slice int) bool {
			ok, known := suits[slice]
			if steps++; !known {
				ok = true
				steps += len(wanted)
				for _, p := range wanted {
					p.Protocol = protocol(p.Protocol)
					ok = ok && ports[slice][p]
				}
				suits[slice] = ok
			}
			return ok
		}
		count := func(list []corev1.EndpointAddress, ready bool) {
			for j := range list {
				r.Addresses++
				addr, err := netip.ParseAddr(list[j].IP)
				if err != nil {
					continue
				}
				for _, at := range held[addr.Unmap()] {
					if steps > maxSteps {
						return
					}
					if (at.ready || !ready) && suit(at.slice) {
						r.Held++
						r.Slice = slices[at.slice].Name
						break
					}
				}
			}
		}
		count(subset.Addresses, true)
		count(subset.NotReadyAddresses, false)
		if steps > maxSteps {
			return Repeated{}
		}
	}
	return r
}

// String is for messages.
func (r Repeated) String() string { return fmt.Sprintf("%d of %d", r.Held, r.Addresses) }
