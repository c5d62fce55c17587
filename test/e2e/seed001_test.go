package e2e

import (
	"context"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"drawbridge.dev/drawbridge/test/lab"
)

// ingressClass makes an IngressClass until the test ends.
func (w *world) ingressClass(t *testing.T, name, controller string) {
	t.Helper()
	class := &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: networkingv1.IngressClassSpec{Controller: controller}}
	if err := w.client.Create(t.Context(), class); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.client.Delete(context.WithoutCancel(t.Context()), class); err != nil {
			t.Error(err)
		}
	})
}

// TestSeed001 is the document on Services in front of external sites, behind Ingresses of ingress-nginx.
func TestSeed001(t *testing.T) {
	const (
		url  = "https://proxy-service.dev.com/some/path?a=b"
		host = "proxy-service.dev.com"
		// byName is the host in front of the ExternalName Service, and site what that names.
		byName = "proxy-service-externalname.dev.com"
		site   = "ipvalidator-test.dev.com"
	)
	cluster.ingressClass(t, "nginx", "k8s.io/ingress-nginx")
	nginx := cluster.startProxy(t, "192.0.2.2", "--ingress-class", "nginx")
	cluster.dns.Set(site, 5, "203.0.113.11")
	lab.StartSite(t, lab.SiteOptions{Address: "10.240.0.129:80", Name: "address", Hosts: []string{host}})
	lab.StartSite(t, lab.SiteOptions{Address: "10.240.0.129:443", Name: "address-tls", Hosts: []string{host}, TLS: cluster.ca.Issue(host), RequireSNI: true})
	lab.StartSite(t, lab.SiteOptions{Address: "203.0.113.11:80", Name: "name", Hosts: []string{site}})
	cluster.fixedNamespace(t, "proxy-test")
	cluster.tlsSecret(t, "proxy-test", "tls-dev-com", "*.dev.com")
	variant := func(dir string) seed {
		return seed{dir: "001/" + dir, namespace: "proxy-test", proxy: nginx, absent: []string{url, "https://" + byName}}
	}
	serves := func(t *testing.T, site string) lab.Request {
		t.Helper()
		saw := nginx.reaches(t, url, site)
		// rewrite-target / with path / changes nothing, as with ingress-nginx.
		if saw.Path != "/some/path" || saw.Query != "a=b" {
			t.Errorf("the site saw %s?%s", saw.Path, saw.Query)
		}
		if got := saw.Headers.Get("X-Forwarded-Proto"); got != "https" {
			t.Errorf("X-Forwarded-Proto is %q", got)
		}
		return saw
	}

	t.Run("endpoints", func(t *testing.T) {
		shows(t, "001: class nginx by `--ingress-class nginx`: https to proxy-service.dev.com, ended with the Secret's certificate, reaches 10.240.0.129 in every order; the nameless port of its Endpoints is mended")
		variant("endpoints").inEveryOrder(t, func(t *testing.T, a applied) {
			expect(t, serves(t, "address"), host, false, "")
			cluster.endpointsOnce(t, a.namespace, "proxy-service", "10.240.0.129")
			if a.before("service", "endpoint") {
				endpoints := fetchObject(t, cluster, a.namespace, "proxy-service", &corev1.Endpoints{})
				if got := endpoints.Subsets[0].Ports[0].Name; got != "http" {
					t.Errorf("the port of the Endpoints is %q", got)
				}
				a.told(t, "endpoint", "endpoints-port-name")
			}
			// Whatever the order, the generated slice names the port as the Service does.
			var list discoveryv1.EndpointSliceList
			if err := cluster.client.List(t.Context(), &list, client.InNamespace(a.namespace)); err != nil {
				t.Fatal(err)
			}
			for _, s := range list.Items {
				if by := s.Labels[discoveryv1.LabelManagedBy]; by != "drawbridge.dev" || *s.Ports[0].Name != "http" {
					t.Errorf("slice %s, kept by %s, has port %q", s.Name, by, *s.Ports[0].Name)
				}
			}
		})
	})
	t.Run("slice", func(t *testing.T) {
		shows(t, "001: the same with the document's EndpointSlice in place of Endpoints, in every order: its nameless port is mended too")
		variant("slice").inEveryOrder(t, func(t *testing.T, a applied) {
			expect(t, serves(t, "address"), host, false, "")
			slice := fetchObject(t, cluster, a.namespace, "proxy-service", &discoveryv1.EndpointSlice{})
			if got := slice.Labels[discoveryv1.LabelManagedBy]; got != "hand-written.drawbridge.dev" {
				t.Errorf("the slice is kept by %q", got)
			}
			if a.before("service", "endpointslice") {
				if got := slice.Ports[0].Name; got == nil || *got != "http" {
					t.Errorf("the port of the slice is %v", got)
				}
				a.told(t, "endpointslice", "endpointslice-port-name")
			}
		})
	})
	t.Run("name", func(t *testing.T) {
		shows(t, "001: ExternalName with upstream-vhost: traffic reaches ipvalidator-test.dev.com under its own name, in every order")
		variant("name").inEveryOrder(t, func(t *testing.T, _ applied) {
			expect(t, nginx.reaches(t, "https://"+byName+"/", "name"), site, false, "")
		})
	})
	t.Run("name without upstream-vhost", func(t *testing.T) {
		shows(t, "001, pitfall: an Ingress that forgets upstream-vhost is mended in ingress-nginx's own words, and works in the other order too")
		variant("plain-name").inEveryOrder(t, func(t *testing.T, a applied) {
			expect(t, nginx.reaches(t, "https://"+byName+"/", "name"), site, false, "")
			if a.before("ingress", "service") {
				return // at its review the Service was not there
			}
			ingress := fetchObject(t, cluster, a.namespace, "proxy-service-externalname-ingress", &networkingv1.Ingress{})
			if got := ingress.Annotations["nginx.ingress.kubernetes.io/upstream-vhost"]; got != site {
				t.Errorf("upstream-vhost is %q", got)
			}
			if got, ok := ingress.Annotations["ingress.kubernetes.io/preserve-host"]; ok {
				t.Errorf("preserve-host, which ingress-nginx does not know, is %q", got)
			}
			a.told(t, "ingress", "ingress-preserve-host")
		})
	})
	t.Run("https", func(t *testing.T) {
		shows(t, "001, pitfall: a backend that takes HTTPS alone: port 443 gets backend-protocol HTTPS, TLS reaches the site and is verified, in every order")
		variant("https").inEveryOrder(t, func(t *testing.T, a applied) {
			expect(t, serves(t, "address-tls"), host, true, host)
			if a.before("service", "ingress") {
				ingress := fetchObject(t, cluster, a.namespace, "proxy-service-ingress", &networkingv1.Ingress{})
				if got := ingress.Annotations["nginx.ingress.kubernetes.io/backend-protocol"]; got != "HTTPS" {
					t.Errorf("backend-protocol is %q", got)
				}
				a.told(t, "ingress", "ingress-backend-protocol")
			}
		})
	})
	t.Run("slice without label", func(t *testing.T) {
		shows(t, "001, pitfall: an EndpointSlice without the label kubernetes.io/service-name is rejected; the message names the Service")
		namespace := cluster.Namespace(t)
		here := strings.NewReplacer("namespace: proxy-test", "namespace: "+namespace)
		cluster.Apply(t, namespace, here.Replace(manifest(t, "001/slice/service.yaml")))
		slice := here.Replace(manifest(t, "001/slice/endpointslice.yaml"))
		at := strings.Index(slice, "  labels:")
		end := strings.Index(slice, "addressType:")
		cluster.refused(t, namespace, slice[:at]+slice[end:], `The EndpointSlice "proxy-service" is invalid: metadata.labels`, "'proxy-service'", "(endpointslice-service-name)")
	})
	t.Run("other class", func(t *testing.T) {
		shows(t, "A proxy serves the Ingresses of its classes alone")
		cluster.fixedNamespace(t, "proxy-test")
		for _, file := range []string{"service", "endpoint", "ingress"} {
			cluster.kubectl(t, "apply", "-f", seeds+"/001/endpoints/"+file+".yaml")
		}
		serves(t, "address")
		if a, err := cluster.proxy.get("http://" + host + "/"); err != nil || a.status != http.StatusNotFound {
			t.Errorf("the proxy of class drawbridge answers %d, %v", a.status, err)
		}
	})
	cluster.failedOpen(t)
}
