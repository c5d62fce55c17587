// Package injected keeps what the webhook injected into Ingresses and Services true when the others come or change later.
//
// The annotation intent.Injected marks an object as drawbridge's to complete and lists what is drawbridge's in it. What
// is to stand there is what Review would mend today, were nothing of drawbridge's there: the same rules, levels and
// exemptions as at admission. Everything else in the object is left as it is.
package injected

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/intent"
)

// FieldOwner is the field manager of what the leader writes. The webhook knows drawbridge's own patch by it where the
// manager runs as a user whom the webhook does not exclude.
const FieldOwner = client.FieldOwner("drawbridge")

const (
	// soon is when to look again after somebody else wrote the object first, or while the policy is not read yet.
	soon = 200 * time.Millisecond
	// patience and mostPatience bound how long an object is left alone whose annotations another webhook changes as
	// they are written; it doubles each time.
	patience     = time.Minute
	mostPatience = time.Hour
)

// Options is what the reconciler works with; every field but Changed is required.
type Options struct {
	Book policy.Book
	// Policy gives the policy in force, nil while it is not read yet.
	Policy func() *policy.Config
	// World gives the view of the cluster for one review.
	World func(context.Context) policy.World
	// Changed looks at every marked object again on each value; nil for never.
	Changed <-chan struct{}
}

// Setup adds a reconciler for Ingresses and one for Services to a manager, which runs them while it leads. They need the
// rights: get, list and watch Services, Ingresses and IngressClasses; patch Ingresses and Services; create and patch
// Events of events.k8s.io.
func Setup(mgr ctrl.Manager, o Options) error {
	changed := split(o.Changed, 2)
	if o.Changed != nil {
		// Of a channel each value goes to one reader only.
		if err := mgr.Add(changed.runnable()); err != nil {
			return err
		}
	}
	ingresses := newReconciler(mgr, o, "Ingress", func() policy.Object { return &networkingv1.Ingress{} })
	ingresses.stored = ingresses.markedIngresses
	b := ctrl.NewControllerManagedBy(mgr).
		Named("injected").
		For(&networkingv1.Ingress{}, builder.WithPredicates(predicate.NewPredicateFuncs(isMarked))).
		Watches(&corev1.Service{}, handler.EnqueueRequestsFromMapFunc(ingresses.ofService), builder.WithPredicates(predicate.Funcs{UpdateFunc: tellsOther})).
		Watches(&networkingv1.IngressClass{}, handler.EnqueueRequestsFromMapFunc(ingresses.ofClass)).
		WithOptions(controller.Options{MaxConcurrentReconciles: 2})
	if err := ingresses.watch(b, changed, 0).Complete(ingresses); err != nil {
		return err
	}
	services := newReconciler(mgr, o, "Service", func() policy.Object { return &corev1.Service{} })
	services.stored = services.markedServices
	b = ctrl.NewControllerManagedBy(mgr).
		Named("injected-services").
		For(&corev1.Service{}, builder.WithPredicates(predicate.NewPredicateFuncs(isMarked))).
		Watches(&networkingv1.Ingress{}, handler.EnqueueRequestsFromMapFunc(servicesOf)).
		Watches(&networkingv1.IngressClass{}, handler.EnqueueRequestsFromMapFunc(services.servicesOfClass)).
		WithOptions(controller.Options{MaxConcurrentReconciles: 2})
	return services.watch(b, changed, 1).Complete(services)
}

func newReconciler(mgr ctrl.Manager, o Options, kind string, empty func() policy.Object) *reconciler {
	return &reconciler{
		Options: o, kind: kind, empty: empty,
		client:   mgr.GetClient(),
		recorder: mgr.GetEventRecorder("drawbridge"),
		disputes: map[types.NamespacedName]dispute{},
	}
}

func isMarked(o client.Object) bool { return intent.Marked(o) }

// fan hands every value of a channel to each of several readers; one that is busy gets the last of them.
type fan struct {
	in  <-chan struct{}
	out []chan struct{}
}

func split(in <-chan struct{}, readers int) fan {
	f := fan{in: in}
	for range readers {
		f.out = append(f.out, make(chan struct{}, 1))
	}
	return f
}

func (f fan) runnable() manager.Runnable {
	return manager.RunnableFunc(func(ctx context.Context) error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case _, ok := <-f.in:
				if !ok {
					return nil
				}
			}
			for _, c := range f.out {
				select {
				case c <- struct{}{}:
				default:
				}
			}
		}
	})
}

// watch has a controller look at every marked object again when the policy changes.
func (r *reconciler) watch(b *builder.Builder, changed fan, reader int) *builder.Builder {
	if changed.in == nil {
		return b
	}
	return b.WatchesRawSource(source.Func(func(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		go r.followPolicy(ctx, changed.out[reader], queue)
		return nil
	}))
}

