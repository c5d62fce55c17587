package webhook

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"drawbridge.dev/drawbridge/policy"
)

// CacheOptions makes the cache small: it holds what reviews, the audit, the slice builder and the keeper of injected
// annotations read, with equal parts shared between objects, and nothing else. What is not held:
//
//   - of every object: managed fields, finalizers, the annotations in which other tools keep their books, and the
//     status; of Services the addresses of load balancers stay.
//   - of Services and Ingresses: labels that are not Kubernetes' own; of a Service's selector what it selects: there is
//     one, or there is none.
//   - of slices that the control plane makes: labels that are not Kubernetes' own, the name and UID of the Service that
//     owns them (the label has its name), and what is said of a pod beside its namespace, addresses and conditions.
//   - of Endpoints that the control plane makes: what is said of a pod beside its address.
//   - of Namespaces all but labels, of Nodes all but addresses and ranges.
//
// Endpoints of others keep their managed fields, from which the slice builder reads whose they are.
func CacheOptions() map[client.Object]cache.ByObject {
	s := newSharer()
	return map[client.Object]cache.ByObject{
		&corev1.Service{}:            {Transform: transform(s, s.service)},
		&corev1.Endpoints{}:          {Transform: transform(s, s.endpoints)},
		&discoveryv1.EndpointSlice{}: {Transform: transform(s, s.slice)},
		&networkingv1.Ingress{}:      {Transform: transform(s, s.ingress)},
		&networkingv1.IngressClass{}: {Transform: transform(s, func(c *networkingv1.IngressClass) { s.meta(&c.ObjectMeta, all) })},
		&corev1.Namespace{}:          {Transform: transform(s, s.namespace)},
		&corev1.Node{}:               {Transform: transform(s, s.node)},
	}
}

// transform is called with each object before anybody else sees it, and with tombstones of objects that it has seen.
func transform[T client.Object](s *sharer, shrink func(T)) toolscache.TransformFunc {
	return func(in any) (any, error) {
		if object, ok := in.(T); ok {
			s.mu.Lock()
			defer s.mu.Unlock()
			shrink(object)
		}
		return in, nil
	}
}

// books are annotations in which tools keep their own state, some of them the whole object once more. Nobody's wish for
// traffic is in them. One that ends in '/' stands for all that begin so.
var books = [...]string{
	lastApplied,
	corev1.EndpointsLastChangeTriggerTime,
	"argocd.argoproj.io/", "field.cattle.io/", "kapp.k14s.io/", "meta.helm.sh/", "objectset.rio.cattle.io/",
}

func isNoBook(key string) bool {
	for _, b := range books {
		if key == b || strings.HasSuffix(b, "/") && strings.HasPrefix(key, b) {
			return false
		}
	}
	return true
}

func all(string) bool { return true }

// ofKubernetes tells a label that means something to Kubernetes or drawbridge.
func ofKubernetes(key string) bool {
	domain, _, _ := strings.Cut(key, "/")
	if domain == key || domain == "app.kubernetes.io" {
		return false
	}
	return domain == "kubernetes.io" || domain == "drawbridge.dev" || strings.HasSuffix(domain, ".kubernetes.io") || strings.HasSuffix(domain, ".drawbridge.dev")
}

// meta keeps the labels that it is told to.
func (s *sharer) meta(m *metav1.ObjectMeta, labels func(key string) bool) {
	m.GenerateName, m.ManagedFields, m.Finalizers = "", nil, nil
	s.same(&m.Name, &m.Namespace, (*string)(&m.UID))
	m.Labels, m.Annotations = s.texts(m.Labels, labels), s.texts(m.Annotations, isNoBook)
	m.OwnerReferences = exact(m.OwnerReferences)
	for i := range m.OwnerReferences {
		o := &m.OwnerReferences[i]
		s.same(&o.APIVersion, &o.Kind, &o.Name, (*string)(&o.UID))
		o.Controller, o.BlockOwnerDeletion = one(o.Controller, booleans), nil
	}
}

// What is pointed to most.
var (
	booleans        = []bool{true, false}
	familyPolicies  = []corev1.IPFamilyPolicy{corev1.IPFamilyPolicySingleStack, corev1.IPFamilyPolicyPreferDualStack}
	trafficPolicies = []corev1.ServiceInternalTrafficPolicy{corev1.ServiceInternalTrafficPolicyCluster}
	protocols       = []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP}
	pathTypes       = []networkingv1.PathType{networkingv1.PathTypePrefix, networkingv1.PathTypeExact, networkingv1.PathTypeImplementationSpecific}
	v4              = []corev1.IPFamily{corev1.IPv4Protocol}
	v6              = []corev1.IPFamily{corev1.IPv6Protocol}
	someSelector    = map[string]string{"drawbridge.dev/selector": "not-cached"}
	ofSomeService   = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Controller: &booleans[0]}}
)

func (s *sharer) service(o *corev1.Service) {
	s.meta(&o.ObjectMeta, ofKubernetes)
	// They tell whose an address is.
	o.Status = corev1.ServiceStatus{LoadBalancer: o.Status.LoadBalancer}
	p := &o.Spec
	if len(p.Selector) > 0 {
		p.Selector = someSelector
	}
	s.same(&p.ClusterIP, (*string)(&p.Type), (*string)(&p.SessionAffinity), &p.ExternalName, &p.LoadBalancerIP,
		(*string)(&p.ExternalTrafficPolicy))
	for _, list := range [...]*[]string{&p.ClusterIPs, &p.ExternalIPs, &p.LoadBalancerSourceRanges} {
		s.list(list)
	}
	switch {
	case slices.Equal(p.IPFamilies, v4):
		p.IPFamilies = v4
	case slices.Equal(p.IPFamilies, v6):
		p.IPFamilies = v6
	}
	p.IPFamilyPolicy = one(p.IPFamilyPolicy, familyPolicies)
	p.InternalTrafficPolicy = one(p.InternalTrafficPolicy, trafficPolicies)
	p.AllocateLoadBalancerNodePorts = one(p.AllocateLoadBalancerNodePorts, booleans)
	for i := range p.Ports {
		port := &p.Ports[i]
		s.same(&port.Name, (*string)(&port.Protocol), &port.TargetPort.StrVal)
		s.pointer(&port.AppProtocol)
	}
	p.Ports = s.servicePorts.get(exact(p.Ports))
}

