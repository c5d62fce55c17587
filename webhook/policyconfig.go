package webhook

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// policyPath is where the ConfigMap of the policy is judged.
const policyPath = "/validate/configmap"

// policyHandler judges the ConfigMap that holds the policy, as it is applied, by the parser that puts it in force. It
// mends nothing, and lets every other ConfigMap pass, whatever the webhook configuration sends it.
type policyHandler struct {
	handler[*corev1.ConfigMap]
	key types.NamespacedName
}

func newPolicyHandler(o Options) *policyHandler {
	return &policyHandler{key: o.PolicyMap, handler: handler[*corev1.ConfigMap]{
		group: corev1.GroupName, kind: "ConfigMap", options: o,
		empty: func() *corev1.ConfigMap { return &corev1.ConfigMap{} },
	}}
}

// Handle answers a request as handler.Handle does.
func (h *policyHandler) Handle(ctx context.Context, req admission.Request) admission.Response {
	if req.Namespace != h.key.Namespace || req.Name != h.key.Name {
		return admission.Allowed("")
	}
	return h.handler.Handle(ctx, req)
}
