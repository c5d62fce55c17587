package webhook

import (
	"fmt"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"drawbridge.dev/drawbridge/policy"
)

// Failures says what becomes of a request that the webhook does not answer.
type Failures struct {
	Mutate                                     admissionregistrationv1.FailurePolicyType
	Service, Ingress, Endpoints, EndpointSlice admissionregistrationv1.FailurePolicyType // of /validate
	// ServiceStatus is of writes to the status of Services, which come from the controllers of load balancers.
	ServiceStatus admissionregistrationv1.FailurePolicyType
}

// DefaultFailures lets mutation and endpoints pass: an unmended object still gets judged, and the control plane must be
// able to write endpoints, or every rollout stops.
func DefaultFailures() Failures {
	return Failures{
		Mutate:  admissionregistrationv1.Ignore,
		Service: admissionregistrationv1.Fail, Ingress: admissionregistrationv1.Fail,
		Endpoints: admissionregistrationv1.Ignore, EndpointSlice: admissionregistrationv1.Ignore,
		ServiceStatus: admissionregistrationv1.Ignore,
	}
}

// ControlPlaneUsers are the users that the control plane writes as. A name that ends in '*' stands for every name that
// begins so. They are names, which the API server vouches for: labels can be written by anyone, and system:masters is
// the group of people too.
var ControlPlaneUsers = []string{
	"system:apiserver",               // default/kubernetes; a fix there is a rewrite loop
	"system:kube-controller-manager", // without credentials of its own for each controller
	"system:cloud-controller-manager",
	"system:serviceaccount:kube-system:*",
}

// ConfigurationOptions is what Configurations needs to know. Of Service and URL one is given.
type ConfigurationOptions struct {
	// Name of both configurations; empty means drawbridge.
	Name string
	// Namespace is drawbridge's own, which is out of scope; empty means drawbridge-system.
	Namespace string
	// Service is where the API server finds the webhook; its path is filled in.
	Service *admissionregistrationv1.ServiceReference
	// URL is the https origin of a webhook outside the cluster: https://192.0.2.1:9443.
	URL string
	// CABundle verifies the webhook, in PEM; empty where it is injected, as by cert-manager.
	CABundle []byte
	// Annotations and Labels of both configurations.
	Annotations, Labels map[string]string
	// Failures; nil means DefaultFailures.
	Failures *Failures
	// TimeoutSeconds, 1 to 30; 0 means 5.
	TimeoutSeconds int32
	// ExcludedNamespaces are out of scope beside kube-system and Namespace.
	ExcludedNamespaces []string
	// ExcludedUsers are out of scope beside ControlPlaneUsers and ServiceAccount, in the same form.
	ExcludedUsers []string
	// PolicyName is the ConfigMap in Namespace that holds the policy; empty means policy.ConfigMapName.
	PolicyName string
	// ServiceAccount is the account of the manager in Namespace, whose slices are its own; empty means
	// drawbridge-manager.
	ServiceAccount string
}

