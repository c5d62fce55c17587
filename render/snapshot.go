package render

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/intent"
)

// Snapshot is the objects that routes are made of, at one moment, with the indexes that tell which hosts an object
// touches. It is a [policy.World]. It is never changed: [Snapshot.With] and [Snapshot.Without] give the next one and
// copy only what differs. The objects in it are shared and must not be changed either.
//
// It keeps Ingresses, IngressClasses, Services, EndpointSlices, Secrets of type kubernetes.io/tls, Namespaces, and
// Endpoints; every other object is passed over. Endpoints are there for the World alone: routes are made of EndpointSlices.
type Snapshot struct {
	ingresses table[name, *networkingv1.Ingress]
	classes   table[name, *networkingv1.IngressClass]
	services  table[name, *corev1.Service]
	slices    table[name, *discoveryv1.EndpointSlice]
	secrets   table[name, *corev1.Secret]
	endpoints table[name, *corev1.Endpoints]
	spaces    table[name, *corev1.Namespace]

	byHost      index[string]     // Ingresses by the host of a rule, in lower case and not otherwise checked
	byService   index[name]       // Ingresses by backend
	bySecret    index[name]       // Ingresses by TLS Secret
	sliceOf     index[name]       // slices by Service; its Name is empty where the label is
	servicesIn  index[string]     // Services by namespace
	ingressesIn index[string]     // Ingresses by namespace
	defaults    index[bool]       // Ingresses with a default backend, under true
	byAddress   index[netip.Addr] // slices by the addresses in them, but those that the control plane makes of pods
}

var _ policy.World = (*Snapshot)(nil)

// Touched says what a change of objects may alter.
type Touched struct {
	// Hosts are names as [Snapshot.Hosts] gives them, sorted, each once.
	Hosts []string
	// Default tells that the default backend may alter.
	Default bool
}

// Merge is both together.
func (t Touched) Merge(u Touched) Touched {
	switch {
	case len(u.Hosts) == 0:
	case len(t.Hosts) == 0:
		t.Hosts = u.Hosts
	default:
		all := slices.Concat(t.Hosts, u.Hosts)
		slices.Sort(all)
		t.Hosts = slices.Compact(all)
	}
	t.Default = t.Default || u.Default
	return t
}

func empty() *Snapshot {
	return &Snapshot{
		ingresses: newTable[name, *networkingv1.Ingress](),
		classes:   newTable[name, *networkingv1.IngressClass](),
		services:  newTable[name, *corev1.Service](),
		slices:    newTable[name, *discoveryv1.EndpointSlice](),
		secrets:   newTable[name, *corev1.Secret](),
		endpoints: newTable[name, *corev1.Endpoints](),
		spaces:    newTable[name, *corev1.Namespace](),

		byHost:      newIndex[string](),
		byService:   newIndex[name](),
		bySecret:    newIndex[name](),
		sliceOf:     newIndex[name](),
		servicesIn:  newIndex[string](),
		ingressesIn: newIndex[string](),
		defaults:    newIndex[bool](),
		byAddress:   newIndex[netip.Addr](),
	}
}

// NewSnapshot holds the given objects; of two of one kind and name the later counts.
func NewSnapshot(objects ...policy.Object) *Snapshot {
	s := empty()
	for _, o := range objects {
		n := nameOf(o)
		switch o := o.(type) {
		case *networkingv1.Ingress:
			s.ingresses.put(n, o)
		case *networkingv1.IngressClass:
			s.classes.put(name{Name: o.Name}, o)
		case *corev1.Service:
			s.services.put(n, o)
		case *discoveryv1.EndpointSlice:
			s.slices.put(n, o)
		case *corev1.Secret:
			if o.Type == corev1.SecretTypeTLS {
				s.secrets.put(n, o)
			}
		case *corev1.Endpoints:
			s.endpoints.put(n, o)
		case *corev1.Namespace:
			s.spaces.put(name{Name: o.Name}, o)
		}
	}
	for n, ing := range s.ingresses.all {
		s.ingressesIn.gather(n.Namespace, n)
		r := refsOf(ing)
		for host := range r.hosts {
			s.byHost.gather(host, n)
		}
		for svc := range r.services {
			s.byService.gather(svc, n)
		}
		for secret := range r.secrets {
			s.bySecret.gather(secret, n)
		}
		if r.hasDefault {
			s.defaults.gather(true, n)
		}
	}
	for n := range s.services.all {
		s.servicesIn.gather(n.Namespace, n)
	}
	for n, slice := range s.slices.all {
		s.sliceOf.gather(serviceOf(slice), n)
		for addr := range addressesOf(slice) {
			s.byAddress.gather(addr, n)
		}
	}
	s.byHost.sort()
	s.byService.sort()
	s.bySecret.sort()
	s.sliceOf.sort()
	s.servicesIn.sort()
	s.ingressesIn.sort()
	s.defaults.sort()
	s.byAddress.sort()
	return s
}

