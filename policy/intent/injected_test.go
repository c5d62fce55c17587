package intent

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	testHost     = "ingress.kubernetes.io/preserve-host"
	testProtocol = "ingress.kubernetes.io/backend-protocol"
	testVhost    = "nginx.ingress.kubernetes.io/upstream-vhost"
)

func withAnnotations(pairs ...string) *networkingv1.Ingress {
	ing := &networkingv1.Ingress{}
	for i := 0; i < len(pairs); i += 2 {
		metav1.SetMetaDataAnnotation(&ing.ObjectMeta, pairs[i], pairs[i+1])
	}
	return ing
}

func TestInject(t *testing.T) {
	ing := &networkingv1.Ingress{}
	for _, key := range []string{"b", "a", "b"} {
		Inject(ing, key, "1")
	}
	ing.Annotations["c"] = "mine"
	Inject(ing, "c", "2")
	want := map[string]string{"a": "1", "b": "1", "c": "mine", Injected: "a,b"}
	if diff := cmp.Diff(want, ing.Annotations); diff != "" {
		t.Error(diff)
	}
}

func TestMark(t *testing.T) {
	ing := &networkingv1.Ingress{}
	if Marked(ing) {
		t.Error("marked from the beginning")
	}
	Mark(ing)
	if text, set := ing.Annotations[Injected]; !set || text != "" || !Marked(ing) {
		t.Errorf("annotations %v", ing.Annotations)
	}
	Inject(ing, testHost, "false")
	Mark(ing)
	if diff := cmp.Diff(map[string]string{Injected: testHost, testHost: "false"}, ing.Annotations); diff != "" {
		t.Error(diff)
	}
}

func TestWithdraw(t *testing.T) {
	for name, c := range map[string]struct{ ing, want *networkingv1.Ingress }{
		"nothing":      {withAnnotations(), withAnnotations()},
		"no mark":      {withAnnotations(testHost, "false"), withAnnotations(testHost, "false")},
		"empty mark":   {withAnnotations(Injected, "", testHost, "false"), withAnnotations(Injected, "", testHost, "false")},
		"one is ours":  {withAnnotations(Injected, testHost, testHost, "false", testProtocol, "HTTP"), withAnnotations(Injected, "", testProtocol, "HTTP")},
		"two dialects": {withAnnotations(Injected, testHost+","+testVhost, testHost, "false", testVhost, "a"), withAnnotations(Injected, "")},
		"listed twice": {withAnnotations(Injected, testHost+","+testHost, testHost, "false"), withAnnotations(Injected, "")},
		// A list that somebody wrote names what drawbridge never writes.
		"not ours to take": {
			withAnnotations(Injected, ",,example.com/a,"+Injected+", "+testHost+","+testProtocol, "example.com/a", "1", testHost, "false", testProtocol, "HTTPS"),
			withAnnotations(Injected, "", "example.com/a", "1", testHost, "false"),
		},
	} {
		Withdraw(c.ing)
		if diff := cmp.Diff(c.want, c.ing); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestDisown(t *testing.T) {
	both := testProtocol + "," + testHost
	for name, c := range map[string]struct {
		old, ing *networkingv1.Ingress
		want     string
	}{
		"nothing changed": {withAnnotations(Injected, both, testHost, "false", testProtocol, "HTTPS"),
			withAnnotations(Injected, both, testHost, "false", testProtocol, "HTTPS"), both},
		"one changed": {withAnnotations(Injected, both, testHost, "false", testProtocol, "HTTPS"),
			withAnnotations(Injected, both, testHost, "true", testProtocol, "HTTPS"), testProtocol},
		"one taken away": {withAnnotations(Injected, both, testHost, "false", testProtocol, "HTTPS"),
			withAnnotations(Injected, both, testProtocol, "HTTPS"), testProtocol},
		"all changed": {withAnnotations(Injected, both, testHost, "false", testProtocol, "HTTPS"),
			withAnnotations(Injected, both, testHost, "true", testProtocol, "HTTP"), ""},
		"listed only now": {withAnnotations(Injected, "", testHost, "false"),
			withAnnotations(Injected, testHost, testHost, "false"), ""},
		"marked only now": {withAnnotations(testHost, "false"),
			withAnnotations(Injected, testHost, testHost, "false"), ""},
		"new with its entry": {withAnnotations(),
			withAnnotations(Injected, testHost, testHost, "false"), testHost},
		"listed and not there": {withAnnotations(), withAnnotations(Injected, "x,,"+testHost, testHost, "false"), testHost},
	} {
		before := c.ing.DeepCopy()
		Disown(c.ing, c.old)
		before.Annotations[Injected] = c.want
		if diff := cmp.Diff(before, c.ing); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	unmarked := withAnnotations(testHost, "true")
	Disown(unmarked, withAnnotations(Injected, testHost, testHost, "false"))
	if diff := cmp.Diff(withAnnotations(testHost, "true"), unmarked); diff != "" {
		t.Errorf("an Ingress without the mark: %s", diff)
	}
}
