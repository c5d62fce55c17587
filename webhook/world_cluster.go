package webhook

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	toolscache "k8s.io/client-go/tools/cache"

	"drawbridge.dev/drawbridge/policy"
)

// learn makes the informers of what has addresses in the cluster tell the owners.
func (w *Cluster) learn() error {
	for _, kind := range [...]string{"Service", "EndpointSlice", "Node", serviceCIDR} {
		informer := w.informers[kind]
		if informer == nil {
			continue
		}
		told, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { w.owners.Replace(nil, objectOf(o)) },
			UpdateFunc: func(old, now any) { w.owners.Replace(objectOf(old), objectOf(now)) },
			DeleteFunc: func(o any) { w.owners.Replace(objectOf(o), nil) },
		})
		if err != nil {
			return fmt.Errorf("watch the addresses of %s: %w", kind, err)
		}
		w.told = append(w.told, told)
	}
	return nil
}

// objectOf is what an informer tells of, its last known state where it is gone.
func objectOf(o any) policy.Object {
	if gone, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
		o = gone.Obj
	}
	object, _ := o.(policy.Object)
	return object
}

func (v *view) Namespace(name string) *corev1.Namespace {
	return get(v, "Namespace", "", name, func() *corev1.Namespace { return &corev1.Namespace{} })
}

func (v *view) IngressesOf(host string) []*networkingv1.Ingress {
	return list(v, "Ingress", host, byHost, bucket("", host), func(o *networkingv1.Ingress) bool { return serves(o, host) })
}

func (v *view) Owner(namespace string, addr netip.Addr) (policy.Owner, bool) {
	return v.cluster.owners.Owner(namespace, addr)
}
