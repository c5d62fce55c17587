package bench

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"drawbridge.dev/drawbridge/test/lab"
)

func meta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: namespace, Name: name,
		Labels: map[string]string{
			"app.kubernetes.io/name": name, "app.kubernetes.io/instance": name, "app.kubernetes.io/part-of": namespace,
			"app.kubernetes.io/managed-by": "Helm", "helm.sh/chart": "web-1.2.3",
		},
		Annotations: map[string]string{"meta.helm.sh/release-name": name, "meta.helm.sh/release-namespace": namespace},
	}
}

// alias is a Service for a site outside.
func alias(namespace, name string) *corev1.Service {
	return &corev1.Service{ObjectMeta: meta(namespace, name), Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeExternalName, ExternalName: name + ".example.com",
		Ports: []corev1.ServicePort{{Name: "https", Port: 443, TargetPort: intstr.FromInt32(443)}},
	}}
}

// inside is a Service of pods.
func inside(namespace, name string) *corev1.Service {
	return &corev1.Service{ObjectMeta: meta(namespace, name), Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app.kubernetes.io/name": name, "app.kubernetes.io/instance": name},
		Ports: []corev1.ServicePort{
			{Name: "http", Port: 80, TargetPort: intstr.FromString("http")}, {Name: "metrics", Port: 9090, TargetPort: intstr.FromString("metrics")},
		},
	}}
}

// sliceOf is the slice of a Service with three pods, as kube-controller-manager writes it.
func sliceOf(svc *corev1.Service, number int) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: svc.Namespace, GenerateName: svc.Name + "-", Labels: map[string]string{
				discoveryv1.LabelServiceName: svc.Name, discoveryv1.LabelManagedBy: "endpointslice-controller.k8s.io",
			},
			Annotations: map[string]string{corev1.EndpointsLastChangeTriggerTime: "2026-01-01T00:00:00Z"},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "v1", Kind: "Service", Name: svc.Name, UID: types.UID(fmt.Sprintf("0b4f6f4e-2a55-4f44-8dd4-%012x", number)),
				Controller: new(true), BlockOwnerDeletion: new(true),
			}},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports: []discoveryv1.EndpointPort{
			{Name: new("http"), Port: new(int32(8080)), Protocol: new(corev1.ProtocolTCP)},
			{Name: new("metrics"), Port: new(int32(9090)), Protocol: new(corev1.ProtocolTCP)},
		},
	}
	for key, value := range svc.Labels {
		s.Labels[key] = value
	}
	for i := range 3 {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Addresses:  []string{fmt.Sprintf("10.%d.%d.%d", 128+i, number>>8&255, number&255)},
			Conditions: discoveryv1.EndpointConditions{Ready: new(true), Serving: new(true), Terminating: new(false)},
			NodeName:   new(fmt.Sprintf("ip-10-0-%d-%d.eu-central-1.compute.internal", i, number%50)),
			Zone:       new("eu-central-1" + string(rune('a'+i))),
			TargetRef: &corev1.ObjectReference{
				Kind: "Pod", Namespace: svc.Namespace, Name: fmt.Sprintf("%s-%08x-%05x", svc.Name, number*7919, i),
				UID: types.UID(fmt.Sprintf("1c4f6f4e-2a55-4f44-8dd%d-%012x", i, number)),
			},
		})
	}
	return s
}

// route is an Ingress with one host and two paths to one Service. It says all that its controller needs to reach a site
// outside where annotated, so that there is nothing to mend.
func route(namespace, name, service string, port int32, annotated bool) *networkingv1.Ingress {
	ing := &networkingv1.Ingress{ObjectMeta: meta(namespace, name), Spec: networkingv1.IngressSpec{
		IngressClassName: new("drawbridge"),
		TLS:              []networkingv1.IngressTLS{{Hosts: []string{name + ".apps.example"}, SecretName: name + "-tls"}},
	}}
	backend := networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{
		Name: service, Port: networkingv1.ServiceBackendPort{Number: port},
	}}
	ing.Spec.Rules = []networkingv1.IngressRule{{
		Host: name + ".apps.example",
		IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{
			{Path: "/", PathType: new(networkingv1.PathTypePrefix), Backend: backend},
			{Path: "/api", PathType: new(networkingv1.PathTypePrefix), Backend: backend},
		}}},
	}}
	ing.Annotations["cert-manager.io/cluster-issuer"] = "letsencrypt"
	if annotated {
		ing.Annotations["ingress.kubernetes.io/preserve-host"] = "false"
		ing.Annotations["ingress.kubernetes.io/backend-protocol"] = "HTTPS"
	}
	return ing
}

// applied gives an object what `kubectl apply` does.
func applied[T client.Object](t lab.TB, o T) T {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatalf("%v", err)
	}
	annotations := o.GetAnnotations()
	annotations["kubectl.kubernetes.io/last-applied-configuration"] = string(text)
	o.SetAnnotations(annotations)
	return o
}

// class is the IngressClass of every route.
func class() *networkingv1.IngressClass {
	return &networkingv1.IngressClass{
		ObjectMeta: metav1.ObjectMeta{Name: "drawbridge"}, Spec: networkingv1.IngressClassSpec{Controller: "drawbridge.dev/ingress"},
	}
}