// Configurations makes the objects that send the API server's requests to the webhook: one webhook for each kind and
// path, and one for the ConfigMap of the policy. The names of the webhooks are <kind>.<mutate|validate>.drawbridge.dev.
func Configurations(o ConfigurationOptions) (*admissionregistrationv1.MutatingWebhookConfiguration, *admissionregistrationv1.ValidatingWebhookConfiguration) {
	o = o.defaulted()
	meta := metav1.ObjectMeta{Name: o.Name, Labels: o.Labels, Annotations: o.Annotations}
	mutating := &admissionregistrationv1.MutatingWebhookConfiguration{
		TypeMeta:   metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: "MutatingWebhookConfiguration"},
		ObjectMeta: meta,
	}
	validating := &admissionregistrationv1.ValidatingWebhookConfiguration{
		TypeMeta:   metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: "ValidatingWebhookConfiguration"},
		ObjectMeta: *meta.DeepCopy(),
	}
	for _, k := range []struct {
		kind, path, group, resource string
		failure                     admissionregistrationv1.FailurePolicyType
	}{
		{"service", "service", corev1.GroupName, "services", o.Failures.Service},
		{"endpoints", "endpoints", corev1.GroupName, "endpoints", o.Failures.Endpoints},
		{"endpointslice", "endpointslice", discoveryv1.GroupName, "endpointslices", o.Failures.EndpointSlice},
		{"ingress", "ingress", networkingv1.GroupName, "ingresses", o.Failures.Ingress},
		// A status is judged and never mended.
		{"servicestatus", "service", corev1.GroupName, "services/status", o.Failures.ServiceStatus},
		{"ingressstatus", "ingress", networkingv1.GroupName, "ingresses/status", o.Failures.Ingress},
	} {
		rules := []admissionregistrationv1.RuleWithOperations{{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
			Rule: admissionregistrationv1.Rule{
				APIGroups: []string{k.group}, APIVersions: []string{"v1"}, Resources: []string{k.resource},
				Scope: new(admissionregistrationv1.NamespacedScope),
			},
		}}
		status := strings.HasSuffix(k.resource, "/status")
		if status {
			rules[0].Operations = rules[0].Operations[1:] // a status comes by updates only
		} else {
			mutating.Webhooks = append(mutating.Webhooks, admissionregistrationv1.MutatingWebhook{
				Name:                    k.kind + ".mutate.drawbridge.dev",
				ClientConfig:            o.client("/mutate/" + k.path),
				Rules:                   rules,
				FailurePolicy:           new(o.Failures.Mutate),
				MatchPolicy:             new(admissionregistrationv1.Equivalent),
				NamespaceSelector:       o.namespaces(),
				ObjectSelector:          &metav1.LabelSelector{},
				SideEffects:             new(admissionregistrationv1.SideEffectClassNone),
				TimeoutSeconds:          new(o.TimeoutSeconds),
				AdmissionReviewVersions: []string{"v1"},
				ReinvocationPolicy:      new(admissionregistrationv1.IfNeededReinvocationPolicy),
				MatchConditions:         o.conditions(k.kind),
			})
		}
		validating.Webhooks = append(validating.Webhooks, admissionregistrationv1.ValidatingWebhook{
			Name:                    k.kind + ".validate.drawbridge.dev",
			ClientConfig:            o.client("/validate/" + k.path),
			Rules:                   rules,
			FailurePolicy:           new(k.failure),
			MatchPolicy:             new(admissionregistrationv1.Equivalent),
			NamespaceSelector:       o.namespaces(),
			ObjectSelector:          &metav1.LabelSelector{},
			SideEffects:             new(admissionregistrationv1.SideEffectClassNone),
			TimeoutSeconds:          new(o.TimeoutSeconds),
			AdmissionReviewVersions: []string{"v1"},
			MatchConditions:         o.conditions(k.kind),
		})
	}
	validating.Webhooks = append(validating.Webhooks, o.policyWebhook())
	return mutating, validating
}

// policyWebhook has the ConfigMap of the policy judged, and no other, whoever writes it. It fails open whatever the other
// webhooks do: a manager that does not answer must not keep anybody from mending its policy.
func (o ConfigurationOptions) policyWebhook() admissionregistrationv1.ValidatingWebhook {
	return admissionregistrationv1.ValidatingWebhook{
		Name:         "configmap.validate.drawbridge.dev",
		ClientConfig: o.client(policyPath),
		Rules: []admissionregistrationv1.RuleWithOperations{{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
			Rule: admissionregistrationv1.Rule{
				APIGroups: []string{corev1.GroupName}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"},
				Scope: new(admissionregistrationv1.NamespacedScope),
			},
		}},
		FailurePolicy: new(admissionregistrationv1.Ignore),
		MatchPolicy:   new(admissionregistrationv1.Equivalent),
		NamespaceSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{
			Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpIn, Values: []string{o.Namespace},
		}}},
		ObjectSelector:          &metav1.LabelSelector{},
		SideEffects:             new(admissionregistrationv1.SideEffectClassNone),
		TimeoutSeconds:          new(o.TimeoutSeconds),
		AdmissionReviewVersions: []string{"v1"},
		MatchConditions: []admissionregistrationv1.MatchCondition{{
			Name: "only-the-policy", Expression: "request.name == " + celString(o.PolicyName),
		}},
	}
}

