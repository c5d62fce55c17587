package render_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/rogpeppe/go-internal/txtar"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/rules"
	"drawbridge.dev/drawbridge/render"
	"drawbridge.dev/drawbridge/render/model"
)

var (
	dnsName    = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`)
	hostHeader = regexp.MustCompile(`^[a-z0-9.-]+(:[1-9][0-9]*)?$`)
	objectName = regexp.MustCompile(`^[a-z0-9-]+/[a-z0-9.-]+$`)
	urlPath    = regexp.MustCompile(`^/([A-Za-z0-9/._~!$&'()*+,;=:@-]|%[0-9A-F]{2})*$`)
)

// checkModel asserts what every reader of a model relies on.
func checkModel(t *testing.T, m model.Model, problems []render.Problem) {
	t.Helper()
	ids := map[string]bool{}
	for _, c := range m.Certificates {
		ids[c.ID] = true
		if !objectName.MatchString(c.ID) || len(c.ID) > 250 {
			t.Errorf("certificate %q", c.ID)
		}
		if _, err := tls.X509KeyPair([]byte(c.PEM), []byte(c.PEM)); err != nil {
			t.Errorf("certificate %s: %v", c.ID, err)
		}
		if strings.Contains(string(c.PEM), "\n\n") || !strings.HasPrefix(string(c.PEM), "-----BEGIN CERTIFICATE") || strings.Contains(string(c.PEM), ":") {
			t.Errorf("certificate %s has more in it than certificates and a key", c.ID)
		}
	}
	if !slices.IsSortedFunc(m.Hosts, func(a, b model.Host) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("hosts are not sorted")
	}
	for _, h := range m.Hosts {
		if h.Name != "" && (!dnsName.MatchString(strings.TrimPrefix(h.Name, "*.")) || len(h.Name) > 255) {
			t.Errorf("host %q", h.Name)
		}
		if h.Certificate != "" && !ids[h.Certificate] {
			t.Errorf("host %q has no certificate %q", h.Name, h.Certificate)
		}
		if len(h.Routes) == 0 {
			t.Errorf("host %q has no routes", h.Name)
		}
		for i, r := range h.Routes {
			if i > 0 && (h.Routes[i-1].Path > r.Path || h.Routes[i-1].Path == r.Path && h.Routes[i-1].Match >= r.Match) {
				t.Errorf("host %q: routes are not sorted, or one stands twice: %q", h.Name, r.Path)
			}
			paths := []string{r.Path}
			if r.Rewrite.Mode != model.KeepPath {
				paths = append(paths, r.Rewrite.Path)
			}
			for j, path := range paths {
				prefix := j == 0 && r.Match == model.Prefix || j == 1 && r.Rewrite.Mode == model.ReplacePrefix
				if !urlPath.MatchString(path) || strings.Contains(path, "//") || len(path) > 1024 || prefix && path != "/" && strings.HasSuffix(path, "/") {
					t.Errorf("host %q: path %q", h.Name, path)
				}
			}
			checkUpstream(t, r.Upstream, h.Name == "")
		}
	}
	if m.Default.Service != "" {
		checkUpstream(t, m.Default, true)
	}
	for _, p := range problems {
		for _, r := range p.String() {
			if !unicode.IsGraphic(r) || unicode.IsSpace(r) && r != ' ' {
				t.Fatalf("problem is not printable: %q", p.String())
			}
		}
		if len(p.Message) > 2000 || p.Message == "" {
			t.Errorf("problem has %d bytes", len(p.Message))
		}
	}
}

func checkUpstream(t *testing.T, u model.Upstream, anyHost bool) {
	t.Helper()
	if !objectName.MatchString(u.Service) {
		t.Errorf("service %q", u.Service)
	}
	if u.Name != "" && (!dnsName.MatchString(u.Name) || u.Port == 0 || u.Addresses != nil) {
		t.Errorf("name %q, port %d, addresses %v", u.Name, u.Port, u.Addresses)
	}
	if u.Host != "" && !hostHeader.MatchString(u.Host) {
		t.Errorf("Host %q", u.Host)
	}
	if u.ServerName != "" && (!dnsName.MatchString(u.ServerName) || !u.Protocol.TLS()) {
		t.Errorf("server name %q", u.ServerName)
	}
	if u.Protocol.TLS() && u.ServerName == "" && (anyHost || u.Host != "") {
		t.Errorf("TLS to %s is verified against nothing", u.Service)
	}
	if !slices.IsSortedFunc(u.Addresses, netip.AddrPort.Compare) || len(slices.Compact(slices.Clone(u.Addresses))) != len(u.Addresses) {
		t.Errorf("addresses %v", u.Addresses)
	}
	for _, a := range u.Addresses {
		if err := (policy.Addresses{}).Check(a.Addr()); err != nil || a.Port() == 0 {
			t.Errorf("address %s: %v", a, err)
		}
	}
}

// TestLarge pins that one object's size is not squared: by hosts times entries, or addresses times routes.
func TestLarge(t *testing.T) {
	class, prefix := "drawbridge", networkingv1.PathTypePrefix
	ing := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "large"}}
	ing.Spec.IngressClassName = &class
	backend := networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "ext", Port: networkingv1.ServiceBackendPort{Number: 80}}}
	one := networkingv1.IngressRule{Host: "one.example.com"}
	one.HTTP = &networkingv1.HTTPIngressRuleValue{}
	for i := range 1000 {
		path := networkingv1.HTTPIngressPath{Path: fmt.Sprintf("/p%d", i), PathType: &prefix, Backend: backend}
		one.HTTP.Paths = append(one.HTTP.Paths, path)
		rule := networkingv1.IngressRule{Host: fmt.Sprintf("h%d.example.com", i)}
		rule.HTTP = &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{path}}
		ing.Spec.Rules = append(ing.Spec.Rules, rule)
		ing.Spec.TLS = append(ing.Spec.TLS, networkingv1.IngressTLS{Hosts: []string{fmt.Sprintf("nobody%d.example.com", i)}, SecretName: "s"})
	}
	ing.Spec.Rules = append(ing.Spec.Rules, one)
	ing.Spec.TLS = append(ing.Spec.TLS, slices.Repeat([]networkingv1.IngressTLS{{SecretName: "missing"}}, 500)...)
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "ext"}}
	svc.Spec.Type, svc.Spec.ExternalName = corev1.ServiceTypeExternalName, "site.example.org"
	m, problems := render.Build(render.NewSnapshot(ing, svc), render.Options{Book: rules.All()})
	checkModel(t, m, problems)
	if len(m.Hosts) != 1001 || len(m.Hosts[1000].Routes) != 1000 {
		t.Errorf("%d hosts", len(m.Hosts))
	}
	if len(problems) > 100 {
		t.Errorf("%d problems of one Ingress are listed", len(problems))
	}
}

