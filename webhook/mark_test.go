package webhook_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/rules"
	"drawbridge.dev/drawbridge/webhook"
)

// TestMark holds what becomes of the list of what was injected as an Ingress is written, under the real rules: its
// backend "pods" has a selector, "site" is a public name, and every other one is not known.
func TestMark(t *testing.T) {
	const (
		list     = "drawbridge.dev/injected"
		host     = "ingress.kubernetes.io/preserve-host"
		protocol = "ingress.kubernetes.io/backend-protocol"
	)
	m := mux{http.NewServeMux()}
	world := policy.NewIndex(
		&corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "pods"},
			Spec:       corev1.ServiceSpec{Selector: map[string]string{"a": "b"}, Ports: []corev1.ServicePort{{Port: 80}}},
		},
		&corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "site"},
			Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "site.example.com"},
		},
	)
	config := policy.DefaultConfig()
	config.Rules = map[string]policy.Level{"ingress-backend-missing": policy.Off}
	webhook.Register(m, webhook.Options{
		Book: rules.All(), Policy: func() *policy.Config { return config }, Metrics: webhook.NewMetrics(prometheus.NewRegistry()),
		World: func(context.Context) policy.World { return world },
	})
	http := httptest.NewServer(m)
	t.Cleanup(http.Close)
	s := &server{Server: http}

	type annotations = map[string]string
	// ingress has the annotations and a path to port 80 of each backend.
	ingress := func(class string, a annotations, backends ...string) *networkingv1.Ingress {
		paths := make([]networkingv1.HTTPIngressPath, len(backends))
		for i, name := range backends {
			paths[i].Backend.Service = &networkingv1.IngressServiceBackend{Name: name, Port: networkingv1.ServiceBackendPort{Number: 80}}
		}
		return &networkingv1.Ingress{
			ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "x", Annotations: a},
			Spec: networkingv1.IngressSpec{IngressClassName: &class, Rules: []networkingv1.IngressRule{{
				IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: paths}},
			}}},
		}
	}
	own := func(a annotations, backends ...string) *networkingv1.Ingress {
		return ingress("drawbridge", a, backends...)
	}
	owned := own(nil, "later")
	owned.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "X", Name: "x", UID: "u", Controller: new(true)}}
	backedByObject := own(nil, "later", "x")
	backedByObject.Spec.Rules[0].HTTP.Paths[1].Backend = networkingv1.IngressBackend{Resource: &corev1.TypedLocalObjectReference{Kind: "Bucket", Name: "b"}}

	for name, c := range map[string]struct {
		old, ing *networkingv1.Ingress
		manager  string
		want     annotations
		warnings int
	}{
		"before its Service":           {ing: own(nil, "later"), want: annotations{list: ""}},
		"one Service is not known":     {ing: own(nil, "site", "later"), want: annotations{list: ""}},
		"under ingress-nginx's class":  {ing: ingress("nginx", nil, "later"), want: annotations{list: ""}},
		"every Service is known":       {ing: own(nil, "site"), want: annotations{list: host, host: "false"}, warnings: 1},
		"pods":                         {ing: own(nil, "pods")},
		"pods beside the unknown":      {ing: own(nil, "pods", "later")},
		"no Service":                   {ing: backedByObject},
		"class not known":              {ing: ingress("strange", nil, "later")},
		"passes TLS through":           {ing: own(annotations{"ingress.kubernetes.io/ssl-passthrough": "true"}, "later"), want: annotations{"ingress.kubernetes.io/ssl-passthrough": "true"}},
		"a controller's":               {ing: owned},
		"everything is said":           {ing: own(annotations{host: "true", protocol: "HTTP"}, "later"), want: annotations{host: "true", protocol: "HTTP"}},
		"one thing is said":            {ing: own(annotations{host: "true"}, "later"), want: annotations{host: "true", list: ""}},
		"exempt from one, said other":  {ing: own(annotations{policy.AllowPrefix + "ingress-preserve-host": "x", protocol: "HTTP"}, "later"), want: annotations{policy.AllowPrefix + "ingress-preserve-host": "x", protocol: "HTTP"}},
		"an old one gets a label":      {old: own(nil, "later"), ing: own(annotations{"a": "b"}, "later"), want: annotations{"a": "b"}},
		"an old one gets a backend":    {old: own(nil, "later"), ing: own(nil, "later", "other"), want: annotations{list: ""}},
		"marked, and marked again":     {old: own(annotations{list: ""}, "later"), ing: own(annotations{list: ""}, "later"), want: annotations{list: ""}},
		"replaced without the mark":    {old: own(annotations{list: ""}, "later"), ing: own(nil, "later"), want: annotations{list: ""}},
		"replaced without all":         {old: own(annotations{list: host, host: "false"}, "site"), ing: own(nil, "site"), want: annotations{list: host, host: "false"}},
		"the mark is taken away":       {old: own(annotations{list: host, host: "false"}, "site"), ing: own(annotations{host: "false"}, "site"), want: annotations{host: "false"}},
		"changed by its author":        {old: own(annotations{list: host, host: "false"}, "site"), ing: own(annotations{list: host, host: "true"}, "site"), want: annotations{list: "", host: "true"}},
		"taken away, and still due":    {old: own(annotations{list: host, host: "false"}, "site"), ing: own(annotations{list: host}, "site"), want: annotations{list: host, host: "false"}},
		"taken away, and not due":      {old: own(annotations{list: host, host: "false"}, "pods"), ing: own(annotations{list: host}, "pods"), want: annotations{list: ""}},
		"changed by the leader":        {old: own(annotations{list: "", host: "true"}, "pods"), ing: own(annotations{list: host, host: "false"}, "pods"), manager: "drawbridge", want: annotations{list: host, host: "false"}},
		"changed as if by the leader":  {old: own(annotations{list: "", host: "true"}, "pods"), ing: own(annotations{list: host, host: "false"}, "pods"), manager: "kubectl", want: annotations{list: "", host: "false"}},
		"a new one with entry and key": {ing: own(annotations{list: host, host: "false"}, "pods"), want: annotations{list: host, host: "false"}},
	} {
		before, err := json.Marshal(c.ing)
		if err != nil {
			t.Fatal(err)
		}
		req := admissionv1.AdmissionRequest{Object: runtime.RawExtension{Raw: before}, Options: raw(`{"fieldManager":"` + c.manager + `"}`)}
		if c.old != nil {
			req.Operation = admissionv1.Update
			text, err := json.Marshal(c.old)
			if err != nil {
				t.Fatal(err)
			}
			req.OldObject.Raw = text
		}
		got := s.review(t, "/mutate/ingress", req)
		after := before
		if got.Patch != nil {
			patch, err := jsonpatch.DecodePatch(got.Patch)
			if err != nil {
				t.Fatal(err)
			}
			if after, err = patch.Apply(before); err != nil {
				t.Fatal(err)
			}
		}
		var stored networkingv1.Ingress
		if err := json.Unmarshal(after, &stored); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, stored.Annotations); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if len(got.Warnings) != c.warnings {
			t.Errorf("%s: warnings %q", name, got.Warnings)
		}
		if c.old == nil && got.Patch == nil && name == "before its Service" {
			t.Error("no patch")
		}
		// The mark is no business of the other path.
		req.Object.Raw = after
		if got := s.review(t, "/validate/ingress", req); !got.Allowed || got.Patch != nil || len(got.Warnings) > 0 {
			t.Errorf("%s: /validate says %+v", name, got)
		}
	}
}