func (o ConfigurationOptions) defaulted() ConfigurationOptions {
	if o.Name == "" {
		o.Name = "drawbridge"
	}
	if o.Namespace == "" {
		o.Namespace = "drawbridge-system"
	}
	if o.PolicyName == "" {
		o.PolicyName = policy.ConfigMapName
	}
	if o.ServiceAccount == "" {
		o.ServiceAccount = "drawbridge-manager"
	}
	if o.TimeoutSeconds == 0 {
		o.TimeoutSeconds = 5
	}
	if o.Failures == nil {
		o.Failures = new(DefaultFailures())
	}
	return o
}

func (o ConfigurationOptions) client(path string) admissionregistrationv1.WebhookClientConfig {
	c := admissionregistrationv1.WebhookClientConfig{CABundle: o.CABundle}
	if o.Service != nil {
		c.Service = o.Service.DeepCopy()
		c.Service.Path = &path
		return c
	}
	c.URL = new(strings.TrimSuffix(o.URL, "/") + path)
	return c
}

// namespaces leaves out kube-system and drawbridge's own by the name that the API server puts on every namespace.
func (o ConfigurationOptions) namespaces() *metav1.LabelSelector {
	names := append([]string{metav1.NamespaceSystem, o.Namespace}, o.ExcludedNamespaces...)
	var once []string
	for _, n := range names {
		if !slices.Contains(once, n) {
			once = append(once, n)
		}
	}
	return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{
		Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpNotIn, Values: once,
	}}}
}

// conditions keep the webhook away from what the control plane writes.
func (o ConfigurationOptions) conditions(kind string) []admissionregistrationv1.MatchCondition {
	var exact, begin []string
	users := append(slices.Clone(ControlPlaneUsers), fmt.Sprintf("system:serviceaccount:%s:%s", o.Namespace, o.ServiceAccount))
	for _, user := range append(users, o.ExcludedUsers...) {
		if prefix, ok := strings.CutSuffix(user, "*"); ok {
			begin = append(begin, "!request.userInfo.username.startsWith("+celString(prefix)+")")
		} else {
			exact = append(exact, celString(user))
		}
	}
	conditions := []admissionregistrationv1.MatchCondition{{
		Name: "not-the-control-plane",
		Expression: strings.Join(append(
			[]string{"!(request.userInfo.username in [" + strings.Join(exact, ", ") + "])"}, begin...), " && "),
	}}
	switch kind {
	case "ingress":
	case "ingressstatus":
		// The status itself is the controllers' affair; annotations that are written along with it stay on the Ingress.
		conditions = append(conditions, admissionregistrationv1.MatchCondition{
			Name: "new-annotations",
			Expression: "has(object.metadata.annotations) && (!has(oldObject.metadata.annotations)" +
				" || object.metadata.annotations != oldObject.metadata.annotations)",
		})
	default:
		conditions = append(conditions, admissionregistrationv1.MatchCondition{
			Name:       "not-the-api-server",
			Expression: "!(request.namespace == 'default' && request.name == 'kubernetes')",
		})
	}
	if kind == "endpoints" {
		// Old clients elect leaders by rewriting Endpoints every few seconds. The annotation alone can be written by
		// anyone, who would go unjudged: only Endpoints without subsets are let by.
		conditions = append(conditions, admissionregistrationv1.MatchCondition{
			Name: "not-a-leader-election",
			Expression: "!(has(object.metadata.annotations) && 'control-plane.alpha.kubernetes.io/leader' in object.metadata.annotations" +
				" && (!has(object.subsets) || object.subsets.size() == 0))",
		})
	}
	return conditions
}

// celString quotes a text for CEL.
func celString(s string) string {
	var b strings.Builder
	b.WriteByte('\'')
	for _, r := range s {
		switch {
		case r == '\'' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r > '~':
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('\'')
	return b.String()
}
