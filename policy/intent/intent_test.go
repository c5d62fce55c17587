package intent

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestOf(t *testing.T) {
	classes := map[string]string{"edge": "k8s.io/ingress-nginx", "nginx": "nginx.org/ingress-controller", "bridge": "drawbridge.dev/ingress",
		"nobody": "example.com/controller", "blue": "haproxy.org/ingress-controller/blue", "haproxy": "haproxy-ingress.github.io/controller"}
	known := func(name string) *networkingv1.IngressClass {
		if c, ok := classes[name]; ok {
			return &networkingv1.IngressClass{Spec: networkingv1.IngressClassSpec{Controller: c}}
		}
		return nil
	}
	none := func(string) *networkingv1.IngressClass { return nil }
	for _, c := range []struct {
		class *string
		old   string
		find  func(string) *networkingv1.IngressClass
		want  string
		ok    bool
	}{
		{nil, "", none, "drawbridge", true},
		{nil, "", nil, "drawbridge", true},
		{new("drawbridge"), "", none, "drawbridge", true},
		{new("nginx"), "", none, "ingress-nginx", true},
		{nil, "nginx", none, "ingress-nginx", true},
		{new("drawbridge"), "nginx", none, "drawbridge", true},
		{new("edge"), "", known, "ingress-nginx", true},
		{new("bridge"), "", known, "drawbridge", true},
		// The class is another controller's, whatever it is called.
		{new("nginx"), "", known, "nginx-inc", true},
		{new("nobody"), "", known, "unknown", false},
		{new("edge"), "", none, "unknown", false},
		{new("traefik"), "", none, "traefik", true},
		{new("blue"), "", known, "haproxytech", true},
		{new("haproxy"), "", known, "jcmoraisjr", true},
		// Two controllers are called haproxy.
		{new("haproxy"), "", none, "unknown", false},
	} {
		ing := &networkingv1.Ingress{Spec: networkingv1.IngressSpec{IngressClassName: c.class}}
		if c.old != "" {
			ing.Annotations = map[string]string{"kubernetes.io/ingress.class": c.old}
		}
		if d, ok := Of(ing, c.find); d.Name != c.want || ok != c.ok {
			t.Errorf("%s is %s, %t; want %s, %t", ClassName(ing), d.Name, ok, c.want, c.ok)
		}
	}
}

