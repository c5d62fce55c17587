package webhook

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"drawbridge.dev/drawbridge/policy"
)

const (
	// readsPerReview bounds what one object can ask of the API server: an Ingress may name thousands of Services.
	readsPerReview = 32
	// readsAtOnce bounds live reads of all reviews together.
	readsAtOnce = 64
	// byService is the index of EndpointSlices and Ingresses by the bucket of namespace and Service, byHost that of
	// Ingresses by the bucket of a host.
	byService = "drawbridge.dev/service"
	byHost    = "drawbridge.dev/host"

	serviceCIDR = "ServiceCIDR"
)

// Cluster is the World of a cluster: informers, and for a name that they miss one live read. `kubectl apply` of a
// Service and its Ingress in one file is faster than a watch.
type Cluster struct {
	informers map[string]toolscache.SharedIndexInformer
	// owners follows the informers that tell whose an address is; told are its registrations with them.
	owners  policy.Owners
	told    []toolscache.ResourceEventHandlerRegistration
	reader  client.Reader
	metrics *Metrics
	slots   chan struct{}
}

// NewCluster registers informers for every kind that reviews read. It must be called before the cache starts:
// a cache waits only for the informers that it knows of by then. reader reads the API server itself, not the cache;
// mapper tells which kinds the API server has; metrics may be nil.
func NewCluster(ctx context.Context, c cache.Cache, reader client.Reader, mapper meta.RESTMapper, metrics *Metrics) (*Cluster, error) {
	w := &Cluster{
		informers: map[string]toolscache.SharedIndexInformer{},
		reader:    reader, metrics: metrics, slots: make(chan struct{}, readsAtOnce),
	}
	kinds := map[string]client.Object{
		"Service": &corev1.Service{}, "Endpoints": &corev1.Endpoints{}, "EndpointSlice": &discoveryv1.EndpointSlice{},
		"Ingress": &networkingv1.Ingress{}, "IngressClass": &networkingv1.IngressClass{},
		"Namespace": &corev1.Namespace{}, "Node": &corev1.Node{},
	}
	// Clusters before 1.33 have no ServiceCIDR of version v1; there the addresses of the Services themselves must do.
	if _, err := mapper.RESTMapping(schema.GroupKind{Group: networkingv1.GroupName, Kind: serviceCIDR}, "v1"); err == nil {
		kinds[serviceCIDR] = &networkingv1.ServiceCIDR{}
	} else if !meta.IsNoMatchError(err) {
		return nil, fmt.Errorf("ask the API server for its kinds: %w", err)
	}
	for kind, object := range kinds {
		informer, err := c.GetInformer(ctx, object, cache.BlockUntilSynced(false))
		if err != nil {
			return nil, fmt.Errorf("watch %s: %w", kind, err)
		}
		// Reading the store itself spares a deep copy of every object in a namespace for each review.
		indexed, ok := informer.(toolscache.SharedIndexInformer)
		if !ok {
			return nil, fmt.Errorf("watch %s: the cache must cover all namespaces", kind)
		}
		w.informers[kind] = indexed
	}
	err := w.informers["EndpointSlice"].AddIndexers(toolscache.Indexers{
		byService: buckets(func(o *discoveryv1.EndpointSlice) (string, []string) {
			if o.Labels[discoveryv1.LabelServiceName] == "" {
				return "", nil
			}
			return o.Namespace, []string{o.Labels[discoveryv1.LabelServiceName]}
		}),
	})
	if err != nil {
		return nil, fmt.Errorf("index EndpointSlices by Service: %w", err)
	}
	err = w.informers["Ingress"].AddIndexers(toolscache.Indexers{
		byService: buckets(func(o *networkingv1.Ingress) (string, []string) { return o.Namespace, policy.ServicesOf(o) }),
		byHost:    buckets(func(o *networkingv1.Ingress) (string, []string) { return "", policy.HostsOf(o) }),
	})
	if err != nil {
		return nil, fmt.Errorf("index Ingresses by Service and host: %w", err)
	}
	if err := w.learn(); err != nil {
		return nil, err
	}
	return w, nil
}

// HasSynced tells whether every informer holds what the cluster held when it began. It does not wait.
func (w *Cluster) HasSynced() bool {
	for _, informer := range w.informers {
		if !informer.HasSynced() {
			return false
		}
	}
	for _, told := range w.told {
		if !told.HasSynced() {
			return false
		}
	}
	return true
}

// For is the World of one request: live reads end with its patience, and a name is read once.
func (w *Cluster) For(ctx context.Context) policy.World {
	return &view{
		cluster: w,
		// A read outlives neither the request's patience nor much of a shutdown; the cancellation of the request, which
		// comes with the server's shutdown, must not make a Service look absent to a review that still counts.
		ctx:      context.WithoutCancel(ctx),
		deadline: time.Now().Add(patience(ctx)),
		known:    map[string]client.Object{},
		lists:    map[string]any{},
	}
}