// tellsOther drops the updates of Services that change nothing a rule reads. In some dialects an annotation of the
// Service wins over that of the Ingress.
func tellsOther(e event.UpdateEvent) bool {
	before, ok := e.ObjectOld.(*corev1.Service)
	after, also := e.ObjectNew.(*corev1.Service)
	return !ok || !also || !maps.Equal(before.Annotations, after.Annotations) || !apiequality.Semantic.DeepEqual(before.Spec, after.Spec)
}

func (r *reconciler) ofService(ctx context.Context, o client.Object) []reconcile.Request {
	return requests(r.World(ctx).IngressesTo(o.GetNamespace(), o.GetName()), marked)
}

func (r *reconciler) ofClass(ctx context.Context, o client.Object) []reconcile.Request {
	list, err := r.ingresses(ctx)
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list the Ingresses after a change of an IngressClass", "ingressClass", o.GetName())
		return nil
	}
	return requests(list, func(ing *networkingv1.Ingress) bool {
		return intent.Marked(ing) && intent.ClassName(ing) == o.GetName()
	})
}

// servicesOf are the Services that an Ingress leads to.
func servicesOf(_ context.Context, o client.Object) []reconcile.Request {
	ing, ok := o.(*networkingv1.Ingress)
	if !ok {
		return nil
	}
	var out []reconcile.Request
	for _, name := range policy.ServicesOf(ing) {
		out = append(out, reconcile.Request{NamespacedName: types.NamespacedName{Namespace: ing.Namespace, Name: name}})
	}
	return out
}

func (r *reconciler) servicesOfClass(ctx context.Context, o client.Object) []reconcile.Request {
	list, err := r.ingresses(ctx)
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list the Ingresses after a change of an IngressClass", "ingressClass", o.GetName())
		return nil
	}
	var out []reconcile.Request
	for _, ing := range list {
		if intent.ClassName(ing) == o.GetName() {
			out = append(out, servicesOf(ctx, ing)...)
		}
	}
	return out
}

// followPolicy queues every marked object on each value, until ctx ends.
func (r *reconciler) followPolicy(ctx context.Context, changed <-chan struct{}, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
		list, err := r.stored(ctx)
		if err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "list the objects after a change of the policy", "kind", r.kind)
			continue
		}
		for _, q := range list {
			queue.Add(q)
		}
	}
}

func (r *reconciler) markedIngresses(ctx context.Context) ([]reconcile.Request, error) {
	list, err := r.ingresses(ctx)
	return requests(list, marked), err
}

func (r *reconciler) markedServices(ctx context.Context) ([]reconcile.Request, error) {
	var list corev1.ServiceList
	if err := r.client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	var out []reconcile.Request
	for i := range list.Items {
		if intent.Marked(&list.Items[i]) {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
		}
	}
	return out, nil
}

// ingresses lists those of the cache, which must not be changed.
func (r *reconciler) ingresses(ctx context.Context) ([]*networkingv1.Ingress, error) {
	var list networkingv1.IngressList
	if err := r.client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	out := make([]*networkingv1.Ingress, len(list.Items))
	for i := range list.Items {
		out[i] = &list.Items[i]
	}
	return out, nil
}

func requests(list []*networkingv1.Ingress, wanted func(*networkingv1.Ingress) bool) []reconcile.Request {
	var out []reconcile.Request
	for _, ing := range list {
		if wanted(ing) {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(ing)})
		}
	}
	return out
}

// reconciler keeps the objects of one kind.
type reconciler struct {
	Options
	client   client.Client
	recorder events.EventRecorder

	kind  string
	empty func() policy.Object
	// stored lists the marked objects of the kind.
	stored func(context.Context) ([]reconcile.Request, error)

	mu       sync.Mutex
	disputes map[types.NamespacedName]dispute
}

// dispute is an object that did not come to be as it was written: another webhook changes it.
type dispute struct {
	// over is the write that went wrong: what was there and what was to be.
	over string
	wait time.Duration
	// until is when to try again.
	until time.Time
}