func (s *sharer) endpoints(o *corev1.Endpoints) {
	writers := o.ManagedFields
	s.meta(&o.ObjectMeta, all)
	pods := o.Labels["endpoints.kubernetes.io/managed-by"] == "endpoint-controller"
	if !pods {
		o.ManagedFields = writers
	}
	o.Subsets = exact(o.Subsets)
	for i := range o.Subsets {
		subset := &o.Subsets[i]
		subset.Addresses, subset.NotReadyAddresses, subset.Ports = exact(subset.Addresses), exact(subset.NotReadyAddresses), exact(subset.Ports)
		for _, list := range [...][]corev1.EndpointAddress{subset.Addresses, subset.NotReadyAddresses} {
			for j := range list {
				if pods {
					// The label can be written by anyone: the address stays to be judged.
					list[j] = corev1.EndpointAddress{IP: list[j].IP, Hostname: list[j].Hostname}
				}
				s.same(&list[j].IP, &list[j].Hostname)
			}
		}
		for j := range subset.Ports {
			port := &subset.Ports[j]
			s.same(&port.Name, (*string)(&port.Protocol))
			s.pointer(&port.AppProtocol)
		}
	}
}

func (s *sharer) slice(o *discoveryv1.EndpointSlice) {
	by := o.Labels[discoveryv1.LabelManagedBy]
	controlPlane := by == policy.ManagedByPods || by == policy.ManagedByMirroring
	labels := all
	if controlPlane {
		labels = ofKubernetes
	}
	s.meta(&o.ObjectMeta, labels)
	if by == policy.ManagedByPods && len(o.OwnerReferences) == 1 && o.OwnerReferences[0].Kind == "Service" {
		o.OwnerReferences = ofSomeService
	}
	s.same((*string)(&o.AddressType))
	o.Endpoints = exact(o.Endpoints)
	for i := range o.Endpoints {
		e := &o.Endpoints[i]
		s.list(&e.Addresses)
		c := &e.Conditions
		c.Ready, c.Serving, c.Terminating = one(c.Ready, booleans), one(c.Serving, booleans), one(c.Terminating, booleans)
		if controlPlane {
			e.NodeName, e.Zone, e.Hints, e.DeprecatedTopology = nil, nil, nil, nil
			if t := e.TargetRef; t != nil {
				e.TargetRef = s.target(t.Kind, t.Namespace)
			}
			continue
		}
		s.pointer(&e.NodeName)
		s.pointer(&e.Zone)
	}
	for i := range o.Ports {
		port := &o.Ports[i]
		s.pointer(&port.Name)
		s.pointer(&port.AppProtocol)
		port.Protocol = one(port.Protocol, protocols)
	}
	o.Ports = s.slicePorts.get(exact(o.Ports))
}

func (s *sharer) ingress(o *networkingv1.Ingress) {
	s.meta(&o.ObjectMeta, ofKubernetes)
	o.Status = networkingv1.IngressStatus{}
	s.pointer(&o.Spec.IngressClassName)
	backend := func(b *networkingv1.IngressBackend) {
		if b != nil && b.Service != nil {
			s.same(&b.Service.Name, &b.Service.Port.Name)
		}
	}
	backend(o.Spec.DefaultBackend)
	o.Spec.TLS, o.Spec.Rules = exact(o.Spec.TLS), exact(o.Spec.Rules)
	for i := range o.Spec.TLS {
		s.list(&o.Spec.TLS[i].Hosts)
		s.same(&o.Spec.TLS[i].SecretName)
	}
	for i := range o.Spec.Rules {
		rule := &o.Spec.Rules[i]
		s.same(&rule.Host)
		if rule.HTTP == nil {
			continue
		}
		rule.HTTP.Paths = exact(rule.HTTP.Paths)
		for j := range rule.HTTP.Paths {
			path := &rule.HTTP.Paths[j]
			s.same(&path.Path)
			path.PathType = one(path.PathType, pathTypes)
			backend(&path.Backend)
			// Most paths of a rule lead to one backend.
			if j > 0 && equal(path.Backend.Service, rule.HTTP.Paths[j-1].Backend.Service) {
				path.Backend.Service = rule.HTTP.Paths[j-1].Backend.Service
			}
		}
	}
}

func (s *sharer) namespace(o *corev1.Namespace) {
	o.Annotations = nil
	s.meta(&o.ObjectMeta, all)
	o.Spec, o.Status = corev1.NamespaceSpec{}, corev1.NamespaceStatus{}
}

// node keeps what tells whose an address is.
func (*sharer) node(o *corev1.Node) {
	o.ObjectMeta = metav1.ObjectMeta{Name: o.Name, UID: o.UID, ResourceVersion: o.ResourceVersion}
	o.Spec = corev1.NodeSpec{PodCIDRs: o.Spec.PodCIDRs}
	o.Status = corev1.NodeStatus{Addresses: o.Status.Addresses}
}
