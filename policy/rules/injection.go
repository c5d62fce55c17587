package rules

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/intent"
)

// injection is a wish that drawbridge writes for backends outside the cluster, where nothing says it: in the dialect of
// the class that serves the Ingress, on the Ingress or on the Service.
type injection struct {
	wish  intent.Wish
	value string
	// suits tells whether a backend needs it under a dialect.
	suits func(d *intent.Dialect, b intent.Backend) bool
	// sameName tells that an annotation for all backends of an Ingress is right for one name only.
	sameName bool
	// all says, after "must be 'X'", why an annotation holds for every backend of an Ingress; host is what is sent.
	all func(text, host string) string
	// needs says, after "must", what a backend needs.
	needs func(b intent.Backend) string
}

// injectTarget is a backend of an Ingress that is a Service which is known, and what stands behind it.
type injectTarget struct {
	backendAt
	svc  *corev1.Service
	what intent.Backend
}

// ingress judges an Ingress.
func (i *injection) ingress(p *policy.Pass[*networkingv1.Ingress]) {
	ing := p.Object
	d, served := p.Config.DialectOf(ing, p.World.IngressClass)
	if !served || !d.Speaks() || d.PassesTLS(ing.Annotations) {
		return
	}
	_, can := d.Spell(i.wish, i.value, intent.Target{})
	switch {
	case !can:
		i.warnOfLimit(p, d)
	case !d.PerService(i.wish, i.value):
		i.forAll(p, d)
	case d.WritesOn(i.wish, i.value) == intent.OnService:
		i.warnOfServices(p, d)
	default:
		i.listed(p, d)
	}
}

// targets lists the backends of an Ingress. ok is false where one is no Service, or names a port that can not be
// resolved; missing are the names of Services that are not known yet, each once.
func (i *injection) targets(p *policy.Pass[*networkingv1.Ingress], d *intent.Dialect) (list []injectTarget, missing []string, ok bool) {
	ok = true
	for _, at := range backendsOf(p.Object) {
		if at.Service == nil {
			ok = false
			continue
		}
		svc := p.World.Service(p.Object.Namespace, at.Service.Name)
		if svc == nil {
			missing = append(missing, at.Service.Name)
			continue
		}
		b, _, err := d.BackendOf(svc, at.Service.Port, p.Config.ClusterDomain)
		if err != nil {
			ok = false
			continue
		}
		list = append(list, injectTarget{at, svc, b})
	}
	slices.Sort(missing)
	return list, slices.Compact(missing), ok
}

// said tells whether an annotation says the wish for a backend already.
func (i *injection) said(d *intent.Dialect, ing *networkingv1.Ingress, t injectTarget) bool {
	return d.SaysBackend(i.wish, ing.Annotations, t.svc, t.Service.Port)
}

// forAll writes one annotation for every backend of an Ingress. Where all that hinders is a Service that is not known
// yet, the rule awaits it.
func (i *injection) forAll(p *policy.Pass[*networkingv1.Ingress], d *intent.Dialect) {
	ing := p.Object
	if d.Says(i.wish, ing.Annotations) {
		return
	}
	list, missing, ok := i.targets(p, d)
	if !ok {
		return
	}
	host := ""
	for n, t := range list {
		if !i.suits(d, t.what) || i.said(d, ing, t) {
			return
		}
		h := intent.ReadBackend(d, ing.Annotations, t.svc, t.Service.Port).For(t.what).Host
		if i.sameName && n > 0 && (h != host || t.what.Name != list[0].what.Name) {
			return
		}
		host = h
	}
	for _, name := range missing {
		p.Await("Service", name)
	}
	if len(list) == 0 || len(missing) > 0 {
		return
	}
	written, _ := d.Spell(i.wish, i.value, intent.Target{Host: host, Namespace: ing.Namespace})
	if len(written) == 0 || slices.ContainsFunc(written, func(a intent.Annotation) bool { _, set := ing.Annotations[a.Key]; return set }) {
		return
	}
	p.Report(field.Required(annotationPath(written[0].Key), fmt.Sprintf("must be '%s'%s", quoted(written[0].Text), i.all(written[0].Text, host))),
		func(ing *networkingv1.Ingress) {
			for _, a := range written {
				intent.Inject(ing, a.Key, a.Text)
			}
		})
}

