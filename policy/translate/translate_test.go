package translate

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/intent"
)

type annotations = map[string]string

func alias(name, external string, a annotations, ports ...int32) *corev1.Service {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name, Annotations: a},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: external},
	}
	if external == "" {
		svc.Spec = corev1.ServiceSpec{Selector: map[string]string{"a": "b"}}
	}
	for _, p := range ports {
		svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{Port: p, TargetPort: intstr.FromInt32(p)})
	}
	return svc
}

// leading leads "/NAME" of a host to port 8443 of each Service; a name may bring a path with it: "NAME PATH".
func leading(class string, a annotations, backends ...string) *networkingv1.Ingress {
	var paths []networkingv1.HTTPIngressPath
	for _, text := range backends {
		name, path, found := strings.Cut(text, " ")
		if !found {
			path = "/" + name
		}
		paths = append(paths, networkingv1.HTTPIngressPath{Path: path, PathType: new(networkingv1.PathTypePrefix), Backend: networkingv1.IngressBackend{
			Service: &networkingv1.IngressServiceBackend{Name: name, Port: networkingv1.ServiceBackendPort{Number: 8443}},
		}})
	}
	ing := &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "x", Annotations: a},
		Spec: networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{Host: "a.example", IngressRuleValue: networkingv1.IngressRuleValue{
			HTTP: &networkingv1.HTTPIngressRuleValue{Paths: paths}}}}},
	}
	if class != "" {
		ing.Spec.IngressClassName = &class
	}
	return ing
}

// classes has the policy tell what the names of classes stand for, so that each dialect can be told by its own.
func classes() *policy.Config {
	config := policy.DefaultConfig()
	for _, d := range intent.Dialects {
		config.Classes = append(config.Classes, policy.Class{Class: d.Name, Dialect: d.Name})
	}
	return config
}

const (
	nginx   = "nginx.ingress.kubernetes.io/"
	traefik = "traefik.ingress.kubernetes.io/"
	own     = "ingress.kubernetes.io/"
	haproxy = "haproxy.org/"
)

