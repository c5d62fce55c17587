package webhook

import (
	"context"

	authorizationv1 "k8s.io/api/authorization/v1"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// The right to exempt an object from a Guard is the verb "use" on a resource that nothing serves, named as the rule:
//
//	apiGroups: [drawbridge.dev], resources: [exemptions], resourceNames: [<rule>], verbs: [use]
const (
	rightGroup    = "drawbridge.dev"
	rightResource = "exemptions"
	rightVerb     = "use"
)

// mayExempt tells whether the user of a request may exempt its object from a Guard. It asks the API server, within
// the request's patience; without an answer he may not.
//
// A right that comes of a wildcard does not count: a cluster-admin has every right there is, and so has many a GitOps
// controller, which applies what anybody committed. Who is also allowed a resource that does not exist has such a one.
func (o Options) mayExempt(ctx context.Context, req admission.Request) func(rule string) bool {
	if o.Authorize == nil || req.UserInfo.Username == "" {
		return nil
	}
	may := func(resource, name string) bool {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience(ctx))
		defer cancel()
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: req.UserInfo.Username, Groups: req.UserInfo.Groups, UID: req.UserInfo.UID,
			Extra: map[string]authorizationv1.ExtraValue{},
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: req.Namespace, Verb: rightVerb, Group: rightGroup, Resource: resource, Name: name,
			},
		}}
		for key, value := range req.UserInfo.Extra {
			review.Spec.Extra[key] = authorizationv1.ExtraValue(value)
		}
		if err := o.Authorize(ctx, review); err != nil {
			log.FromContext(ctx).Error(err, "the right to exempt counts as not given", "rule", name)
			return false
		}
		return review.Status.Allowed && !review.Status.Denied
	}
	return func(rule string) bool {
		return may(rightResource, rule) && !may("everything", "")
	}
}