func TestReadAndFor(t *testing.T) {
	public := Backend{Kind: ExternalName, Name: "api.example.com", Port: 80}
	secure := Backend{Kind: ExternalName, Name: "api.example.com", Port: 443}
	const own, nginx = "ingress.kubernetes.io/", "nginx.ingress.kubernetes.io/"
	for name, c := range map[string]struct {
		d           *Dialect
		annotations map[string]string
		backend     Backend
		want        Upstream
	}{
		"a public name":      {Drawbridge, nil, public, Upstream{Host: "api.example.com", Protocol: HTTP, Verify: true}},
		"port 443":           {Drawbridge, nil, secure, Upstream{Host: "api.example.com", Protocol: HTTPS, Verify: true}},
		"another port":       {Drawbridge, nil, Backend{Kind: ExternalName, Name: "a.example", Port: 8080}, Upstream{Host: "a.example:8080", Protocol: HTTP, Verify: true}},
		"http on 443":        {Drawbridge, map[string]string{own + "backend-protocol": "http"}, secure, Upstream{Host: "api.example.com:443", Protocol: HTTP, Verify: true}},
		"https on 80":        {Drawbridge, map[string]string{own + "secure-backends": "true"}, public, Upstream{Host: "api.example.com:80", Protocol: HTTPS, Verify: true}},
		"an internal name":   {Drawbridge, nil, Backend{Kind: ExternalName, Name: "a.b.svc", Internal: true, Port: 80}, Upstream{Protocol: HTTP, Verify: true}},
		"addresses":          {Drawbridge, nil, Backend{Kind: Addresses, Port: 443}, Upstream{Protocol: HTTPS, Verify: true}},
		"pods on 443":        {Drawbridge, nil, Backend{Kind: Pods, Port: 443}, Upstream{Protocol: HTTP, Verify: true}},
		"pods that say so":   {Drawbridge, nil, Backend{Kind: Pods, Port: 1, AppProtocol: "HTTPS"}, Upstream{Protocol: HTTPS, Verify: true}},
		"appProtocol http":   {Drawbridge, nil, Backend{Kind: Addresses, Port: 443, AppProtocol: "http"}, Upstream{Protocol: HTTP, Verify: true}},
		"appProtocol h2c":    {Drawbridge, nil, Backend{Kind: Addresses, Port: 443, AppProtocol: "kubernetes.io/h2c"}, Upstream{Protocol: H2C, Verify: true}},
		"a port named https": {Drawbridge, nil, Backend{Kind: Addresses, Port: 8443, PortName: "https"}, Upstream{Protocol: HTTPS, Verify: true}},
		"pass":               {Drawbridge, map[string]string{own + "preserve-host": "true"}, public, Upstream{Protocol: HTTP, Verify: true}},
		"node of addresses":  {Drawbridge, map[string]string{own + "preserve-host": "false"}, Backend{Kind: Addresses, Port: 80}, Upstream{Protocol: HTTP, Verify: true}},
		"rewrite comes before node": {Drawbridge, map[string]string{own + "preserve-host": "false", own + "upstream-vhost": " www.example.com "},
			public, Upstream{Host: "www.example.com", Protocol: HTTP, Verify: true}},
		"own comes first": {Drawbridge, map[string]string{"drawbridge.dev/backend-protocol": "GRPC", own + "backend-protocol": "HTTPS"},
			public, Upstream{Host: "api.example.com", Protocol: GRPC, Verify: true}},
		"own counts under every class": {IngressNginx, map[string]string{"drawbridge.dev/preserve-host": "true"}, public, Upstream{Protocol: HTTP, Verify: true}},
		"another dialect is inert": {IngressNginx, map[string]string{own + "upstream-vhost": "x", own + "backend-protocol": "HTTPS"},
			public, Upstream{Host: "api.example.com", Protocol: HTTP, Verify: true}},
		"the rest": {Drawbridge, map[string]string{own + "tls-verify": "off", own + "tls-server-name": "sni.example", own + "rewrite-target": "/v1"},
			secure, Upstream{Host: "api.example.com", Protocol: HTTPS, ServerName: "sni.example", Rewrite: "/v1"}},
		"nginx": {IngressNginx, map[string]string{nginx + "upstream-vhost": "v.example", nginx + "backend-protocol": "GRPCS", nginx + "rewrite-target": "/"},
			public, Upstream{Host: "v.example", Protocol: GRPCS, Verify: true, Rewrite: "/"}},
		"an invalid value is none": {Drawbridge, map[string]string{own + "backend-protocol": "FTP", own + "upstream-vhost": ""},
			public, Upstream{Host: "api.example.com", Protocol: HTTP, Verify: true}},
	} {
		if diff := cmp.Diff(c.want, Read(c.d, c.annotations).For(c.backend)); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
	}
	w := Read(Drawbridge, map[string]string{own + "backend-protocol": " FTP "})
	want := []Invalid{{own + "backend-protocol", "FTP", []string{"grpc", "grpcs", "h2c", "http", "https"}, OnIngress}}
	if diff := cmp.Diff(want, w.Invalid); diff != "" {
		t.Error(diff)
	}
	if v, a := Read(Drawbridge, map[string]string{own + "preserve-host": "False"}).Get(WishHost); v != "node" || a != own+"preserve-host" {
		t.Error(v, a)
	}
}