// TestObjects holds what is written, and what is listed, for single cases.
func TestObjects(t *testing.T) {
	for name, c := range map[string]struct {
		to       *intent.Dialect
		objects  []policy.Object // the first is the Ingress
		ing      annotations
		services map[string]annotations
		paths    string   // of the Ingress, where they change
		lost     []string // each is part of one loss, in order
	}{
		"nginx to traefik": {intent.Traefik,
			[]policy.Object{leading("ingress-nginx", annotations{nginx + "upstream-vhost": "site.example", nginx + "backend-protocol": "HTTPS", "other": "x"}, "site"), alias("site", "site.example", nil, 8443)},
			annotations{"other": "x"}, map[string]annotations{"site": {traefik + "service.passhostheader": "false", traefik + "service.serversscheme": "https"}}, "", nil},
		"a Host that traefik has no word for": {intent.Traefik,
			[]policy.Object{leading("ingress-nginx", annotations{nginx + "upstream-vhost": "www.example"}, "site"), alias("site", "site.example", nil, 8443)},
			annotations{nginx + "upstream-vhost": "www.example"}, nil, "", []string{"customRequestHeaders"}},
		"a Service that is not there": {intent.Traefik,
			[]policy.Object{leading("ingress-nginx", annotations{nginx + "backend-protocol": "HTTPS"}, "site")},
			annotations{nginx + "backend-protocol": "HTTPS"}, nil, "", []string{"Service 'site' in Traefik, which is not among the files: write `" + traefik + "service.serversscheme: \"https\"` there"}},
		"traefik to nginx": {intent.IngressNginx,
			[]policy.Object{leading("traefik", annotations{traefik + "router.middlewares": "n-x@kubernetescrd"}, "site"),
				alias("site", "site.example", annotations{traefik + "service.passhostheader": "false", traefik + "service.sticky.cookie": "true"}, 8443)},
			annotations{nginx + "upstream-vhost": "site.example:8443", traefik + "router.middlewares": "n-x@kubernetescrd"},
			map[string]annotations{"site": {traefik + "service.sticky.cookie": "true"}}, "", []string{"sticky.cookie", "router.middlewares"}},
		"two Services that differ": {intent.IngressNginx,
			[]policy.Object{leading("traefik", nil, "a", "b"), alias("a", "a.example", annotations{traefik + "service.serversscheme": "https"}, 8443), alias("b", "b.example", annotations{traefik + "service.serversscheme": "h2c"}, 8443)},
			nil, nil, "", []string{"write an Ingress for each", "write an Ingress for each", "was verified"}},
		"one Service of two": {intent.Drawbridge,
			[]policy.Object{leading("traefik", nil, "a", "b"), alias("a", "a.example", annotations{traefik + "service.serversscheme": "https"}, 8443), alias("b", "b.example", nil, 8443)},
			nil, nil, "", []string{"write an Ingress for each"}},
		"one Service of two, where it can be said": {intent.NginxInc,
			[]policy.Object{leading("traefik", nil, "a", "b"), alias("a", "a.example", annotations{traefik + "service.serversscheme": "https"}, 8443), alias("b", "b.example", nil, 8443)},
			annotations{"nginx.org/ssl-services": "a"}, map[string]annotations{"a": {}}, "", []string{"verified"}},
		"a list becomes a word": {intent.Kong,
			[]policy.Object{leading("nginx-inc", annotations{"nginx.org/ssl-services": "a,b", "nginx.org/rewrites": "serviceName=a rewrite=/;serviceName=b rewrite=/"}, "a", "b"), alias("a", "a.example", nil, 8443), alias("b", "b.example", nil, 8443)},
			annotations{"konghq.com/strip-path": "true"}, map[string]annotations{"a": {"konghq.com/protocol": "https"}, "b": {"konghq.com/protocol": "https"}}, "", nil},
		"ports become a list": {intent.Contour,
			[]policy.Object{leading("ingress-nginx", annotations{nginx + "backend-protocol": "HTTPS"}, "site", "site /b"), alias("site", "site.example", nil, 8443)},
			nil, map[string]annotations{"site": {"projectcontour.io/upstream-protocol.tls": "8443"}}, "", nil},
		"a regular expression becomes a prefix": {intent.Drawbridge,
			[]policy.Object{leading("ingress-nginx", annotations{nginx + "use-regex": "true", nginx + "rewrite-target": "/v1/$2"}, "site /api(/|$)(.*)"), alias("site", "site.example", nil, 8443)},
			annotations{own + "rewrite-target": "/v1"}, nil, "/api", nil},
		"and a regular expression again": {intent.Haproxytech,
			[]policy.Object{leading("ingress-nginx", annotations{nginx + "rewrite-target": "/$2"}, "site /api(/|$)(.*)"), alias("site", "site.example", nil, 8443)},
			annotations{haproxy + "path-rewrite": `^/api/?(.*) /\1`}, nil, "/api", nil},
		"a prefix becomes a regular expression": {intent.Haproxytech,
			[]policy.Object{leading("drawbridge", annotations{own + "rewrite-target": "/v1/"}, "site /api"), alias("site", "site.example", nil, 8443)},
			annotations{haproxy + "path-rewrite": `^/api/?(.*) /v1/\1`}, nil, "", nil},
		"the whole path is no prefix": {intent.Drawbridge,
			[]policy.Object{leading("ingress-nginx", annotations{nginx + "rewrite-target": "/"}, "site /api"), alias("site", "site.example", nil, 8443)},
			annotations{nginx + "rewrite-target": "/"}, nil, "", []string{"replaces the whole path"}},
		"another expression": {intent.Drawbridge,
			[]policy.Object{leading("ingress-nginx", annotations{nginx + "rewrite-target": "/$1"}, `site /v\d+/(.*)`), alias("site", "site.example", nil, 8443)},
			annotations{nginx + "rewrite-target": "/$1"}, nil, "", []string{"groups of a regular expression"}},
		"verified by default": {intent.Kong,
			[]policy.Object{leading("drawbridge", annotations{own + "backend-protocol": "HTTPS"}, "site"), alias("site", "site.example", nil, 8443)},
			nil, map[string]annotations{"site": {"konghq.com/protocol": "https", "konghq.com/tls-verify": "true"}}, "", nil},
		"verified by default, and not any more": {intent.Haproxytech,
			[]policy.Object{leading("drawbridge", annotations{own + "backend-protocol": "HTTPS"}, "site"), alias("site", "site.example", nil, 8443)},
			annotations{haproxy + "server-ssl": "true"}, nil, "", []string{"was verified"}},
		"a CA verifies": {intent.Haproxytech,
			[]policy.Object{leading("drawbridge", annotations{own + "backend-protocol": "HTTPS", own + "tls-ca-secret": "ca", own + "tls-verify": "on"}, "site"), alias("site", "site.example", nil, 8443)},
			annotations{haproxy + "server-ssl": "true", haproxy + "server-ca": "n/ca"}, nil, "", nil},
		"written, and only a half": {intent.IngressNginx,
			[]policy.Object{leading("drawbridge", annotations{own + "backend-protocol": "HTTPS", own + "tls-verify": "on"}, "site"), alias("site", "site.example", nil, 8443)},
			annotations{nginx + "backend-protocol": "HTTPS", nginx + "proxy-ssl-verify": "on"}, nil, "", []string{"proxy-ssl-secret"}},
		"another port": {intent.Traefik,
			[]policy.Object{leading("ingress-nginx", nil, "site"), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "site"}, Spec: corev1.ServiceSpec{
				Type: corev1.ServiceTypeExternalName, ExternalName: "site.example", Ports: []corev1.ServicePort{{Port: 8443, TargetPort: intstr.FromInt32(443)}}}}},
			nil, nil, "", []string{"port 443"}},
		"without a class, by its annotations": {intent.Drawbridge,
			[]policy.Object{leading("", annotations{nginx + "backend-protocol": "HTTPS", "kubernetes.io/ingress.class": ""}, "site"), alias("site", "site.example", nil, 8443)},
			annotations{own + "backend-protocol": "HTTPS"}, nil, "", nil},
		"what drawbridge injected goes, to be injected again": {intent.Traefik,
			[]policy.Object{leading("ingress-nginx", annotations{nginx + "upstream-vhost": "site.example", intent.Injected: nginx + "upstream-vhost"}, "site"), alias("site", "site.example", nil, 8443)},
			nil, nil, "", nil},
		"snippets and hints": {intent.Traefik,
			[]policy.Object{leading("ingress-nginx", annotations{nginx + "configuration-snippet": "x", nginx + "ssl-redirect": "true", nginx + "strange": "x"}, "site"), alias("site", "site.example", nil, 8443)},
			annotations{nginx + "configuration-snippet": "x", nginx + "ssl-redirect": "true", nginx + "strange": "x"}, nil, "", []string{"configuration of ingress-nginx itself", "redirectScheme", "no wish that drawbridge knows"}},
		"headers beside a Host": {intent.Drawbridge,
			[]policy.Object{leading("jcmoraisjr", annotations{"haproxy-ingress.github.io/headers": "Host: www.example\nX-A: b"}, "site"), alias("site", "site.example", nil, 8443)},
			annotations{own + "upstream-vhost": "www.example", "haproxy-ingress.github.io/headers": "Host: www.example\nX-A: b"}, nil, "", []string{"more than what"}},
		"what stands there already": {intent.Drawbridge,
			[]policy.Object{leading("ingress-nginx", annotations{nginx + "backend-protocol": "HTTPS", own + "backend-protocol": "HTTP"}, "site"), alias("site", "site.example", nil, 8443)},
			annotations{own + "backend-protocol": "HTTP"}, nil, "", []string{"says 'HTTP' already"}},
		"drawbridge's own keys stay drawbridge's": {intent.Traefik,
			[]policy.Object{leading("ingress-nginx", annotations{"drawbridge.dev/backend-protocol": "HTTPS"}, "site"), alias("site", "site.example", nil, 8443)},
			annotations{"drawbridge.dev/backend-protocol": "HTTPS"}, nil, "", nil},
	} {
		before := make([]policy.Object, len(c.objects))
		for i, o := range c.objects {
			before[i] = o.DeepCopyObject().(policy.Object)
		}
		out := Objects(c.objects, classes(), c.to, "new")
		if diff := cmp.Diff(before, c.objects); diff != "" {
			t.Errorf("%s: the objects were changed: %s", name, diff)
		}
		ing, ok := out.Changed[c.objects[0]].(*networkingv1.Ingress)
		if !ok {
			t.Errorf("%s: the Ingress stays as it is", name)
			continue
		}
		if *ing.Spec.IngressClassName != "new" {
			t.Errorf("%s: the class is %s", name, *ing.Spec.IngressClassName)
		}
		if diff := cmp.Diff(c.ing, ing.Annotations, emptyIsNil); diff != "" {
			t.Errorf("%s: the Ingress -want +got\n%s", name, diff)
		}
		if path := ing.Spec.Rules[0].HTTP.Paths[0].Path; c.paths != "" && path != c.paths {
			t.Errorf("%s: the path is %s", name, path)
		}
		for _, o := range c.objects[1:] {
			want, changes := c.services[o.GetName()]
			if got, changed := out.Changed[o]; changed != changes {
				t.Errorf("%s: Service %s changes: %t", name, o.GetName(), changed)
			} else if changed {
				if diff := cmp.Diff(want, got.GetAnnotations(), emptyIsNil); diff != "" {
					t.Errorf("%s: Service %s -want +got\n%s", name, o.GetName(), diff)
				}
			}
		}
		var lost []string
		for _, l := range out.Lost {
			lost = append(lost, l.Field+": "+l.Detail)
		}
		if !slices.EqualFunc(c.lost, lost, func(want, got string) bool { return strings.Contains(got, want) }) {
			t.Errorf("%s: lost %q, want %q", name, lost, c.lost)
		}
	}
}

