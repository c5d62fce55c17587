package injected

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/rules"
)

const (
	list     = "drawbridge.dev/injected"
	host     = "ingress.kubernetes.io/preserve-host"
	protocol = "ingress.kubernetes.io/backend-protocol"
	vhost    = "nginx.ingress.kubernetes.io/upstream-vhost"
)

type annotations = map[string]string

// ingress has a path to port 443 of each backend.
func ingress(class string, a annotations, backends ...string) *networkingv1.Ingress {
	var paths []networkingv1.HTTPIngressPath
	for _, name := range backends {
		paths = append(paths, networkingv1.HTTPIngressPath{Backend: networkingv1.IngressBackend{
			Service: &networkingv1.IngressServiceBackend{Name: name, Port: networkingv1.ServiceBackendPort{Number: 443}},
		}})
	}
	return &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "x", Annotations: a},
		Spec: networkingv1.IngressSpec{IngressClassName: &class, Rules: []networkingv1.IngressRule{{
			IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: paths}},
		}}},
	}
}

func alias(name, external string, target int32) *corev1.Service {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: external},
	}
	if target != 0 {
		svc.Spec.Ports = []corev1.ServicePort{{Port: 443, TargetPort: intstr.FromInt32(target)}}
	}
	return svc
}

// TestChanges holds what is written for each Ingress, and that afterwards nothing is left to write.
func TestChanges(t *testing.T) {
	world := policy.NewIndex(
		alias("a", "a.example.com", 0), alias("again", "a.example.com", 0), alias("b", "b.example.com", 0), alias("port", "a.example.com", 8443),
		&corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "pods"},
			Spec:       corev1.ServiceSpec{Selector: map[string]string{"a": "b"}, Ports: []corev1.ServicePort{{Port: 443}}},
		},
		&networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "edge"}, Spec: networkingv1.IngressClassSpec{Controller: "k8s.io/ingress-nginx"}},
		&networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "taken"}, Spec: networkingv1.IngressClassSpec{Controller: "example.com/other"}},
	)
	const nginxProtocol = "nginx.ingress.kubernetes.io/backend-protocol"
	full := annotations{list: protocol + "," + host, host: "false", protocol: "HTTPS"}
	nginx := annotations{list: nginxProtocol + "," + vhost, vhost: "a.example.com", nginxProtocol: "HTTPS"}
	owned := ingress("drawbridge", annotations{list: ""}, "a")
	owned.OwnerReferences = []metav1.OwnerReference{{Name: "x", Controller: new(true)}}
	going := ingress("drawbridge", annotations{list: ""}, "a")
	going.DeletionTimestamp = new(metav1.Now())
	off := policy.DefaultConfig()
	off.Rules = map[string]policy.Level{"ingress-preserve-host": policy.Off}
	warn := policy.DefaultConfig()
	warn.Rules = map[string]policy.Level{"ingress-preserve-host": policy.Warn, "ingress-backend-protocol": policy.Warn}

	for name, c := range map[string]struct {
		ing    *networkingv1.Ingress
		config *policy.Config
		want   annotations // nil for as it was
	}{
		"completed":                    {ing: ingress("drawbridge", annotations{list: "", "a": "b"}, "a"), want: annotations{list: full[list], host: "false", protocol: "HTTPS", "a": "b"}},
		"completed for nginx":          {ing: ingress("nginx", annotations{list: ""}, "a"), want: nginx},
		"by the IngressClass":          {ing: ingress("edge", annotations{list: ""}, "a"), want: nginx},
		"as it should be":              {ing: ingress("drawbridge", full, "a")},
		"two names of one site":        {ing: ingress("drawbridge", full, "a", "again")},
		"another name":                 {ing: ingress("nginx", nginx, "b"), want: annotations{list: nginx[list], vhost: "b.example.com", nginxProtocol: "HTTPS"}},
		"another port":                 {ing: ingress("nginx", nginx, "port"), want: annotations{list: vhost, vhost: "a.example.com:8443"}},
		"pods now":                     {ing: ingress("drawbridge", full, "pods"), want: annotations{list: ""}},
		"two sites now":                {ing: ingress("nginx", nginx, "a", "b"), want: annotations{list: nginxProtocol, nginxProtocol: "HTTPS"}},
		"another class":                {ing: ingress("nginx", full, "a"), want: nginx},
		"passes TLS through now":       {ing: ingress("drawbridge", annotations{list: host, host: "false", "drawbridge.dev/ssl-passthrough": "true"}, "a"), want: annotations{list: "", "drawbridge.dev/ssl-passthrough": "true"}},
		"exempted now":                 {ing: ingress("drawbridge", annotations{list: host, host: "false", protocol: "HTTP", policy.AllowPrefix + "ingress-preserve-host": "x"}, "a"), want: annotations{list: "", protocol: "HTTP", policy.AllowPrefix + "ingress-preserve-host": "x"}},
		"its author's own":             {ing: ingress("drawbridge", annotations{list: "", host: "true", protocol: "HTTP"}, "pods")},
		"one is its author's own":      {ing: ingress("drawbridge", annotations{list: protocol, host: "true", protocol: "HTTPS"}, "pods"), want: annotations{list: "", host: "true"}},
		"its author's own beside ours": {ing: ingress("drawbridge", annotations{list: "", host: "true"}, "a"), want: annotations{list: protocol, host: "true", protocol: "HTTPS"}},
		"off by the policy":            {ing: ingress("drawbridge", full, "a"), config: off, want: annotations{list: protocol, protocol: "HTTPS"}},
		"warned of by the policy":      {ing: ingress("drawbridge", full, "a"), config: warn, want: annotations{list: ""}},
		"off, and not known":           {ing: ingress("drawbridge", full, "gone"), config: warn, want: annotations{list: ""}},
		"a list that somebody wrote":   {ing: ingress("drawbridge", annotations{list: ",a,a," + host, "a": "b", host: "true"}, "pods"), want: annotations{list: "", "a": "b"}},
		"without the mark":             {ing: ingress("drawbridge", nil, "a")},
		"without the mark, stale":      {ing: ingress("drawbridge", annotations{host: "false"}, "pods")},
		"a Service is gone":            {ing: ingress("drawbridge", full, "gone")},
		"one of two is not known":      {ing: ingress("drawbridge", annotations{list: ""}, "a", "later")},
		"class not known":              {ing: ingress("strange", full, "pods")},
		"class of another controller":  {ing: ingress("taken", full, "pods")},
		"a controller's":               {ing: owned},
		"being deleted":                {ing: going},
	} {
		if c.config == nil {
			c.config = policy.DefaultConfig()
		}
		before := c.ing.DeepCopy()
		todo := changes(rules.All(), c.ing, world, c.config)
		if diff := cmp.Diff(before, c.ing); diff != "" {
			t.Errorf("%s: the object of the cache was changed: %s", name, diff)
		}
		if c.want == nil {
			if len(todo) > 0 {
				t.Errorf("%s: would write %s", name, note(c.ing, todo))
			}
			continue
		}
		after := c.ing.DeepCopy()
		for key, text := range todo {
			if text == nil {
				delete(after.Annotations, key)
			} else {
				after.Annotations[key] = *text
			}
		}
		if diff := cmp.Diff(c.want, after.Annotations); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if key := unlike(after, todo); key != "" {
			t.Errorf("%s: '%s' counts as changed by somebody else", name, key)
		}
		if key := unlike(c.ing, todo); key == "" {
			t.Errorf("%s: nothing seems to be written", name)
		}
		if again := changes(rules.All(), after, world, c.config); len(again) > 0 {
			t.Errorf("%s: written twice: %s", name, note(after, again))
		}
	}
}

