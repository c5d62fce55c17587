package slices

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coreac "k8s.io/client-go/applyconfigurations/core/v1"
	discoveryac "k8s.io/client-go/applyconfigurations/discovery/v1"
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
)

// FieldOwner is the field manager of everything that drawbridge applies. Owning the label skip-mirror by it is how
// drawbridge remembers that it set the label.
const FieldOwner = client.FieldOwner("drawbridge")

const (
	// pollMirror is how often a hand-back looks for the slices that it waits for; their events come sooner as a rule.
	pollMirror = time.Second
	// warnAfter is how long a hand-back waits before an Event says what for.
	warnAfter = 30 * time.Second
	// selectorWait bounds the wait for the slices of pods when a Service gains a selector: traffic must not go on
	// forever to where it was taken away from.
	selectorWait = time.Minute
)

// Setup adds the reconciler of EndpointSlices to a manager, which runs it while it leads. config gives the policy in
// force at each call; each value on changed (nil for never) looks at every Endpoints again.
//
// It needs the rights: get, list, watch and patch Endpoints; get, list, watch Services and Ingresses; get, list,
// watch, create, patch and delete EndpointSlices; create and patch Events of events.k8s.io. The manager's cache
// should keep the managedFields of Endpoints; where it strips them each is read anew from the API server. Its
// rest.Config should be Quiet.
func Setup(mgr ctrl.Manager, config func() *policy.Config, changed <-chan struct{}) error {
	r := &reconciler{
		cached:   mgr.GetClient(),
		store:    store{live: mgr.GetAPIReader(), writer: mgr.GetClient()},
		config:   config,
		recorder: mgr.GetEventRecorder("drawbridge"),
		reported: map[types.NamespacedName]string{},
		since:    map[types.NamespacedName]time.Time{},
	}
	b := ctrl.NewControllerManagedBy(mgr).
		Named("slices").
		For(&corev1.Endpoints{}, builder.WithPredicates(predicate.Funcs{UpdateFunc: relevant})).
		Watches(&corev1.Service{}, &handler.EnqueueRequestForObject{}).
		Watches(&discoveryv1.EndpointSlice{}, handler.EnqueueRequestsFromMapFunc(ofSlice)).
		Watches(&networkingv1.Ingress{}, handler.EnqueueRequestsFromMapFunc(r.ofIngress)).
		WithOptions(controller.Options{MaxConcurrentReconciles: 4})
	if changed != nil {
		b = b.WatchesRawSource(source.Func(func(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
			go r.followPolicy(ctx, changed, queue)
			return nil
		}))
	}
	return b.Complete(r)
}

// relevant drops the changes of Endpoints that are not ours before nor after: the locks of leader elections, which
// change every other second, and what the endpoints controller keeps for Services with a selector.
func relevant(e event.UpdateEvent) bool {
	return !kept(e.ObjectOld) || !kept(e.ObjectNew)
}

func kept(o client.Object) bool {
	return (hasKey(o.GetAnnotations(), leaderAnnotation) || hasKey(o.GetLabels(), endpointsManagedBy)) &&
		!hasKey(o.GetLabels(), discoveryv1.LabelSkipMirror)
}

// ofSlice maps our slices, the mirrored ones and those that people write to their Endpoints.
func ofSlice(_ context.Context, o client.Object) []reconcile.Request {
	labels := o.GetLabels()
	switch labels[discoveryv1.LabelManagedBy] {
	case policy.ManagedBy, policy.ManagedByMirroring, policy.HandWritten, "":
	default:
		return nil
	}
	names := []string{labels[discoveryv1.LabelServiceName]}
	if ref := metav1.GetControllerOf(o); ref != nil && ref.Kind == "Endpoints" {
		names = append(names, ref.Name) // a slice of ours whose label was changed
	}
	var out []reconcile.Request
	for _, n := range names {
		r := reconcile.Request{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: n}}
		if n != "" && !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	return out
}

