package webhook_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/rules"
	"drawbridge.dev/drawbridge/webhook"
)

// TestPolicyConfig asks as an API server does about the ConfigMap of the policy, and about others that a wrong webhook
// configuration might send.
func TestPolicyConfig(t *testing.T) {
	m := mux{http.NewServeMux()}
	webhook.Register(m, webhook.Options{
		Book: rules.All(), Metrics: webhook.NewMetrics(prometheus.NewRegistry()), Policy: policy.DefaultConfig,
		PolicyMap: types.NamespacedName{Namespace: "infra", Name: "gate"},
	})
	s := httptest.NewServer(m)
	t.Cleanup(s.Close)
	configMap := func(namespace, name, text string) []byte {
		raw, err := json.Marshal(&corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: map[string]string{policy.ConfigMapKey: text},
		})
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	ask := func(operation admissionv1.Operation, namespace, name, text, old string) *admissionv1.AdmissionResponse {
		req := &admissionv1.AdmissionRequest{
			UID: "u", Operation: operation, Namespace: namespace, Name: name,
			Kind:   metav1.GroupVersionKind{Version: "v1", Kind: "ConfigMap"},
			Object: runtime.RawExtension{Raw: configMap(namespace, name, text)},
		}
		if operation == admissionv1.Update {
			req.OldObject.Raw = configMap(namespace, name, old)
		}
		body, err := json.Marshal(admissionv1.AdmissionReview{
			TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Request: req,
		})
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.Post(s.URL+"/validate/configmap?timeout=5s", "application/json", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		var answer admissionv1.AdmissionReview
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Response == nil {
			t.Fatalf("%v: %+v", err, answer)
		}
		return answer.Response
	}
	const good, bad, worse = "version: 1\n", "version: 1\nrules:\n  nope: deny\n", "version: 1\nrules:\n  nope: deny\n  noper: deny\n"

	r := ask(admissionv1.Create, "infra", "gate", worse, "")
	if r.Allowed || r.Result.Code != http.StatusUnprocessableEntity || len(r.Result.Details.Causes) != 2 {
		t.Fatalf("%+v", r)
	}
	c := r.Result.Details.Causes[1]
	if c.Field != "data[policy.yaml]" || !strings.Contains(c.Message, "line 4, column 3: unknown rule 'noper': must be one that") || !strings.HasSuffix(c.Message, "(policy-config)") {
		t.Errorf("%+v", c)
	}
	if r.AuditAnnotations["rules"] != "deny=policy-config" || r.AuditAnnotations["policy"] != policy.DefaultConfig().Generation {
		t.Errorf("audit annotations %v", r.AuditAnnotations)
	}
	for name, allowed := range map[string]bool{
		"good":             ask(admissionv1.Create, "infra", "gate", good, "").Allowed,
		"mended":           ask(admissionv1.Update, "infra", "gate", good, bad).Allowed,
		"wrong as it was":  ask(admissionv1.Update, "infra", "gate", bad, bad).Allowed,
		"another name":     ask(admissionv1.Create, "infra", "other", bad, "").Allowed,
		"another's":        ask(admissionv1.Create, "team-a", "gate", bad, "").Allowed,
		"deleted":          ask(admissionv1.Delete, "infra", "gate", bad, "").Allowed,
		"without its name": ask(admissionv1.Create, "infra", "", bad, "").Allowed,
	} {
		if !allowed {
			t.Errorf("%s: denied", name)
		}
	}
	if ask(admissionv1.Update, "infra", "gate", bad, worse).Allowed {
		t.Error("a policy that is mended by half is let in, and is not in force")
	}
	if w := ask(admissionv1.Update, "infra", "gate", bad, bad).Warnings; len(w) != 1 || !strings.Contains(w[0], "line 3, column 3") {
		t.Errorf("warnings %q", w)
	}
}
