package webhook_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/webhook"
)

// TestTooLarge sends reviews that are longer than controller-runtime reads. The answer must be a denial with the UID of
// the review: without it, the API server lets the object pass under failurePolicy Ignore.
func TestTooLarge(t *testing.T) {
	m := mux{http.NewServeMux()}
	webhook.Register(m, webhook.Options{Book: book, Metrics: webhook.NewMetrics(prometheus.NewRegistry()), Policy: policy.DefaultConfig})
	send := func(head string) *httptest.ResponseRecorder {
		body := head + strings.Repeat(`\u003c`, 2<<20) + `"}}}`
		reader := strings.NewReader(body)
		r := httptest.NewRequest(http.MethodPost, "/validate/endpointslice?timeout=5s", reader)
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		m.ServeHTTP(w, r)
		if reader.Len() > 0 {
			t.Error("the rest was not read, and whoever writes it gets no answer")
		}
		return w
	}
	w := send(`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"u-1","kind":{"group":"","version":"v1","kind":"Endpoints"},"object":{"kind":"`)
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(w.Body).Decode(&review); err != nil {
		t.Fatal(err)
	}
	if a := review.Response; review.Kind != "AdmissionReview" || review.APIVersion != "admission.k8s.io/v1" || a == nil || a.UID != "u-1" || a.Allowed ||
		a.Result == nil || a.Result.Code != http.StatusRequestEntityTooLarge || !strings.Contains(a.Result.Message, "too large to be judged") {
		t.Errorf("%+v", review)
	}
	for _, head := range []string{`{"request":{"object":{"uid":"`, `{"uid":"u-1","x":"`, `[{"request":{"uid":"u`, `{"request":{"kind":{"kind":"x"},"uid":{"uid":"`, ``} {
		body := head + strings.Repeat("<", 8<<20)
		r := httptest.NewRequest(http.MethodPost, "/validate/endpointslice", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		m.ServeHTTP(w, r)
		if w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", head, w.Code, w.Body)
		}
	}
}