// FuzzBuild builds whatever objects a cluster or a folder may hold. Nothing in them may get further than a Problem,
// and objects that come one by one must come to the same as all at once.
func FuzzBuild(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		var docs []string
		for _, member := range txtar.Parse(text).Files {
			if !strings.HasSuffix(member.Name, ".yaml") {
				continue
			}
			for doc := range strings.SplitSeq("\n"+string(member.Data), "\n---\n") {
				asJSON, err := yaml.YAMLToJSON([]byte(doc))
				if err != nil {
					f.Fatal(err)
				}
				docs = append(docs, string(asJSON))
			}
		}
		f.Add([]byte("[" + strings.Join(docs, ",") + "]"))
	}
	book := rules.All()
	f.Fuzz(func(t *testing.T, text []byte) {
		var raw []json.RawMessage
		if json.Unmarshal(text, &raw) != nil {
			return
		}
		var objects []policy.Object
		for _, r := range raw {
			var head struct{ Kind string }
			if json.Unmarshal(r, &head) != nil || kinds[head.Kind] == nil {
				continue
			}
			obj := kinds[head.Kind]()
			if json.Unmarshal(r, obj) != nil {
				continue
			}
			if obj.GetNamespace() == "" && head.Kind != "IngressClass" {
				obj.SetNamespace("default")
			}
			objects = append(objects, obj)
		}
		for _, o := range []render.Options{
			{Book: book, Classless: true},
			{Book: book, Classes: []string{"nginx", "drawbridge", "public"}},
			{Classes: []string{"nginx", "drawbridge"}}, // without rules
		} {
			m, problems := render.Build(render.NewSnapshot(objects...), o)
			checkModel(t, m, problems)
			s := render.NewSnapshot()
			kept := render.NewIncremental(s, o)
			for _, obj := range objects {
				var touched render.Touched
				s, touched = s.With(obj)
				kept.Update(s, touched)
			}
			if got := kept.Model(); !reflect.DeepEqual(got, m) {
				t.Errorf("one by one:\n%s\nat once:\n%s", printModel(got), printModel(m))
			}
		}
	})
}

