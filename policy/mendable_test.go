package policy

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestMendable holds what is left as its owner wrote it.
func TestMendable(t *testing.T) {
	owner := metav1.OwnerReference{APIVersion: "v1", Kind: "Service", Name: "vc", UID: "1"}
	controller := owner
	controller.Controller = new(true)
	for _, o := range []Object{&corev1.Service{}, &corev1.Endpoints{}, &discoveryv1.EndpointSlice{}, &networkingv1.Ingress{}} {
		if !Mendable(o) {
			t.Errorf("%T without an owner is not mended", o)
		}
		o.SetOwnerReferences([]metav1.OwnerReference{controller})
		if Mendable(o) {
			t.Errorf("%T of a controller is mended", o)
		}
		o.SetOwnerReferences([]metav1.OwnerReference{owner})
		// A slice that a person wrote may go with its Service.
		if _, slice := o.(*discoveryv1.EndpointSlice); Mendable(o) != slice {
			t.Errorf("%T with an owner: mended %v", o, Mendable(o))
		}
		o.SetOwnerReferences(nil)
		for manager, want := range map[string]bool{"": true, ManagedBy: true, HandWritten: true, "tailscale.com": false, ManagedByPods: false} {
			o.SetLabels(map[string]string{discoveryv1.LabelManagedBy: manager})
			if Mendable(o) != want {
				t.Errorf("%T managed by %q: %v", o, manager, !want)
			}
		}
	}
}
