// Package slices_test runs the reconciler of EndpointSlices against a real kube-apiserver and the real
// kube-controller-manager, whose mirroring controller it takes over from and hands back to.
package slices_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/log"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"drawbridge.dev/drawbridge/policy"
	render "drawbridge.dev/drawbridge/render/slices"
	"drawbridge.dev/drawbridge/test/lab"
)

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	lab.Main(m)
}

const wait = 60 * time.Second

// rights are the manager's for slices, and no more: the test runs under them.
const rights = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: drawbridge-slices}
rules:
- {apiGroups: [""], resources: [endpoints], verbs: [get, list, watch, patch]}
- {apiGroups: [""], resources: [services], verbs: [get, list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [get, list, watch, create, patch, delete]}
- {apiGroups: [networking.k8s.io], resources: [ingresses], verbs: [get, list, watch]}
- {apiGroups: [events.k8s.io], resources: [events], verbs: [create, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: drawbridge-slices}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: drawbridge-slices}
subjects: [{kind: ServiceAccount, namespace: drawbridge-system, name: manager}]
`

// manager is the reconciler in a manager of its own, until it is stopped or the test ends.
type manager struct {
	config  atomic.Pointer[policy.Config]
	changed chan struct{}
	stop    func()
}

func startManager(t *testing.T, plane *lab.ControlPlane) *manager {
	t.Helper()
	plane.Apply(t, "default", rights)
	rest, err := clientcmd.BuildConfigFromFlags("", plane.ServiceAccountKubeconfig(t, "drawbridge-system", "manager"))
	if err != nil {
		t.Fatal(err)
	}
	again := true // the name of the controller, in one process
	mgr, err := ctrl.NewManager(render.Quiet(rest), ctrl.Options{
		Scheme:     scheme.Scheme,
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: &again},
	})
	if err != nil {
		t.Fatal(err)
	}
	m := &manager{changed: make(chan struct{})}
	m.config.Store(policy.DefaultConfig())
	if err := render.Setup(mgr, m.config.Load, m.changed); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	m.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("manager: %v", err)
		}
	})
	t.Cleanup(m.stop)
	return m
}

// scope puts another policy in force.
func (m *manager) scope(s policy.SliceScope) {
	c := policy.DefaultConfig()
	c.Slices.Scope = s
	m.config.Store(c)
	m.changed <- struct{}{}
}

func manifest(subsets string) string {
	return `
apiVersion: v1
kind: Service
metadata: {name: ext}
spec:
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Endpoints
metadata: {name: ext}
subsets:
` + subsets
}

const three = `
- addresses: [{ip: 203.0.113.1}, {ip: 203.0.113.2}, {ip: "2001:db8::1"}]
  notReadyAddresses: [{ip: 203.0.113.3}]
  ports: [{port: 8080}]
`

// state lists the slices of the Service by who keeps them, each endpoint as address, port name and readiness.
func state(t lab.TB, c client.Client, ns string) (map[string][]string, []discoveryv1.EndpointSlice) {
	t.Helper()
	var list discoveryv1.EndpointSliceList
	if err := c.List(t.Context(), &list, client.InNamespace(ns)); err != nil {
		t.Fatalf("%v", err)
	}
	out := map[string][]string{}
	for _, s := range list.Items {
		by := s.Labels[discoveryv1.LabelManagedBy]
		for _, e := range s.Endpoints {
			for _, p := range s.Ports {
				out[by] = append(out[by], fmt.Sprintf("%s %s:%d %t", e.Addresses[0], *p.Name, *p.Port, *e.Conditions.Ready))
			}
		}
		slices.Sort(out[by])
	}
	return out, list.Items
}

// becomes waits until the slices are these, and nobody keeps others.
func becomes(t *testing.T, c client.Client, ns string, want map[string][]string) {
	t.Helper()
	lab.Eventually(t, wait, func() error {
		got, _ := state(t, c, ns)
		if !maps.EqualFunc(got, want, slices.Equal) {
			return fmt.Errorf("slices:\n%v\nwant:\n%v", got, want)
		}
		return nil
	})
}

func label(t *testing.T, c client.Client, ns string) (string, bool) {
	t.Helper()
	ep := &corev1.Endpoints{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "ext"}, ep); err != nil {
		t.Fatal(err)
	}
	v, ok := ep.Labels[discoveryv1.LabelSkipMirror]
	return v, ok
}

const (
	ours     = "drawbridge.dev"
	mirrored = "endpointslicemirroring-controller.k8s.io"
)

var (
	mended = []string{"2001:db8::1 http:8080 true", "203.0.113.1 http:8080 true", "203.0.113.2 http:8080 true", "203.0.113.3 http:8080 false"}
	copied = []string{"2001:db8::1 :8080 true", "203.0.113.1 :8080 true", "203.0.113.2 :8080 true", "203.0.113.3 :8080 false"}
)

// witness follows every change of the slices of a namespace, and sees to it that no address is ever missing.
type witness struct {
	mu     sync.Mutex
	always []string
	slices map[string][]string // the ready addresses of each slice
	writes map[string]int      // of each slice
	gaps   []string
}

func watchSlices(t *testing.T, plane *lab.ControlPlane, ns string, always ...string) *witness {
	t.Helper()
	c, err := client.NewWithWatch(plane.Config, client.Options{Scheme: scheme.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	w := &witness{always: always, slices: map[string][]string{}, writes: map[string]int{}}
	var list discoveryv1.EndpointSliceList
	if err := c.List(t.Context(), &list, client.InNamespace(ns)); err != nil {
		t.Fatal(err)
	}
	for i := range list.Items {
		w.slices[list.Items[i].Name] = ready(&list.Items[i])
	}
	events, err := c.Watch(t.Context(), &discoveryv1.EndpointSliceList{}, client.InNamespace(ns),
		&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: list.ResourceVersion}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(events.Stop)
	go func() {
		for e := range events.ResultChan() {
			if s, ok := e.Object.(*discoveryv1.EndpointSlice); ok {
				w.see(e.Type, s)
			}
		}
	}()
	return w
}

func ready(s *discoveryv1.EndpointSlice) []string {
	var out []string
	for _, e := range s.Endpoints {
		if *e.Conditions.Ready {
			out = append(out, e.Addresses...)
		}
	}
	return out
}

func (w *witness) see(kind watch.EventType, s *discoveryv1.EndpointSlice) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writes[s.Name]++
	if kind == watch.Deleted {
		delete(w.slices, s.Name)
	} else {
		w.slices[s.Name] = ready(s)
	}
	for _, a := range w.always {
		if !slices.Contains(slices.Concat(slices.Collect(maps.Values(w.slices))...), a) {
			w.gaps = append(w.gaps, fmt.Sprintf("%s is missing after slice %s of %s was %s", a, s.Name, s.Labels[discoveryv1.LabelManagedBy], kind))
		}
	}
}

// check reports the gaps, and gives the names that were written since the last check.
func (w *witness) check(t *testing.T) []string {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, g := range w.gaps {
		t.Error(g)
	}
	names := slices.Sorted(maps.Keys(w.writes))
	w.gaps, w.writes = nil, map[string]int{}
	return names
}

func TestHandOverAndBack(t *testing.T) {
	plane := lab.Shared(t)
	ns := plane.Namespace(t)
	c := plane.Client(t)
	plane.StartControllerManager(t, "endpointslice-mirroring-controller", "garbage-collector-controller")
	plane.Apply(t, ns, manifest(three))
	becomes(t, c, ns, map[string][]string{mirrored: copied})
	w := watchSlices(t, plane, ns, "203.0.113.1", "203.0.113.2", "2001:db8::1")

	m := startManager(t, plane)
	becomes(t, c, ns, map[string][]string{ours: mended})
	if v, _ := label(t, c, ns); v != "true" {
		t.Errorf("label %q", v)
	}
	w.check(t)

	// The same manifest again takes nothing back, and changes nothing.
	plane.Apply(t, ns, manifest(three))
	if v, _ := label(t, c, ns); v != "true" {
		t.Errorf("kubectl apply took the label away: %q", v)
	}
	// A replacement does take the label, and gets it again.
	if _, stderr, err := plane.KubectlIn(t, manifest(three), "replace", "-n", ns, "-f", "-"); err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	lab.Eventually(t, wait, func() error {
		if v, _ := label(t, c, ns); v != "true" {
			return fmt.Errorf("label %q", v)
		}
		return nil
	})
	becomes(t, c, ns, map[string][]string{ours: mended})
	w.check(t)

	// Out of scope, and in again.
	m.scope(policy.SlicesOff)
	becomes(t, c, ns, map[string][]string{mirrored: copied})
	if v, ok := label(t, c, ns); ok {
		t.Errorf("the label stays: %q", v)
	}
	w.check(t)
	m.scope(policy.SlicesAll)
	becomes(t, c, ns, map[string][]string{ours: mended})
	w.check(t)

	// Uninstalled.
	m.stop()
	left, err := render.Release(t.Context(), c, wait)
	if err != nil || len(left) > 0 {
		t.Errorf("Release left %q, %v", left, err)
	}
	becomes(t, c, ns, map[string][]string{mirrored: copied})
	if v, ok := label(t, c, ns); ok {
		t.Errorf("the label stays: %q", v)
	}
	w.check(t)
}

// Without a mirroring controller an uninstall leaves the slices where they are: traffic goes on.
func TestReleaseWithoutMirroring(t *testing.T) {
	plane := lab.Shared(t)
	ns := plane.Namespace(t)
	c := plane.Client(t)
	m := startManager(t, plane)
	plane.Apply(t, ns, manifest(three))
	becomes(t, c, ns, map[string][]string{ours: mended})
	m.stop()
	left, err := render.Release(t.Context(), c, 2*time.Second)
	if err != nil || !slices.Equal(left, []string{ns + "/ext"}) {
		t.Errorf("Release left %q, %v", left, err)
	}
	becomes(t, c, ns, map[string][]string{ours: mended})
}

func TestOneAddressOneSlice(t *testing.T) {
	plane := lab.Shared(t)
	ns := plane.Namespace(t)
	c := plane.Client(t)
	m := startManager(t, plane)
	subsets := func(replace string) string {
		var b strings.Builder
		b.WriteString("- addresses:\n")
		for i := range 250 {
			ip := fmt.Sprintf("203.0.113.%d", i+1)
			if i == 120 && replace != "" {
				ip = replace
			}
			fmt.Fprintf(&b, "  - ip: %s\n", ip)
		}
		return b.String() + "  ports: [{port: 8080}]\n"
	}
	full := func(has string) {
		t.Helper()
		lab.Eventually(t, wait, func() error {
			got, list := state(t, c, ns)
			if len(list) != 3 || len(got[ours]) != 250 || !slices.Contains(got[ours], has+" http:8080 true") {
				return fmt.Errorf("%d slices with %d endpoints", len(list), len(got[ours]))
			}
			return nil
		})
	}
	plane.Apply(t, ns, manifest(subsets("")))
	full("203.0.113.121")
	lab.Eventually(t, wait, func() error { // nothing is on its way any more
		if v, _ := label(t, c, ns); v != "true" {
			return fmt.Errorf("label %q", v)
		}
		return nil
	})

	w := watchSlices(t, plane, ns)
	plane.Apply(t, ns, manifest(subsets("198.51.100.1")))
	full("198.51.100.1")
	m.scope(policy.SlicesAll) // everything is looked at again
	m.scope(policy.SlicesAll)
	time.Sleep(time.Second)
	if names := w.check(t); len(names) != 1 {
		t.Errorf("one address changed, and %q were written", names)
	}
}

func TestServiceGainsSelector(t *testing.T) {
	plane := lab.Shared(t)
	ns := plane.Namespace(t)
	c := plane.Client(t)
	plane.StartControllerManager(t, "endpointslice-mirroring-controller", "endpointslice-controller", "endpoints-controller", "garbage-collector-controller")
	startManager(t, plane)
	plane.Apply(t, ns, manifest(three))
	becomes(t, c, ns, map[string][]string{ours: mended})
	if _, stderr, err := plane.Kubectl(t, "patch", "-n", ns, "service/ext", "-p", `{"spec":{"selector":{"app":"a"}}}`); err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	lab.Eventually(t, wait, func() error {
		_, list := state(t, c, ns)
		if len(list) != 1 || list[0].Labels[discoveryv1.LabelManagedBy] != "endpointslice-controller.k8s.io" {
			return fmt.Errorf("%d slices", len(list))
		}
		return nil
	})
}

// There is no garbage collector here: what goes with the Endpoints is deleted by the reconciler.
func TestEndpointsDeletedAndMadeAnew(t *testing.T) {
	plane := lab.Shared(t)
	ns := plane.Namespace(t)
	c := plane.Client(t)
	startManager(t, plane)
	plane.Apply(t, ns, manifest(three))
	becomes(t, c, ns, map[string][]string{ours: mended})
	if _, stderr, err := plane.KubectlIn(t, manifest(three), "replace", "--force", "-n", ns, "-f", "-"); err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	becomes(t, c, ns, map[string][]string{ours: mended})
	lab.Eventually(t, wait, func() error {
		ep := &corev1.Endpoints{}
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "ext"}, ep); err != nil {
			return err
		}
		_, list := state(t, c, ns)
		for i := range list {
			if !render.Owns(ep, &list[i]) {
				return fmt.Errorf("slice %s belongs to former Endpoints", list[i].Name)
			}
		}
		return nil
	})
	if _, stderr, err := plane.Kubectl(t, "delete", "-n", ns, "endpoints/ext"); err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	becomes(t, c, ns, map[string][]string{})
}

// Slices that look like drawbridge's and aren't: one by its label, one by the very name that a slice of ours would get.
func TestForeignSlicesAreLeftAlone(t *testing.T) {
	plane := lab.Shared(t)
	ns := plane.Namespace(t)
	c := plane.Client(t)
	plane.Apply(t, ns, manifest(three))
	ep := &corev1.Endpoints{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "ext"}, ep); err != nil {
		t.Fatal(err)
	}
	svc := &corev1.Service{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "ext"}, svc); err != nil {
		t.Fatal(err)
	}
	wanted, _ := render.Wanted(ep, svc, nil)
	foreign := map[string]string{}
	for name, labels := range map[string]map[string]string{
		"lookalike":    {discoveryv1.LabelServiceName: "ext", discoveryv1.LabelManagedBy: ours},
		wanted[0].Name: {"mine": "yes"},
	} {
		s := &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Name: name, Namespace: ns, Labels: labels},
			AddressType: discoveryv1.AddressTypeIPv4,
		}
		if err := c.Create(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		foreign[name] = s.ResourceVersion
	}
	startManager(t, plane)
	becomes(t, c, ns, map[string][]string{ours: mended})
	lab.Eventually(t, wait, func() error {
		if v, _ := label(t, c, ns); v != "true" {
			return fmt.Errorf("label %q", v)
		}
		return nil
	})
	if _, stderr, err := plane.Kubectl(t, "delete", "-n", ns, "endpoints/ext"); err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	becomes(t, c, ns, map[string][]string{})
	for name, version := range foreign {
		s := &discoveryv1.EndpointSlice{}
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: name}, s); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if s.ResourceVersion != version {
			t.Errorf("%s was changed", name)
		}
	}
}

// A label that a person set stays theirs.
func TestLabelOfAPerson(t *testing.T) {
	plane := lab.Shared(t)
	ns := plane.Namespace(t)
	c := plane.Client(t)
	labeled := strings.Replace(manifest(three), "kind: Endpoints\nmetadata: {name: ext}", "kind: Endpoints\nmetadata: {name: ext, labels: {endpointslice.kubernetes.io/skip-mirror: \"true\"}}", 1)
	plane.Apply(t, ns, labeled)
	m := startManager(t, plane)
	becomes(t, c, ns, map[string][]string{ours: mended})
	m.scope(policy.SlicesOff)
	becomes(t, c, ns, map[string][]string{})
	if v, _ := label(t, c, ns); v != "true" {
		t.Errorf("label %q", v)
	}
}

func TestScopeIngress(t *testing.T) {
	plane := lab.Shared(t)
	ns := plane.Namespace(t)
	c := plane.Client(t)
	m := startManager(t, plane)
	m.scope(policy.SlicesIngress)
	plane.Apply(t, ns, manifest(three))
	time.Sleep(time.Second)
	becomes(t, c, ns, map[string][]string{})
	plane.Apply(t, ns, `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec: {defaultBackend: {service: {name: ext, port: {number: 80}}}}
`)
	becomes(t, c, ns, map[string][]string{ours: mended})
}

func TestEventNamesWhatCarriesNoTraffic(t *testing.T) {
	plane := lab.Shared(t)
	ns := plane.Namespace(t)
	c := plane.Client(t)
	startManager(t, plane)
	plane.Apply(t, ns, manifest("- addresses: [{ip: 203.0.113.1}]\n  ports: [{name: other, port: 8080}]\n"))
	lab.Eventually(t, wait, func() error {
		var list eventsv1.EventList
		if err := c.List(t.Context(), &list, client.InNamespace(ns)); err != nil {
			return err
		}
		for _, e := range list.Items {
			if e.Reason == render.ReasonPortName && e.Regarding.Kind == "Endpoints" && e.Regarding.Name == "ext" && strings.Contains(e.Note, "'http'") {
				return nil
			}
		}
		return fmt.Errorf("%d events, none of it", len(list.Items))
	})
}
