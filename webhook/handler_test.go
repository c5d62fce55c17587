package webhook_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/webhook"
)

// book holds rules made for these tests: one denies, one mends, one warns, one breaks.
var book = policy.Book{
	Services: []policy.Rule[*corev1.Service]{
		{ID: "test-name", Levels: policy.Same(policy.Deny), Check: func(p *policy.Pass[*corev1.Service]) {
			if strings.HasPrefix(p.Object.Spec.ExternalName, "bad") {
				p.Report(field.Invalid(field.NewPath("spec", "externalName"), p.Object.Spec.ExternalName, "must be good"), nil)
			}
		}},
		{ID: "test-panic", Levels: policy.Same(policy.Deny), Check: func(p *policy.Pass[*corev1.Service]) {
			if p.Object.Labels["break"] == "panic" {
				panic("a rule broke")
			}
		}},
		{ID: "test-many", Levels: policy.Same(policy.Deny), Check: func(p *policy.Pass[*corev1.Service]) {
			for i := range p.Object.Spec.ExternalIPs {
				p.Report(field.Invalid(field.NewPath("spec", "externalIPs").Index(i), p.Object.Spec.ExternalIPs[i], "must go"), nil)
			}
		}},
		{ID: "test-affinity", Levels: policy.Same(policy.Warn), Check: func(p *policy.Pass[*corev1.Service]) {
			for key, value := range p.Object.Annotations {
				if key == "test/warn" {
					p.Report(field.Invalid(field.NewPath("metadata", "annotations").Key(key), value, "must not be "+value), nil)
				}
			}
		}},
	},
	Ingresses: []policy.Rule[*networkingv1.Ingress]{
		{ID: "test-host", Levels: policy.Same(policy.Fix), Check: func(p *policy.Pass[*networkingv1.Ingress]) {
			if p.Object.Annotations["test/host"] == "" {
				p.Report(field.Required(field.NewPath("metadata", "annotations").Key("test/host"), "must be 'node'"), func(o *networkingv1.Ingress) {
					if o.Annotations == nil {
						o.Annotations = map[string]string{}
					}
					o.Annotations["test/host"] = "node"
				})
			}
		}},
		{ID: "test-port", Levels: policy.Same(policy.Fix), Check: func(p *policy.Pass[*networkingv1.Ingress]) {
			for i, r := range p.Object.Spec.Rules {
				if r.Host == "" {
					p.Report(field.Required(field.NewPath("spec", "rules").Index(i).Child("host"), "must be set"), func(o *networkingv1.Ingress) {
						o.Spec.Rules[i].Host = "filled.example.com"
					})
				}
			}
		}},
	},
}

type mux struct{ *http.ServeMux }

func (m mux) Register(path string, h http.Handler) { m.Handle(path, h) }

type server struct {
	*httptest.Server
	registry *prometheus.Registry
}

func serve(t *testing.T) *server {
	t.Helper()
	m := mux{http.NewServeMux()}
	registry := prometheus.NewRegistry()
	webhook.Register(m, webhook.Options{
		Book: book, Metrics: webhook.NewMetrics(registry),
		Policy: func() *policy.Config { c := policy.DefaultConfig(); c.Generation = "g1"; return c },
	})
	s := httptest.NewServer(m)
	t.Cleanup(s.Close)
	return &server{s, registry}
}

// review asks the webhook as an API server does.
func (s *server) review(t *testing.T, path string, req admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	t.Helper()
	req.UID = "the-uid"
	if req.Operation == "" {
		req.Operation = admissionv1.Create
	}
	if req.Kind.Kind == "" {
		switch {
		case strings.HasSuffix(path, "service"):
			req.Kind = metav1.GroupVersionKind{Version: "v1", Kind: "Service"}
		case strings.HasSuffix(path, "ingress"):
			req.Kind = metav1.GroupVersionKind{Group: "networking.k8s.io", Version: "v1", Kind: "Ingress"}
		}
	}
	body, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Request: &req,
	})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(s.URL+path+"?timeout=5s", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var answer admissionv1.AdmissionReview
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK || answer.Response == nil || answer.Response.UID != "the-uid" {
		t.Fatalf("HTTP %d, answer %+v", resp.StatusCode, answer.Response)
	}
	if (answer.Response.Patch == nil) != (answer.Response.PatchType == nil) {
		t.Error("a patch and its type must come together, else the API server counts the webhook as failing")
	}
	return answer.Response
}

