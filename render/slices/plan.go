package slices

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"drawbridge.dev/drawbridge/policy"
)

const (
	// mirrorLimit is how many addresses of a subset the mirroring controller copies.
	mirrorLimit = 1000
	// nameAttempts bounds how many foreign slices on a name of ours are passed over in one go.
	nameAttempts = 10
)

// world is what a plan is made from, as one reader sees it.
type world struct {
	ep       *corev1.Endpoints // nil where there is none
	svc      *corev1.Service   // nil where there is none
	existing []*discoveryv1.EndpointSlice
	behind   bool // an Ingress names the Service
}

// plan is what is to be done for one Endpoints, in this order: apply, set the label or withdraw it, remove.
type plan struct {
	world
	reason   string // why the Endpoints are out of scope; empty where they are in scope
	problems []Problem
	wanted   []*discoveryv1.EndpointSlice
	apply    []*discoveryv1.EndpointSlice
	label    bool
	unlabel  bool
	remove   []*discoveryv1.EndpointSlice
	// waits says that slices of ours stay until somebody else's stand.
	waits bool
	// selected says that the Service has a selector, which ends the wait after a while: its pods are wanted now.
	selected bool
}

func (p *plan) idle() bool {
	return len(p.apply) == 0 && len(p.remove) == 0 && !p.label && !p.unlabel
}

// read gathers the world of one Endpoints. fallback reads Endpoints whose managedFields the reader doesn't have and
// that may be ours: those of the endpoints controller, which are most of a cluster's, are not read again.
func read(ctx context.Context, r, fallback client.Reader, key types.NamespacedName, ingresses bool) (world, error) {
	var w world
	ep, svc := &corev1.Endpoints{}, &corev1.Service{}
	err := r.Get(ctx, key, ep)
	if err == nil && len(ep.ManagedFields) == 0 && !kept(ep) {
		ep = &corev1.Endpoints{}
		err = fallback.Get(ctx, key, ep)
	}
	switch {
	case err == nil:
		w.ep = ep
	case !apierrors.IsNotFound(err):
		return w, fmt.Errorf("read the Endpoints: %w", err)
	}
	switch err := r.Get(ctx, key, svc); {
	case err == nil:
		w.svc = svc
	case !apierrors.IsNotFound(err):
		return w, fmt.Errorf("read the Service: %w", err)
	}
	var list discoveryv1.EndpointSliceList
	if len(key.Name) <= 63 { // a longer name can't be a label's value, and has no Service either
		if err := r.List(ctx, &list, client.InNamespace(key.Namespace), client.MatchingLabels{discoveryv1.LabelServiceName: key.Name}); err != nil {
			return w, fmt.Errorf("list the EndpointSlices: %w", err)
		}
	}
	for i := range list.Items {
		w.existing = append(w.existing, &list.Items[i])
	}
	slices.SortFunc(w.existing, func(a, b *discoveryv1.EndpointSlice) int { return cmp.Compare(a.Name, b.Name) })
	if ingresses && w.svc != nil {
		var list networkingv1.IngressList
		if err := r.List(ctx, &list, client.InNamespace(key.Namespace)); err != nil {
			return w, fmt.Errorf("list the Ingresses: %w", err)
		}
		for i := range list.Items {
			backends(&list.Items[i], func(service string) { w.behind = w.behind || service == key.Name })
		}
	}
	return w, nil
}

// decide makes the plan for a world. It is pure.
func decide(w world, name string, cfg *policy.Config) *plan {
	p := &plan{world: w}
	if w.ep == nil {
		p.reason = "there are no Endpoints"
		for _, s := range w.existing {
			if madeFor(name, s) {
				p.remove = append(p.remove, s)
			}
		}
		return p
	}
	// Slices of Endpoints of this name that are gone: the garbage collector deletes them too, where it runs.
	var former, own []*discoveryv1.EndpointSlice
	for _, s := range w.existing {
		switch {
		case s.DeletionTimestamp != nil:
		case Owns(w.ep, s):
			own = append(own, s)
		case madeFor(name, s):
			former = append(former, s)
		}
	}
	in, reason := InScope(w.ep, w.svc, cfg, w.behind)
	if in {
		p.wanted, p.problems = Wanted(w.ep, w.svc, w.existing)
		held := policy.RepeatedIn(w.ep, w.existing).All()
		if held {
			// A person wrote slices of the very same addresses: with ours, as with the mirrored ones, each would stand twice.
			p.wanted, p.problems = nil, nil
		}
		p.apply, p.remove = changes(p.wanted, own)
		p.remove = append(p.remove, former...)
		// Where nothing is left to serve nothing is taken over: what the mirroring controller might still see in the
		// Endpoints stays with it.
		p.label = (held || len(p.wanted) > 0) && w.ep.Labels[discoveryv1.LabelSkipMirror] != "true"
		return p
	}
	p.reason = reason
	p.unlabel = ownsSkipMirror(w.ep)
	p.remove = former
	if len(own) == 0 {
		return p
	}
	p.selected = w.svc != nil && w.svc.Spec.Selector != nil
	if p.unlabel || !covered(w, own) {
		p.waits = true
		return p
	}
	p.remove = append(p.remove, own...)
	return p
}