func (r *reconciler) ofIngress(_ context.Context, o client.Object) []reconcile.Request {
	ing, ok := o.(*networkingv1.Ingress)
	if !ok || r.config().Slices.Scope != policy.SlicesIngress {
		return nil
	}
	var out []reconcile.Request
	backends(ing, func(service string) {
		q := reconcile.Request{NamespacedName: types.NamespacedName{Namespace: ing.Namespace, Name: service}}
		if !slices.Contains(out, q) {
			out = append(out, q)
		}
	})
	return out
}

// followPolicy queues every Endpoints on each value, until ctx ends or the channel is closed.
func (r *reconciler) followPolicy(ctx context.Context, changed <-chan struct{}, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-changed:
			if !ok {
				return
			}
		}
		var list corev1.EndpointsList
		if err := r.cached.List(ctx, &list); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "list the Endpoints after a change of the policy")
			continue
		}
		for i := range list.Items {
			queue.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
		}
	}
}

type reconciler struct {
	cached   client.Reader
	store    store
	config   func() *policy.Config
	recorder events.EventRecorder

	mu sync.Mutex
	// reported holds what the last Events of Endpoints said, so that each is sent once.
	reported map[types.NamespacedName]string
	// since is when a hand-back began to wait.
	since map[types.NamespacedName]time.Time
}

// Reconcile plans from the cache, which costs the API server nothing where all is well; what there is to do is planned
// again from the API server itself, so that no stale cache decides.
func (r *reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	cfg := r.config()
	ingresses := cfg.Slices.Scope == policy.SlicesIngress
	w, err := read(ctx, r.cached, r.store.live, req.NamespacedName, ingresses)
	if err != nil {
		return reconcile.Result{}, err
	}
	p := decide(w, req.Name, cfg)
	if !p.idle() || p.waits {
		if w, err = read(ctx, r.store.live, r.store.live, req.NamespacedName, ingresses); err != nil {
			return reconcile.Result{}, err
		}
		p, err = r.store.execute(ctx, w, req.Name, cfg)
	}
	result := r.follow(ctx, req.NamespacedName, p)
	if err != nil && r.gone(ctx, p.ep) {
		// Deleted, or made anew, while they were handled: the next look decides.
		return reconcile.Result{RequeueAfter: time.Second}, nil
	}
	if err != nil {
		r.event(p.ep, "StoreFailed", "Store", err.Error())
		return reconcile.Result{}, err
	}
	return result, nil
}

// gone tells that Endpoints are not there any more, others of their name apart.
func (r *reconciler) gone(ctx context.Context, ep *corev1.Endpoints) bool {
	if ep == nil {
		return false
	}
	now := &corev1.Endpoints{}
	err := r.store.live.Get(ctx, client.ObjectKeyFromObject(ep), now)
	return apierrors.IsNotFound(err) || err == nil && now.UID != ep.UID
}

// follow sends the Events of a plan and says when to look again.
func (r *reconciler) follow(ctx context.Context, key types.NamespacedName, p *plan) reconcile.Result {
	var text strings.Builder
	for _, q := range p.problems {
		fmt.Fprintf(&text, "%s %s %s\n", q.Reason, q.Field, q.Message)
	}
	r.mu.Lock()
	news := text.String() != r.reported[key]
	if text.Len() == 0 {
		delete(r.reported, key)
	} else {
		r.reported[key] = text.String()
	}
	since, waiting := r.since[key]
	switch {
	case !p.waits:
		delete(r.since, key)
	case !waiting:
		since = time.Now()
		r.since[key] = since
	}
	r.mu.Unlock()

	if news {
		for i, q := range p.problems {
			const most = 10 // of ten thousand bad addresses ten are enough to see
			if i == most {
				r.event(p.ep, q.Reason, "Build", fmt.Sprintf("and %d more", len(p.problems)-most))
				break
			}
			r.event(p.ep, q.Reason, "Build", q.Field+": "+q.Message)
		}
	}
	if !p.waits {
		return reconcile.Result{}
	}
	waited := time.Since(since)
	if p.selected && waited > selectorWait {
		for _, s := range p.existing {
			if Owns(p.ep, s) {
				if err := r.store.delete(ctx, s); err != nil {
					r.event(p.ep, "StoreFailed", "Store", err.Error())
				}
			}
		}
	} else if waited > warnAfter && waited < warnAfter+2*pollMirror {
		r.event(p.ep, "MirrorMissing", "HandBack", "out of scope ("+p.reason+"), but no other slice holds the addresses; "+
			"drawbridge's stay until kube-controller-manager has mirrored the Endpoints")
	}
	return reconcile.Result{RequeueAfter: pollMirror}
}