func raw(text string) runtime.RawExtension { return runtime.RawExtension{Raw: []byte(text)} }

const (
	badService  = `{"metadata":{"name":"x","namespace":"n"},"spec":{"type":"ExternalName","externalName":"bad.example"}}`
	goodService = `{"metadata":{"name":"x","namespace":"n"},"spec":{"type":"ExternalName","externalName":"good.example"}}`
)

func TestDenial(t *testing.T) {
	for _, path := range []string{"/mutate/service", "/validate/service"} {
		s := serve(t)
		got := s.review(t, path, admissionv1.AdmissionRequest{Object: raw(badService)})
		want := &metav1.Status{
			Status: "Failure", Code: 422, Reason: "Invalid",
			Message: `Service "x" is invalid: spec.externalName: Invalid value: "bad.example": must be good (test-name)`,
			Details: &metav1.StatusDetails{Name: "x", Kind: "Service", Causes: []metav1.StatusCause{{
				Type: "FieldValueInvalid", Field: "spec.externalName", Message: `Invalid value: "bad.example": must be good (test-name)`,
			}}},
		}
		if got.Allowed || got.Patch != nil || len(got.Warnings) > 0 {
			t.Errorf("%s: allowed %v, patch %s, warnings %q", path, got.Allowed, got.Patch, got.Warnings)
		}
		if diff := cmp.Diff(want, got.Result); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
		if diff := cmp.Diff(map[string]string{"policy": "g1", "rules": "deny=test-name"}, got.AuditAnnotations); diff != "" {
			t.Errorf("%s: audit annotations: %s", path, diff)
		}
		want1 := `
# HELP drawbridge_reviews_total Findings of admission reviews by rule and what came of them, and reviews without one (level none).
# TYPE drawbridge_reviews_total counter
drawbridge_reviews_total{kind="Service",level="deny",rule="test-name"} 1
`
		if err := testutil.GatherAndCompare(s.registry, strings.NewReader(want1), "drawbridge_reviews_total"); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestGeneratedName(t *testing.T) {
	got := serve(t).review(t, "/mutate/service", admissionv1.AdmissionRequest{
		Object: raw(`{"metadata":{"generateName":"x-"},"spec":{"externalName":"bad"}}`), Namespace: "n",
	})
	if got.Result.Details == nil || got.Result.Details.Name != "x-" {
		t.Errorf("details %+v", got.Result.Details)
	}
}

func TestManyCauses(t *testing.T) {
	var ips []string
	for i := range 200 {
		ips = append(ips, fmt.Sprint(i))
	}
	list, _ := json.Marshal(ips)
	got := serve(t).review(t, "/mutate/service", admissionv1.AdmissionRequest{
		Object: raw(`{"metadata":{"name":"x"},"spec":{"externalIPs":` + string(list) + `}}`),
	})
	causes := got.Result.Details.Causes
	if got.Allowed || len(causes) != 51 || !strings.HasPrefix(causes[50].Message, "150 more") {
		t.Errorf("allowed %v, %d causes, the last %+v", got.Allowed, len(causes), causes[len(causes)-1])
	}
}

func TestMending(t *testing.T) {
	const (
		// futureField and the like stand for what a newer API server knows and this program does not.
		before = `{"metadata":{"name":"x","namespace":"n","annotations":{"other/key":"kept"},"futureMeta":1},
			"spec":{"futureField":{"a":[1,2]},"rules":[{"futureItem":"kept"},{"host":"h","futureItem":"too"}]}}`
		after = `{"metadata":{"name":"x","namespace":"n","annotations":{"other/key":"kept","test/host":"node"},"futureMeta":1},
			"spec":{"futureField":{"a":[1,2]},"rules":[{"futureItem":"kept","host":"filled.example.com"},{"host":"h","futureItem":"too"}]}}`
	)
	s := serve(t)
	got := s.review(t, "/mutate/ingress", admissionv1.AdmissionRequest{Object: raw(before)})
	if !got.Allowed {
		t.Fatalf("denied: %+v", got.Result)
	}
	patch, err := jsonpatch.DecodePatch(got.Patch)
	if err != nil {
		t.Fatal(err)
	}
	patched, err := patch.Apply([]byte(before))
	if err != nil {
		t.Fatal(err)
	}
	var have, want any
	if err := json.Unmarshal(patched, &have); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(after), &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Error(diff)
	}
	wantWarnings := []string{
		`fixed: metadata.annotations[test/host]: Required value: must be 'node' (test-host)`,
		`fixed: spec.rules[0].host: Required value: must be set (test-port)`,
	}
	if diff := cmp.Diff(wantWarnings, got.Warnings); diff != "" {
		t.Error(diff)
	}
	if got.AuditAnnotations["rules"] != "fix=test-host,test-port" {
		t.Errorf("audit annotations %v", got.AuditAnnotations)
	}

	t.Run("mended is clean", func(t *testing.T) {
		for _, path := range []string{"/mutate/ingress", "/validate/ingress"} {
			got := s.review(t, path, admissionv1.AdmissionRequest{Object: runtime.RawExtension{Raw: patched}})
			if !got.Allowed || got.Patch != nil || len(got.Warnings) != 0 {
				t.Errorf("%s: %+v", path, got)
			}
		}
	})
	t.Run("unmended is warned of, not fixed, on validate", func(t *testing.T) {
		got := s.review(t, "/validate/ingress", admissionv1.AdmissionRequest{Object: raw(before)})
		if !got.Allowed || got.Patch != nil || len(got.Warnings) != 2 || strings.HasPrefix(got.Warnings[0], "fixed") {
			t.Errorf("%+v", got)
		}
	})
	t.Run("the same manifest again is mended and not spoken of", func(t *testing.T) {
		old := bytes.Replace(patched, []byte(`"name":"x"`), []byte(`"name":"x","resourceVersion":"7","generation":3,"managedFields":[{"manager":"m"}]`), 1)
		got := s.review(t, "/mutate/ingress", admissionv1.AdmissionRequest{
			Operation: admissionv1.Update, Object: raw(before), OldObject: runtime.RawExtension{Raw: old},
		})
		if !got.Allowed || got.Patch == nil || len(got.Warnings) != 0 {
			t.Errorf("%+v", got)
		}
	})
	t.Run("a finding that the old object had is not fixed", func(t *testing.T) {
		withLabel := strings.Replace(before, `"name":"x"`, `"name":"x","labels":{"a":"b"}`, 1)
		got := s.review(t, "/mutate/ingress", admissionv1.AdmissionRequest{
			Operation: admissionv1.Update, Object: raw(withLabel), OldObject: raw(before),
		})
		if !got.Allowed || got.Patch != nil || len(got.Warnings) != 0 {
			t.Errorf("%+v", got)
		}
	})
}

func TestRatchet(t *testing.T) {
	s := serve(t)
	withLabel := strings.Replace(badService, `"name":"x"`, `"name":"x","labels":{"a":"b"}`, 1)
	for user, want := range map[string]int{"jane": 1, "system:serviceaccount:flux-system:kustomize-controller": 0} {
		req := admissionv1.AdmissionRequest{Operation: admissionv1.Update, Object: raw(withLabel), OldObject: raw(badService)}
		req.UserInfo.Username = user
		got := s.review(t, "/validate/service", req)
		if !got.Allowed || len(got.Warnings) != want {
			t.Errorf("%s: allowed %v, warnings %q", user, got.Allowed, got.Warnings)
		}
		// What the update brings itself is said to everybody.
		req.Object = raw(strings.Replace(withLabel, `"labels"`, `"annotations":{"test/warn":"x"},"labels"`, 1))
		if got := s.review(t, "/validate/service", req); len(got.Warnings) != want+1 {
			t.Errorf("%s: warnings %q", user, got.Warnings)
		}
		req.OldObject = raw(goodService)
		if got := s.review(t, "/validate/service", req); got.Allowed {
			t.Errorf("%s: an update that makes it bad passed", user)
		}
	}
}

// TestStatusMetadata writes annotations along with a status, which stay on the object: they are judged.
func TestStatusMetadata(t *testing.T) {
	s := serve(t)
	req := admissionv1.AdmissionRequest{
		Operation: admissionv1.Update, SubResource: "status", OldObject: raw(goodService),
		Object: raw(strings.Replace(goodService, `"name":"x"`, `"name":"x","annotations":{"test/warn":"x"}`, 1)),
	}
	if got := s.review(t, "/validate/service", req); !got.Allowed || len(got.Warnings) != 1 {
		t.Errorf("%+v", got)
	}
	if got := s.review(t, "/mutate/service", req); !got.Allowed || got.Patch != nil {
		t.Errorf("a status was mended: %+v", got)
	}
	req.OldObject = req.Object
	if got := s.review(t, "/validate/service", req); !got.Allowed || len(got.Warnings) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestPassed(t *testing.T) {
	s := serve(t)
	for name, req := range map[string]admissionv1.AdmissionRequest{
		"delete":  {Operation: admissionv1.Delete, OldObject: raw(badService)},
		"connect": {Operation: admissionv1.Connect, Object: raw(`{}`)},
		"status":  {Operation: admissionv1.Update, SubResource: "status", Object: raw(badService), OldObject: raw(goodService)},
	} {
		for _, path := range []string{"/mutate/service", "/validate/service"} {
			if got := s.review(t, path, req); !got.Allowed || len(got.Warnings) > 0 {
				t.Errorf("%s %s: %+v", name, path, got)
			}
		}
	}
	dry := true
	if got := s.review(t, "/validate/service", admissionv1.AdmissionRequest{Object: raw(badService), DryRun: &dry}); got.Allowed {
		t.Error("a dry run passed what is denied")
	}
}

// TestFailure holds that a failure of drawbridge itself never denies: controller-runtime's way with a panic and an
// error is a denial that the API server obeys even under failurePolicy Ignore.
func TestFailure(t *testing.T) {
	const broken = `{"metadata":{"name":"x","labels":{"break":"panic"}}}`
	for name, tc := range map[string]struct {
		req    admissionv1.AdmissionRequest
		metric string
	}{
		"panic":           {admissionv1.AdmissionRequest{Object: raw(broken)}, "drawbridge_review_panics_total"},
		"no object":       {admissionv1.AdmissionRequest{}, "drawbridge_review_errors_total"},
		"not the type":    {admissionv1.AdmissionRequest{Object: raw(`{"spec":{"ports":"many"}}`)}, "drawbridge_review_errors_total"},
		"no old object":   {admissionv1.AdmissionRequest{Operation: admissionv1.Update, Object: raw(badService)}, "drawbridge_review_errors_total"},
		"another kind":    {admissionv1.AdmissionRequest{Kind: metav1.GroupVersionKind{Version: "v1", Kind: "Pod"}, Object: raw(badService)}, "drawbridge_review_errors_total"},
		"another's group": {admissionv1.AdmissionRequest{Kind: metav1.GroupVersionKind{Group: "serving.knative.dev", Version: "v1", Kind: "Service"}, Object: raw(badService)}, "drawbridge_review_errors_total"},
	} {
		for _, path := range []string{"/mutate/service", "/validate/service"} {
			s := serve(t)
			got := s.review(t, path, tc.req)
			if !got.Allowed || got.Patch != nil || len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0], "failed to review") {
				t.Errorf("%s %s: %+v", name, path, got)
			}
			want := fmt.Sprintf("%s{kind=\"Service\"} 1\n", tc.metric)
			if text := scrape(t, s.registry); !strings.Contains(text, want) {
				t.Errorf("%s %s: metrics lack %s", name, path, want)
			}
		}
	}
}

// TestWarningText holds what the API server asks of a warning: a longer one may be cut, one with a newline vanishes.
func TestWarningText(t *testing.T) {
	s := serve(t)
	value, _ := json.Marshal("line\nbreak \x1b[31m \u2028 " + strings.Repeat("é", 500))
	got := s.review(t, "/validate/service", admissionv1.AdmissionRequest{
		Object: raw(`{"metadata":{"name":"x","annotations":{"test/warn":` + string(value) + `}}}`),
	})
	if len(got.Warnings) != 1 {
		t.Fatalf("%q", got.Warnings)
	}
	w := got.Warnings[0]
	if strings.ContainsAny(w, "\n\r\x1b\u2028") || utf8.RuneCountInString(w) > 256 || !strings.HasSuffix(w, "… (test-affinity)") {
		t.Errorf("%d characters: %q", utf8.RuneCountInString(w), w)
	}
}

func scrape(t *testing.T, registry *prometheus.Registry) string {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range families {
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			fmt.Fprintf(&b, "%s{%s} %v\n", f.GetName(), strings.Join(labels, ","), m.GetCounter().GetValue())
		}
	}
	return b.String()
}
