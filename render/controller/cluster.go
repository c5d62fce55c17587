package controller

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"drawbridge.dev/drawbridge/policy"
)

// Cluster is a Source of the objects of an API server, by informers.
type Cluster struct {
	// Cache holds the informers; Run waits for it, and its owner starts it.
	Cache cache.Cache
	// Mapper tells which kinds the API server has.
	Mapper meta.RESTMapper
	// Loaded tells that the policy has been read; nothing is delivered before. Nil means that it has.
	Loaded func() bool
	Log    *slog.Logger
}

// ClusterObjects narrows and trims what the proxy's cache keeps: TLS Secrets alone, and nothing of any object that
// serving it does not need.
func ClusterObjects() map[client.Object]cache.ByObject {
	trim := cache.TransformStripManagedFields()
	by := map[client.Object]cache.ByObject{
		&corev1.Secret{}: {
			Field:     fields.OneTermEqualSelector("type", string(corev1.SecretTypeTLS)),
			Transform: trim,
		},
		&corev1.Namespace{}: {Transform: trim},
		&corev1.Node{}: {Transform: func(o any) (any, error) {
			if n, ok := o.(*corev1.Node); ok {
				n.ManagedFields, n.Annotations, n.Labels = nil, nil, nil
				n.Status = corev1.NodeStatus{Addresses: n.Status.Addresses}
			}
			return o, nil
		}},
	}
	for _, o := range []client.Object{&networkingv1.Ingress{}, &networkingv1.IngressClass{}, &corev1.Service{}, &discoveryv1.EndpointSlice{}} {
		by[o] = cache.ByObject{Transform: trim}
	}
	return by
}

// Run follows the cluster. The first Change comes when every informer has synced.
func (c Cluster) Run(ctx context.Context, deliver func(Change)) error {
	kinds := []client.Object{
		&networkingv1.Ingress{}, &networkingv1.IngressClass{}, &corev1.Service{}, &discoveryv1.EndpointSlice{}, &corev1.Secret{}, &corev1.Node{}, &corev1.Namespace{},
	}
	// Clusters before 1.33 have no ServiceCIDR of version v1; there the addresses of the Services themselves must do.
	gk := schema.GroupKind{Group: networkingv1.GroupName, Kind: "ServiceCIDR"}
	if _, err := c.Mapper.RESTMapping(gk, "v1"); err == nil {
		kinds = append(kinds, &networkingv1.ServiceCIDR{})
	} else if !meta.IsNoMatchError(err) {
		return fmt.Errorf("ask the API server for its kinds: %w", err)
	}
	q := newQueue()
	for _, kind := range kinds {
		informer, err := c.Cache.GetInformer(ctx, kind)
		if err != nil {
			return fmt.Errorf("watch %T: %w", kind, err)
		}
		if _, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { q.set(o) },
			UpdateFunc: func(_, o any) { q.set(o) },
			DeleteFunc: func(o any) { q.gone(o) },
		}); err != nil {
			return fmt.Errorf("watch %T: %w", kind, err)
		}
	}
	if !c.Cache.WaitForCacheSync(ctx) {
		return fmt.Errorf("read the cluster: %w", context.Cause(ctx))
	}
	// A cache that has synced may not have called its handlers yet. What the policy forbids must not be served for the
	// moment until it is read.
	for c.Loaded != nil && !c.Loaded() {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(10 * time.Millisecond):
		}
	}
	// The handlers of an informer may lag behind its store: what they bring later is a change like any other.
	first, err := c.everything(ctx, kinds)
	if err != nil {
		return err
	}
	deliver(Change{Objects: first, All: true})
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-q.ready:
			deliver(q.take())
		}
	}
}

func (c Cluster) everything(ctx context.Context, kinds []client.Object) ([]policy.Object, error) {
	var all []policy.Object
	for _, kind := range kinds {
		informer, err := c.Cache.GetInformer(ctx, kind)
		if err != nil {
			return nil, err
		}
		indexed, ok := informer.(toolscache.SharedIndexInformer)
		if !ok {
			return nil, fmt.Errorf("the informer of %T has no store", kind)
		}
		for _, o := range indexed.GetStore().List() {
			if o, ok := o.(policy.Object); ok {
				all = append(all, o)
			}
		}
	}
	return all, nil
}

// queue collects changes, the last of each object, until the loop has time for them: informers never wait for it.
type queue struct {
	ready chan struct{}
	mu    sync.Mutex
	by    map[Ref]policy.Object // nil: gone
}

func newQueue() *queue {
	return &queue{ready: make(chan struct{}, 1), by: map[Ref]policy.Object{}}
}

func (q *queue) set(o any) {
	if obj, ok := o.(policy.Object); ok {
		q.put(RefOf(obj), obj)
	}
}

func (q *queue) gone(o any) {
	if final, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
		o = final.Obj
	}
	if obj, ok := o.(policy.Object); ok {
		q.put(RefOf(obj), nil)
	}
}

func (q *queue) put(ref Ref, o policy.Object) {
	q.mu.Lock()
	q.by[ref] = o
	q.mu.Unlock()
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

func (q *queue) take() Change {
	q.mu.Lock()
	by := q.by
	q.by = map[Ref]policy.Object{}
	q.mu.Unlock()
	var c Change
	for ref, o := range by {
		if o == nil {
			c.Gone = append(c.Gone, ref)
		} else {
			c.Objects = append(c.Objects, o)
		}
	}
	return c
}
