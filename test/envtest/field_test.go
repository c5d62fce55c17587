package envtest

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/rules"
	"drawbridge.dev/drawbridge/test/lab"
)

// fieldFiles are what is found in clusters: see TestField of policy/rules.
const fieldFiles = "../../policy/rules/testdata/field/*.yaml"

// fieldObject is a document of a file and who writes it.
type fieldObject struct {
	client.Object
	user string
}

// fieldObjects decodes a file. It is nil where a cluster of one address family must refuse what is in it.
func fieldObjects(t *testing.T, path string) []fieldObject {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "\n# cluster: dual-stack\n") {
		return nil
	}
	user := "alice"
	var list []fieldObject
	docs := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(doc)) {
			if name, ok := strings.CutPrefix(line, "# user: "); ok {
				user = strings.TrimSpace(name)
			}
		}
		o, _, err := scheme.Codecs.UniversalDeserializer().Decode(doc, nil, nil)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		list = append(list, fieldObject{o.(client.Object), user})
	}
}

// TestField writes what is found in the field to a real API server with drawbridge in front, as those who write it, in
// the order of the files and in the reverse: nothing is refused, not even when it is changed, and what has an owner
// stays as its owner wrote it.
func TestField(t *testing.T) {
	cluster := lab.Shared(t)
	opened := cluster.FailOpenCount(t)
	m := start(t, cluster)
	admin := cluster.Client(t)
	users := map[string]client.Client{}
	as := func(user string) client.Client {
		if users[user] == nil {
			config := rest.CopyConfig(cluster.Config)
			config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:masters", "system:authenticated"}}
			cl, err := client.New(config, client.Options{Scheme: scheme.Scheme})
			if err != nil {
				t.Fatal(err)
			}
			users[user] = cl
		}
		return users[user]
	}
	for _, o := range fieldObjects(t, filepath.Join(filepath.Dir(fieldFiles), "cluster.yaml")) {
		if node, ok := o.Object.(*corev1.Node); ok {
			status := node.Status
			if err := admin.Create(t.Context(), node); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := admin.Delete(context.WithoutCancel(t.Context()), node); err != nil {
					t.Error(err)
				}
			})
			node.Status = status
			if err := admin.Status().Update(t.Context(), node); err != nil {
				t.Fatal(err)
			}
		}
	}
	paths, err := filepath.Glob(fieldFiles)
	if err != nil || len(paths) < 40 {
		t.Fatalf("%d files: %v", len(paths), err)
	}
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".yaml")
		if name == "cluster" {
			continue
		}
		for _, order := range []string{"", "/reversed"} {
			t.Run(name+order, func(t *testing.T) {
				objects := fieldObjects(t, path)
				if order != "" {
					slices.Reverse(objects)
				}
				writeField(t, admin, as, objects)
			})
		}
	}
	if n := cluster.FailOpenCount(t); n != opened {
		t.Errorf("%d requests passed because the webhook did not answer", n-opened)
	}
	m.Stop()
}

func writeField(t *testing.T, admin client.Client, as func(string) client.Client, objects []fieldObject) {
	t.Helper()
	sentinel := fieldSentinel(t, admin)
	var sent []fieldObject
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		for _, o := range sent {
			if err := admin.Delete(ctx, o.Object); client.IgnoreNotFound(err) != nil {
				t.Error(err)
			}
			if len(o.GetFinalizers()) > 0 {
				// Whoever would take them off is not here.
				none := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))
				if err := admin.Patch(ctx, o.Object, none); client.IgnoreNotFound(err) != nil {
					t.Error(err)
				}
			}
			// There is no garbage collection.
			if ns := o.GetNamespace(); ns != "" && ns != metav1.NamespaceDefault {
				if err := admin.DeleteAllOf(ctx, &discoveryv1.EndpointSlice{}, client.InNamespace(ns)); err != nil {
					t.Error(err)
				}
			}
		}
	})
	for _, o := range objects {
		if ns := o.GetNamespace(); ns != "" {
			err := admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}})
			if err != nil && !apierrors.IsAlreadyExists(err) {
				t.Fatal(err)
			}
		}
		created := o.DeepCopyObject().(client.Object)
		if err := as(o.user).Create(t.Context(), created); err != nil {
			t.Errorf("%s creates %s: %v", o.user, title(o), err)
			continue
		}
		sent = append(sent, fieldObject{created, o.user})
		if svc, ok := created.(*corev1.Service); ok && len(o.Object.(*corev1.Service).Status.LoadBalancer.Ingress) > 0 {
			svc.Status = o.Object.(*corev1.Service).Status
			if err := as(o.user).Status().Update(t.Context(), svc); err != nil {
				t.Errorf("%s writes the status of %s: %v", o.user, title(o), err)
			}
		}
	}
	sentinel()
	for _, o := range objects {
		found := o.DeepCopyObject().(client.Object)
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(o), found); err != nil {
			t.Error(err)
			continue
		}
		if owned(o) && (!maps.Equal(found.GetLabels(), o.GetLabels()) || !maps.Equal(found.GetAnnotations(), o.GetAnnotations()) ||
			!slices.Equal(portNames(found), portNames(o.Object))) {
			t.Errorf("%s has an owner and was changed: labels %v, annotations %v, ports %q", title(o), found.GetLabels(), found.GetAnnotations(), portNames(found))
		}
		// A change of something else is let pass as well.
		labels := maps.Clone(found.GetLabels())
		if labels == nil {
			labels = map[string]string{}
		}
		labels["example.com/touched"] = "true"
		found.SetLabels(labels)
		if err := as(o.user).Update(t.Context(), found); err != nil {
			t.Errorf("%s updates %s: %v", o.user, title(o), err)
		}
	}
}

