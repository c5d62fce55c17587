package intent

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var update = flag.Bool("update", false, "write the golden files anew")

// intents are what people want of an external upstream, in the order of the table.
var intents = []struct {
	title string
	wish  Wish
	value string
	// reads are the values that may be read back beside value: what comes to the same on the wire.
	reads []string
}{
	{"send the client's Host", WishHost, "pass", nil},
	{"send the external name as Host", WishHost, "node", []string{"rewrite:api.example.com:8443"}},
	{"send another Host", WishHost, "rewrite:www.example.com", nil},
	{"speak plain HTTP", WishProtocol, "http", nil},
	{"speak HTTPS", WishProtocol, "https", nil},
	{"speak HTTP/2 without TLS", WishProtocol, "h2c", nil},
	{"speak HTTP/2 over TLS", WishProtocol, "h2", []string{"https", "grpcs"}},
	{"speak gRPC", WishProtocol, "grpc", []string{"h2c"}},
	{"speak gRPC over TLS", WishProtocol, "grpcs", []string{"https", "h2"}},
	{"verify the certificate", WishVerify, "on", nil},
	{"do not verify the certificate", WishVerify, "off", nil},
	{"name the server (SNI, and what is verified)", WishServerName, "sni.example.com", nil},
	{"verify against a CA", WishCASecret, "ca", []string{"team-a/ca"}},
	{"show a client certificate", WishClientCert, "client", []string{"team-a/client"}},
	{"rewrite the path", WishRewrite, "/v1", nil},
	{"match a regular expression", WishRegex, "on", nil},
}

func apply(ing *networkingv1.Ingress, svc *corev1.Service, written []Annotation) {
	for _, a := range written {
		if a.On == OnService {
			metav1.SetMetaDataAnnotation(&svc.ObjectMeta, a.Key, a.Text)
		} else {
			metav1.SetMetaDataAnnotation(&ing.ObjectMeta, a.Key, a.Text)
		}
	}
}

func tableObjects() (*networkingv1.Ingress, *corev1.Service, networkingv1.ServiceBackendPort, Target) {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "api"},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "api.example.com",
			Ports: []corev1.ServicePort{{Name: "web", Port: 8443}}},
	}
	return &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "api"}}, svc,
		networkingv1.ServiceBackendPort{Number: 8443},
		Target{Host: "api.example.com:8443", Namespace: "team-a", Service: "api", Ports: "8443"}
}

// TestSpellRead holds that what a dialect writes it reads as what was meant, on the object where it stands, and that a
// wish that it can not say has a reason and a way out.
func TestSpellRead(t *testing.T) {
	for _, d := range Dialects {
		if !d.Speaks() {
			continue
		}
		for _, i := range intents {
			ing, svc, port, target := tableObjects()
			written, ok := d.Spell(i.wish, i.value, target)
			if !ok {
				if l := d.Limit(i.wish); l == nil || l.Why == "" || l.Instead == "" {
					t.Errorf("%s: '%s' can be neither written nor explained", d.Name, i.title)
				}
				continue
			}
			if d.SaysBackend(i.wish, ing.Annotations, svc, port) {
				t.Errorf("%s: nothing says %s", d.Name, i.title)
			}
			apply(ing, svc, written)
			if len(written) == 0 {
				continue
			}
			wish := i.wish
			if d == IngressNginx && wish == WishClientCert {
				wish = WishCASecret // one Secret may be both, and is read as what it is in any case
			}
			got, at := ReadBackend(d, ing.Annotations, svc, port).Get(wish)
			if got != i.value && !slices.Contains(i.reads, got) {
				t.Errorf("%s: '%s' is written as %v and read as '%s'", d.Name, i.title, written, got)
			}
			if !d.SaysBackend(wish, ing.Annotations, svc, port) {
				t.Errorf("%s: %v does not say %s", d.Name, written, i.title)
			}
			if !slices.Contains(KeyOwners(at), d) {
				t.Errorf("%s does not own %s", d.Name, at)
			}
			for _, a := range written {
				if g, _, ok := GrammarOf(a.Key); ok && !g.Valid(a.Text) {
					t.Errorf("%s: %s: %q is not %s", d.Name, a.Key, a.Text, g.Name)
				}
			}
			if w := ReadBackend(d, ing.Annotations, svc, port); len(w.Invalid) > 0 {
				t.Errorf("%s: %v", d.Name, w.Invalid)
			}
			// Another backend of the Ingress is untouched by what is written for one Service.
			if d.PerService(i.wish, i.value) {
				other := svc.DeepCopy()
				other.Name, other.Annotations = "other", nil
				if got, _ := ReadBackend(d, ing.Annotations, other, port).Get(i.wish); got != "" {
					t.Errorf("%s: '%s' for one Service says '%s' of another", d.Name, i.title, got)
				}
			}
		}
	}
}

// TestTable writes the table of intents and dialects.
func TestTable(t *testing.T) {
	var b strings.Builder
	b.WriteString("# How each dialect says what people want of an external upstream\n\n" +
		"Written by the tests of this package. The backend is the Service team-a/api, an ExternalName to api.example.com, port 8443.\n")
	for _, i := range intents {
		fmt.Fprintf(&b, "\n## %s\n\n| dialect | on | what is written | source |\n| --- | --- | --- | --- |\n", i.title)
		for _, d := range Dialects {
			if !d.Speaks() {
				continue
			}
			_, _, _, target := tableObjects()
			written, ok := d.Spell(i.wish, i.value, target)
			source := d.Source
			if source == "" {
				source = "this project"
			}
			switch {
			case !ok:
				l := d.Limit(i.wish)
				fmt.Fprintf(&b, "| %s | | can not: it %s; %s | %s |\n", d.Name, l.Why, l.Instead, source)
			case len(written) == 0:
				fmt.Fprintf(&b, "| %s | | nothing: it is so by default | %s |\n", d.Name, source)
			default:
				var on, text []string
				for _, a := range written {
					on = append(on, a.On.String())
					text = append(text, fmt.Sprintf("`%s: %q`", a.Key, a.Text))
				}
				fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", d.Name, strings.Join(slices.Compact(on), ", "), strings.Join(text, ", "), source)
			}
		}
	}
	b.WriteString("\n## A Service of type ExternalName behind an Ingress\n\n| controller | what it does | source |\n| --- | --- | --- |\n")
	for _, d := range Dialects {
		var what string
		switch a := d.Aliases; a.State {
		case AliasServed:
			what = "serves it"
			if a.Flag != "" {
				what += "; `" + a.Flag + "` refuses it"
			}
		case AliasOff:
			what = "refuses it without `" + a.Flag + "`; else " + a.Instead
		case AliasNever:
			what = "never serves it; " + a.Instead
		default:
			t.Errorf("%s: what it does with ExternalName is not said", d.Name)
		}
		source := d.Aliases.Source
		if source == "" {
			source = "this project"
		}
		fmt.Fprintf(&b, "| %s (`%s`) | %s | %s |\n", d.Title, strings.Join(append(slices.Clone(d.Controllers), d.Classes...), "`, `"), what, source)
	}
	const file = "testdata/table.md"
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("run with -update, and read what changed: -want +got\n%s", diff)
	}
}
