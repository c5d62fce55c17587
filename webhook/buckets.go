package webhook

import (
	"hash/maphash"
	"slices"
	"strconv"
	"strings"

	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	toolscache "k8s.io/client-go/tools/cache"
)

// An informer's index holds a set for each of its values, which is larger than what is found by it where most values
// have one object: a host, or a Service. These indexes have buckets for values, and who asks passes over what is of
// another value. Nobody can choose what shares his bucket.
const bucketCount = 1024

var (
	bucketSeed  = maphash.MakeSeed()
	bucketNames = func() (names [bucketCount]string) {
		for i := range names {
			names[i] = strconv.Itoa(i)
		}
		return names
	}()
)

// bucket is where the objects of a name in a namespace are; a host has no namespace.
func bucket(namespace, name string) string {
	h := maphash.String(bucketSeed, namespace) ^ 3*maphash.String(bucketSeed, name)
	return bucketNames[h%bucketCount]
}

// buckets makes an index of objects by a namespace and the names that they have.
func buckets[T any](names func(T) (namespace string, names []string)) toolscache.IndexFunc {
	return func(o any) ([]string, error) {
		object, ok := o.(T)
		if !ok {
			return nil, nil
		}
		namespace, list := names(object)
		for i, name := range list {
			list[i] = bucket(namespace, name)
		}
		slices.Sort(list)
		return slices.Compact(list), nil
	}
}

// leadsTo tells whether a backend of an Ingress is a Service.
func leadsTo(ing *networkingv1.Ingress, namespace, service string) bool {
	if ing.Namespace != namespace {
		return false
	}
	is := func(b *networkingv1.IngressBackend) bool {
		return b != nil && b.Service != nil && b.Service.Name == service
	}
	return is(ing.Spec.DefaultBackend) || slices.ContainsFunc(ing.Spec.Rules, func(r networkingv1.IngressRule) bool {
		return r.HTTP != nil && slices.ContainsFunc(r.HTTP.Paths, func(p networkingv1.HTTPIngressPath) bool { return is(&p.Backend) })
	})
}

// serves tells whether a rule of an Ingress is for a host, in lower case.
func serves(ing *networkingv1.Ingress, host string) bool {
	return slices.ContainsFunc(ing.Spec.Rules, func(r networkingv1.IngressRule) bool {
		return len(r.Host) == len(host) && strings.EqualFold(r.Host, host)
	})
}

// belongsTo tells whether a slice is of a Service.
func belongsTo(s *discoveryv1.EndpointSlice, namespace, service string) bool {
	return s.Namespace == namespace && s.Labels[discoveryv1.LabelServiceName] == service
}