var emptyIsNil = cmp.Transformer("nil", func(m annotations) annotations {
	if len(m) == 0 {
		return nil
	}
	return m
})

func TestStays(t *testing.T) {
	strange := leading("strange", annotations{nginx + "backend-protocol": "HTTPS"}, "site")
	out := Objects([]policy.Object{strange, leading("traefik", nil, "site")}, policy.DefaultConfig(), intent.Traefik, "traefik")
	if len(out.Changed) > 0 {
		t.Errorf("%d objects change", len(out.Changed))
	}
	if len(out.Lost) != 1 || out.Lost[0].Object != policy.Object(strange) || !strings.Contains(out.Lost[0].Detail, "'strange'") {
		t.Errorf("%+v", out.Lost)
	}
}

// equal are the values that come to the same on the wire.
var equal = map[string][]string{
	"h2c": {"grpc"}, "grpc": {"h2c"}, "h2": {"grpcs", "https"}, "grpcs": {"h2", "https"}, "https": {"h2", "grpcs"},
	"node": {"rewrite:site.example:8443"}, "rewrite:site.example:8443": {"node"}, "ca": {"n/ca"}, "n/ca": {"ca"}, "client": {"n/client"}, "n/client": {"client"},
}

// TestEveryPair holds, for every two dialects and every wish, that what one says the other says too, or that it is
// listed: nothing gets lost in silence.
func TestEveryPair(t *testing.T) {
	values := map[intent.Wish][]string{
		intent.WishHost: {"pass", "node", "rewrite:www.example"}, intent.WishProtocol: {"http", "https", "h2c", "h2", "grpc", "grpcs"},
		intent.WishVerify: {"on", "off"}, intent.WishServerName: {"sni.example"}, intent.WishCASecret: {"ca"}, intent.WishClientCert: {"client"},
		intent.WishRewrite: {"/v1"}, intent.WishRegex: {"on"},
	}
	pairs := 0
	for _, from := range intent.Dialects {
		for _, to := range intent.Dialects {
			if from == to || !from.Speaks() || !to.Speaks() {
				continue
			}
			for wish, list := range values {
				for _, value := range list {
					pairs++
					check(t, from, to, wish, value)
				}
			}
		}
	}
	if pairs < 1000 {
		t.Errorf("only %d cases", pairs)
	}
}

