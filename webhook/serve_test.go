package webhook_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/webhook"
)

// TestServeLikeControllerRuntime sends what an API server sends, and what it never would, and compares each answer with
// that of controller-runtime's own webhook around the same handler.
func TestServeLikeControllerRuntime(t *testing.T) {
	const service = `{"apiVersion":"v1","kind":"Service","metadata":{"name":"s","namespace":"a"},"spec":{"externalName":"EXTERNAL"}}`
	const review = `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u1","kind":{"group":"","version":"v1","kind":"Service"},` +
		`"resource":{"group":"","version":"v1","resource":"services"},"name":"s","namespace":"a","operation":"CREATE","userInfo":{"username":"kim"},` +
		`"object":` + service + `,"oldObject":null,"dryRun":false,"options":{"kind":"CreateOptions","apiVersion":"meta.k8s.io/v1"}}}`
	good := strings.ReplaceAll(review, "EXTERNAL", "good.example.com")
	m := mux{http.NewServeMux()}
	webhook.Register(m, webhook.Options{Book: book, Metrics: webhook.NewMetrics(prometheus.NewRegistry()), Policy: policy.DefaultConfig})
	for name, c := range map[string]struct {
		body, contentType string
		chunked           bool
	}{
		"allowed":         {body: good},
		"denied":          {body: strings.ReplaceAll(review, "EXTERNAL", "bad.example.com")},
		"charset":         {body: good, contentType: "application/json; charset=utf-8"},
		"another type":    {body: good, contentType: "application/yaml"},
		"chunked":         {body: good, chunked: true},
		"empty":           {},
		"cut off":         {body: good[:len(good)/2]},
		"no request":      {body: `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`},
		"no kind":         {body: strings.Replace(good, `"kind":"AdmissionReview",`, "", 1)},
		"version v1beta1": {body: strings.Replace(good, "admission.k8s.io/v1", "admission.k8s.io/v1beta1", 1)},
		"another object":  {body: service},
		"broken object":   {body: strings.Replace(good, `"metadata":{`, `"metadata":[{`, 1)},
		"wrong object":    {body: strings.Replace(good, `"spec":{"externalName":"good.example.com"}`, `"spec":7`, 1)},
		"no object":       {body: strings.Replace(good, `"object":{`, `"thing":{`, 1)},
		"null object":     {body: strings.Replace(review, service, "null", 1)},
		"update":          {body: strings.Replace(strings.Replace(good, `"oldObject":null`, `"oldObject":`+strings.ReplaceAll(service, "EXTERNAL", "old.example.com"), 1), "CREATE", "UPDATE", 1)},
		"update of none":  {body: strings.Replace(good, "CREATE", "UPDATE", 1)},
		"wrong case":      {body: strings.Replace(good, `"uid"`, `"UID"`, 1)},
		"twice":           {body: strings.Replace(good, `"name":"s","namespace":"a","operation"`, `"name":"x","name":"s","namespace":"a","operation"`, 1)},
	} {
		t.Run(name, func(t *testing.T) {
			ask := func(h http.Handler) (int, any) {
				var body io.Reader = strings.NewReader(c.body)
				if c.chunked {
					body = io.MultiReader(body)
				}
				r := httptest.NewRequest(http.MethodPost, "/validate/service?timeout=5s", body)
				r.Header.Set("Content-Type", "application/json")
				if c.contentType != "" {
					r.Header.Set("Content-Type", c.contentType)
				}
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				var answer any
				if err := json.NewDecoder(bytes.NewReader(w.Body.Bytes())).Decode(&answer); err != nil {
					t.Fatalf("%v: %s", err, w.Body)
				}
				return w.Code, answer
			}
			h, _ := m.Handler(httptest.NewRequest(http.MethodPost, "/validate/service", nil))
			inner, ok := h.(interface{ Unwrap() *admission.Webhook })
			if !ok {
				t.Fatalf("%T", h)
			}
			wantCode, want := ask(inner.Unwrap())
			code, got := ask(h)
			if diff := cmp.Diff(want, got); diff != "" || code != wantCode {
				t.Errorf("status %d, want %d; answer:\n%s", code, wantCode, diff)
			}
		})
	}
}