func TestBackendOf(t *testing.T) {
	port := func(name string, number int32, target intstr.IntOrString) corev1.ServicePort {
		return corev1.ServicePort{Name: name, Port: number, TargetPort: target}
	}
	alias := func(name string, ports ...corev1.ServicePort) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeExternalName, ExternalName: name, Ports: ports}}
	}
	cluster := func(selector map[string]string, ports ...corev1.ServicePort) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Spec: corev1.ServiceSpec{Selector: selector, Ports: ports}}
	}
	number := func(n int32) networkingv1.ServiceBackendPort { return networkingv1.ServiceBackendPort{Number: n} }
	name := func(s string) networkingv1.ServiceBackendPort { return networkingv1.ServiceBackendPort{Name: s} }
	to443 := port("web", 80, intstr.FromInt32(443))
	for what, c := range map[string]struct {
		d    *Dialect
		svc  *corev1.Service
		port networkingv1.ServiceBackendPort
		want Backend
		err  string
	}{
		"not known":                {Drawbridge, nil, number(80), Backend{Port: 80}, ""},
		"alias":                    {Drawbridge, alias("API.example.com."), number(8080), Backend{Kind: ExternalName, Name: "api.example.com", Port: 8080}, ""},
		"alias inside":             {Drawbridge, alias("a.b.svc.cluster.local"), number(80), Backend{Kind: ExternalName, Name: "a.b.svc.cluster.local", Internal: true, Port: 80}, ""},
		"alias inside, short":      {Drawbridge, alias("a.b.svc"), number(80), Backend{Kind: ExternalName, Name: "a.b.svc", Internal: true, Port: 80}, ""},
		"alias, the number counts": {Drawbridge, alias("a.example", to443), number(80), Backend{Kind: ExternalName, Name: "a.example", Port: 80, PortName: "web"}, ""},
		"alias, nginx, targetPort": {IngressNginx, alias("a.example", to443), number(80), Backend{Kind: ExternalName, Name: "a.example", Port: 443, PortName: "web"}, ""},
		"alias, nginx, by name":    {IngressNginx, alias("a.example", to443), name("web"), Backend{Kind: ExternalName, Name: "a.example", Port: 443, PortName: "web"}, ""},
		"alias, nginx, undeclared": {IngressNginx, alias("a.example", to443), number(81), Backend{Kind: ExternalName, Name: "a.example", Port: 81}, ""},
		"alias by name":            {Drawbridge, alias("a.example", to443), name("web"), Backend{Kind: ExternalName, Name: "a.example", Port: 80, PortName: "web"}, "write the number"},
		"alias by no name":         {IngressNginx, alias("a.example", to443), name("other"), Backend{Kind: ExternalName, Name: "a.example"}, "write the number"},
		"addresses":                {Drawbridge, cluster(nil, to443), name("web"), Backend{Kind: Addresses, Port: 80, PortName: "web"}, ""},
		"pods":                     {Drawbridge, cluster(map[string]string{"a": "b"}, to443), number(80), Backend{Kind: Pods, Port: 80, PortName: "web"}, ""},
		"no such port":             {Drawbridge, cluster(nil, to443), number(443), Backend{Kind: Addresses, Port: 443}, "has no port '443'"},
		"no such name":             {Drawbridge, cluster(nil, to443), name("http"), Backend{Kind: Addresses}, "has no port 'http'"},
	} {
		got, _, err := c.d.BackendOf(c.svc, c.port, "cluster.local")
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: -want +got\n%s", what, diff)
		}
		var pe *PortError
		if (err == nil) != (c.err == "") || err != nil && (!strings.Contains(err.Error(), c.err) || !errors.As(err, &pe)) {
			t.Errorf("%s: %v, want %q", what, err, c.err)
		}
	}
	if got := Absolute("a.b.svc", "cluster.local"); got != "a.b.svc.cluster.local" || Absolute("a.example", "cluster.local") != "a.example" {
		t.Error(got)
	}
	if Internal("notcluster.local", "cluster.local") || !Internal("cluster.local", "cluster.local") {
		t.Error("the cluster's domain ends at a dot")
	}
}

// TestDialects holds that each row of the table is whole: what is injected is read back as the wish that was meant,
// and no key stands twice.
func TestDialects(t *testing.T) {
	controllers, classes, names := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, d := range Dialects {
		for _, list := range []struct {
			seen  map[string]bool
			texts []string
		}{{controllers, d.Controllers}, {classes, d.Classes}, {names, []string{d.Name}}} {
			for _, text := range list.texts {
				if list.seen[text] {
					t.Errorf("%s: '%s' stands twice", d.Name, text)
				}
				list.seen[text] = true
			}
		}
		keys := map[string]bool{}
		for _, k := range d.Keys {
			row := fmt.Sprint(k.Annotation, k.On, k.Wish, k.With)
			if keys[row] || strings.HasPrefix(k.Annotation, Prefix) {
				t.Errorf("%s: %s stands twice", d.Name, row)
			}
			keys[row] = true
			if k.Wish == 0 || k.Wish >= wishes || (k.Parse != nil || k.Values != nil) && k.Per != PerObject {
				t.Errorf("%s: %s can not be read", d.Name, row)
			}
			if k.Parse != nil && len(k.Allowed) == 0 {
				if _, ok := k.Parse("\x00"); !ok {
					t.Errorf("%s: %s refuses without saying what it takes", d.Name, row)
				}
			}
			for v := range k.Values {
				if v != strings.ToLower(v) {
					t.Errorf("%s: %s: '%s' can never be read", d.Name, k.Annotation, v)
				}
			}
		}
	}
	if _, ok := Drawbridge.Spell(WishRegex, "on", Target{}); ok {
		t.Error("a wish without a spelling is spelled")
	}
}