// TestServiceChanges holds what is written for a Service, by the Ingresses that lead to it.
func TestServiceChanges(t *testing.T) {
	const passHost = "traefik.ingress.kubernetes.io/service.passhostheader"
	class := func(name, controller string) *networkingv1.IngressClass {
		return &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: networkingv1.IngressClassSpec{Controller: controller}}
	}
	traefik, contour, nginx := class("traefik", "traefik.io/ingress-controller"), class("contour", "projectcontour.io/x"), class("nginx", "k8s.io/ingress-nginx")
	service := func(a annotations) *corev1.Service {
		svc := alias("site", "a.example.com", 443)
		svc.Annotations = a
		return svc
	}
	for name, c := range map[string]struct {
		svc   *corev1.Service
		world []policy.Object
		want  annotations // nil for as it was
	}{
		"an Ingress came":          {service(annotations{list: ""}), []policy.Object{traefik, ingress("traefik", nil, "site")}, annotations{list: passHost, passHost: "false"}},
		"the class is another now": {service(annotations{list: passHost, passHost: "false"}), []policy.Object{traefik, nginx, ingress("nginx", nil, "site")}, annotations{list: ""}},
		"another class that reads": {service(annotations{list: passHost, passHost: "false"}), []policy.Object{contour, ingress("contour", nil, "site")},
			annotations{list: "projectcontour.io/upstream-protocol.tls", "projectcontour.io/upstream-protocol.tls": "443"}},
		"the Ingress is gone": {service(annotations{list: passHost, passHost: "false"}), []policy.Object{traefik}, nil},
		"nobody leads to it":  {service(annotations{list: ""}), []policy.Object{traefik, ingress("traefik", nil, "other")}, nil},
		"its author's own":    {service(annotations{list: "", passHost: "true"}), []policy.Object{traefik, ingress("traefik", nil, "site")}, nil},
		"without the mark":    {service(nil), []policy.Object{traefik, ingress("traefik", nil, "site")}, nil},
		"the Ingress says it": {service(annotations{list: passHost, passHost: "false"}), []policy.Object{traefik, ingress("traefik", annotations{"drawbridge.dev/preserve-host": "true"}, "site")}, annotations{list: ""}},
		"two classes, both read": {service(annotations{list: ""}), []policy.Object{traefik, contour, ingress("traefik", nil, "site"), named("y", ingress("contour", nil, "site"))},
			annotations{list: "projectcontour.io/upstream-protocol.tls," + passHost, passHost: "false", "projectcontour.io/upstream-protocol.tls": "443"}},
	} {
		world := policy.NewIndex(append(c.world, c.svc)...)
		todo := changes(rules.All(), c.svc, world, policy.DefaultConfig())
		if c.want == nil {
			if len(todo) > 0 {
				t.Errorf("%s: would write %s", name, note(c.svc, todo))
			}
			continue
		}
		after := c.svc.DeepCopy()
		for key, text := range todo {
			if text == nil {
				delete(after.Annotations, key)
			} else {
				after.Annotations[key] = *text
			}
		}
		if diff := cmp.Diff(c.want, after.Annotations); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if again := changes(rules.All(), after, policy.NewIndex(append(c.world, after)...), policy.DefaultConfig()); len(again) > 0 {
			t.Errorf("%s: written twice: %s", name, note(after, again))
		}
	}
}