// madeFor tells whether drawbridge made a slice for Endpoints of this name, whatever their UID.
func madeFor(name string, s *discoveryv1.EndpointSlice) bool {
	ref := metav1.GetControllerOf(s)
	return s.Labels[discoveryv1.LabelManagedBy] == policy.ManagedBy && ref != nil &&
		ref.APIVersion == "v1" && ref.Kind == "Endpoints" && ref.Name == name
}

// covered tells whether own may go without a ready endpoint going with them: others hold each, or nobody ever will.
func covered(w world, own []*discoveryv1.EndpointSlice) bool {
	if w.svc != nil && w.svc.Spec.Selector != nil {
		// The endpoints are pods now. Its controller makes a slice even where there is none.
		return slices.ContainsFunc(w.existing, func(s *discoveryv1.EndpointSlice) bool {
			return s.Labels[discoveryv1.LabelManagedBy] == policy.ManagedByPods
		})
	}
	if v, ok := w.ep.Labels[discoveryv1.LabelSkipMirror]; !mirrors(w.ep, w.svc) || (ok && v == "true" && !ownsSkipMirror(w.ep)) {
		return true
	}
	ready := map[string]bool{}
	mirrored := 0
	for _, s := range w.existing {
		if s.DeletionTimestamp != nil || slices.Contains(own, s) {
			continue
		}
		for _, e := range s.Endpoints {
			if s.Labels[discoveryv1.LabelManagedBy] == policy.ManagedByMirroring {
				mirrored++
			}
			if e.Conditions.Ready == nil || *e.Conditions.Ready {
				for _, a := range e.Addresses {
					ready[a] = true
				}
			}
		}
	}
	if mirrored >= mirrorLimit {
		return true
	}
	for _, s := range w.ep.Subsets {
		for _, a := range s.Addresses {
			if addr, err := parse(a.IP); err == nil && !ready[addr.String()] {
				return false
			}
		}
	}
	return true
}

// changes compares what should be with what drawbridge has. Slices that gain an endpoint come first, so that one that
// moves stands twice for a moment instead of nowhere.
func changes(wanted, own []*discoveryv1.EndpointSlice) (apply, remove []*discoveryv1.EndpointSlice) {
	byName := map[string]*discoveryv1.EndpointSlice{}
	for _, s := range own {
		byName[s.Name] = s
	}
	var shrink []*discoveryv1.EndpointSlice
	for _, w := range wanted {
		have := byName[w.Name]
		delete(byName, w.Name)
		switch {
		case have == nil:
			apply = append(apply, w)
		case equal(w, have):
		default:
			w.UID = have.UID // so that it is not applied to another slice of this name, or made again
			if gains(w, have) {
				apply = append(apply, w)
			} else {
				shrink = append(shrink, w)
			}
		}
	}
	for _, s := range own {
		if byName[s.Name] != nil {
			remove = append(remove, s)
		}
	}
	return append(apply, shrink...), remove
}

func equal(want, have *discoveryv1.EndpointSlice) bool {
	for _, l := range []string{discoveryv1.LabelServiceName, discoveryv1.LabelManagedBy, corev1.IsHeadlessService, serviceProxyName} {
		a, inA := want.Labels[l]
		b, inB := have.Labels[l]
		if a != b || inA != inB {
			return false
		}
	}
	return want.AddressType == have.AddressType && slices.Equal(portsOf(want), portsOf(have)) &&
		equality.Semantic.DeepEqual(want.Endpoints, have.Endpoints)
}

func gains(want, have *discoveryv1.EndpointSlice) bool {
	old := map[string]bool{}
	for _, e := range have.Endpoints {
		for _, a := range e.Addresses {
			old[a] = true
		}
	}
	return slices.ContainsFunc(want.Endpoints, func(e discoveryv1.Endpoint) bool { return !old[e.Addresses[0]] })
}
