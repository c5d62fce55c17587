package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

const (
	// maxDrained is what is read and thrown away of a longer one, so that the answer reaches who is still writing. An
	// object is six times as long in a review as in etcd, which takes 1.5 MiB, where all of it is '<'; there are two.
	maxDrained = 32 << 20
	// maxHead is within what the UID of a review stands: it comes first.
	maxHead = 4 << 10
)

// tooLarge denies what is too long to be judged. controller-runtime answers it by an error without the UID of the
// request, which the API server takes for no answer: under failurePolicy Ignore the object would pass, and its author
// can make it as long as he likes.
func tooLarge(w http.ResponseWriter, r *http.Request) {
	head, err := io.ReadAll(io.LimitReader(r.Body, maxHead))
	if err != nil {
		return // whoever wrote it hung up
	}
	uid, err := uidOf(head)
	if err != nil {
		http.Error(w, "no review", http.StatusBadRequest)
		return
	}
	log.FromContext(r.Context()).Info("a review was too long to be judged, and denied", "path", r.URL.Path, "bytes", r.ContentLength)
	_, _ = io.CopyN(io.Discard, r.Body, maxDrained)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "AdmissionReview"},
		Response: &admissionv1.AdmissionResponse{UID: uid, Result: &metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusRequestEntityTooLarge, Reason: metav1.StatusReasonRequestEntityTooLarge,
			Message: fmt.Sprintf("the object is too large to be judged: with what it was before, it must be less than %d MiB of JSON; make several of it", largestReview>>20),
		}},
	})
}

// uidOf reads the UID of a review from its beginning, where encoding/json puts it: in the order of the fields of
// AdmissionReview and AdmissionRequest.
func uidOf(head []byte) (types.UID, error) {
	d := json.NewDecoder(bytes.NewReader(head))
	var path []string // of keys, down to where the next token stands
	isKey := false
	for {
		token, err := d.Token()
		if err != nil {
			return "", fmt.Errorf("find the UID: %w", err)
		}
		switch token := token.(type) {
		case json.Delim:
			switch token {
			case '{':
				path = append(path, "")
				isKey = true
			default:
				return "", fmt.Errorf("find the UID: '%s' before it", token)
			}
			continue
		case string:
			if isKey {
				path[len(path)-1] = token
				isKey = false
				continue
			}
			if len(path) == 2 && path[0] == "request" && path[1] == "uid" {
				return types.UID(token), nil
			}
		}
		isKey = true
	}
}
