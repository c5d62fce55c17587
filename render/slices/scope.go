package slices

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"drawbridge.dev/drawbridge/policy"
)

const (
	// leaderAnnotation marks Endpoints that are a lock (the control plane's before Leases, Patroni's today). Their
	// subsets, where they have any, are kept by whoever holds it.
	leaderAnnotation = "control-plane.alpha.kubernetes.io/leader"
	// endpointsManagedBy names the controller that keeps Endpoints.
	endpointsManagedBy = "endpoints.kubernetes.io/managed-by"
	// linkerdMirror begins the labels of what Linkerd copies from another cluster. Its proxies learn whom to trust at that
	// cluster's gateway from annotations of the slices, which the control plane copies from the Endpoints and drawbridge
	// does not: linkerd2, controller/api/destination/watcher/endpoints_watcher.go.
	linkerdMirror = "mirror.linkerd.io/"
)

// InScope tells whether drawbridge makes the slices of these Endpoints, and if not, why not, in a few words. svc is
// the Service of their name, nil where there is none; behindIngress says whether an Ingress names it. The Endpoints
// need their managedFields, by which it knows who wrote their subsets.
//
// Endpoints of a selector-less Service that people write are in scope, within the policy's own scope. A person
// forbids slices for one by the annotation policy.SliceAnnotation "false", and by the label
// endpointslice.kubernetes.io/skip-mirror with any other value than "true", which says that they want the mirroring.
func InScope(ep *corev1.Endpoints, svc *corev1.Service, cfg *policy.Config, behindIngress bool) (bool, string) {
	no := func(format string, args ...any) (bool, string) { return false, fmt.Sprintf(format, args...) }
	skip, labeled := ep.Labels[discoveryv1.LabelSkipMirror]
	switch {
	case ep.DeletionTimestamp != nil:
		return no("the Endpoints are being deleted")
	case ep.Namespace == metav1.NamespaceSystem, ep.Namespace == metav1.NamespaceDefault && ep.Name == "kubernetes":
		return no("they are the control plane's")
	case svc == nil:
		return no("there is no Service of this name")
	case svc.DeletionTimestamp != nil:
		return no("the Service is being deleted")
	case svc.Spec.Selector != nil:
		return no("the Service has a selector")
	case svc.Spec.Type == corev1.ServiceTypeExternalName:
		return no("the Service is of type ExternalName")
	case len(ep.OwnerReferences) > 0:
		// Not only as its controller: vCluster copies our label back to where it keeps the Endpoints from the mirroring.
		return no("another object owns the Endpoints")
	case metav1.GetControllerOf(svc) != nil:
		return no("a controller owns the Service")
	case hasKey(ep.Annotations, leaderAnnotation), hasKey(svc.Annotations, leaderAnnotation):
		return no("they are the lock of a leader election")
	case hasKey(ep.Labels, endpointsManagedBy):
		return no("the label '%s' names another keeper", endpointsManagedBy)
	case hasPrefix(ep.Labels, linkerdMirror):
		return no("Linkerd keeps them, and reads the annotations of the control plane's slices")
	case labeled && skip != "true":
		return no("the label '%s' asks for the mirroring", discoveryv1.LabelSkipMirror)
	}
	if m := foreignWriter(ep, cfg.Slices.ForeignManagers); m != "" {
		return no("field manager %s keeps them", quote(m))
	}
	asked := ep.Annotations[policy.SliceAnnotation]
	switch {
	case asked == "false":
		return no("the annotation '%s' forbids it", policy.SliceAnnotation)
	case cfg.Slices.Scope == policy.SlicesAll, cfg.Slices.Scope == "":
		return true, ""
	case cfg.Slices.Scope == policy.SlicesIngress:
		if behindIngress {
			return true, ""
		}
		return no("the policy takes only Services behind an Ingress")
	case cfg.Slices.Scope == policy.SlicesAnnotated:
		if asked == "true" {
			return true, ""
		}
		return no("the policy takes only Endpoints with the annotation '%s: \"true\"'", policy.SliceAnnotation)
	}
	return no("the policy switches slices off")
}

func hasKey(m map[string]string, key string) bool {
	_, ok := m[key]
	return ok
}

func hasPrefix(m map[string]string, prefix string) bool {
	for key := range m {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}

// foreignWriter is the one of managers that wrote the subsets last, or "". The subsets are one atomic field, which
// belongs to whoever wrote it last: unlike the time of an entry, this does not change when a person sets a label.
// Empty subsets belong to nobody; there the last writer of anything counts.
func foreignWriter(ep *corev1.Endpoints, managers []string) string {
	if len(managers) == 0 {
		return ""
	}
	var last metav1.ManagedFieldsEntry
	owned := false
	for _, e := range ep.ManagedFields {
		if e.FieldsV1 != nil && strings.Contains(e.FieldsV1.GetRawString(), `"f:subsets"`) {
			owned = true
			if slices.Contains(managers, e.Manager) {
				return e.Manager
			}
		}
		if e.Manager != string(FieldOwner) && e.Time != nil && (last.Time == nil || last.Time.Before(e.Time)) {
			last = e
		}
	}
	if !owned && slices.Contains(managers, last.Manager) {
		return last.Manager
	}
	return ""
}

// ownsSkipMirror tells whether drawbridge set the label skip-mirror: it says so by owning the field, so that no
// annotation of ours has to. Where a person set it as well it stays theirs when ours is withdrawn.
func ownsSkipMirror(ep *corev1.Endpoints) bool {
	for _, e := range ep.ManagedFields {
		if e.Manager == string(FieldOwner) && e.Operation == metav1.ManagedFieldsOperationApply && e.FieldsV1 != nil &&
			strings.Contains(e.FieldsV1.GetRawString(), `"f:`+discoveryv1.LabelSkipMirror+`"`) {
			return true
		}
	}
	return false
}

// mirrors tells whether the mirroring controller of the control plane would mirror these Endpoints if drawbridge's
// label were gone: its own conditions, read in kubernetes v1.36.3 pkg/controller/endpointslicemirroring.
func mirrors(ep *corev1.Endpoints, svc *corev1.Service) bool {
	return ep.DeletionTimestamp == nil && svc != nil && svc.Spec.Selector == nil && !hasKey(ep.Annotations, leaderAnnotation)
}

// backends calls yield for the Service of every backend of an Ingress.
func backends(ing *networkingv1.Ingress, yield func(service string)) {
	if b := ing.Spec.DefaultBackend; b != nil && b.Service != nil {
		yield(b.Service.Name)
	}
	for _, r := range ing.Spec.Rules {
		if r.HTTP == nil {
			continue
		}
		for _, p := range r.HTTP.Paths {
			if p.Backend.Service != nil {
				yield(p.Backend.Service.Name)
			}
		}
	}
}