func check(t *testing.T, from, to *intent.Dialect, wish intent.Wish, value string) {
	t.Helper()
	written, ok := from.Spell(wish, value, intent.Target{Host: "site.example:8443", Namespace: "n", Service: "site", Ports: "8443"})
	if !ok || len(written) == 0 {
		return
	}
	ing, svc := leading(from.Name, annotations{}, "site /api"), alias("site", "site.example", annotations{}, 8443)
	for _, a := range written {
		if a.On == intent.OnService {
			svc.Annotations[a.Key] = a.Text
		} else {
			ing.Annotations[a.Key] = a.Text
		}
	}
	port := networkingv1.ServiceBackendPort{Number: 8443}
	said, key := intent.ReadBackend(from, ing.Annotations, svc, port).Get(wish)
	if said == "" {
		return // a client certificate of ingress-nginx, which is read as a CA
	}
	out := Objects([]policy.Object{ing, svc}, classes(), to, to.Name)
	next := out.Changed[ing].(*networkingv1.Ingress)
	nextSvc := svc
	if changed, ok := out.Changed[svc]; ok {
		nextSvc = changed.(*corev1.Service)
	}
	readAs := wish
	if to == intent.IngressNginx && wish == intent.WishClientCert {
		readAs = intent.WishCASecret // one Secret for both
	}
	got, _ := intent.ReadBackend(to, next.Annotations, nextSvc, port).Get(readAs)
	byDefault := false
	if w, ok := to.Spell(wish, said, intent.Target{}); ok && len(w) == 0 {
		byDefault = got == ""
	}
	listed := slices.ContainsFunc(out.Lost, func(l Lost) bool { return l.Annotation == key })
	regexBecame := wish == intent.WishRegex // there is no expression to match
	if got != said && !slices.Contains(equal[said], got) && !byDefault && !listed && !regexBecame {
		if wish == intent.WishRewrite && len(to.PrefixRewrite) > 0 && next.Annotations[to.PrefixRewrite[0].Key] != "" {
			return
		}
		t.Errorf("%s to %s: %s '%s' (`%s`) came to '%s', and is not listed: %v %v", from.Name, to.Name, wish, said, key, got, next.Annotations, nextSvc.Annotations)
	}
	// What is carried over is taken away, what is listed stays.
	_, onIngress := next.Annotations[key]
	_, onService := nextSvc.Annotations[key]
	if there := onIngress || onService; there && !listed && !slices.Contains(intent.KeyOwners(key), to) {
		t.Errorf("%s to %s: `%s` stays, and is not listed", from.Name, to.Name, key)
	}
}
