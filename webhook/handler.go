package webhook

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/intent"
	"drawbridge.dev/drawbridge/webhook/injected"
)

// handler answers admission requests for one kind of object. It knows no rule: it decodes, lets the book judge, and
// says what came of it.
type handler[T policy.Object] struct {
	group, kind string
	empty       func() T
	// mend makes a JSON patch of the fixes and warns of them. Without it nothing is fixed, and what remains is
	// warned of: the two paths share out the warnings so that a user reads each once.
	mend    bool
	options Options
}

// Handle answers a request. It never refuses one because of its own failure: controller-runtime turns a panic and an
// error into a denial, which the API server obeys even under failurePolicy Ignore. A failure is let pass with a
// warning, a line in the log and a metric instead.
func (h *handler[T]) Handle(ctx context.Context, req admission.Request) (resp admission.Response) {
	switch {
	case req.Operation != admissionv1.Create && req.Operation != admissionv1.Update,
		req.SubResource != "" && (req.SubResource != "status" || h.mend):
		return admission.Allowed("")
	}
	start := time.Now()
	defer func() {
		if r := recover(); r != nil {
			h.options.Metrics.panicked(h.kind)
			log.FromContext(ctx).Error(fmt.Errorf("panic: %v", r), "review panicked, the object passed unreviewed",
				"stack", string(debug.Stack()))
			resp = unreviewed()
		}
		h.options.Metrics.took(h.path(), h.kind, time.Since(start))
	}()
	resp, err := h.review(ctx, req)
	if err != nil {
		h.options.Metrics.failed(h.kind)
		log.FromContext(ctx).Error(err, "the object passed unreviewed")
		return unreviewed()
	}
	return resp
}

func (h *handler[T]) path() string {
	if h.mend {
		return "mutate"
	}
	return "validate"
}

func (h *handler[T]) review(ctx context.Context, req admission.Request) (admission.Response, error) {
	if req.Kind.Group != h.group || req.Kind.Kind != h.kind {
		return admission.Response{}, fmt.Errorf("a %s came where a %s was due; correct the webhook configuration", req.Kind.Kind, h.kind)
	}
	object, err := h.decode(req.Object, req.Namespace)
	if err != nil {
		return admission.Response{}, fmt.Errorf("decode object: %w", err)
	}
	config := h.options.Policy()
	request := policy.Request{
		Object: object, Config: config, NoFix: !h.mend, World: h.options.World(ctx), Status: req.SubResource == "status",
		User: req.UserInfo.Username, Groups: req.UserInfo.Groups, MayExempt: h.options.mayExempt(ctx, req),
	}
	var old T
	var stored client.Object
	if req.Operation == admissionv1.Update {
		if old, err = h.decode(req.OldObject, req.Namespace); err != nil {
			return admission.Response{}, fmt.Errorf("decode old object: %w", err)
		}
		request.Old, stored = old, old
		if h.mend && !ownWrite(req) {
			request.Object = disown(object, old)
		}
	}
	if v, ok := request.World.(*view); ok {
		v.before(h.kind, object.GetNamespace(), object.GetName(), stored)
	}
	result := h.options.Book.Review(request)
	if request.Status && request.Old != nil && !maps.Equal(object.GetAnnotations(), old.GetAnnotations()) {
		// What writes the status may write annotations along with it, which stay.
		request.Status = false
		whole := h.options.Book.Review(request)
		result.Denied, result.Warned = append(result.Denied, whole.Denied...), append(result.Warned, whole.Warned...)
		result.Exempt = append(result.Exempt, whole.Exempt...)
	}
	h.options.Metrics.reviewed(h.kind, h.mend, result)

	resp := admission.Allowed("")
	resp.AuditAnnotations = audit(config, result)
	if len(result.Denied) > 0 {
		resp.Allowed = false
		resp.Result = invalid(h.group, h.kind, object, result.Denied)
		resp.Warnings = warnings(result.Unheeded)
		return resp, nil
	}
	if !h.mend {
		resp.Warnings = append(rightWarnings(result.Exempt), warnings(spared(result.Warned, req.UserInfo.Username))...)
		return resp, nil
	}
	result.Object = mark(result, request.Old)
	// Both are typed, so that a field which this version does not know is in neither and stays as it is.
	if resp.Patches, err = policy.Patch(object, result.Object); err != nil {
		return admission.Response{}, fmt.Errorf("make the patch: %w", err)
	}
	// Whoever applies his own manifest again asks for the same mending again, and it comes to what is stored.
	if len(result.Fixed) > 0 && (req.Operation != admissionv1.Update || !sameContent(old, result.Object)) {
		resp.Warnings = fixWarnings(result.Fixed)
	}
	return resp, nil
}

// ownWrite tells that the leader's reconciler wrote, which keeps the list of what is drawbridge's by itself. Whoever
// writes under its name only leaves the list of his own Ingress as it is.
func ownWrite(req admission.Request) bool {
	var options metav1.PatchOptions
	return json.Unmarshal(req.Options.Raw, &options) == nil && options.FieldManager == string(injected.FieldOwner)
}

