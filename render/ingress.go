package render

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/intent"
)

// ingress is an Ingress as it is served: mended, read and indexed.
type ingress struct {
	name    name
	served  bool
	object  *networkingv1.Ingress
	dialect *intent.Dialect
	// wishes are those that hold for all its backends; [ingress.wishesFor] are those for one.
	wishes intent.Wishes
	denied denials
	// passesTLS tells that TLS is to reach the backend unread, which nothing here can do.
	passesTLS bool
	// access is the dialect by which access is judged: every dialect together where nobody knows which one it is.
	access *intent.Dialect
	// rules are the indices of the rules of a host.
	rules map[string][]int
	// tls are the indices of the TLS entries by host; those that name none are under "".
	tls map[string][]int
	// problems are those of the Ingress as a whole; they are told of with each of its hosts.
	problems []Problem
}

// wishesFor are the wishes for one backend: what its Service says counts too. svc is nil where it is not known.
func (in *ingress) wishesFor(svc *corev1.Service, backend *networkingv1.IngressBackend) intent.Wishes {
	if svc == nil || backend.Service == nil {
		return in.wishes
	}
	return intent.ReadBackend(in.dialect, in.object.Annotations, svc, backend.Service.Port)
}

// restricted tells why a route to a Service must not be served: an annotation restricts who is, and nothing here does
// that. shared tells why it must not be served, nor keep its requests from others. Both are empty where it may be.
func (in *ingress) restricted(svc *corev1.Service) (why, shared string) {
	first := func(find func(map[string]string, intent.Place) []string) string {
		if list := find(in.object.Annotations, intent.OnIngress); len(list) > 0 {
			return "annotation " + quote(list[0])
		}
		if svc != nil {
			if list := find(svc.Annotations, intent.OnService); len(list) > 0 {
				return "annotation " + quote(list[0]) + " of Service " + quote(svc.Namespace+"/"+svc.Name)
			}
		}
		return ""
	}
	if key := first(in.access.Restricting); key != "" {
		return key + " restricts who is served, or may, and this proxy can not do it", ""
	}
	if key := first(in.access.Sharing); key != "" {
		return "", key + " asks for some of the requests only, which this proxy can not do"
	}
	return "", ""
}

func (b *builder) ingress(n name) *ingress {
	if known := b.ingresses[n]; known != nil {
		return known
	}
	in := &ingress{name: n, object: b.snapshot.ingresses.get(n)}
	b.ingresses[n] = in
	if !b.serves(in.object) {
		return in
	}
	in.served = true
	res := b.review(in.object, ingressWorld{around{b: b}})
	in.object = res.Object.(*networkingv1.Ingress)
	in.denied = denialsOf(res.Denied)
	var known bool
	in.dialect, known = b.config.DialectOf(in.object, b.snapshot.IngressClass)
	in.wishes = intent.Read(in.dialect, in.object.Annotations)
	in.passesTLS = in.dialect.PassesTLS(in.object.Annotations)
	in.access = in.dialect
	if !known || intent.ClassName(in.object) == "" {
		in.access = intent.AnyDialect()
	}
	in.rules, in.tls = map[string][]int{}, map[string][]int{}
	for i := range in.object.Spec.Rules {
		host := strings.ToLower(in.object.Spec.Rules[i].Host)
		in.rules[host] = append(in.rules[host], i)
	}
	for i := range in.object.Spec.TLS {
		entry := &in.object.Spec.TLS[i]
		if len(entry.Hosts) == 0 {
			in.tls[""] = append(in.tls[""], i)
		}
		for _, host := range entry.Hosts {
			if host = strings.ToLower(host); host != "" {
				in.tls[host] = append(in.tls[host], i)
			}
		}
	}

	tell := func(field string, kind Kind, text string) {
		in.problems = append(in.problems, Problem{kind, b.origin("Ingress", n, field), line(text)})
	}
	if len(validation.IsDNS1123Label(n.Namespace)) > 0 || len(validation.IsDNS1123Subdomain(n.Name)) > 0 {
		// Neither comes out of an API server; a file may say anything.
		in.denied.all = append(in.denied.all, "namespace and name must be DNS names")
	}
	for _, invalid := range in.wishes.Invalid {
		tell(annotationField(invalid.Annotation), BadAnnotation,
			fmt.Sprintf("must be '%s', not %s; it is ignored", strings.Join(invalid.Allowed, "', '"), quote(invalid.Value)))
	}
	_, ca := in.wishes.Get(intent.WishCASecret)
	_, client := in.wishes.Get(intent.WishClientCert)
	for _, annotation := range slices.Compact([]string{ca, client}) {
		if annotation != "" {
			tell(annotationField(annotation), NotSupported, "Secrets for upstreams are not read; the upstream's certificate is verified against the proxy's own authorities")
		}
	}
	for _, annotation := range in.dialect.Snippets {
		if _, set := in.object.Annotations[annotation]; set {
			tell(annotationField(annotation), NotSupported, "raw configuration is not read; the Ingress is served without it")
		}
	}
	for _, annotation := range in.dialect.Missing(in.object.Annotations) {
		tell(annotationField(annotation), NotSupported, "this proxy does not do this; the Ingress is served without it")
	}
	if !known {
		tell("spec.ingressClassName", Notice, "annotations of class "+quote(intent.ClassName(in.object))+" are not known; of its annotations only drawbridge.dev/* are read")
	}
	in.unusedTLS(tell)
	in.problems = abridge(in.problems, b.origin("Ingress", n, ""))
	return in
}

