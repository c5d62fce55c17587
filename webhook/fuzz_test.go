package webhook_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/rules"
	"drawbridge.dev/drawbridge/webhook"
)

// crowd is a World where every name is a Service.
type crowd struct{ policy.Nothing }

func (crowd) Service(namespace, name string) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	if strings.HasPrefix(name, "alias") {
		s.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: name + ".example.com"}
	} else {
		s.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80}, {Name: "https", Port: 443}}
	}
	return s
}

// FuzzReview throws objects at the real rules: no object breaks a review, and no text of an object breaks the line
// that it is quoted on.
func FuzzReview(f *testing.F) {
	for _, seed := range []string{
		`{"metadata":{"name":"x","namespace":"n"},"spec":{"type":"ExternalName","externalName":"https://1.2.3.4:80/\u0000\u001b\n"}}`,
		`{"metadata":{"name":"x"},"spec":{"type":"ExternalName","externalName":"x","ports":[{"port":1,"targetPort":"a\nb"}]}}`,
		`{"metadata":{"name":"x"},"subsets":[{"addresses":[{"ip":"1.2.3.4"}],"ports":[{"port":80}]}]}`,
		`{"metadata":{"generateName":"x-","labels":{"endpointslice.kubernetes.io/managed-by":"\u2028"}},"ports":[{"name":null,"port":null}],"endpoints":[{}]}`,
		`{"metadata":{"name":"x","labels":{"kubernetes.io/service-name":"y"},"ownerReferences":[{}]},"ports":[{}]}`,
		`{"metadata":{"name":"x","annotations":{"kubernetes.io/ingress.class":"nginx"}},"spec":{"defaultBackend":{"service":{"name":"alias","port":{"name":"p\r"}}}}}`,
		`{"metadata":{"name":"x"},"spec":{"ingressClassName":"drawbridge","defaultBackend":{"resource":{}},"rules":[{},{"http":{"paths":[{"backend":{"service":{"name":"alias","port":{"number":443}}}},{}]}}],"tls":[{}]}}`,
		`{}`, `null`, `{"spec":null}`, `{"metadata":null,"subsets":[null]}`,
	} {
		for kind := range uint8(4) {
			f.Add([]byte(seed), kind)
		}
	}
	m := mux{http.NewServeMux()}
	registry := prometheus.NewRegistry()
	webhook.Register(m, webhook.Options{
		Book: rules.All(), Metrics: webhook.NewMetrics(registry), Policy: policy.DefaultConfig,
		World: func(context.Context) policy.World { return crowd{} },
	})
	kinds := []struct {
		path string
		gvk  metav1.GroupVersionKind
	}{
		{"service", metav1.GroupVersionKind{Version: "v1", Kind: "Service"}},
		{"endpoints", metav1.GroupVersionKind{Version: "v1", Kind: "Endpoints"}},
		{"endpointslice", metav1.GroupVersionKind{Group: "discovery.k8s.io", Version: "v1", Kind: "EndpointSlice"}},
		{"ingress", metav1.GroupVersionKind{Group: "networking.k8s.io", Version: "v1", Kind: "Ingress"}},
	}
	f.Fuzz(func(t *testing.T, object []byte, kind uint8) {
		if !json.Valid(object) {
			return // an API server sends nothing but JSON
		}
		k := kinds[int(kind)%len(kinds)]
		for _, path := range []string{"/mutate/", "/validate/"} {
			body, err := json.Marshal(admissionv1.AdmissionReview{
				TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
				Request: &admissionv1.AdmissionRequest{
					UID: "u", Kind: k.gvk, Operation: admissionv1.Create, Namespace: "n", Object: runtime.RawExtension{Raw: object},
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			w := httptest.NewRecorder()
			r := httptest.NewRequest(http.MethodPost, path+k.path, bytes.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			m.ServeHTTP(w, r)
			var review admissionv1.AdmissionReview
			if err := json.Unmarshal(w.Body.Bytes(), &review); err != nil || review.Response == nil || review.Response.UID != "u" {
				t.Fatalf("no answer: %v, %s", err, w.Body)
			}
			if n := panics(t, registry, k.gvk.Kind); n != 0 {
				t.Fatalf("%s panicked", path+k.path)
			}
			answer := review.Response
			if !answer.Allowed && answer.Result.Code != http.StatusUnprocessableEntity {
				t.Errorf("denied by a failure: %+v", answer.Result)
			}
			texts := answer.Warnings
			if answer.Result != nil && answer.Result.Details != nil {
				for _, c := range answer.Result.Details.Causes {
					texts = append(texts, c.Message)
				}
			}
			for _, text := range texts {
				if strings.ContainsFunc(text, unicode.IsControl) || !utf8.ValidString(text) {
					t.Errorf("%q", text)
				}
			}
			for _, text := range answer.Warnings {
				if utf8.RuneCountInString(text) > 256 {
					t.Errorf("a warning of %d characters", utf8.RuneCountInString(text))
				}
			}
		}
	})
}

// panics counts the panics of a kind.
func panics(t *testing.T, registry *prometheus.Registry, kind string) (n float64) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			if f.GetName() == "drawbridge_review_panics_total" && m.Label[0].GetValue() == kind {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}