// view is the World of one review. It is not safe for use by several goroutines.
type view struct {
	cluster  *Cluster
	ctx      context.Context
	deadline time.Time
	reads    int
	known    map[string]client.Object // what was read live; nil for absent
	// lists holds what was listed: rules ask for the same, and to gather and sort a large namespace takes its time. It
	// is nil where nothing is to be kept.
	lists map[string]any
}

// before tells what is stored of the object under review, nil for nothing: where the cache misses it, nobody need ask the
// API server for it.
func (v *view) before(kind, namespace, name string, stored client.Object) {
	v.known[kind+"/"+namespace+"/"+name] = stored
}

func (v *view) Service(namespace, name string) *corev1.Service {
	return get(v, "Service", namespace, name, func() *corev1.Service { return &corev1.Service{} })
}

func (v *view) Endpoints(namespace, name string) *corev1.Endpoints {
	return get(v, "Endpoints", namespace, name, func() *corev1.Endpoints { return &corev1.Endpoints{} })
}

func (v *view) IngressClass(name string) *networkingv1.IngressClass {
	return get(v, "IngressClass", "", name, func() *networkingv1.IngressClass { return &networkingv1.IngressClass{} })
}

func (v *view) Services(namespace string) []*corev1.Service {
	return list(v, "Service", namespace, toolscache.NamespaceIndex, namespace, func(*corev1.Service) bool { return true })
}

func (v *view) IngressesTo(namespace, service string) []*networkingv1.Ingress {
	return list(v, "Ingress", namespace+"/"+service, byService, bucket(namespace, service), func(o *networkingv1.Ingress) bool { return leadsTo(o, namespace, service) })
}

func (v *view) EndpointSlices(namespace, service string) []*discoveryv1.EndpointSlice {
	return list(v, "EndpointSlice", namespace+"/"+service, byService, bucket(namespace, service), func(o *discoveryv1.EndpointSlice) bool { return belongsTo(o, namespace, service) })
}

// list gathers the objects of a kind that are wanted among those that an index has under a key; what names them.
func list[T client.Object](v *view, kind, what, index, key string, wanted func(T) bool) []T {
	memo := kind + "/" + index + "/" + what
	if known, ok := v.lists[memo].([]T); ok {
		return known
	}
	found, err := v.cluster.informers[kind].GetIndexer().ByIndex(index, key)
	if err != nil { // the index is not there: a mistake of this package
		panic(fmt.Sprintf("list %s: %v", kind, err))
	}
	out := make([]T, 0, len(found))
	for _, o := range found {
		if t, ok := o.(T); ok && wanted(t) {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b T) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
	if v.lists != nil {
		v.lists[memo] = out
	}
	return out
}

func get[T client.Object](v *view, kind, namespace, name string, empty func() T) T {
	var none T
	if name == "" {
		return none
	}
	key := types.NamespacedName{Namespace: namespace, Name: name}
	storeKey := key.String()
	if namespace == "" {
		storeKey = name
	}
	if o, ok, err := v.cluster.informers[kind].GetIndexer().GetByKey(storeKey); err == nil && ok {
		if t, ok := o.(T); ok {
			return t
		}
	}
	memo := kind + "/" + storeKey
	if o, ok := v.known[memo]; ok {
		t, _ := o.(T)
		return t
	}
	object := empty()
	result := v.read(key, object)
	v.cluster.metrics.read(kind, result)
	if result != readFound {
		v.known[memo] = nil
		return none
	}
	v.known[memo] = object
	return object
}

// What came of a live read.
const (
	readFound   = "found"
	readAbsent  = "absent"
	readFailed  = "failed"
	readRefused = "refused"
)

// read asks the API server. Two reviews that miss the same name both ask: an answer that was on its way before a
// review began may be older than the object that its author has just made.
func (v *view) read(key types.NamespacedName, object client.Object) string {
	if v.reads >= readsPerReview {
		return readRefused
	}
	v.reads++
	ctx, cancel := context.WithDeadline(v.ctx, v.deadline)
	defer cancel()
	select {
	case v.cluster.slots <- struct{}{}:
		defer func() { <-v.cluster.slots }()
	case <-ctx.Done():
		return readRefused
	}
	err := v.cluster.reader.Get(ctx, key, object)
	switch {
	case err == nil:
		return readFound
	case apierrors.IsNotFound(err):
		return readAbsent
	}
	log.FromContext(v.ctx).V(1).Info("a live read failed; the object counts as not known", "kind", fmt.Sprintf("%T", object), "key", key.String(), "error", err.Error())
	return readFailed
}