// TestMarkService holds what becomes of a Service as it is written: in a cluster with a class whose controller reads on
// the Service, an alias waits for its Ingress.
func TestMarkService(t *testing.T) {
	const (
		list     = "drawbridge.dev/injected"
		passHost = "traefik.ingress.kubernetes.io/service.passhostheader"
	)
	traefik := &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "gate"}, Spec: networkingv1.IngressClassSpec{Controller: "traefik.io/ingress-controller"}}
	nginx := &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "nginx"}, Spec: networkingv1.IngressClassSpec{Controller: "k8s.io/ingress-nginx"}}
	leads := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "x"}, Spec: networkingv1.IngressSpec{
		IngressClassName: new("gate"), DefaultBackend: &networkingv1.IngressBackend{
			Service: &networkingv1.IngressServiceBackend{Name: "led", Port: networkingv1.ServiceBackendPort{Number: 80}}},
	}}
	type annotations = map[string]string
	service := func(name, external string, a annotations) *corev1.Service {
		svc := &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name, Annotations: a},
			Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: external, Ports: []corev1.ServicePort{{Port: 80}}},
		}
		if external == "" {
			svc.Spec = corev1.ServiceSpec{Selector: map[string]string{"a": "b"}, Ports: []corev1.ServicePort{{Port: 80}}}
		}
		return svc
	}
	for name, c := range map[string]struct {
		world    []policy.Object
		old, svc *corev1.Service
		want     annotations
		warnings int
	}{
		"before its Ingress":             {[]policy.Object{traefik}, nil, service("site", "a.example.com", nil), annotations{list: ""}, 0},
		"in a cluster that reads others": {[]policy.Object{nginx}, nil, service("site", "a.example.com", nil), nil, 0},
		"a name inside":                  {[]policy.Object{traefik}, nil, service("site", "a.n.svc.cluster.local", nil), nil, 0},
		"pods":                           {[]policy.Object{traefik}, nil, service("site", "", nil), nil, 0},
		"an old one gets a label":        {[]policy.Object{traefik}, service("site", "a.example.com", nil), service("site", "a.example.com", annotations{"a": "b"}), annotations{"a": "b"}, 0},
		"replaced without the mark":      {[]policy.Object{traefik}, service("site", "a.example.com", annotations{list: ""}), service("site", "a.example.com", nil), annotations{list: ""}, 0},
		"after its Ingress":              {[]policy.Object{traefik, leads}, nil, service("led", "a.example.com", nil), annotations{list: passHost, passHost: "false"}, 1},
		"changed by its author":          {[]policy.Object{traefik, leads}, service("led", "a.example.com", annotations{list: passHost, passHost: "false"}), service("led", "a.example.com", annotations{list: passHost, passHost: "true"}), annotations{list: "", passHost: "true"}, 0},
	} {
		m := mux{http.NewServeMux()}
		world := policy.NewIndex(c.world...)
		webhook.Register(m, webhook.Options{
			Book: rules.All(), Policy: policy.DefaultConfig, Metrics: webhook.NewMetrics(prometheus.NewRegistry()),
			World: func(context.Context) policy.World { return world },
		})
		serving := httptest.NewServer(m)
		s := &server{Server: serving}
		before, err := json.Marshal(c.svc)
		if err != nil {
			t.Fatal(err)
		}
		req := admissionv1.AdmissionRequest{Object: runtime.RawExtension{Raw: before}, Options: raw(`{}`)}
		if c.old != nil {
			req.Operation = admissionv1.Update
			text, err := json.Marshal(c.old)
			if err != nil {
				t.Fatal(err)
			}
			req.OldObject.Raw = text
		}
		got := s.review(t, "/mutate/service", req)
		after := before
		if got.Patch != nil {
			patch, err := jsonpatch.DecodePatch(got.Patch)
			if err != nil {
				t.Fatal(err)
			}
			if after, err = patch.Apply(before); err != nil {
				t.Fatal(err)
			}
		}
		var mended corev1.Service
		if err := json.Unmarshal(after, &mended); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, mended.Annotations); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if len(got.Warnings) != c.warnings {
			t.Errorf("%s: warnings %q", name, got.Warnings)
		}
		serving.Close()
	}
}
