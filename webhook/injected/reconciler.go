// Package injected keeps what the webhook injected into Ingresses true when their Services come or change later.
//
// The annotation intent.Injected marks an Ingress as drawbridge's to complete and lists what is drawbridge's in it. What
// is to stand there is what Review would mend today, were nothing of drawbridge's there: the same rules, levels and
// exemptions as at admission. Everything else in the Ingress is left as it is.
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
	// soon is when to look again after somebody else wrote the Ingress first, or while the policy is not read yet.
	soon = 200 * time.Millisecond
	// patience and mostPatience bound how long an Ingress is left alone whose annotations another webhook changes as
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
	// Changed looks at every marked Ingress again on each value; nil for never.
	Changed <-chan struct{}
}

// Setup adds the reconciler to a manager, which runs it while it leads. It needs the rights: get, list and watch
// Services and IngressClasses; get, list, watch and patch Ingresses; create and patch Events of events.k8s.io.
func Setup(mgr ctrl.Manager, o Options) error {
	r := &reconciler{
		Options:  o,
		client:   mgr.GetClient(),
		recorder: mgr.GetEventRecorder("drawbridge"),
		disputes: map[types.NamespacedName]dispute{},
	}
	b := ctrl.NewControllerManagedBy(mgr).
		Named("injected").
		For(&networkingv1.Ingress{}, builder.WithPredicates(predicate.NewPredicateFuncs(func(o client.Object) bool {
			ing, ok := o.(*networkingv1.Ingress)
			return ok && intent.Marked(ing)
		}))).
		Watches(&corev1.Service{}, handler.EnqueueRequestsFromMapFunc(r.ofService), builder.WithPredicates(predicate.Funcs{UpdateFunc: otherSpec})).
		Watches(&networkingv1.IngressClass{}, handler.EnqueueRequestsFromMapFunc(r.ofClass)).
		WithOptions(controller.Options{MaxConcurrentReconciles: 2})
	if o.Changed != nil {
		b = b.WatchesRawSource(source.Func(func(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
			go r.followPolicy(ctx, queue)
			return nil
		}))
	}
	return b.Complete(r)
}

// otherSpec drops the updates of Services that change nothing a rule reads.
func otherSpec(e event.UpdateEvent) bool {
	before, ok := e.ObjectOld.(*corev1.Service)
	after, also := e.ObjectNew.(*corev1.Service)
	return !ok || !also || !apiequality.Semantic.DeepEqual(before.Spec, after.Spec)
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

// followPolicy queues every marked Ingress on each value, until ctx ends or the channel is closed.
func (r *reconciler) followPolicy(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-r.Changed:
			if !ok {
				return
			}
		}
		list, err := r.ingresses(ctx)
		if err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "list the Ingresses after a change of the policy")
			continue
		}
		for _, q := range requests(list, marked) {
			queue.Add(q)
		}
	}
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

type reconciler struct {
	Options
	client   client.Client
	recorder events.EventRecorder

	mu       sync.Mutex
	disputes map[types.NamespacedName]dispute
}

// dispute is an Ingress that did not come to be as it was written: another webhook changes it.
type dispute struct {
	// over is the write that went wrong: what was there and what was to be.
	over string
	wait time.Duration
	// until is when to try again.
	until time.Time
}

