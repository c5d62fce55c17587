package webhook

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// CacheOptions strips from the cache what neither reviews nor the slice builder read.
func CacheOptions() map[client.Object]cache.ByObject {
	return map[client.Object]cache.ByObject{
		&corev1.Service{}:            {Transform: strip(nil)},
		&corev1.Endpoints{}:          {Transform: strip(writersOf)},
		&discoveryv1.EndpointSlice{}: {Transform: strip(nil)},
		&networkingv1.Ingress{}:      {Transform: strip(nil)},
		&networkingv1.IngressClass{}: {Transform: strip(nil)},
		&corev1.Namespace{}:          {Transform: strip(nil)},
		&corev1.Node{}:               {Transform: addressesOf},
	}
}

func strip(managed func(client.Object) []metav1.ManagedFieldsEntry) toolscache.TransformFunc {
	return func(in any) (any, error) {
		object, ok := in.(client.Object)
		if !ok {
			return in, nil // a tombstone
		}
		var kept []metav1.ManagedFieldsEntry
		if managed != nil {
			kept = managed(object)
		}
		object.SetManagedFields(kept)
		if annotations := object.GetAnnotations(); annotations[lastApplied] != "" {
			delete(annotations, lastApplied)
			object.SetAnnotations(annotations)
		}
		dropStatus(in)
		return in, nil
	}
}

// writersOf keeps the managed fields of Endpoints that people write: the slice builder reads from them whose the
// Endpoints are. Those of the endpoints controller, which are most, are never its own.
func writersOf(o client.Object) []metav1.ManagedFieldsEntry {
	if o.GetLabels()["endpoints.kubernetes.io/managed-by"] == "endpoint-controller" {
		return nil
	}
	return o.GetManagedFields()
}

// addressesOf keeps of a node what tells whose an address is.
func addressesOf(in any) (any, error) {
	if n, ok := in.(*corev1.Node); ok {
		n.ObjectMeta = metav1.ObjectMeta{Name: n.Name, UID: n.UID, ResourceVersion: n.ResourceVersion}
		n.Spec = corev1.NodeSpec{PodCIDRs: n.Spec.PodCIDRs}
		n.Status = corev1.NodeStatus{Addresses: n.Status.Addresses}
	}
	return in, nil
}