// With is the snapshot with an object added, or changed where there was one of its kind and name.
func (s *Snapshot) With(obj policy.Object) (*Snapshot, Touched) {
	n := nameOf(obj)
	next := *s
	switch o := obj.(type) {
	case *networkingv1.Ingress:
		old := s.ingresses.get(n)
		next.ingresses.set(n, o)
		if old == nil {
			next.ingressesIn.add(n.Namespace, n)
		}
		return &next, next.reindex(n, old, o)
	case *networkingv1.IngressClass:
		next.classes.set(name{Name: o.Name}, o)
		return &next, next.touchedByClass(o.Name)
	case *corev1.Service:
		if s.services.get(n) == nil {
			next.servicesIn.add(n.Namespace, n)
		}
		next.services.set(n, o)
		return &next, next.touchedByService(n)
	case *discoveryv1.EndpointSlice:
		svc := serviceOf(o)
		touched := next.touchedBySlice(svc)
		if old := s.slices.get(n); old != nil && serviceOf(old) != svc {
			touched = touched.Merge(next.touchedBySlice(serviceOf(old)))
			next.sliceOf.remove(serviceOf(old), n)
		}
		next.sliceOf.add(svc, n)
		replace(&next.byAddress, n, addressesOf(s.slices.get(n)), addressesOf(o))
		next.slices.set(n, o)
		return &next, touched
	case *corev1.Secret:
		if o.Type != corev1.SecretTypeTLS {
			return s.Without("Secret", o.Namespace, o.Name)
		}
		next.secrets.set(n, o)
		return &next, next.touchedBy(next.bySecret.get(n))
	case *corev1.Endpoints:
		next.endpoints.set(n, o)
		return &next, Touched{}
	case *corev1.Namespace:
		old := s.spaces.get(name{Name: o.Name})
		next.spaces.set(name{Name: o.Name}, o)
		if old != nil && maps.Equal(old.Labels, o.Labels) || old == nil && len(o.Labels) == 0 {
			return &next, Touched{}
		}
		return &next, next.touchedBy(next.ingressesIn.get(o.Name))
	}
	return s, Touched{}
}

// Without is the snapshot without the object of that kind ("Ingress", "IngressClass", "Service", "EndpointSlice",
// "Secret", "Namespace" or "Endpoints") and name; the snapshot itself where it holds none.
func (s *Snapshot) Without(kind, namespace, objectName string) (*Snapshot, Touched) {
	n := name{Namespace: namespace, Name: objectName}
	next := *s
	switch kind {
	case "Ingress":
		if old := s.ingresses.get(n); old != nil {
			next.ingresses.del(n)
			next.ingressesIn.remove(n.Namespace, n)
			return &next, next.reindex(n, old, nil)
		}
	case "IngressClass":
		n.Namespace = ""
		if s.classes.get(n) != nil {
			next.classes.del(n)
			return &next, next.touchedByClass(objectName)
		}
	case "Service":
		if s.services.get(n) != nil {
			next.services.del(n)
			next.servicesIn.remove(namespace, n)
			return &next, next.touchedByService(n)
		}
	case "EndpointSlice":
		if old := s.slices.get(n); old != nil {
			svc := serviceOf(old)
			next.slices.del(n)
			next.sliceOf.remove(svc, n)
			replace(&next.byAddress, n, addressesOf(old), nil)
			return &next, next.touchedBySlice(svc)
		}
	case "Secret":
		if s.secrets.get(n) != nil {
			next.secrets.del(n)
			return &next, next.touchedBy(next.bySecret.get(n))
		}
	case "Endpoints":
		if s.endpoints.get(n) != nil {
			next.endpoints.del(n)
			return &next, Touched{}
		}
	case "Namespace":
		n.Namespace = ""
		if s.spaces.get(n) != nil {
			next.spaces.del(n)
			return &next, next.touchedBy(next.ingressesIn.get(objectName))
		}
	}
	return s, Touched{}
}

// Hosts lists every host that the rule of an Ingress names, in lower case, sorted; "" stands for a rule without one.
// It lists those of other classes too, and names that are no host.
func (s *Snapshot) Hosts() []string {
	var hosts []string
	for host := range s.byHost.all {
		hosts = append(hosts, host)
	}
	slices.Sort(hosts)
	return hosts
}

// Service is the Service of that name, nil where there is none.
func (s *Snapshot) Service(namespace, service string) *corev1.Service {
	return s.services.get(name{Namespace: namespace, Name: service})
}

// Services lists the Services of a namespace by name.
func (s *Snapshot) Services(namespace string) []*corev1.Service {
	return listed(s.services, s.servicesIn.get(namespace))
}

// IngressesTo lists the Ingresses with a backend that is the Service, by name.
func (s *Snapshot) IngressesTo(namespace, service string) []*networkingv1.Ingress {
	return listed(s.ingresses, s.byService.get(name{Namespace: namespace, Name: service}))
}

// EndpointSlices lists the slices that a Service's name labels, by name.
func (s *Snapshot) EndpointSlices(namespace, service string) []*discoveryv1.EndpointSlice {
	return listed(s.slices, s.sliceOf.get(name{Namespace: namespace, Name: service}))
}