func named(name string, ing *networkingv1.Ingress) *networkingv1.Ingress {
	ing.Name = name
	return ing
}

// TestFan holds that every reader hears of a change, and that none can hold up the others.
func TestFan(t *testing.T) {
	in := make(chan struct{})
	f := split(in, 2)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- f.runnable().Start(ctx) }()
	for range 3 {
		in <- struct{}{}
	}
	for i, out := range f.out {
		select {
		case <-out:
		case <-time.After(10 * time.Second):
			t.Fatalf("reader %d heard nothing", i)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestNote(t *testing.T) {
	ing := ingress("nginx", annotations{list: "x", vhost: "a.example.com", host: "false"})
	got := note(ing, map[string]*string{list: new("y"), vhost: new("b\n.example.com"), host: nil, protocol: new("HTTPS")})
	want := "set 'ingress.kubernetes.io/backend-protocol'; changed 'nginx.ingress.kubernetes.io/upstream-vhost'; " +
		"withdrew 'ingress.kubernetes.io/preserve-host', as the Ingresses, the Services and the policy are now"
	if got != want {
		t.Errorf("%q", got)
	}
	if got := note(ing, map[string]*string{list: new("")}); !strings.HasPrefix(got, "put 'drawbridge.dev/injected' in order") {
		t.Errorf("%q", got)
	}
}

// TestDispute holds that one and the same write is tried ever more seldom, and another one at once.
func TestDispute(t *testing.T) {
	r := &reconciler{disputes: map[types.NamespacedName]dispute{}}
	key := types.NamespacedName{Namespace: "n", Name: "x"}
	ing := ingress("nginx", annotations{list: ""})
	over := fingerprint(ing, map[string]*string{vhost: new("a")})
	if r.disputed(key, over) != 0 {
		t.Error("disputed from the beginning")
	}
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		if got := r.contest(key, over); got != want*time.Minute {
			t.Errorf("waits %s, want %s", got, want*time.Minute)
		}
		if left := r.disputed(key, over); left <= 0 || left > want*time.Minute {
			t.Errorf("%s left of %s", left, want*time.Minute)
		}
	}
	for name, other := range map[string]string{
		"another value":    fingerprint(ing, map[string]*string{vhost: new("b")}),
		"a withdrawal":     fingerprint(ing, map[string]*string{vhost: nil}),
		"another one":      fingerprint(ing, map[string]*string{host: new("a")}),
		"something before": fingerprint(ingress("nginx", annotations{list: "", vhost: "c"}), map[string]*string{vhost: new("a")}),
	} {
		if other == over || r.disputed(key, other) > 0 {
			t.Errorf("%s is the same write", name)
		}
	}
	r.settle(key)
	if r.disputed(key, over) != 0 || len(r.disputes) != 0 {
		t.Error("not forgotten")
	}
}
