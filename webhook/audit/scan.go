package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"drawbridge.dev/drawbridge/policy"
)

// Scan judges stored objects as they stand: nothing is mended, and who wrote them is not known.
type Scan struct {
	Book policy.Book
	// Config is the policy; nil means the default.
	Config *policy.Config
	// World shows the other objects; it is used by one goroutine.
	World policy.World
	// Exempt are namespaces that are out of scope, as they are at admission.
	Exempt []string
	// Slice and Pause keep a scan from taking a processor for itself: after about Slice of work it sleeps for Pause. Zero
	// for no pauses.
	Slice, Pause time.Duration
	// Budget is how long the objects of one namespace may take, pauses left out: whoever fills a namespace so that its
	// objects are slow to judge must not keep the others from being judged. Zero for no limit.
	Budget time.Duration
}

// errBudget tells that an object was not judged because its namespace took too long.
var errBudget = errors.New("the objects of its namespace take too long to judge")

// Judges tells whether an object is of a kind that is judged.
func Judges(o policy.Object) bool {
	switch o.(type) {
	case *corev1.Service, *corev1.Endpoints, *discoveryv1.EndpointSlice, *networkingv1.Ingress:
		return true
	}
	return false
}

// Run judges the objects in scope, in their order, in which those of a namespace stand together, and calls each for every
// one with what came of it. Where a rule panics or the Budget is used up, err says so and the result is empty. Run ends
// early, with the error of ctx, when that ends.
func (s *Scan) Run(ctx context.Context, objects []policy.Object, each func(o policy.Object, res policy.Result, err error)) error {
	began := time.Now()
	namespace, spent := "", time.Duration(0)
	for _, o := range objects {
		if !s.covers(o) {
			continue
		}
		if o.GetNamespace() != namespace {
			namespace, spent = o.GetNamespace(), 0
		}
		if s.Budget > 0 && spent > s.Budget {
			each(o, policy.Result{}, errBudget)
			continue
		}
		start := time.Now()
		res, err := s.review(o)
		spent += time.Since(start)
		each(o, res, err)
		if s.Slice > 0 && time.Since(began) >= s.Slice {
			if ctx.Err() == nil {
				time.Sleep(s.Pause)
			}
			began = time.Now()
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (s *Scan) review(o policy.Object) (res policy.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("a rule panicked: %v", p)
		}
	}()
	return s.Book.Review(policy.Request{Object: o, World: s.World, Config: s.Config, Stored: true, NoFix: true}), nil
}

// covers tells whether admission would judge an object, as the match conditions of the webhooks have it, whoever wrote
// it: who did is not known any more.
func (s *Scan) covers(o policy.Object) bool {
	if slices.Contains(s.Exempt, o.GetNamespace()) {
		return false
	}
	if _, ing := o.(*networkingv1.Ingress); !ing && o.GetNamespace() == metav1.NamespaceDefault && o.GetName() == "kubernetes" {
		return false // the API server's own
	}
	if ep, ok := o.(*corev1.Endpoints); ok && len(ep.Subsets) == 0 {
		if _, elects := ep.Annotations["control-plane.alpha.kubernetes.io/leader"]; elects {
			return false
		}
	}
	return true
}

// kindOf is the kind of an object that is judged, and the version of its API. What comes from a typed client does not
// tell it itself.
func kindOf(o policy.Object) (apiVersion, kind string) {
	switch o.(type) {
	case *corev1.Service:
		return "v1", "Service"
	case *corev1.Endpoints:
		return "v1", "Endpoints"
	case *networkingv1.Ingress:
		return "networking.k8s.io/v1", "Ingress"
	}
	return "discovery.k8s.io/v1", "EndpointSlice"
}
