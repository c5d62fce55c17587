package slices

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"drawbridge.dev/drawbridge/policy"
)

func wrote(manager, fields string, at int) metav1.ManagedFieldsEntry {
	stamp := metav1.NewTime(time.Unix(int64(at), 0))
	return metav1.ManagedFieldsEntry{Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, Time: &stamp, FieldsV1: metav1.NewFieldsV1(fields)}
}

func TestInScope(t *testing.T) {
	yes := true
	owner := []metav1.OwnerReference{{APIVersion: "example.com/v1", Kind: "Cluster", Name: "c", Controller: &yes}}
	type objects struct {
		ep     *corev1.Endpoints
		svc    *corev1.Service
		cfg    *policy.Config
		behind bool
	}
	for _, tt := range []struct {
		name   string
		change func(*objects)
		not    string // a part of the reason; empty where it is in scope
	}{
		{"as people write them", func(*objects) {}, ""},
		{"an owner that is no controller", func(o *objects) { o.svc.OwnerReferences = []metav1.OwnerReference{{Kind: "Cluster", Name: "c"}} }, ""},
		{"no Service", func(o *objects) { o.svc = nil }, "no Service"},
		{"a selector", func(o *objects) { o.svc.Spec.Selector = map[string]string{"a": "b"} }, "selector"},
		{"an ExternalName", func(o *objects) { o.svc.Spec.Type = corev1.ServiceTypeExternalName }, "ExternalName"},
		{"Endpoints of a controller", func(o *objects) { o.ep.OwnerReferences = owner }, "owns the Endpoints"},
		{"Endpoints of an owner that is no controller", func(o *objects) {
			o.ep.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: "vc"}}
		}, "owns the Endpoints"},
		{"a mirror of Linkerd", func(o *objects) { o.ep.Labels = map[string]string{"mirror.linkerd.io/cluster-name": "west"} }, "Linkerd"},
		{"a Service of a controller", func(o *objects) { o.svc.OwnerReferences = owner }, "owns the Service"},
		{"a lock", func(o *objects) { o.ep.Annotations = map[string]string{leaderAnnotation: ""} }, "leader election"},
		{"a lock on the Service", func(o *objects) { o.svc.Annotations = map[string]string{leaderAnnotation: "{}"} }, "leader election"},
		{"the API server's own", func(o *objects) { o.ep.Namespace, o.ep.Name = "default", "kubernetes" }, "control plane"},
		{"kube-system", func(o *objects) { o.ep.Namespace = "kube-system" }, "control plane"},
		{"another kubernetes", func(o *objects) { o.ep.Name = "kubernetes" }, ""},
		{"the endpoints controller's", func(o *objects) { o.ep.Labels = map[string]string{endpointsManagedBy: "endpoint-controller"} }, "keeper"},
		{"deleted", func(o *objects) { o.ep.DeletionTimestamp = &metav1.Time{} }, "deleted"},
		{"the Service deleted", func(o *objects) { o.svc.DeletionTimestamp = &metav1.Time{} }, "deleted"},
		{"a person who wants no mirror", func(o *objects) { o.ep.Labels = map[string]string{discoveryv1.LabelSkipMirror: "true"} }, ""},
		{"a person who wants the mirror", func(o *objects) { o.ep.Labels = map[string]string{discoveryv1.LabelSkipMirror: "false"} }, "mirroring"},
		{"an operator wrote the subsets", func(o *objects) {
			o.cfg.Slices.ForeignManagers = []string{"operator"}
			o.ep.ManagedFields = []metav1.ManagedFieldsEntry{wrote("operator", `{"f:subsets":{}}`, 1), wrote("kubectl-label", `{"f:metadata":{}}`, 2)}
		}, "'operator'"},
		{"an operator did once, a person wrote them since", func(o *objects) {
			o.cfg.Slices.ForeignManagers = []string{"operator"}
			o.ep.ManagedFields = []metav1.ManagedFieldsEntry{wrote("operator", `{"f:metadata":{}}`, 3), wrote("kubectl-edit", `{"f:subsets":{}}`, 2)}
		}, ""},
		{"an operator emptied them", func(o *objects) {
			o.cfg.Slices.ForeignManagers = []string{"operator"}
			o.ep.ManagedFields = []metav1.ManagedFieldsEntry{wrote("kubectl", `{"f:metadata":{}}`, 1), wrote("operator", `{"f:metadata":{}}`, 2), wrote("drawbridge", `{"f:metadata":{}}`, 3)}
		}, "'operator'"},
		{"scope off", func(o *objects) { o.cfg.Slices.Scope = policy.SlicesOff }, "off"},
		{"an unknown scope is none", func(o *objects) { o.cfg.Slices.Scope = "everything" }, "off"},
		{"scope ingress, behind none", func(o *objects) { o.cfg.Slices.Scope = policy.SlicesIngress }, "behind an Ingress"},
		{"scope ingress, behind one", func(o *objects) { o.cfg.Slices.Scope, o.behind = policy.SlicesIngress, true }, ""},
		{"scope annotated, not asked", func(o *objects) { o.cfg.Slices.Scope = policy.SlicesAnnotated }, "annotation"},
		{"scope annotated, asked", func(o *objects) {
			o.cfg.Slices.Scope = policy.SlicesAnnotated
			o.ep.Annotations = map[string]string{policy.SliceAnnotation: "true"}
		}, ""},
		{"forbidden by annotation", func(o *objects) { o.ep.Annotations = map[string]string{policy.SliceAnnotation: "false"} }, "forbids"},
		{"asking does not override off", func(o *objects) {
			o.cfg.Slices.Scope = policy.SlicesOff
			o.ep.Annotations = map[string]string{policy.SliceAnnotation: "true"}
		}, "off"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := &objects{ep: endpoints(), svc: service(), cfg: policy.DefaultConfig()}
			tt.change(o)
			in, reason := InScope(o.ep, o.svc, o.cfg, o.behind)
			if in != (tt.not == "") || !strings.Contains(reason, tt.not) || in != (reason == "") {
				t.Errorf("in scope %t, reason %q; want a reason with %q", in, reason, tt.not)
			}
		})
	}
}

