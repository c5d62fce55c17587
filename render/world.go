package render

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"drawbridge.dev/drawbridge/policy"
)

// Namespace knows none.
func (s *Snapshot) Namespace(string) *corev1.Namespace { return nil }

// IngressesOf lists none.
func (s *Snapshot) IngressesOf(string) []*networkingv1.Ingress { return nil }

// Owner knows none.
func (s *Snapshot) Owner(string, netip.Addr) (policy.Owner, bool) { return policy.Owner{}, false }
