// Package webhook is drawbridge's admission webhook: it answers the API server for Services, Endpoints, EndpointSlices
// and Ingresses on /mutate/<kind> and /validate/<kind>.
//
// /mutate denies what must be denied, because the API server's own refusal comes between mutation and validation and
// says less, and mends the rest by a JSON patch. /validate judges what came of it, once every other webhook had its
// way. Both run the same Review; the package itself knows no rule.
package webhook

import (
	"context"
	"net/http"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"drawbridge.dev/drawbridge/policy"
)

// Options is what the handlers work with; every field but World is required.
type Options struct {
	Book policy.Book
	// Policy gives the policy in force; it is asked once a request.
	Policy func() *policy.Config
	// World gives the view of the cluster for one request; nil means that nothing else is known.
	World func(context.Context) policy.World
	// Metrics may be shared with a World.
	Metrics *Metrics
	// PolicyMap is the ConfigMap that holds the policy; the zero value means that none is judged.
	PolicyMap types.NamespacedName
	// Authorize asks the API server what a user may do; nil means that nobody may exempt from a Guard.
	Authorize func(context.Context, *authorizationv1.SubjectAccessReview) error
}

// Registrar is the part of a webhook server that Register needs.
type Registrar interface {
	Register(path string, hook http.Handler)
}

// Register puts the handlers on a server: two for each kind, and one for the ConfigMap of the policy.
func Register(server Registrar, o Options) {
	if o.World == nil {
		o.World = func(context.Context) policy.World { return policy.Nothing{} }
	}
	register(server, o, "service", corev1.GroupName, "Service", func() *corev1.Service { return &corev1.Service{} })
	register(server, o, "endpoints", corev1.GroupName, "Endpoints", func() *corev1.Endpoints { return &corev1.Endpoints{} })
	register(server, o, "endpointslice", discoveryv1.GroupName, "EndpointSlice", func() *discoveryv1.EndpointSlice { return &discoveryv1.EndpointSlice{} })
	register(server, o, "ingress", networkingv1.GroupName, "Ingress", func() *networkingv1.Ingress { return &networkingv1.Ingress{} })
	if o.PolicyMap.Name != "" {
		server.Register(policyPath, newEndpoint[*corev1.ConfigMap](newPolicyHandler(o)))
	}
}

func register[T policy.Object](server Registrar, o Options, path, group, kind string, empty func() T) {
	for _, mend := range [...]bool{true, false} {
		h := &handler[T]{group: group, kind: kind, empty: empty, mend: mend, options: o}
		server.Register("/"+h.path()+"/"+path, newEndpoint[T](h))
	}
}

type timeoutKey struct{}

// withTimeout keeps the time that the API server gives an answer, which it writes into the URL.
func withTimeout(ctx context.Context, r *http.Request) context.Context {
	if d, err := time.ParseDuration(r.URL.Query().Get("timeout")); err == nil && d > 0 {
		return context.WithValue(ctx, timeoutKey{}, d)
	}
	return ctx
}

// patience is how long one review may wait for live reads in all: a fifth of what the API server gives the answer,
// and a second at most.
func patience(ctx context.Context) time.Duration {
	if d, ok := ctx.Value(timeoutKey{}).(time.Duration); ok {
		return min(time.Second, d/5)
	}
	return time.Second
}