// listed writes an annotation that lists the Services that it holds for, whatever the others are.
func (i *injection) listed(p *policy.Pass[*networkingv1.Ingress], d *intent.Dialect) {
	ing := p.Object
	list, missing, _ := i.targets(p, d)
	suits, order := map[string]bool{}, []string{}
	for _, t := range list {
		// A Service stands in the list as a whole, with every port that the Ingress leads to.
		fits, had := suits[t.svc.Name]
		if !had {
			order, fits = append(order, t.svc.Name), true
		}
		suits[t.svc.Name] = fits && i.suits(d, t.what) && !i.said(d, ing, t)
	}
	services := slices.DeleteFunc(order, func(name string) bool { return !suits[name] })
	for _, name := range missing {
		p.Await("Service", name)
	}
	if len(services) == 0 || len(missing) > 0 {
		return
	}
	written, _ := d.Spell(i.wish, i.value, intent.Target{Namespace: ing.Namespace, Service: strings.Join(services, ",")})
	for _, a := range written {
		if was, set := ing.Annotations[a.Key]; set {
			// What a person listed is his.
			p.Warn(field.Invalid(annotationPath(a.Key), was, fmt.Sprintf("must list Service %s too", listed(services, 3))))
			return
		}
	}
	p.Report(field.Required(annotationPath(written[0].Key), fmt.Sprintf("must be '%s': these are external backends that must %s", quoted(written[0].Text), i.needs(list[0].what))),
		func(ing *networkingv1.Ingress) {
			for _, a := range written {
				intent.Inject(ing, a.Key, a.Text)
			}
		})
}

// warnOfServices tells what must stand on the Services of an Ingress. What drawbridge may complete there by itself it
// does, and says nothing.
func (i *injection) warnOfServices(p *policy.Pass[*networkingv1.Ingress], d *intent.Dialect) {
	list, _, _ := i.targets(p, d)
	told := map[string]bool{}
	for _, t := range list {
		if !i.suits(d, t.what) || i.said(d, p.Object, t) || told[t.svc.Name] || intent.Marked(t.svc) && policy.Mendable(t.svc) {
			continue
		}
		told[t.svc.Name] = true
		written, _ := d.Spell(i.wish, i.value, intent.Target{Namespace: p.Object.Namespace, Service: t.svc.Name, Ports: intent.PortText(t.Service.Port)})
		if len(told) > maxTold {
			continue
		}
		p.Warn(field.Invalid(t.field().Child("service", "name"), t.svc.Name, fmt.Sprintf(
			"must %s: write the annotation `%s: \"%s\"` on the Service, where %s reads it", i.needs(t.what), written[0].Key, quoted(written[0].Text), d.Title)))
	}
	i.more(p, len(told))
}

// maxTold bounds how many Services of one Ingress are told of.
const maxTold = 5

func (i *injection) more(p *policy.Pass[*networkingv1.Ingress], told int) {
	if n := told - maxTold; n > 0 {
		p.Warn(field.Required(field.NewPath("spec"), fmt.Sprintf("and %d more Services must have it", n)))
	}
}

// warnOfLimit tells what goes wrong where a dialect has no annotation for the wish, and what works instead.
func (i *injection) warnOfLimit(p *policy.Pass[*networkingv1.Ingress], d *intent.Dialect) {
	limit := d.Limit(i.wish)
	if limit == nil || d.Aliases.State == intent.AliasNever {
		return
	}
	list, _, _ := i.targets(p, d)
	told := map[string]bool{}
	for _, t := range list {
		if !i.suits(d, t.what) || i.said(d, p.Object, t) || told[t.svc.Name] {
			continue
		}
		told[t.svc.Name] = true
		if len(told) > maxTold {
			continue
		}
		p.Warn(unsupported(t.field().Child("service", "name"), t.svc.Name, fmt.Sprintf("must %s: %s %s; %s", i.needs(t.what), d.Title, limit.Why, limit.Instead)))
	}
	i.more(p, len(told))
}