// Reconcile brings the annotations of one marked object to what Review injects today.
func (r *reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	config := r.Policy()
	if config == nil {
		return reconcile.Result{RequeueAfter: soon}, nil
	}
	object := r.empty()
	if err := r.client.Get(ctx, req.NamespacedName, object); err != nil {
		r.settle(req.NamespacedName)
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	todo := changes(r.Book, object, r.World(ctx), config)
	if len(todo) == 0 {
		r.settle(req.NamespacedName)
		return reconcile.Result{}, nil
	}
	// The version is the precondition: what a person writes at the same time is never lost, nor judged by its past.
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": object.GetUID(), "resourceVersion": object.GetResourceVersion(), "annotations": todo,
	}})
	if err != nil {
		return reconcile.Result{}, err
	}
	over := fingerprint(object, todo)
	if wait := r.disputed(req.NamespacedName, over); wait > 0 {
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	stored := r.empty()
	stored.SetNamespace(object.GetNamespace())
	stored.SetName(object.GetName())
	switch err := r.client.Patch(ctx, stored, client.RawPatch(types.MergePatchType, body), FieldOwner); {
	case apierrors.IsConflict(err):
		return reconcile.Result{RequeueAfter: soon}, nil
	case apierrors.IsNotFound(err):
		return reconcile.Result{}, nil
	case err != nil:
		return reconcile.Result{}, fmt.Errorf("write the annotations of %s '%s': %w", r.kind, req, err)
	}
	if key := unlike(stored, todo); key != "" {
		wait := r.contest(req.NamespacedName, fingerprint(stored, changes(r.Book, stored, r.World(ctx), config)))
		r.recorder.Eventf(object, nil, corev1.EventTypeWarning, "InjectDisputed", "Inject",
			"another webhook changes '%s' as drawbridge writes it; the next attempt is in %s", key, wait)
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	r.recorder.Eventf(object, nil, corev1.EventTypeNormal, "Injected", "Inject", "%s", note(object, todo))
	return reconcile.Result{}, nil
}

// changes are the annotations to be written for an object to have just what Review injects today; nil takes one away.
// There are none where Review may not mend the object, no dialect knows the class of an Ingress, or what it waits for is
// not known: a Service that is gone for a moment, or could not be read, is no reason to change traffic.
func changes(book policy.Book, object policy.Object, world policy.World, config *policy.Config) map[string]*string {
	if !intent.Marked(object) || object.GetDeletionTimestamp() != nil || !policy.Mendable(object) {
		return nil
	}
	if ing, ok := object.(*networkingv1.Ingress); ok {
		if _, known := config.DialectOf(ing, world.IngressClass); !known {
			return nil
		}
	}
	bare := object.DeepCopyObject().(policy.Object)
	intent.Withdraw(bare)
	result := book.Review(policy.Request{Object: bare, World: world, Config: config, Stored: true})
	if len(result.Awaited) > 0 {
		return nil
	}
	want := result.Object.GetAnnotations()
	todo := map[string]*string{}
	had := object.GetAnnotations()
	for key := range had {
		if _, stays := want[key]; !stays {
			todo[key] = nil
		}
	}
	for key, text := range want {
		if was, set := had[key]; !set || was != text {
			todo[key] = &text
		}
	}
	return todo
}

// unlike is the first annotation that was stored in another way than it was written, "" for none.
func unlike(stored policy.Object, written map[string]*string) string {
	for _, key := range slices.Sorted(maps.Keys(written)) {
		text, set := stored.GetAnnotations()[key]
		if want := written[key]; set != (want != nil) || set && text != *want {
			return key
		}
	}
	return ""
}

// fingerprint tells one write from another: what there is of the annotations concerned, and what is to be.
func fingerprint(object policy.Object, todo map[string]*string) string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(todo)) {
		was, set := object.GetAnnotations()[key]
		fmt.Fprintf(&b, "%q %t %q ", key, set, was)
		if text := todo[key]; text != nil {
			fmt.Fprintf(&b, "%q", *text)
		}
		b.WriteByte('\n')
	}
	return string(object.GetUID()) + "\n" + b.String()
}

// disputed is how long to leave an object alone before the same write is tried again.
func (r *reconciler) disputed(key types.NamespacedName, over string) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if d, ok := r.disputes[key]; ok && d.over == over {
		return time.Until(d.until)
	}
	return 0
}

// contest notes a dispute, and gives the time until the next attempt.
func (r *reconciler) contest(key types.NamespacedName, over string) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	wait := patience
	if d, ok := r.disputes[key]; ok && d.over == over {
		wait = min(2*d.wait, mostPatience)
	}
	r.disputes[key] = dispute{over: over, wait: wait, until: time.Now().Add(wait)}
	return wait
}

// settle forgets a dispute.
func (r *reconciler) settle(key types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.disputes, key)
}

// note says in an Event what was written. The annotations are those of the dialects, few and short; their values are
// left out, because they hold what others wrote.
func note(object policy.Object, todo map[string]*string) string {
	var set, changed, withdrawn []string
	for _, key := range slices.Sorted(maps.Keys(todo)) {
		_, had := object.GetAnnotations()[key]
		switch {
		case key == intent.Injected:
		case todo[key] == nil:
			withdrawn = append(withdrawn, "'"+key+"'")
		case had:
			changed = append(changed, "'"+key+"'")
		default:
			set = append(set, "'"+key+"'")
		}
	}
	var parts []string
	for _, p := range [...]struct {
		verb string
		keys []string
	}{{"set", set}, {"changed", changed}, {"withdrew", withdrawn}} {
		if len(p.keys) > 0 {
			parts = append(parts, p.verb+" "+strings.Join(p.keys, ", "))
		}
	}
	if len(parts) == 0 {
		parts = []string{"put '" + intent.Injected + "' in order"}
	}
	return strings.Join(parts, "; ") + ", as the Ingresses, the Services and the policy are now"
}

func marked(ing *networkingv1.Ingress) bool { return intent.Marked(ing) }
