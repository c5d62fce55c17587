package main

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/pager"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/rules"
)

// cluster reads a cluster once, for a command that judges what is stored there.
type cluster struct {
	client client.Client
	// namespace is the one that the kubeconfig has for commands that name none.
	namespace string
}

// openCluster finds the cluster of a kubeconfig file, as clusterConfig does.
func openCluster(kubeconfig string) (*cluster, error) {
	config, err := clusterConfig(kubeconfig)
	if err != nil {
		return nil, err
	}
	// Endpoints as such are deprecated: the API server says so with every page of them.
	config.WarningHandler = rest.NoWarnings{}
	c, err := client.New(config, client.Options{Scheme: clientgoscheme.Scheme})
	if err != nil {
		return nil, fmt.Errorf("find a cluster (--kubeconfig names one): %w", err)
	}
	loading := clientcmd.NewDefaultClientConfigLoadingRules()
	loading.ExplicitPath = kubeconfig
	namespace, _, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(loading, nil).Namespace()
	if err != nil {
		return nil, fmt.Errorf("find the namespace to work in: %w", err)
	}
	return &cluster{client: c, namespace: namespace}, nil
}

// policy reads the policy ConfigMap. Where there is none, the default policy is in force, as it is in the manager.
func (c *cluster) policy(ctx context.Context, key types.NamespacedName) (config *policy.Config, found bool, err error) {
	cm := &corev1.ConfigMap{}
	switch err := c.client.Get(ctx, key, cm); {
	case apierrors.IsNotFound(err):
		return policy.DefaultConfig(), false, nil
	case err != nil:
		return nil, false, fmt.Errorf("read the policy (--policy names a file, --policy-configmap another ConfigMap): %w", err)
	}
	text, ok := cm.Data[policyKey]
	if !ok {
		return policy.DefaultConfig(), false, nil
	}
	config, err = policy.ParseConfig([]byte(text), rules.Known)
	if err != nil {
		return nil, false, fmt.Errorf("ConfigMap '%s', key '%s': %w", key, policyKey, err)
	}
	return config, true, nil
}

// missing tells that the cluster has no namespace of that name. Who may not read namespaces is not told.
func (c *cluster) missing(ctx context.Context, namespace string) (bool, error) {
	switch err := c.client.Get(ctx, types.NamespacedName{Name: namespace}, &corev1.Namespace{}); {
	case err == nil, apierrors.IsForbidden(err):
		return false, nil
	case apierrors.IsNotFound(err):
		return true, nil
	default:
		return false, fmt.Errorf("read namespace '%s': %w", namespace, err)
	}
}

// clusterKinds are what reviews read, with a list of each. Those that are judged come first.
var clusterKinds = []struct {
	kind   string
	judged bool
	empty  func() client.ObjectList
	// without is what is not known where the kind may not be listed.
	without string
}{
	{"Services", true, func() client.ObjectList { return &corev1.ServiceList{} }, ""},
	{"Endpoints", true, func() client.ObjectList { return &corev1.EndpointsList{} }, ""},
	{"EndpointSlices", true, func() client.ObjectList { return &discoveryv1.EndpointSliceList{} }, ""},
	{"Ingresses", true, func() client.ObjectList { return &networkingv1.IngressList{} }, ""},
	{"IngressClasses", false, func() client.ObjectList { return &networkingv1.IngressClassList{} }, "which controller serves an Ingress is known by its class's name alone"},
	{"Namespaces", false, func() client.ObjectList { return &corev1.NamespaceList{} }, "what the policy says of namespaces by their labels does not count"},
	{"Nodes", false, func() client.ObjectList { return &corev1.NodeList{} }, "addresses of nodes are not known as such"},
	{"ServiceCIDRs", false, func() client.ObjectList { return &networkingv1.ServiceCIDRList{} }, "ranges of Services are not known as such"},
}

// read lists everything that reviews read, in pages. Where namespace is not empty and an object of other namespaces may
// not be listed, those of that one must do. notes tell what is not known because the user may not list it, or because
// the API server does not have the kind; failed is what could not be read of the kinds that are judged.
func (c *cluster) read(ctx context.Context, namespace string) (objects []policy.Object, notes []string, failed []error) {
	for _, k := range clusterKinds {
		list, err := c.list(ctx, k.empty, "")
		if apierrors.IsForbidden(err) && k.judged && namespace != "" {
			notes = append(notes, fmt.Sprintf("you may not list %s of all namespaces: those of others than '%s' are not known", k.kind, namespace))
			list, err = c.list(ctx, k.empty, namespace)
		}
		switch {
		case err == nil:
			objects = append(objects, list...)
		case k.judged:
			failed = append(failed, fmt.Errorf("list %s: %w", k.kind, err))
		case apierrors.IsForbidden(err):
			notes = append(notes, fmt.Sprintf("you may not list %s: %s", k.kind, k.without))
		case apierrors.IsNotFound(err), meta.IsNoMatchError(err):
			notes = append(notes, fmt.Sprintf("the API server has no %s: %s", k.kind, k.without))
		default:
			failed = append(failed, fmt.Errorf("list %s: %w", k.kind, err))
		}
	}
	return objects, notes, failed
}

// pageSize is what kubectl asks for at a time.
const pageSize = 500

// list reads all pages of one kind; an empty namespace means all.
func (c *cluster) list(ctx context.Context, empty func() client.ObjectList, namespace string) ([]policy.Object, error) {
	p := pager.New(func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		list := empty()
		return list, c.client.List(ctx, list, &client.ListOptions{Namespace: namespace, Limit: o.Limit, Continue: o.Continue})
	})
	p.PageSize = pageSize
	var objects []policy.Object
	err := p.EachListItem(ctx, metav1.ListOptions{}, func(o runtime.Object) error {
		if object, ok := o.(policy.Object); ok {
			objects = append(objects, object)
		}
		return nil
	})
	return objects, err
}
