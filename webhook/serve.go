package webhook

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admission/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// largestReview is what controller-runtime reads of a request, in bytes.
const largestReview = 7 << 20

// endpoint is controller-runtime's webhook at less cost, because a client waits for every answer twice: it reads a
// request once, where controller-runtime reads it for its kind and then again, and gathers what its log lines say of a
// request only for those that are written. Whatever is not a review of version v1 it leaves to controller-runtime.
type endpoint struct {
	*admission.Webhook
}

func newEndpoint(h admission.Handler) *endpoint {
	return &endpoint{&admission.Webhook{Handler: h, WithContextFunc: withTimeout, LogConstructor: logLater}}
}

// Unwrap is controller-runtime's webhook, which answers the same.
func (e *endpoint) Unwrap() *admission.Webhook { return e.Webhook }

// ServeHTTP answers the API server.
func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength <= 0 || r.ContentLength > largestReview || r.Header.Get("Content-Type") != "application/json" {
		e.Webhook.ServeHTTP(w, r)
		return
	}
	body := make([]byte, r.ContentLength)
	n, err := io.ReadFull(r.Body, body)
	var review admissionv1.AdmissionReview
	if err != nil || utiljson.Unmarshal(body, &review) != nil || review.Request == nil ||
		review.APIVersion != admissionv1.SchemeGroupVersion.String() || review.Kind != "AdmissionReview" {
		again := r.WithContext(r.Context())
		again.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body[:n]), r.Body))
		e.Webhook.ServeHTTP(w, again)
		return
	}
	answer := e.Handle(withTimeout(r.Context(), r), admission.Request{AdmissionRequest: *review.Request})
	var text bytes.Buffer
	if err := json.NewEncoder(&text).Encode(admissionv1.AdmissionReview{TypeMeta: review.TypeMeta, Response: &answer.AdmissionResponse}); err != nil {
		// The API server takes it for a webhook that failed, which the failure policy is for.
		http.Error(w, "the answer can not be written: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text.Bytes()) // whoever hung up reads no answer
}

// logLater is a logger that says what controller-runtime's says of a request, once it has something to say.
func logLater(base logr.Logger, req *admission.Request) logr.Logger {
	if req == nil || base.GetSink() == nil {
		return base
	}
	return logr.New(&laterSink{LogSink: base.GetSink(), base: base, req: req})
}

// laterSink is the sink of a request's log lines. What is enabled, its sink knows.
type laterSink struct {
	logr.LogSink
	base logr.Logger
	req  *admission.Request
}

func (s *laterSink) now() logr.LogSink {
	return admission.DefaultLogConstructor(s.base, s.req).GetSink()
}

func (s *laterSink) Init(logr.RuntimeInfo) {} // the sink of base is ready already

func (s *laterSink) Info(level int, msg string, values ...any) { s.now().Info(level, msg, values...) }

func (s *laterSink) Error(err error, msg string, values ...any) { s.now().Error(err, msg, values...) }

func (s *laterSink) WithValues(values ...any) logr.LogSink { return s.now().WithValues(values...) }

func (s *laterSink) WithName(name string) logr.LogSink { return s.now().WithName(name) }