// Endpoints is the Endpoints of that name, nil where there is none.
func (s *Snapshot) Endpoints(namespace, endpoints string) *corev1.Endpoints {
	return s.endpoints.get(name{Namespace: namespace, Name: endpoints})
}

// IngressClass is the class of that name, nil where there is none.
func (s *Snapshot) IngressClass(class string) *networkingv1.IngressClass {
	return s.classes.get(name{Name: class})
}

func listed[V any](t table[name, V], names []name) []V {
	if len(names) == 0 {
		return nil
	}
	list := make([]V, len(names))
	for i, n := range names {
		list[i] = t.get(n)
	}
	return list
}

func nameOf(o policy.Object) name { return name{Namespace: o.GetNamespace(), Name: o.GetName()} }

func serviceOf(slice *discoveryv1.EndpointSlice) name {
	return name{Namespace: slice.Namespace, Name: slice.Labels[discoveryv1.LabelServiceName]}
}

// refs is what an Ingress is found by.
type refs struct {
	hosts      map[string]struct{}
	services   map[name]struct{}
	secrets    map[name]struct{}
	hasDefault bool
}

// refsOf reads an Ingress as it is stored. The rules of the policy write annotations only, so that the mended one
// says the same.
func refsOf(ing *networkingv1.Ingress) refs {
	r := refs{map[string]struct{}{}, map[name]struct{}{}, map[name]struct{}{}, false}
	if ing == nil {
		return r
	}
	backend := func(b *networkingv1.IngressBackend) {
		if b.Service != nil {
			r.services[name{Namespace: ing.Namespace, Name: b.Service.Name}] = struct{}{}
		}
	}
	if b := ing.Spec.DefaultBackend; b != nil {
		r.hasDefault = true
		backend(b)
	}
	for i := range ing.Spec.Rules {
		rule := &ing.Spec.Rules[i]
		r.hosts[strings.ToLower(rule.Host)] = struct{}{}
		if rule.HTTP == nil {
			continue
		}
		for j := range rule.HTTP.Paths {
			backend(&rule.HTTP.Paths[j].Backend)
		}
	}
	for _, tls := range ing.Spec.TLS {
		r.secrets[name{Namespace: ing.Namespace, Name: tls.SecretName}] = struct{}{}
	}
	return r
}

// reindex replaces what the indexes say of an Ingress; old or now may be nil.
func (s *Snapshot) reindex(n name, old, now *networkingv1.Ingress) Touched {
	was, is := refsOf(old), refsOf(now)
	replace(&s.byHost, n, was.hosts, is.hosts)
	replace(&s.byService, n, was.services, is.services)
	replace(&s.bySecret, n, was.secrets, is.secrets)
	switch {
	case is.hasDefault && !was.hasDefault:
		s.defaults.add(true, n)
	case was.hasDefault && !is.hasDefault:
		s.defaults.remove(true, n)
	}
	maps.Copy(is.hosts, was.hosts)
	return Touched{
		Hosts:   slices.Sorted(maps.Keys(is.hosts)),
		Default: is.hasDefault || was.hasDefault,
	}
}

func replace[K comparable](x *index[K], n name, was, is map[K]struct{}) {
	for k := range was {
		if _, stays := is[k]; !stays {
			x.remove(k, n)
		}
	}
	for k := range is {
		if _, had := was[k]; !had {
			x.add(k, n)
		}
	}
}

// touchedBy is all that the named Ingresses serve. An Ingress is judged as a whole, by every one of its backends, so
// that what touches one of its paths touches all of its hosts.
func (s *Snapshot) touchedBy(ingresses []name) Touched {
	var t Touched
	for _, n := range ingresses {
		ing := s.ingresses.get(n)
		t.Default = t.Default || ing.Spec.DefaultBackend != nil
		for i := range ing.Spec.Rules {
			t.Hosts = append(t.Hosts, strings.ToLower(ing.Spec.Rules[i].Host))
		}
	}
	slices.Sort(t.Hosts)
	t.Hosts = slices.Compact(t.Hosts)
	return t
}

// touchedByService is what a change of a Service touches. Slices without the label of a Service may be found to be
// any Service's of the namespace, and which one may depend on what others there are.
func (s *Snapshot) touchedByService(n name) Touched {
	if len(s.sliceOf.get(name{Namespace: n.Namespace})) > 0 {
		return s.touchedBy(s.ingressesIn.get(n.Namespace))
	}
	return s.touchedBy(s.byService.get(n))
}

func (s *Snapshot) touchedBySlice(svc name) Touched {
	if svc.Name == "" {
		return s.touchedBy(s.ingressesIn.get(svc.Namespace))
	}
	return s.touchedBy(s.byService.get(svc))
}

func (s *Snapshot) touchedByClass(class string) Touched {
	var touched []name
	for n, ing := range s.ingresses.all {
		if intent.ClassName(ing) == class {
			touched = append(touched, n)
		}
	}
	return s.touchedBy(touched)
}