func TestSaysAndPassesTLS(t *testing.T) {
	const own, nginx = "ingress.kubernetes.io/", "nginx.ingress.kubernetes.io/"
	says := func(d *Dialect, key string) bool { return d.Says(WishHost, map[string]string{key: "?"}) }
	for _, key := range []string{"drawbridge.dev/upstream-vhost", "drawbridge.dev/preserve-host", own + "preserve-host", own + "upstream-vhost"} {
		if !says(Drawbridge, key) {
			t.Errorf("%s says nothing", key)
		}
	}
	if says(Drawbridge, own+"backend-protocol") || says(Drawbridge, nginx+"upstream-vhost") || says(Drawbridge, nginx+"configuration-snippet") ||
		!says(IngressNginx, nginx+"configuration-snippet") || says(IngressNginx, own+"upstream-vhost") {
		t.Error("an annotation of another wish or dialect counts, or raw configuration does not")
	}
	for _, c := range []struct {
		d    *Dialect
		key  string
		text string
		want bool
	}{
		{Drawbridge, own + "ssl-passthrough", "true", true}, {Drawbridge, "drawbridge.dev/ssl-passthrough", "yes", true},
		{Drawbridge, own + "ssl-passthrough", " False ", false}, {Drawbridge, nginx + "ssl-passthrough", "true", false},
		{IngressNginx, nginx + "ssl-passthrough", "true", true}, {IngressNginx, nginx + "ssl-redirect", "true", false},
	} {
		if got := c.d.PassesTLS(map[string]string{c.key: c.text}); got != c.want {
			t.Errorf("%s %s=%s: %t", c.d.Name, c.key, c.text, got)
		}
	}
}

// FuzzRead reads any annotation in every dialect: what it makes of it is one of the values that the package speaks of.
func FuzzRead(f *testing.F) {
	for _, d := range Dialects {
		for _, k := range d.Keys {
			f.Add(k.Annotation, "true", int32(443))
			f.Add(k.Annotation, "x.example", int32(0))
		}
	}
	f.Fuzz(func(t *testing.T, key, value string, port int32) {
		for _, d := range Dialects {
			w := Read(d, map[string]string{key: value})
			u := w.For(Backend{Kind: ExternalName, Name: "a.example", Port: port})
			if !slices.Contains([]Protocol{HTTP, HTTPS, H2C, H2, GRPC, GRPCS}, u.Protocol) {
				t.Errorf("the protocol is %q", u.Protocol)
			}
			for _, i := range w.Invalid {
				if i.Annotation != key || len(i.Allowed) == 0 {
					t.Errorf("%+v", i)
				}
			}
		}
	})
}