// Reconcile brings the annotations of one marked Ingress to what Review injects today.
func (r *reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	config := r.Policy()
	if config == nil {
		return reconcile.Result{RequeueAfter: soon}, nil
	}
	ing := &networkingv1.Ingress{}
	if err := r.client.Get(ctx, req.NamespacedName, ing); err != nil {
		r.settle(req.NamespacedName)
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	todo := changes(r.Book, ing, r.World(ctx), config)
	if len(todo) == 0 {
		r.settle(req.NamespacedName)
		return reconcile.Result{}, nil
	}
	// The version is the precondition: what a person writes at the same time is never lost, nor judged by its past.
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": ing.UID, "resourceVersion": ing.ResourceVersion, "annotations": todo,
	}})
	if err != nil {
		return reconcile.Result{}, err
	}
	over := fingerprint(ing, todo)
	if wait := r.disputed(req.NamespacedName, over); wait > 0 {
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	stored := &networkingv1.Ingress{}
	stored.Namespace, stored.Name = ing.Namespace, ing.Name
	switch err := r.client.Patch(ctx, stored, client.RawPatch(types.MergePatchType, body), FieldOwner); {
	case apierrors.IsConflict(err):
		return reconcile.Result{RequeueAfter: soon}, nil
	case apierrors.IsNotFound(err):
		return reconcile.Result{}, nil
	case err != nil:
		return reconcile.Result{}, fmt.Errorf("write the annotations of Ingress '%s': %w", req, err)
	}
	if key := unlike(stored, todo); key != "" {
		wait := r.contest(req.NamespacedName, fingerprint(stored, changes(r.Book, stored, r.World(ctx), config)))
		r.recorder.Eventf(ing, nil, corev1.EventTypeWarning, "InjectDisputed", "Inject",
			"another webhook changes '%s' as drawbridge writes it; the next attempt is in %s", key, wait)
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	r.recorder.Eventf(ing, nil, corev1.EventTypeNormal, "Injected", "Inject", "%s", note(ing, todo))
	return reconcile.Result{}, nil
}

// changes are the annotations to be written for an Ingress to have just what Review injects today; nil takes one away.
// There are none where Review may not mend the Ingress, no dialect knows its class, or a backend is not known: a Service
// that is gone for a moment, or could not be read, is no reason to change traffic.
func changes(book policy.Book, ing *networkingv1.Ingress, world policy.World, config *policy.Config) map[string]*string {
	if !intent.Marked(ing) || ing.DeletionTimestamp != nil || !policy.Mendable(ing) {
		return nil
	}
	if _, known := intent.Of(ing, world.IngressClass); !known {
		return nil
	}
	bare := ing.DeepCopy()
	intent.Withdraw(bare)
	result := book.Review(policy.Request{Object: bare, World: world, Config: config, Stored: true})
	if len(result.Awaited) > 0 {
		return nil
	}
	want := result.Object.GetAnnotations()
	todo := map[string]*string{}
	for key := range ing.Annotations {
		if _, stays := want[key]; !stays {
			todo[key] = nil
		}
	}
	for key, text := range want {
		if was, set := ing.Annotations[key]; !set || was != text {
			todo[key] = &text
		}
	}
	return todo
}

// unlike is the first annotation that was stored in another way than it was written, "" for none.
func unlike(stored *networkingv1.Ingress, written map[string]*string) string {
	for _, key := range slices.Sorted(maps.Keys(written)) {
		text, set := stored.Annotations[key]
		if want := written[key]; set != (want != nil) || set && text != *want {
			return key
		}
	}
	return ""
}

// fingerprint tells one write from another: what there is of the annotations concerned, and what is to be.
func fingerprint(ing *networkingv1.Ingress, todo map[string]*string) string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(todo)) {
		was, set := ing.Annotations[key]
		fmt.Fprintf(&b, "%q %t %q ", key, set, was)
		if text := todo[key]; text != nil {
			fmt.Fprintf(&b, "%q", *text)
		}
		b.WriteByte('\n')
	}
	return string(ing.UID) + "\n" + b.String()
}

// disputed is how long to leave an Ingress alone before the same write is tried again.
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
func note(ing *networkingv1.Ingress, todo map[string]*string) string {
	var set, changed, withdrawn []string
	for _, key := range slices.Sorted(maps.Keys(todo)) {
		_, had := ing.Annotations[key]
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
	return strings.Join(parts, "; ") + ", as its Services and the policy are now"
}

func marked(ing *networkingv1.Ingress) bool { return intent.Marked(ing) }