// labeled is how the API server records that drawbridge applied the label.
func labeled(ep *corev1.Endpoints) *corev1.Endpoints {
	ep.Labels = map[string]string{discoveryv1.LabelSkipMirror: "true"}
	e := wrote("drawbridge", `{"f:metadata":{"f:labels":{"f:endpointslice.kubernetes.io/skip-mirror":{}}}}`, 9)
	e.Operation = metav1.ManagedFieldsOperationApply
	ep.ManagedFields = append(ep.ManagedFields, e)
	return ep
}

// The order of the way there and back, step by step: each plan is made from what the one before left.
func TestDecide(t *testing.T) {
	subset := corev1.EndpointSubset{Addresses: addresses("192.0.2.1"), Ports: []corev1.EndpointPort{tcp("http", 8080)}}
	svc := service(corev1.ServicePort{Name: "http", Port: 80})
	off := policy.DefaultConfig()
	off.Slices.Scope = policy.SlicesOff
	own, _ := Wanted(endpoints(subset), svc, nil)
	mirrored := own[0].DeepCopy()
	mirrored.Name, mirrored.Labels[discoveryv1.LabelManagedBy] = "ext-abcde", policy.ManagedByMirroring
	otherAddress := mirrored.DeepCopy()
	otherAddress.Endpoints[0].Addresses = []string{"192.0.2.99"}
	selected := svc.DeepCopy()
	selected.Spec.Selector = map[string]string{"app": "a"}
	pods := mirrored.DeepCopy()
	pods.Labels[discoveryv1.LabelManagedBy] = policy.ManagedByPods
	personal := endpoints(subset)
	personal.Labels = map[string]string{discoveryv1.LabelSkipMirror: "true"}
	foreign := own[0].DeepCopy()
	foreign.OwnerReferences = nil
	former := own[0].DeepCopy()
	former.OwnerReferences[0].UID = "uid-0"

	written := foreign.DeepCopy()
	written.Name, written.Labels[discoveryv1.LabelManagedBy] = "written", policy.HandWritten
	notReady := written.DeepCopy()
	notReady.Endpoints[0].Conditions.Ready = new(false)

	type steps struct{ apply, label, unlabel, remove, waits bool }
	for _, tt := range []struct {
		name     string
		ep       *corev1.Endpoints
		svc      *corev1.Service
		existing []*discoveryv1.EndpointSlice
		cfg      *policy.Config
		want     steps
	}{
		{"new: stored, then labeled", endpoints(subset), svc, []*discoveryv1.EndpointSlice{mirrored}, policy.DefaultConfig(), steps{apply: true, label: true}},
		{"stored, not labeled yet", endpoints(subset), svc, append(own, mirrored), policy.DefaultConfig(), steps{label: true}},
		{"handed over", labeled(endpoints(subset)), svc, own, policy.DefaultConfig(), steps{}},
		{"a person's label is left alone", personal, svc, own, policy.DefaultConfig(), steps{}},
		{"nothing to serve: nothing is taken over", endpoints(), svc, []*discoveryv1.EndpointSlice{mirrored}, policy.DefaultConfig(), steps{}},
		{"emptied after the hand-over", labeled(endpoints()), svc, own, policy.DefaultConfig(), steps{remove: true}},
		{"slices of former Endpoints go", endpoints(subset), svc, append(own, former), policy.DefaultConfig(), steps{label: true, remove: true}},
		{"back: the label first", labeled(endpoints(subset)), svc, own, off, steps{unlabel: true, waits: true}},
		{"back: not before the mirrored slices stand", endpoints(subset), svc, own, off, steps{waits: true}},
		{"back: nor before they hold each address", endpoints(subset), svc, append(own, otherAddress), off, steps{waits: true}},
		{"back: then ours go", endpoints(subset), svc, append(own, mirrored), off, steps{remove: true}},
		{"back: nobody will mirror what a person forbade to", personal, svc, own, off, steps{remove: true}},
		{"back: nor what has no Service", endpoints(subset), nil, own, off, steps{remove: true}},
		{"a selector: wait for the slices of its pods", endpoints(subset), selected, own, policy.DefaultConfig(), steps{waits: true}},
		{"a selector: they are there", endpoints(subset), selected, append(own, pods), policy.DefaultConfig(), steps{remove: true}},
		{"a person's slice holds it all: only the label", endpoints(subset), svc, []*discoveryv1.EndpointSlice{mirrored, written}, policy.DefaultConfig(), steps{label: true}},
		{"and ours go", labeled(endpoints(subset)), svc, append(own, written), policy.DefaultConfig(), steps{remove: true}},
		{"it holds it, and is not ready", endpoints(subset), svc, []*discoveryv1.EndpointSlice{mirrored, notReady}, policy.DefaultConfig(), steps{apply: true, label: true}},
		{"it is gone again", labeled(endpoints(subset)), svc, nil, policy.DefaultConfig(), steps{apply: true}},
		{"no Endpoints", nil, svc, append(own, mirrored), policy.DefaultConfig(), steps{remove: true}},
		{"a foreign slice with our label stays", labeled(endpoints()), svc, []*discoveryv1.EndpointSlice{foreign}, policy.DefaultConfig(), steps{}},
		{"and where there are no Endpoints", nil, svc, []*discoveryv1.EndpointSlice{foreign}, policy.DefaultConfig(), steps{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := decide(world{ep: tt.ep, svc: tt.svc, existing: tt.existing}, "ext", tt.cfg)
			got := steps{len(p.apply) > 0, p.label, p.unlabel, len(p.remove) > 0, p.waits}
			if got != tt.want {
				t.Errorf("plan %+v, want %+v", got, tt.want)
			}
			for _, s := range p.remove {
				if s == mirrored || s == foreign || s == pods {
					t.Errorf("removes a slice that is not drawbridge's")
				}
			}
		})
	}
}