func TestReadBackend(t *testing.T) {
	svc := func(name string, pairs ...string) *corev1.Service {
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{
			{Name: "web", Port: 443}, {Name: "plain", Port: 80}}}}
		for i := 0; i < len(pairs); i += 2 {
			metav1.SetMetaDataAnnotation(&s.ObjectMeta, pairs[i], pairs[i+1])
		}
		return s
	}
	number := func(n int32) networkingv1.ServiceBackendPort { return networkingv1.ServiceBackendPort{Number: n} }
	for name, c := range map[string]struct {
		d    *Dialect
		ing  map[string]string
		svc  *corev1.Service
		port networkingv1.ServiceBackendPort
		wish Wish
		want string
	}{
		"a list names the Service":           {NginxInc, map[string]string{"nginx.org/ssl-services": "a, api"}, svc("api"), number(443), WishProtocol, "https"},
		"a list names another":               {NginxInc, map[string]string{"nginx.org/ssl-services": "a,b"}, svc("api"), number(443), WishProtocol, ""},
		"a list without a Service":           {NginxInc, map[string]string{"nginx.org/ssl-services": "api"}, nil, number(443), WishProtocol, ""},
		"two lists":                          {NginxInc, map[string]string{"nginx.org/ssl-services": "api", "nginx.org/grpc-services": "api"}, svc("api"), number(443), WishProtocol, "grpcs"},
		"one of two lists":                   {NginxInc, map[string]string{"nginx.org/ssl-services": "b", "nginx.org/grpc-services": "api"}, svc("api"), number(443), WishProtocol, "grpc"},
		"rewrites":                           {NginxInc, map[string]string{"nginx.org/rewrites": "serviceName=b rewrite=/b; serviceName=api rewrite=/v1"}, svc("api"), number(443), WishRewrite, "/v1"},
		"a port by number":                   {Contour, nil, svc("api", "projectcontour.io/upstream-protocol.tls", "443"), number(443), WishProtocol, "https"},
		"a port by the name of its number":   {Contour, nil, svc("api", "projectcontour.io/upstream-protocol.tls", "8443, web"), number(443), WishProtocol, "https"},
		"a port by the number of its name":   {Contour, nil, svc("api", "projectcontour.io/upstream-protocol.h2c", "443"), networkingv1.ServiceBackendPort{Name: "web"}, WishProtocol, "h2c"},
		"another port":                       {Contour, nil, svc("api", "projectcontour.io/upstream-protocol.tls", "443"), number(80), WishProtocol, ""},
		"tls comes before h2":                {Contour, nil, svc("api", "projectcontour.io/upstream-protocol.h2", "443", "projectcontour.io/upstream-protocol.tls", "443"), number(443), WishProtocol, "https"},
		"on the Ingress it is inert":         {Traefik, map[string]string{traefikPrefix + "service.passhostheader": "false"}, svc("api"), number(443), WishHost, ""},
		"on the Service":                     {Traefik, nil, svc("api", traefikPrefix+"service.passhostheader", "false"), number(443), WishHost, "node"},
		"a transport may say it":             {Traefik, nil, svc("api", traefikPrefix+"service.serverstransport", "a-b@kubernetescrd"), number(443), WishVerify, ""},
		"kong, host-header needs its half":   {Kong, nil, svc("api", kongPrefix+"host-header", "x.example"), number(443), WishHost, ""},
		"kong, both halves":                  {Kong, map[string]string{kongPrefix + "preserve-host": "False"}, svc("api", kongPrefix+"host-header", "x.example"), number(443), WishHost, "rewrite:x.example"},
		"kong, preserve-host":                {Kong, map[string]string{kongPrefix + "preserve-host": "false"}, svc("api"), number(443), WishHost, "node"},
		"kong, strip and path":               {Kong, map[string]string{kongPrefix + "strip-path": "true"}, svc("api", kongPrefix+"path", "/v1"), number(443), WishRewrite, "/v1"},
		"kong, path adds only":               {Kong, nil, svc("api", kongPrefix+"path", "/v1"), number(443), WishRewrite, ""},
		"kong, a stream":                     {Kong, nil, svc("api", kongPrefix+"protocol", "tcp"), number(443), WishProtocol, ""},
		"haproxytech, the Service wins":      {Haproxytech, map[string]string{"haproxy.org/server-ssl": "true"}, svc("api", "haproxy.com/server-ssl", "false"), number(443), WishProtocol, "http"},
		"haproxytech, the Ingress":           {Haproxytech, map[string]string{"haproxy.org/server-ssl": "true"}, svc("api"), number(443), WishProtocol, "https"},
		"haproxytech, a CA is TLS":           {Haproxytech, map[string]string{"haproxy.org/server-ca": "a/ca"}, svc("api"), number(443), WishProtocol, "https"},
		"haproxytech, a CA verifies":         {Haproxytech, map[string]string{"haproxy.org/server-ca": "a/ca"}, svc("api"), number(443), WishVerify, "on"},
		"haproxytech, set-host is Ingress's": {Haproxytech, nil, svc("api", "haproxy.org/set-host", "x.example"), number(443), WishHost, ""},
		"haproxytech, a regex is no path":    {Haproxytech, map[string]string{"haproxy.org/path-rewrite": `/foo/(.*) /\1`}, svc("api"), number(443), WishRewrite, ""},
		"jcmoraisjr, a Host among headers":   {Jcmoraisjr, map[string]string{jcm + "headers": "X-A: b\nhost: x.example\n"}, svc("api"), number(443), WishHost, "rewrite:x.example"},
		"jcmoraisjr, a Host by variables":    {Jcmoraisjr, map[string]string{jcm + "headers": "host: %[service].svc"}, svc("api"), number(443), WishHost, ""},
		"jcmoraisjr, secure-backends":        {Jcmoraisjr, map[string]string{jcm + "backend-protocol": "h2", jcm + "secure-backends": "true"}, svc("api"), number(443), WishProtocol, "h2"},
		"jcmoraisjr, the Service wins":       {Jcmoraisjr, map[string]string{jcm + "backend-protocol": "h1-ssl"}, svc("api", jcm+"backend-protocol", "h1"), number(443), WishProtocol, "http"},
		"jcmoraisjr, the old prefix":         {Jcmoraisjr, map[string]string{"ingress.kubernetes.io/secure-backends": "true"}, svc("api"), number(443), WishProtocol, "https"},
		"own keys come first":                {Traefik, map[string]string{"drawbridge.dev/preserve-host": "true"}, svc("api", traefikPrefix+"service.passhostheader", "false"), number(443), WishHost, "pass"},
		"own keys on a Service say nothing":  {Traefik, nil, svc("api", "drawbridge.dev/preserve-host", "true"), number(443), WishHost, ""},
		"fcgi is understood and no protocol": {IngressNginx, map[string]string{nginxPrefix + "backend-protocol": "FCGI"}, svc("api"), number(443), WishProtocol, ""},
	} {
		w := ReadBackend(c.d, c.ing, c.svc, c.port)
		if got, _ := w.Get(c.wish); got != c.want || len(w.Invalid) > 0 {
			t.Errorf("%s: %q, %v; want %q", name, got, w.Invalid, c.want)
		}
	}
	w := ReadBackend(Traefik, nil, svc("api", traefikPrefix+"service.serversscheme", "ftp"), number(443))
	if diff := cmp.Diff([]Invalid{{traefikPrefix + "service.serversscheme", "ftp", []string{"h2c", "http", "https"}, OnService}}, w.Invalid); diff != "" {
		t.Error(diff)
	}
}