// event warns of something about Endpoints, where they still exist.
func (r *reconciler) event(ep *corev1.Endpoints, reason, action, note string) {
	const most = 1000 // the API server takes 1,024
	if ep == nil {
		return
	}
	if len(note) > most {
		note = strings.ToValidUTF8(note[:most], "") + "..."
	}
	r.recorder.Eventf(ep, nil, corev1.EventTypeWarning, reason, action, "%s", note)
}

// store reads from and writes to the API server itself.
type store struct {
	live   client.Reader
	writer client.Client
}

// execute plans from w, which was read live, and does it. The plan is given back with an error too.
func (s store) execute(ctx context.Context, w world, name string, cfg *policy.Config) (*plan, error) {
	p := decide(w, name, cfg)
	// A slice without the label of the Service isn't listed, and may still have the name that one of ours would get.
	for range nameAttempts {
		found, err := s.occupants(ctx, p)
		if err != nil {
			return p, err
		}
		if len(found) == 0 {
			break
		}
		w.existing = append(w.existing, found...)
		p = decide(w, name, cfg)
	}
	for _, want := range p.apply {
		if err := s.apply(ctx, want); err != nil {
			return p, fmt.Errorf("apply EndpointSlice '%s': %w", want.Name, err)
		}
	}
	if p.label {
		if err := s.handOver(ctx, p); err != nil {
			return p, err
		}
	}
	if p.unlabel {
		if err := s.setSkipMirror(ctx, p.ep, false); err != nil {
			return p, fmt.Errorf("withdraw the label '%s': %w", discoveryv1.LabelSkipMirror, err)
		}
	}
	for _, old := range p.remove {
		if err := s.delete(ctx, old); err != nil {
			return p, fmt.Errorf("delete EndpointSlice '%s': %w", old.Name, err)
		}
	}
	return p, nil
}

// occupants reads the names of the slices to be made, and gives those that exist.
func (s store) occupants(ctx context.Context, p *plan) ([]*discoveryv1.EndpointSlice, error) {
	var found []*discoveryv1.EndpointSlice
	for _, want := range p.apply {
		if want.UID != "" {
			continue
		}
		have := &discoveryv1.EndpointSlice{}
		switch err := s.live.Get(ctx, client.ObjectKeyFromObject(want), have); {
		case err == nil:
			found = append(found, have)
		case !apierrors.IsNotFound(err):
			return nil, fmt.Errorf("read EndpointSlice '%s': %w", want.Name, err)
		}
	}
	return found, nil
}

// handOver sets the label upon which the mirrored slices go, once ours are read back as they were meant.
func (s store) handOver(ctx context.Context, p *plan) error {
	for _, want := range p.wanted {
		have := &discoveryv1.EndpointSlice{}
		if err := s.live.Get(ctx, client.ObjectKeyFromObject(want), have); err != nil {
			return fmt.Errorf("read back EndpointSlice '%s': %w", want.Name, err)
		}
		if !Owns(p.ep, have) || !equal(want, have) {
			return fmt.Errorf("EndpointSlice '%s' was changed by somebody else as it was stored; the mirrored slices stay", want.Name)
		}
	}
	if err := s.setSkipMirror(ctx, p.ep, true); err != nil {
		return fmt.Errorf("set the label '%s': %w", discoveryv1.LabelSkipMirror, err)
	}
	return nil
}