// unusedTLS tells of TLS entries for hosts that the Ingress does not serve: a certificate is taken for the hosts of
// the Ingress's own rules only, or an Ingress could set the certificate of somebody else's host.
func (in *ingress) unusedTLS(tell func(string, Kind, string)) {
	parents := map[string]bool{}
	for host := range in.rules {
		parents[wildcardOf(host)] = true
	}
	for i := range in.object.Spec.TLS {
		for j, host := range in.object.Spec.TLS[i].Hosts {
			host = strings.ToLower(host)
			if len(in.rules[host]) == 0 && (!strings.HasPrefix(host, "*.") || !parents[host]) {
				tell(fmt.Sprintf("spec.tls[%d].hosts[%d]", i, j), Notice, "host "+quote(host)+" has no rule in this Ingress, so that its certificate is not used")
			}
		}
	}
}

// tlsFor are the TLS entries for a host, in their order.
func (in *ingress) tlsFor(host string) []int {
	entries := slices.Clone(in.tls[""])
	if host != "" {
		entries = append(entries, in.tls[host]...)
		if !strings.HasPrefix(host, "*.") {
			entries = append(entries, in.tls[wildcardOf(host)]...)
		}
	}
	slices.Sort(entries)
	return slices.Compact(entries)
}

// wildcardOf is the wildcard that covers a host.
func wildcardOf(host string) string {
	_, parent, _ := strings.Cut(host, ".")
	return "*." + parent
}

func annotationField(annotation string) string { return "metadata.annotations[" + annotation + "]" }

// serves tells whether an Ingress is of a class that is served.
func (b *builder) serves(ing *networkingv1.Ingress) bool {
	class := intent.ClassName(ing)
	switch {
	case class == "":
		return b.options.Classless
	case len(b.options.Classes) > 0:
		return slices.Contains(b.options.Classes, class)
	}
	if ic := b.snapshot.IngressClass(class); ic != nil {
		return slices.Contains(intent.Drawbridge.Controllers, ic.Spec.Controller)
	}
	return slices.Contains(intent.Drawbridge.Classes, class)
}

// compareAge puts the Ingress that was created first before the others.
func compareAge(a, b *ingress) int {
	return cmp.Or(
		a.object.CreationTimestamp.Compare(b.object.CreationTimestamp.Time),
		compareNames(a.name, b.name),
	)
}

// denials are the findings that deny an Ingress, by the part of it that they deny.
type denials struct {
	all   []string
	parts map[string][]string
}

// part finds the part of an Ingress that a finding's field is in: a path, a rule, the default backend or a TLS entry.
var part = regexp.MustCompile(`^spec\.(?:rules\[\d+\](?:\.http\.paths\[\d+\])?|defaultBackend|tls\[\d+\])`)

func denialsOf(findings []policy.Finding) denials {
	d := denials{parts: map[string][]string{}}
	for _, f := range findings {
		if p := part.FindString(f.Err.Field); p != "" {
			d.parts[p] = append(d.parts[p], f.Message())
		} else {
			d.all = append(d.all, f.Message())
		}
	}
	return d
}

func (d *denials) any() bool { return len(d.all) > 0 || len(d.parts) > 0 }

// of is what denies a part: findings of its own, of the rule that it is in, and of the whole Ingress.
func (d *denials) of(field string) []string {
	if !d.any() {
		return nil
	}
	list := slices.Clone(d.all)
	if rule, _, found := strings.Cut(field, ".http."); found {
		list = append(list, d.parts[rule]...)
	}
	return append(list, d.parts[field]...)
}