func TestHalves(t *testing.T) {
	for name, c := range map[string]struct {
		d    *Dialect
		ing  map[string]string
		svc  map[string]string
		port int32
		want []string
	}{
		"verify without the Secret": {IngressNginx, map[string]string{nginxPrefix + "proxy-ssl-verify": "on", nginxPrefix + "backend-protocol": "HTTPS"}, nil, 443,
			[]string{nginxPrefix + "proxy-ssl-verify"}},
		"verification switched off needs nothing": {IngressNginx, map[string]string{nginxPrefix + "proxy-ssl-verify": "off"}, nil, 443, nil},
		"a Secret that verifies nothing": {IngressNginx, map[string]string{nginxPrefix + "proxy-ssl-secret": "a/b", nginxPrefix + "backend-protocol": "https"}, nil, 443,
			[]string{nginxPrefix + "proxy-ssl-secret"}},
		"all of it": {IngressNginx, map[string]string{nginxPrefix + "proxy-ssl-secret": "a/b", nginxPrefix + "backend-protocol": "HTTPS", nginxPrefix + "proxy-ssl-verify": "on",
			nginxPrefix + "proxy-ssl-name": "x", nginxPrefix + "proxy-ssl-server-name": "on"}, nil, 443, nil},
		"kong, half on each": {Kong, nil, map[string]string{kongPrefix + "host-header": "x"}, 443, []string{kongPrefix + "host-header"}},
		"kong, whole":        {Kong, map[string]string{kongPrefix + "preserve-host": "false"}, map[string]string{kongPrefix + "host-header": "x"}, 443, nil},
		"a CA without TLS":   {Jcmoraisjr, map[string]string{jcm + "secure-verify-ca-secret": "ca"}, nil, 80, []string{jcm + "secure-verify-ca-secret"}},
		"own, by the port":   {Drawbridge, map[string]string{"ingress.kubernetes.io/tls-server-name": "x"}, nil, 443, nil},
		"own, without TLS":   {Drawbridge, map[string]string{"ingress.kubernetes.io/tls-server-name": "x"}, nil, 80, []string{"ingress.kubernetes.io/tls-server-name"}},
	} {
		svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "api", Annotations: c.svc}}
		var got []string
		for _, h := range c.d.Halves(c.ing, svc, networkingv1.ServiceBackendPort{Number: c.port}, Backend{Kind: ExternalName, Port: c.port}) {
			got = append(got, h.Annotation)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
