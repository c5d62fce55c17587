// Package translate carries what Ingresses and their Services ask of one controller over into the annotations of
// another, and tells what can not be carried.
//
// It is pure: objects go in, changed copies and a list of losses come out. What a controller's table does not hold stays
// where it is, and is listed: nothing is dropped in silence.
package translate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/intent"
)

// Lost is something that the other controller will not do as it was asked for.
type Lost struct {
	// Object is the one that was given, Field the field that it is about.
	Object policy.Object
	Field  string
	// Annotation is what is not carried over, empty where no annotation says it.
	Annotation string
	// Detail says why, and what to use instead.
	Detail string
	// Access tells that the annotation says who is served: it must not move before that is said in other words.
	Access bool
}

// Outcome is what came of a translation.
type Outcome struct {
	// Changed holds the translated copy of every object that changes, by the object that was given.
	Changed map[policy.Object]policy.Object
	Lost    []Lost
}

// Objects translates the Ingresses among objects, with the Services that they lead to, into a dialect, and gives them a
// class. The dialect that an Ingress is in is that of its class; of one without a class, that of its annotations.
// Ingresses of the dialect itself, and of a class that is not known, stay as they are. Objects are not changed.
func Objects(objects []policy.Object, config *policy.Config, to *intent.Dialect, class string) Outcome {
	t := &translation{
		world: policy.NewIndex(objects...), config: config, to: to, class: class,
		out:      Outcome{Changed: map[policy.Object]policy.Object{}},
		services: map[string]*service{},
	}
	var moved []*ingress
	for _, o := range objects {
		if ing, ok := o.(*networkingv1.Ingress); ok {
			if in := t.read(ing); in != nil {
				moved = append(moved, in)
			}
		}
	}
	for _, in := range moved {
		t.carry(in)
	}
	t.finish(moved)
	slices.SortStableFunc(t.out.Lost, func(a, b Lost) int {
		return cmp.Or(cmp.Compare(a.Object.GetNamespace(), b.Object.GetNamespace()), cmp.Compare(a.Object.GetName(), b.Object.GetName()), cmp.Compare(a.Field, b.Field))
	})
	return t.out
}

type translation struct {
	world    *policy.Index
	config   *policy.Config
	to       *intent.Dialect
	class    string
	out      Outcome
	services map[string]*service // by namespace/name
}

// service is a Service and what is to be written on it.
type service struct {
	given, bare *corev1.Service // bare is without what drawbridge injected
	write       map[string]string
	ports       map[string][]string // of annotations that list ports
	carried     map[string]bool     // of the old dialect
	why         map[string]string   // why an annotation is not carried over
}

// ingress is an Ingress that moves.
type ingress struct {
	given *networkingv1.Ingress
	next  *networkingv1.Ingress
	from  *intent.Dialect
	// said are the annotations that the old dialect reads.
	said     map[string]string
	backends []backend
	write    map[string]string
	carried  map[string]bool
	why      map[string]string // why an annotation is not carried over
}

type backend struct {
	at     *networkingv1.IngressBackend
	svc    *service // nil where it is not among the objects
	before intent.Backend
	after  intent.Backend
	wishes intent.Wishes
}

func (b backend) name() string { return b.at.Service.Name }

// object is the Service for the tables to read, nil where it is not known.
func (b backend) object() *corev1.Service {
	if b.svc == nil {
		return nil
	}
	return b.svc.bare
}

func (t *translation) lose(o policy.Object, field, annotation, detail string) {
	t.out.Lost = append(t.out.Lost, Lost{o, field, annotation, detail, false})
}

func annotationField(key string) string { return "metadata.annotations[" + key + "]" }

// read makes out what an Ingress says; nil where it does not move.
func (t *translation) read(ing *networkingv1.Ingress) *ingress {
	from, known := t.config.DialectOf(ing, t.world.IngressClass)
	if intent.ClassName(ing) == "" {
		from, known = dialectByKeys(ing), true
	}
	switch {
	case !known || !from.Speaks():
		t.lose(ing, "spec.ingressClassName", "", fmt.Sprintf("the annotations of class '%s' are not known; name its dialect in the policy (`classes`)", intent.ClassName(ing)))
		return nil
	case from == t.to:
		return nil
	}
	in := &ingress{
		given: ing, next: ing.DeepCopy(), from: from, said: map[string]string{},
		write: map[string]string{}, carried: map[string]bool{}, why: map[string]string{},
	}
	// What drawbridge injected it injects again, in the new dialect.
	unmark(in.next)
	for key, text := range in.next.Annotations {
		// drawbridge.dev/* is for drawbridge alone, whatever the class.
		if from == intent.Drawbridge || !strings.HasPrefix(key, intent.Prefix) {
			in.said[key] = text
		}
	}
	for _, at := range backendsOf(in.next) {
		if at.Service == nil {
			continue
		}
		b := backend{at: at, svc: t.service(ing.Namespace, at.Service.Name)}
		b.before, _, _ = from.BackendOf(b.object(), at.Service.Port, t.config.ClusterDomain)
		b.after, _, _ = t.to.BackendOf(b.object(), at.Service.Port, t.config.ClusterDomain)
		b.wishes = intent.ReadBackend(from, in.said, b.object(), at.Service.Port)
		in.backends = append(in.backends, b)
	}
	return in
}