func TestOwnsSkipMirror(t *testing.T) {
	ep := labeled(endpoints())
	if !ownsSkipMirror(ep) {
		t.Error("applied by drawbridge, and not known")
	}
	ep.ManagedFields[0].Manager = "kubectl"
	if ownsSkipMirror(ep) {
		t.Error("applied by a person, and taken for ours")
	}
}

type heard []string

func (h *heard) HandleWarningHeader(_ int, _, text string) { *h = append(*h, text) }

func TestQuiet(t *testing.T) {
	var got heard
	cfg := Quiet(&rest.Config{WarningHandler: &got})
	for _, text := range []string{"v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice", "something else"} {
		cfg.WarningHandlerWithContext.HandleWarningHeaderWithContext(t.Context(), 299, "-", text)
	}
	if len(got) != 1 || got[0] != "something else" {
		t.Errorf("heard %q", []string(got))
	}
}

// reads counts what is read, and gives everything as it is.
type reads struct {
	client.Reader
	ep    *corev1.Endpoints
	count int
}

func (r *reads) Get(_ context.Context, key client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	if ep, ok := o.(*corev1.Endpoints); ok {
		r.count++
		r.ep.DeepCopyInto(ep)
		return nil
	}
	return apierrors.NewNotFound(corev1.Resource("services"), key.Name)
}