// apply stores a slice. One to be made is not forced: a foreign slice that takes the name in this moment stays.
func (s store) apply(ctx context.Context, want *discoveryv1.EndpointSlice) error {
	text, err := json.Marshal(want)
	if err != nil {
		return err
	}
	ac := &discoveryac.EndpointSliceApplyConfiguration{}
	if err := json.Unmarshal(text, ac); err != nil {
		return err
	}
	options := []client.ApplyOption{FieldOwner}
	if want.UID != "" {
		options = append(options, client.ForceOwnership)
	}
	return s.writer.Apply(ctx, ac, options...)
}

// setSkipMirror applies the label, or nothing, which takes back what drawbridge applied before and leaves what others
// set. The UID keeps it from making Endpoints that were deleted meanwhile.
func (s store) setSkipMirror(ctx context.Context, ep *corev1.Endpoints, set bool) error {
	ac := coreac.Endpoints(ep.Name, ep.Namespace).WithUID(ep.UID)
	if set {
		ac = ac.WithLabels(map[string]string{discoveryv1.LabelSkipMirror: "true"})
	}
	return s.writer.Apply(ctx, ac, FieldOwner)
}

func (s store) delete(ctx context.Context, slice *discoveryv1.EndpointSlice) error {
	err := s.writer.Delete(ctx, slice, client.Preconditions{UID: &slice.UID})
	return client.IgnoreNotFound(err)
}

// Release hands all slices of drawbridge in the cluster back to the mirroring controller, for an uninstall: it
// withdraws the labels, waits until the mirrored slices stand, and deletes drawbridge's. Where they don't come within
// wait, drawbridge's slices stay, so that traffic goes on; left names those, as "namespace/name", sorted. c must read
// from the API server, not from a cache. No manager may run meanwhile, or its scope must be off.
func Release(ctx context.Context, c client.Client, wait time.Duration) (left []string, err error) {
	cfg := policy.DefaultConfig()
	cfg.Slices.Scope = policy.SlicesOff
	s := store{live: c, writer: c}
	keys, err := taken(ctx, c)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(wait)
	for {
		var errs []error
		var open []types.NamespacedName
		for _, key := range keys {
			w, err := read(ctx, c, c, key, false)
			var p *plan
			if err == nil {
				p, err = s.execute(ctx, w, key.Name, cfg)
			}
			switch {
			case err != nil:
				errs = append(errs, fmt.Errorf("%s: %w", key, err))
				open = append(open, key)
			case p.waits:
				open = append(open, key)
			}
		}
		keys = open
		if len(keys) == 0 || ctx.Err() != nil || time.Now().After(deadline) {
			for _, k := range keys {
				left = append(left, k.String())
			}
			slices.Sort(left)
			return left, errors.Join(append(errs, ctx.Err())...)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pollMirror / 4):
		}
	}
}

// taken lists the Endpoints that drawbridge has slices of, or has set the label on.
func taken(ctx context.Context, c client.Client) ([]types.NamespacedName, error) {
	seen := map[types.NamespacedName]bool{}
	var list discoveryv1.EndpointSliceList
	if err := c.List(ctx, &list, client.MatchingLabels{discoveryv1.LabelManagedBy: policy.ManagedBy}); err != nil {
		return nil, fmt.Errorf("list the EndpointSlices: %w", err)
	}
	for i := range list.Items {
		s := &list.Items[i]
		if ref := metav1.GetControllerOf(s); ref != nil && madeFor(ref.Name, s) {
			seen[types.NamespacedName{Namespace: s.Namespace, Name: ref.Name}] = true
		}
	}
	var eps corev1.EndpointsList
	if err := c.List(ctx, &eps, client.MatchingLabels{discoveryv1.LabelSkipMirror: "true"}); err != nil {
		return nil, fmt.Errorf("list the Endpoints: %w", err)
	}
	for i := range eps.Items {
		if ownsSkipMirror(&eps.Items[i]) {
			seen[client.ObjectKeyFromObject(&eps.Items[i])] = true
		}
	}
	keys := make([]types.NamespacedName, 0, len(seen))
	for k := range seen {
		keys = append(keys, k)
	}
	return keys, nil
}