// fieldSentinel writes Endpoints that the leader makes slices of. What it returns waits for the leader to have seen what
// was written before it was called.
func fieldSentinel(t *testing.T, admin client.Client) func() {
	t.Helper()
	const namespace = "field-sentinel"
	err := admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	meta := metav1.ObjectMeta{Namespace: namespace, Name: "sentinel"}
	svc := &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
	ep := &corev1.Endpoints{ObjectMeta: meta, Subsets: []corev1.EndpointSubset{{
		Addresses: []corev1.EndpointAddress{{IP: "192.0.2.1"}}, Ports: []corev1.EndpointPort{{Port: 80}},
	}}}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		for _, o := range []client.Object{svc, ep} {
			if err := admin.Delete(ctx, o); client.IgnoreNotFound(err) != nil {
				t.Error(err)
			}
		}
		if err := admin.DeleteAllOf(ctx, &discoveryv1.EndpointSlice{}, client.InNamespace(namespace)); err != nil {
			t.Error(err)
		}
	})
	return func() {
		t.Helper()
		for _, o := range []client.Object{svc, ep} {
			if err := admin.Create(t.Context(), o); err != nil {
				t.Fatal(err)
			}
		}
		lab.Eventually(t, patience, func() error {
			var list discoveryv1.EndpointSliceList
			err := admin.List(t.Context(), &list, client.InNamespace(namespace), client.MatchingLabels{
				discoveryv1.LabelServiceName: "sentinel", discoveryv1.LabelManagedBy: policy.ManagedBy,
			})
			if err == nil && len(list.Items) == 0 {
				err = errors.New("the leader has not made the sentinel's slice")
			}
			return err
		})
	}
}

func title(o fieldObject) string {
	return fmt.Sprintf("%s %s/%s", o.GetObjectKind().GroupVersionKind().Kind, o.GetNamespace(), o.GetName())
}

// owned tells whether an object has an owner or a keeper other than people.
func owned(o client.Object) bool {
	return len(o.GetOwnerReferences()) > 0 || o.GetLabels()[discoveryv1.LabelManagedBy] != "" || o.GetLabels()["endpoints.kubernetes.io/managed-by"] != ""
}

// portNames lists what drawbridge might fill in beside labels and annotations.
func portNames(o runtime.Object) []string {
	var names []string
	switch o := o.(type) {
	case *corev1.Endpoints:
		for _, s := range o.Subsets {
			for _, p := range s.Ports {
				names = append(names, p.Name)
			}
		}
	case *discoveryv1.EndpointSlice:
		for _, p := range o.Ports {
			names = append(names, *cmp.Or(p.Name, new("")))
		}
	}
	return names
}

// found makes everything that the control plane's own controllers write of: pods that run and one that does not, in
// Services of every shape, and Endpoints of both families and with several sets of ports.
const found = `
apiVersion: v1
kind: Service
metadata: {name: shop, labels: {team: a}}
spec: {selector: {app: shop}, ports: [{name: http, port: 80, targetPort: web}, {name: admin, port: 9090}]}
---
apiVersion: v1
kind: Service
metadata: {name: shop-peers}
spec: {clusterIP: None, publishNotReadyAddresses: true, selector: {app: shop}}
---
apiVersion: v1
kind: Service
metadata: {name: shop-outside}
spec: {type: LoadBalancer, externalTrafficPolicy: Local, selector: {app: shop}, ports: [{port: 443, targetPort: web}]}
---
apiVersion: v1
kind: Service
metadata: {name: empty}
spec: {selector: {app: nobody}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: alias}
spec: {type: ExternalName, externalName: www.example.org}
---
apiVersion: v1
kind: Service
metadata: {name: outside}
spec: {type: NodePort, ports: [{name: http, port: 80}, {name: https, port: 443}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: outside, labels: {team: a}}
subsets:
- addresses: [{ip: 192.0.2.10}, {ip: "2001:db8::10"}]
  notReadyAddresses: [{ip: 192.0.2.11}]
  ports: [{name: http, port: 8080}, {name: https, port: 8443}]
- addresses: [{ip: 192.0.2.12}]
  ports: [{name: http, port: 8081}]
---
apiVersion: v1
kind: Service
metadata: {name: members}
spec: {clusterIP: None}
---
apiVersion: v1
kind: Endpoints
metadata: {name: members}
subsets: [{addresses: [{ip: 192.0.2.20, hostname: m-0}]}]
---
apiVersion: v1
kind: Service
metadata: {name: single}
spec: {ports: [{port: 5432}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: single}
subsets: [{addresses: [{ip: 192.0.2.30}], ports: [{port: 5432}]}]
`