// service judges a Service that classes serve whose controllers read the annotation on the Service.
func (i *injection) service(p *policy.Pass[*corev1.Service]) {
	svc := p.Object
	if svc.Spec.Type != corev1.ServiceTypeExternalName && len(svc.Spec.Selector) > 0 {
		return
	}
	ingresses := p.World.IngressesTo(svc.Namespace, svc.Name)
	if len(ingresses) == 0 {
		if i.mayBeServed(p) {
			p.Await("Ingress", svc.Name)
		}
		return
	}
	type use struct {
		d       *intent.Dialect
		ports   []string
		by      string
		what    intent.Backend
		refused bool
	}
	var uses []*use
	for _, ing := range ingresses {
		d, served := p.Config.DialectOf(ing, p.World.IngressClass)
		if !served || !i.onService(d) {
			continue
		}
		at := slices.IndexFunc(uses, func(u *use) bool { return u.d == d })
		if at < 0 {
			at, uses = len(uses), append(uses, &use{d: d})
		}
		u := uses[at]
		for _, backend := range backendsOf(ing) {
			if backend.Service == nil || backend.Service.Name != svc.Name {
				continue
			}
			b, _, err := d.BackendOf(svc, backend.Service.Port, p.Config.ClusterDomain)
			t := injectTarget{backend, svc, b}
			switch {
			case i.said(d, ing, t) && i.byPort(d):
			case err != nil || d.PassesTLS(ing.Annotations) || i.said(d, ing, t):
				u.refused = true
			case i.suits(d, b):
				u.ports = append(u.ports, intent.PortText(backend.Service.Port))
				u.by, u.what = ing.Name, b
			case !i.byPort(d):
				u.refused = true
			}
		}
	}
	for _, u := range uses {
		if u.refused || len(u.ports) == 0 {
			continue
		}
		slices.Sort(u.ports)
		written, _ := u.d.Spell(i.wish, i.value, intent.Target{Namespace: svc.Namespace, Service: svc.Name, Ports: strings.Join(slices.Compact(u.ports), ",")})
		path := annotationPath(written[0].Key)
		if was, set := svc.Annotations[written[0].Key]; set {
			p.Warn(field.Invalid(path, was, fmt.Sprintf("must list '%s' too, for Ingress '%s'", quoted(written[0].Text), quoted(u.by))))
			continue
		}
		p.Report(field.Required(path, fmt.Sprintf("must be '%s' for Ingress '%s', which %s serves: the upstream must %s", quoted(written[0].Text), quoted(u.by), u.d.Title, i.needs(u.what))),
			func(svc *corev1.Service) {
				for _, a := range written {
					intent.Inject(svc, a.Key, a.Text)
				}
			})
	}
}

// byPort tells whether what is written on a Service holds for some of its ports only.
func (i *injection) byPort(d *intent.Dialect) bool {
	written, _ := d.Spell(i.wish, i.value, intent.Target{Ports: "1"})
	other, _ := d.Spell(i.wish, i.value, intent.Target{Ports: "2"})
	return !slices.Equal(written, other)
}

// mayBeServed tells whether a Service to which no Ingress leads yet might need an annotation once one does: an alias for
// a public name, in a cluster that has a class whose controller reads on the Service.
func (i *injection) mayBeServed(p *policy.Pass[*corev1.Service]) bool {
	svc := p.Object
	name := intent.ExternalNameOf(svc)
	if svc.Spec.Type != corev1.ServiceTypeExternalName || intent.Internal(name, p.Config.ClusterDomain) || !isName(name) || isIP(name) {
		return false
	}
	return p.Config.Speaks(p.World, i.onService)
}

// onService tells whether the dialect writes the wish on the Service, and there only.
func (i *injection) onService(d *intent.Dialect) bool {
	return d.Speaks() && d.WritesOn(i.wish, i.value) == intent.OnService && d.PerService(i.wish, i.value)
}