// unmark takes what drawbridge injected, and its mark, out of an object.
func unmark(o policy.Object) {
	intent.Withdraw(o)
	annotations := o.GetAnnotations()
	delete(annotations, intent.Injected)
	o.SetAnnotations(annotations)
}

// dialectByKeys is the dialect that an Ingress without a class is written in: the one whose annotations it bears, where
// it bears those of one; else drawbridge's own.
func dialectByKeys(ing *networkingv1.Ingress) *intent.Dialect {
	var found *intent.Dialect
	for key := range ing.Annotations {
		for _, d := range intent.Dialects {
			if d != intent.Drawbridge && d.Speaks() && !shared(d) && hasPrefix(d, key) {
				if found != nil && found != d {
					return intent.Drawbridge
				}
				found = d
			}
		}
	}
	if found == nil {
		return intent.Drawbridge
	}
	return found
}

// shared tells of a dialect whose prefix is drawbridge's own too.
func shared(d *intent.Dialect) bool { return d == intent.TrafficServer }

func hasPrefix(d *intent.Dialect, key string) bool {
	return slices.ContainsFunc(d.Prefixes, func(p string) bool { return strings.HasPrefix(key, p) })
}

func (t *translation) service(namespace, name string) *service {
	key := namespace + "/" + name
	if s := t.services[key]; s != nil {
		return s
	}
	given := t.world.Service(namespace, name)
	if given == nil {
		return nil
	}
	s := &service{given: given, bare: given.DeepCopy(), write: map[string]string{}, ports: map[string][]string{}, carried: map[string]bool{}, why: map[string]string{}}
	unmark(s.bare)
	t.services[key] = s
	return s
}

func backendsOf(ing *networkingv1.Ingress) []*networkingv1.IngressBackend {
	var list []*networkingv1.IngressBackend
	if ing.Spec.DefaultBackend != nil {
		list = append(list, ing.Spec.DefaultBackend)
	}
	for i := range ing.Spec.Rules {
		if http := ing.Spec.Rules[i].HTTP; http != nil {
			for j := range http.Paths {
				list = append(list, &http.Paths[j].Backend)
			}
		}
	}
	return list
}

// carry writes the wishes of an Ingress in the new dialect.
func (t *translation) carry(in *ingress) {
	t.carryPaths(in)
	// Verification comes last: a CA may ask for it already.
	for _, wish := range [...]intent.Wish{
		intent.WishHost, intent.WishProtocol, intent.WishServerName, intent.WishCASecret, intent.WishClientCert, intent.WishVerify,
	} {
		t.carryWish(in, wish)
	}
	t.comparePorts(in)
}

// valueOf is what a backend wants, in words that the new dialect has.
func (t *translation) valueOf(in *ingress, b backend, wish intent.Wish) (value, annotation string) {
	value, annotation = b.wishes.Get(wish)
	switch {
	case wish == intent.WishVerify && value == "" && !in.from.Unverified && t.to.Unverified && b.wishes.For(b.before).Protocol.TLS():
		// What was verified by default is to be verified still.
		value = "on"
	case wish == intent.WishHost && strings.HasPrefix(value, "rewrite:"):
		name := strings.TrimPrefix(value, "rewrite:")
		if _, can := t.to.Spell(wish, value, intent.Target{}); !can && b.after.Kind == intent.ExternalName && hostOnly(name) == b.after.Name {
			value = "node"
		}
	}
	return value, annotation
}

