package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"drawbridge.dev/drawbridge/policy"
)

// largestReview is what controller-runtime reads of a request, in bytes.
const largestReview = 7 << 20

// soonRead is what is made room for before it is read: most reviews are smaller.
const soonRead = 64 << 10

// endpoint is controller-runtime's webhook at less cost, because a client waits for every answer twice: it reads a
// request once, where controller-runtime reads it for its kind, then whole, and a handler its objects once more, and
// gathers what its log lines say of a request only for those that are written. Whatever is not a review of version v1 it
// leaves to controller-runtime.
type endpoint struct {
	*admission.Webhook
	read func(body []byte) (metav1.TypeMeta, *admissionv1.AdmissionRequest, error)
}

// newEndpoint serves a handler of objects of type T, which gets them decoded.
func newEndpoint[T policy.Object](h admission.Handler) *endpoint {
	return &endpoint{
		Webhook: &admission.Webhook{Handler: h, WithContextFunc: withTimeout, LogConstructor: logLater},
		read:    readReview[T],
	}
}

// readReview reads a review and its objects in one go, and leaves them in the field Object of RawExtension.
func readReview[T policy.Object](body []byte) (metav1.TypeMeta, *admissionv1.AdmissionRequest, error) {
	var review struct {
		metav1.TypeMeta `json:",inline"`
		Request         *struct {
			admissionv1.AdmissionRequest `json:",inline"`
			// In the place of those that are embedded.
			Object    T `json:"object"`
			OldObject T `json:"oldObject"`
		} `json:"request"`
	}
	if err := utiljson.Unmarshal(body, &review); err != nil {
		return review.TypeMeta, nil, err
	}
	if review.Request == nil {
		return review.TypeMeta, nil, errors.New("there is no request")
	}
	var none T
	req := &review.Request.AdmissionRequest
	if o := review.Request.Object; any(o) != any(none) {
		req.Object.Object = o
	}
	if o := review.Request.OldObject; any(o) != any(none) {
		req.OldObject.Object = o
	}
	return review.TypeMeta, req, nil
}

// Unwrap is controller-runtime's webhook, which answers the same.
func (e *endpoint) Unwrap() *admission.Webhook { return e.Webhook }

// ServeHTTP answers the API server.
func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength > largestReview {
		tooLarge(w, r)
		return
	}
	if r.ContentLength <= 0 || r.Header.Get("Content-Type") != "application/json" {
		e.Webhook.ServeHTTP(w, r)
		return
	}
	// Who says that much is to come has not sent it yet, and need not be the API server.
	body := bytes.NewBuffer(make([]byte, 0, min(r.ContentLength, soonRead)+bytes.MinRead))
	_, err := io.CopyN(body, r.Body, r.ContentLength)
	var kind metav1.TypeMeta
	var req *admissionv1.AdmissionRequest
	if err == nil {
		kind, req, err = e.read(body.Bytes())
	}
	if err != nil || kind.APIVersion != admissionv1.SchemeGroupVersion.String() || kind.Kind != "AdmissionReview" {
		again := r.WithContext(r.Context())
		again.Body = io.NopCloser(io.MultiReader(body, r.Body))
		e.Webhook.ServeHTTP(w, again)
		return
	}
	answer := e.Handle(withTimeout(r.Context(), r), admission.Request{AdmissionRequest: *req})
	var text bytes.Buffer
	if err := json.NewEncoder(&text).Encode(admissionv1.AdmissionReview{TypeMeta: kind, Response: &answer.AdmissionResponse}); err != nil {
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