// FuzzText puts any text into every place where an object may hold some.
func FuzzText(f *testing.F) {
	f.Add("a.example.com", "/foo", "Prefix", "ext", "site.example.org", "/bar", "www.example.org:80", "cert.example.org", "https", "192.0.2.1", "http")
	f.Add("*.example.com", "/foo(/|$)(.*)", "ImplementationSpecific", "ext", "192.0.2.1", "/bar/$2", "$host", "", "grpc", "::1", "")
	f.Add("", "/%2e%2e/%7e", "Exact", "ext", "in.other.svc", "/$1$2", "[::1]:443", "*.example.org", "HTTPS", "fe80::1%eth0", "https")
	f.Add("a\n\nb", "/a|b %[env(X)]\"'", "Regular", "a b", "https://x/${Y}", "//", "a b:0", "1.2.3.4", "FCGI", "169.254.169.254", "\r\n")
	book := rules.All()
	f.Fuzz(func(t *testing.T, host, path, match, service, external, rewrite, vhost, serverName, protocol, address, portName string) {
		for _, prefix := range []string{"ingress.kubernetes.io/", "nginx.ingress.kubernetes.io/"} {
			class := strings.TrimSuffix(prefix, ".ingress.kubernetes.io/")
			if class != "nginx" {
				class = "drawbridge"
			}
			kind := networkingv1.PathType(match)
			backend := func(name string) networkingv1.IngressBackend {
				return networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: name, Port: networkingv1.ServiceBackendPort{Number: 443}}}
			}
			ing := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "i", Annotations: map[string]string{
				prefix + "rewrite-target": rewrite, prefix + "upstream-vhost": vhost, prefix + "backend-protocol": protocol,
				prefix + "tls-server-name": serverName, prefix + "proxy-ssl-name": serverName,
			}}}
			root := backend(service)
			ing.Spec.IngressClassName, ing.Spec.DefaultBackend = &class, &root
			ing.Spec.TLS = []networkingv1.IngressTLS{{Hosts: []string{host, rewrite}, SecretName: service}}
			ing.Spec.Rules = []networkingv1.IngressRule{{Host: host, IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{
				Paths: []networkingv1.HTTPIngressPath{
					{Path: path, PathType: &kind, Backend: backend(service)}, {Path: path, Backend: backend("raw")}, {Path: rewrite, Backend: backend("ext")},
				},
			}}}}
			ext := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "ext"}}
			ext.Spec.Type, ext.Spec.ExternalName = corev1.ServiceTypeExternalName, external
			raw := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "raw"}}
			raw.Spec.Ports = []corev1.ServicePort{{Name: "https", Port: 443}, {Name: portName, Port: 80}}
			number := int32(443)
			slice := &discoveryv1.EndpointSlice{
				ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: "raw-1", Labels: map[string]string{discoveryv1.LabelServiceName: "raw"}},
				AddressType: discoveryv1.AddressTypeIPv4,
				Ports:       []discoveryv1.EndpointPort{{Name: &portName, Port: &number}},
				Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{address, "192.0.2.7"}}},
			}
			s := render.NewSnapshot(ing, ext, raw, slice)
			for _, o := range []render.Options{{Book: book, Classes: []string{class}}, {Classes: []string{class}}} {
				m, problems := render.Build(s, o)
				checkModel(t, m, problems)
			}
		}
	})
}