func (*reads) List(context.Context, client.ObjectList, ...client.ListOption) error { return nil }

// A cache may strip managedFields; without them a foreign keeper can't be seen. They are read from the API server then,
// but not for the Endpoints of pods, of which a cluster has thousands.
func TestStrippedManagedFields(t *testing.T) {
	full := labeled(endpoints())
	for name, tt := range map[string]struct {
		change func(*corev1.Endpoints)
		live   int
	}{
		"stripped": {func(ep *corev1.Endpoints) { ep.ManagedFields = nil }, 1},
		"kept":     {func(*corev1.Endpoints) {}, 0},
		"of pods": {func(ep *corev1.Endpoints) {
			ep.ManagedFields, ep.Labels = nil, map[string]string{endpointsManagedBy: "endpoint-controller"}
		}, 0},
		"of pods and ours": {func(ep *corev1.Endpoints) {
			ep.ManagedFields, ep.Labels[endpointsManagedBy] = nil, "endpoint-controller"
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			cached, live := &reads{ep: full.DeepCopy()}, &reads{ep: full}
			tt.change(cached.ep)
			w, err := read(t.Context(), cached, live, types.NamespacedName{Namespace: "team", Name: "ext"}, false)
			if err != nil || w.ep == nil {
				t.Fatalf("%v, %v", w.ep, err)
			}
			if live.count != tt.live {
				t.Errorf("%d live reads, want %d", live.count, tt.live)
			}
		})
	}
}

// TestOfSlice holds whose slices are looked at: what a person writes may hold what drawbridge's hold.
func TestOfSlice(t *testing.T) {
	for by, want := range map[string]int{policy.ManagedBy: 1, policy.ManagedByMirroring: 1, policy.HandWritten: 1, "": 1, policy.ManagedByPods: 0, "example.com": 0} {
		s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "s-1", Labels: map[string]string{
			discoveryv1.LabelServiceName: "s", discoveryv1.LabelManagedBy: by,
		}}}
		if got := ofSlice(context.Background(), s); len(got) != want {
			t.Errorf("managed by %q: %v", by, got)
		}
	}
}
