package rules

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"drawbridge.dev/drawbridge/policy"
)

// TestSubrequestsOfLargeObjects holds that the judgement of annotations as long as an object can have them costs no more
// than their length, and that each is told of once.
func TestSubrequestsOfLargeObjects(t *testing.T) {
	const size = 200 << 10 // of all annotations together the API server takes 256 KiB
	var urls, inside strings.Builder
	for i := 0; urls.Len() < size; i++ {
		fmt.Fprintf(&urls, `tee("http://a-%d.example-1.com") -> `, i)
	}
	for i := 0; inside.Len() < size; i++ {
		fmt.Fprintf(&inside, `tee("http://a.n%d") -> `, i)
	}
	hosts := make([]networkingv1.IngressRule, 20_000)
	for i := range hosts {
		hosts[i].Host = fmt.Sprintf("h%d.10-0-0-7.localtest.me", i)
	}
	for name, text := range map[string]string{
		"urls": urls.String(), "names of the cluster": inside.String(), "host": "http://$host/" + strings.Repeat("a", size),
		"variables": "http://" + strings.Repeat("${a}", size/4), "dollars": strings.Repeat("$", size), "braces": strings.Repeat("${", size/2),
		"labels": "http://" + strings.Repeat("1-", size/2) + ".nip.io", "dots": strings.Repeat(".", size), "slashes": strings.Repeat("//@", size/3),
		"service": "svc://" + strings.Repeat("/", size),
	} {
		t.Run(name, func(t *testing.T) {
			for _, key := range []string{"nginx.ingress.kubernetes.io/auth-url", "zalando.org/skipper-filter", "haproxy-ingress.github.io/auth-url"} {
				meta := metav1.ObjectMeta{Name: "web", Namespace: "team-a", Annotations: map[string]string{key: text}}
				for _, o := range []policy.Object{
					&networkingv1.Ingress{ObjectMeta: meta, Spec: networkingv1.IngressSpec{Rules: hosts}},
					&corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "web"}}},
				} {
					req := policy.Request{Object: o, World: policy.NewIndex(o), Config: manyDestinations()}
					n := 0
					for _, f := range findings(reviewLarge(t, req, 30)) {
						if f.Rule == ingressSubrequestDestination.ID {
							n++
						}
					}
					if n > 1 {
						t.Errorf("%s: %d findings", key, n)
					}
				}
			}
		})
	}
}