// TestControlPlaneWrites reads back everything that the API server and the controllers of the control plane wrote: no
// profile refuses or changes any of it.
func TestControlPlaneWrites(t *testing.T) {
	cluster := lab.Shared(t)
	namespace := cluster.Namespace(t)
	admin := cluster.Client(t)
	cluster.StartControllerManager(t, "endpoints-controller", "endpointslice-controller", "endpointslice-mirroring-controller")
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if err := admin.Create(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	cluster.Apply(t, namespace, found)
	for i, ready := range []corev1.ConditionStatus{corev1.ConditionTrue, corev1.ConditionFalse} {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprint("shop-", i), Labels: map[string]string{"app": "shop"}},
			Spec: corev1.PodSpec{NodeName: node.Name, Containers: []corev1.Container{{
				Name: "shop", Image: "example.com/shop", Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: 8080}},
			}}},
		}
		if err := admin.Create(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
		ip := fmt.Sprint("10.244.9.", 7+i)
		pod.Status = corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}},
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}},
		}
		if err := admin.Status().Update(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := admin.Delete(context.WithoutCancel(t.Context()), pod, client.GracePeriodSeconds(0)); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		if err := admin.Delete(context.WithoutCancel(t.Context()), node); err != nil {
			t.Error(err)
		}
	})
	lab.Eventually(t, patience, func() error {
		for service, want := range map[string]int{"shop": 2, "shop-peers": 2, "shop-outside": 2, "empty": 0, "outside": 4, "members": 1, "single": 1} {
			var list discoveryv1.EndpointSliceList
			if err := admin.List(t.Context(), &list, client.InNamespace(namespace), client.MatchingLabels{discoveryv1.LabelServiceName: service}); err != nil {
				return err
			}
			got := 0
			for _, s := range list.Items {
				got += len(s.Endpoints)
			}
			if len(list.Items) == 0 || got != want {
				return fmt.Errorf("%d slices of %s have %d endpoints and not %d", len(list.Items), service, got, want)
			}
		}
		var ep corev1.Endpoints
		if err := admin.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "shop"}, &ep); err != nil || len(ep.Subsets) == 0 {
			return fmt.Errorf("no Endpoints of shop: %w", err)
		}
		return nil
	})

	var all []policy.Object
	for _, list := range []client.ObjectList{
		&corev1.ServiceList{}, &corev1.EndpointsList{}, &discoveryv1.EndpointSliceList{}, &corev1.NodeList{}, &networkingv1.ServiceCIDRList{},
	} {
		if err := admin.List(t.Context(), list); err != nil {
			t.Fatal(err)
		}
		switch list := list.(type) {
		case *corev1.ServiceList:
			all = appendPointers(all, list.Items)
		case *corev1.EndpointsList:
			all = appendPointers(all, list.Items)
		case *discoveryv1.EndpointSliceList:
			all = appendPointers(all, list.Items)
		case *corev1.NodeList:
			all = appendPointers(all, list.Items)
		case *networkingv1.ServiceCIDRList:
			all = appendPointers(all, list.Items)
		}
	}
	if len(all) < 25 {
		t.Fatalf("%d objects are too few", len(all))
	}
	world := policy.NewIndex(all...)
	for _, profile := range []policy.Profile{policy.Baseline, policy.Strict} {
		config := policy.DefaultConfig().WithProfile(profile)
		for _, o := range all {
			if ns := o.GetNamespace(); ns != namespace && ns != metav1.NamespaceDefault {
				continue // Of other tests, which write what is wrong.
			}
			res := rules.All().Review(policy.Request{Object: o, World: world, Config: config, Stored: true})
			for _, f := range slices.Concat(res.Denied, res.Fixed) {
				t.Errorf("%s: %T %s/%s: %s: %s", profile, o, o.GetNamespace(), o.GetName(), f.Level, f.Message())
			}
			for _, f := range res.Warned {
				t.Logf("%s: %T %s/%s: %s", profile, o, o.GetNamespace(), o.GetName(), f.Message())
			}
		}
	}
}

func appendPointers[T any, P interface {
	*T
	policy.Object
}](list []policy.Object, items []T) []policy.Object {
	for i := range items {
		list = append(list, P(&items[i]))
	}
	return list
}