// injectable tells of the kinds that annotations are injected into.
func injectable(o policy.Object) bool {
	switch o.(type) {
	case *networkingv1.Ingress, *corev1.Service:
		return true
	}
	return false
}

// disown is the object with what an update made the author's own taken from the list of what was injected.
func disown(object, old policy.Object) policy.Object {
	if !injectable(object) || !injectable(old) || !intent.Marked(object) {
		return object
	}
	object = object.DeepCopyObject().(policy.Object)
	intent.Disown(object, old)
	return object
}

// mark is what came of a review, with the mark by which the leader completes an Ingress once its Services are known, and
// a Service once an Ingress leads to it. What the old object waited for already is no reason for it, as for any other
// finding.
func mark(result policy.Result, old policy.Object) policy.Object {
	object := result.Object
	if !injectable(object) || intent.Marked(object) {
		return object
	}
	completing := old != nil && injectable(old) && intent.Marked(old)
	if !slices.ContainsFunc(result.Awaited, func(a policy.Awaited) bool { return completing || !a.Ratcheted }) {
		return object
	}
	object = object.DeepCopyObject().(policy.Object)
	intent.Mark(object)
	return object
}

// decode reads an object as the API server does: names of fields in their case, unknown ones passed over. The endpoint
// may have done so already.
func (h *handler[T]) decode(from runtime.RawExtension, namespace string) (T, error) {
	object, decoded := from.Object.(T)
	if !decoded {
		object = h.empty()
		if len(from.Raw) == 0 {
			return object, fmt.Errorf("there is none")
		}
		if err := json.Unmarshal(from.Raw, object); err != nil {
			return object, err
		}
	}
	if object.GetNamespace() == "" {
		object.SetNamespace(namespace)
	}
	return object, nil
}

// sameContent tells whether two versions of an object say the same, but for what the API server keeps on it: a manifest
// that replaces an object brings none of that.
func sameContent(old, mended policy.Object) bool {
	a, b := old.DeepCopyObject().(policy.Object), mended.DeepCopyObject().(policy.Object)
	for _, o := range [...]policy.Object{a, b} {
		o.SetManagedFields(nil)
		o.SetResourceVersion("")
		o.SetGeneration(0)
		o.SetUID("")
		o.SetCreationTimestamp(metav1.Time{})
		dropStatus(o)
		annotations := o.GetAnnotations()
		delete(annotations, lastApplied)
		o.SetAnnotations(annotations)
	}
	return apiequality.Semantic.DeepEqual(a, b)
}

func dropStatus(o any) {
	switch o := o.(type) {
	case *corev1.Service:
		o.Status = corev1.ServiceStatus{}
	case *networkingv1.Ingress:
		o.Status = networkingv1.IngressStatus{}
	}
}

// lastApplied is where kubectl keeps the manifest that it applied.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// spared leaves out what nobody can act on: a service account is no person, and a finding that its update did not
// bring is not of its making; controllers that touch an old object would fill their logs.
func spared(found []policy.Finding, user string) []policy.Finding {
	if !strings.HasPrefix(user, "system:serviceaccount:") {
		return found
	}
	var kept []policy.Finding
	for _, f := range found {
		if !f.Ratcheted {
			kept = append(kept, f)
		}
	}
	return kept
}

func unreviewed() admission.Response {
	return admission.Allowed("").WithWarnings("drawbridge failed to review this object and let it pass; its log says why")
}

// invalid is the Status of a denial: what kubectl prints as `The <kind> "<name>" is invalid: <field>: <cause>`. It puts
// the field first by itself, so that a cause has none.
func invalid(group, kind string, object policy.Object, denied []policy.Finding) *metav1.Status {
	name := object.GetName()
	if name == "" {
		name = object.GetGenerateName()
	}
	status := &metav1.Status{
		Status:  metav1.StatusFailure,
		Code:    http.StatusUnprocessableEntity,
		Reason:  metav1.StatusReasonInvalid,
		Details: &metav1.StatusDetails{Group: group, Kind: kind, Name: name},
	}
	var messages []string
	for i, f := range denied {
		if i == maxCauses {
			status.Details.Causes = append(status.Details.Causes, metav1.StatusCause{
				Type:    metav1.CauseTypeFieldValueInvalid,
				Message: fmt.Sprintf("%d more findings are left out here; 'drawbridge check' lists all", len(denied)-i),
			})
			break
		}
		status.Details.Causes = append(status.Details.Causes, metav1.StatusCause{
			Type:    metav1.CauseType(f.Err.Type),
			Field:   f.Err.Field,
			Message: f.Cause(),
		})
		messages = append(messages, f.Message())
	}
	status.Message = fmt.Sprintf("%s %q is invalid: %s", kind, name, strings.Join(messages, "; "))
	return status
}