func hostOnly(host string) string {
	name, _, _ := strings.Cut(host, ":")
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

// carryWish writes one wish for all backends that have it.
func (t *translation) carryWish(in *ingress, wish intent.Wish) {
	if len(in.backends) == 0 {
		value, annotation := intent.Read(in.from, in.said).Get(wish)
		if value != "" {
			in.refuse(annotation, "no backend is a Service")
		}
		return
	}
	groups := map[string][]backend{}
	var values []string
	annotations := map[string]bool{}
	for _, b := range in.backends {
		value, annotation := t.valueOf(in, b, wish)
		if annotation != "" {
			annotations[annotation] = true
		}
		if _, had := groups[value]; !had {
			values = append(values, value)
		}
		groups[value] = append(groups[value], b)
	}
	if len(values) == 1 && values[0] == "" {
		return
	}
	fail := func(why string) {
		for key := range annotations {
			in.refuse(key, why)
			for _, with := range t.companions(in, wish, key) {
				in.refuse(with, "it goes with `"+key+"`, which is not carried over")
			}
		}
		if len(annotations) == 0 && wish == intent.WishVerify {
			t.lose(in.given, "spec", "", "the upstream's certificate was verified; "+why)
		}
	}
	for _, value := range values {
		if value == "" {
			continue
		}
		_, can := t.to.Spell(wish, value, intent.Target{})
		switch {
		case !can && t.already(wish, value, in, groups[value]):
		case !can:
			why := "has no annotation for it"
			if l := t.to.Limit(wish); l != nil {
				why = l.Why + "; " + l.Instead
			}
			fail(t.to.Title + " " + why)
			return
		case len(values) > 1 && !t.to.PerService(wish, value) && !t.isDefault(wish, value):
			fail(fmt.Sprintf("in %s it holds for every backend of the Ingress, and Service '%s' and another want different things; write an Ingress for each", t.to.Title, groups[value][0].name()))
			return
		}
	}
	for _, value := range values {
		if _, can := t.to.Spell(wish, value, intent.Target{}); value != "" && can {
			if why := t.put(in, wish, value, groups[value]); why != "" {
				fail(why)
				return
			}
		}
	}
	for key := range annotations {
		if isPartial(in.from, key) && !in.saysJust(wish, key, values) {
			in.refuse(key, "it says more than what is carried over; write the rest anew for "+t.to.Title)
			continue
		}
		t.carried(in, wish, key)
		t.ambiguous(in, wish, key)
	}
}

// refuse notes why an annotation, of the Ingress or of a Service, is not carried over.
func (in *ingress) refuse(key, why string) {
	in.why[key] = why
	for _, b := range in.backends {
		if b.svc != nil {
			b.svc.why[key] = why
		}
	}
}

// saysJust tells whether the text of an annotation is what the dialect writes for one of the values.
func (in *ingress) saysJust(wish intent.Wish, key string, values []string) bool {
	for _, value := range values {
		written, _ := in.from.Spell(wish, value, intent.Target{Namespace: in.given.Namespace})
		for _, a := range written {
			if a.Key == key && strings.TrimSpace(in.said[key]) == a.Text {
				return true
			}
		}
	}
	return false
}

// already tells whether what was written so far asks for a wish too.
func (t *translation) already(wish intent.Wish, value string, in *ingress, group []backend) bool {
	for _, b := range group {
		var svc *corev1.Service
		if b.svc != nil {
			svc = b.svc.bare.DeepCopy()
			svc.Annotations = b.svc.write
		}
		if got, _ := intent.ReadBackend(t.to, in.write, svc, b.at.Service.Port).Get(wish); got != value {
			return false
		}
	}
	return true
}

// companions are the annotations that the old dialect writes beside one for a wish, and that are set.
func (t *translation) companions(in *ingress, wish intent.Wish, key string) []string {
	var list []string
	for i := range in.from.Spellings {
		s := &in.from.Spellings[i]
		if s.Wish != wish || !slices.ContainsFunc(s.Write, func(a intent.Annotation) bool { return a.Key == key }) {
			continue
		}
		for _, a := range s.Write {
			if _, set := in.said[a.Key]; set && a.Key != key && !slices.Contains(intent.KeyOwners(a.Key), in.from) {
				list = append(list, a.Key)
			}
		}
	}
	return list
}

// ambiguous tells of an annotation by which the old dialect says another wish too, that is not read as such.
func (t *translation) ambiguous(in *ingress, wish intent.Wish, key string) {
	for i := range in.from.Spellings {
		s := &in.from.Spellings[i]
		if s.Wish != intent.WishClientCert || wish == s.Wish || !slices.ContainsFunc(s.Write, func(a intent.Annotation) bool { return a.Key == key }) {
			continue
		}
		instead := t.limit(s.Wish)
		if written, can := t.to.Spell(s.Wish, in.said[key], intent.Target{Namespace: in.given.Namespace}); can && len(written) > 0 {
			instead = fmt.Sprintf("write `%s: \"%s\"`", written[0].Key, written[0].Text)
			if written[0].On == intent.OnService {
				instead += " on the Service"
			}
		}
		t.lose(in.given, annotationField(key), "", "the Secret is carried over as a CA; where it holds a client certificate too: "+instead)
		return
	}
}

// isDefault tells of a value that takes no annotation.
func (t *translation) isDefault(wish intent.Wish, value string) bool {
	written, ok := t.to.Spell(wish, value, intent.Target{})
	return ok && len(written) == 0
}

// put writes a value for some backends; why tells where it can not.
func (t *translation) put(in *ingress, wish intent.Wish, value string, group []backend) (why string) {
	type line struct {
		svc *service
		key string
	}
	onIngress, order := map[string][]string{}, []string{}
	onService := map[line]string{}
	ports := map[line][]string{}
	for _, b := range group {
		target := intent.Target{
			Host: b.wishes.For(b.after).Host, Namespace: in.given.Namespace, Service: b.name(), Ports: intent.PortText(b.at.Service.Port),
		}
		if value == "node" && target.Host == "" {
			target.Host = b.after.Name
		}
		written, _ := t.to.Spell(wish, value, target)
		for _, a := range written {
			if a.On == intent.OnService {
				if b.svc == nil {
					return fmt.Sprintf("it stands on Service '%s' in %s, which is not among the files: write `%s: \"%s\"` there", b.name(), t.to.Title, a.Key, a.Text)
				}
				at := line{b.svc, a.Key}
				if t.listsPorts(a.Key) {
					ports[at] = append(ports[at], a.Text)
				} else if was, set := b.svc.write[a.Key]; set && was != a.Text {
					return fmt.Sprintf("another Ingress wants `%s: \"%s\"` on Service '%s'", a.Key, was, b.name())
				}
				onService[at] = a.Text
				continue
			}
			if _, had := onIngress[a.Key]; !had {
				order = append(order, a.Key)
			}
			if !slices.Contains(onIngress[a.Key], a.Text) {
				onIngress[a.Key] = append(onIngress[a.Key], a.Text)
			}
		}
	}
	for _, key := range order {
		separator := t.separator(key)
		if separator == "" && len(onIngress[key]) > 1 {
			return fmt.Sprintf("in %s it holds for every backend of the Ingress, and they want different things; write an Ingress for each", t.to.Title)
		}
		text := strings.Join(onIngress[key], separator)
		if was, set := in.write[key]; set && was != text {
			if separator == "" {
				return fmt.Sprintf("`%s` says '%s' already", key, was)
			}
			text = was + separator + text
		}
		in.write[key] = text
	}
	for at, text := range onService {
		if list, lists := ports[at]; lists {
			at.svc.ports[at.key] = append(at.svc.ports[at.key], list...)
		} else {
			at.svc.write[at.key] = text
		}
	}
	return ""
}

// separator parts the entries of an annotation that lists Services, "" for one that does not.
func (t *translation) separator(key string) string {
	for i := range t.to.Keys {
		if k := &t.to.Keys[i]; k.Annotation == key {
			switch k.Per {
			case intent.PerServices:
				return ","
			case intent.PerRewrites:
				return ";"
			}
		}
	}
	return ""
}

func (t *translation) listsPorts(key string) bool {
	return slices.ContainsFunc(t.to.Keys, func(k intent.Key) bool { return k.Annotation == key && k.Per == intent.PerPorts })
}

// carried notes that a wish is carried over, and with it every annotation of the old dialect that is about it.
func (t *translation) carried(in *ingress, wish intent.Wish, annotation string) {
	note := func(key string) {
		in.carried[key] = true
		for _, b := range in.backends {
			if b.svc != nil {
				b.svc.carried[key] = true
			}
		}
	}
	note(annotation)
	for i := range in.from.Keys {
		if k := &in.from.Keys[i]; k.Wish == wish && !partial(in.from, k) {
			note(k.Annotation)
		}
	}
	for i := range in.from.Spellings {
		if s := &in.from.Spellings[i]; s.Wish == wish {
			for _, a := range s.Write {
				if !isPartial(in.from, a.Key) {
					note(a.Key)
				}
			}
		}
	}
}

// partial tells of a key whose text may say more than the wish.
func partial(d *intent.Dialect, k *intent.Key) bool {
	return k.Parse != nil && !slices.ContainsFunc(d.Keys, func(other intent.Key) bool {
		return other.Annotation == k.Annotation && other.Parse == nil
	})
}

func isPartial(d *intent.Dialect, annotation string) bool {
	for i := range d.Keys {
		if d.Keys[i].Annotation == annotation && partial(d, &d.Keys[i]) {
			return true
		}
	}
	return false
}

// comparePorts tells of backends that the new controller would connect to on another port.
func (t *translation) comparePorts(in *ingress) {
	told := map[string]bool{}
	for _, b := range in.backends {
		if b.svc == nil || b.before.Kind != intent.ExternalName || b.before.Port == b.after.Port || told[b.name()] {
			continue
		}
		told[b.name()] = true
		t.lose(in.given, "spec", "", fmt.Sprintf("%s connects to port %d of Service '%s', and %s to port %d; write %d where the Ingress and the Service say %d",
			in.from.Title, b.before.Port, b.name(), t.to.Title, b.after.Port, b.before.Port, b.after.Port))
	}
}
