package rules

import (
	"fmt"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/intent"
)

var ingressMixedBackends = policy.Rule[*networkingv1.Ingress]{
	ID:     "ingress-mixed-backends",
	Levels: policy.Same(policy.Warn),
	Doc: policy.Doc{
		Summary: "An Ingress must hold apart backends that need different annotations.",
		Why: "Most annotations hold for every path of an Ingress. The Host and the protocol that suit an external service break " +
			"the pods beside it, and the reverse: pods that get a stranger's Host answer with 404, an external site that gets " +
			"the client's answers with a page that is not meant. Nothing is injected then, but in a dialect that can say it for one " +
			"Service. Several Ingresses may have the same host: each path in the one whose annotations suit it. drawbridge's own " +
			"proxy judges each backend by itself.",
		Bad: exampleAlias + exampleWeb + `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: shop
  namespace: team-a
  annotations:
    nginx.ingress.kubernetes.io/upstream-vhost: api.example.com
spec:
  ingressClassName: nginx
  rules:
  - host: shop.team-a.example
    http:
      paths:
      - path: /api
        pathType: Prefix
        backend:
          service:
            name: api
            port:
              number: 80
      - path: /
        pathType: Prefix
        backend:
          service:
            name: web
            port:
              number: 80
`,
		Good: exampleAlias + exampleWeb + `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: shop-api
  namespace: team-a
  annotations:
    nginx.ingress.kubernetes.io/upstream-vhost: api.example.com
spec:
  ingressClassName: nginx
  rules:
  - host: shop.team-a.example
    http:
      paths:
      - path: /api
        pathType: Prefix
        backend:
          service:
            name: api
            port:
              number: 80
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: shop
  namespace: team-a
spec:
  ingressClassName: nginx
  rules:
  - host: shop.team-a.example
    http:
      paths:
      - path: /
        pathType: Prefix
        backend:
          service:
            name: web
            port:
              number: 80
`,
		Since:  "0.2.0",
		Source: "https://kubernetes.github.io/ingress-nginx/user-guide/nginx-configuration/annotations/, where upstream-vhost and backend-protocol hold for all locations of an Ingress",
	},
	Check: func(p *policy.Pass[*networkingv1.Ingress]) {
		ing := p.Object
		if spared(ing) || !severalBackends(ing) {
			return
		}
		d, served := dialectOf(p)
		if !served || d.PassesTLS(ing.Annotations) {
			return
		}
		targets := targetsOf(p)
		m := mixtureOf(d, targets, p.Config.ClusterDomain)
		if !m.mixed() {
			return
		}
		w := intent.Read(d, ing.Annotations)
		if warnOfHost(p, d, w, m) {
			return
		}
		warnOfProtocol(p, d, w, m)
	},
}

// severalBackends tells whether an Ingress has more than one backend.
func severalBackends(ing *networkingv1.Ingress) bool {
	n := 0
	if ing.Spec.DefaultBackend != nil {
		n++
	}
	for i := range ing.Spec.Rules {
		if http := ing.Spec.Rules[i].HTTP; http != nil {
			n += len(http.Paths)
		}
	}
	return n > 1
}

// mixture is the backends of an Ingress, those outside the cluster and those inside it.
type mixture struct{ outside, inside []judgedAt }

// judgedAt is a backend and what is known of it.
type judgedAt struct {
	targetAt
	intent.Backend
}

func (m mixture) mixed() bool { return len(m.outside) > 0 && len(m.inside) > 0 }

func mixtureOf(d *intent.Dialect, targets []targetAt, clusterDomain string) mixture {
	var m mixture
	for _, t := range targets {
		b, _, err := d.BackendOf(t.svc, t.Service.Port, clusterDomain)
		switch {
		case err != nil:
		case b.External() && !b.Internal:
			m.outside = append(m.outside, judgedAt{t, b})
		default:
			m.inside = append(m.inside, judgedAt{t, b})
		}
	}
	return m
}

func isMixed(d *intent.Dialect, targets []targetAt, clusterDomain string) bool {
	return len(targets) > 1 && mixtureOf(d, targets, clusterDomain).mixed()
}

// split says how to part two backends: a second Ingress for one of them.
func split(ing *networkingv1.Ingress, of judgedAt) string {
	return fmt.Sprintf("write a second Ingress '%s-%s' with the same host for Service '%s'", quoted(ing.Name), quoted(of.svc.Name), quoted(of.svc.Name))
}

// warnOfHost tells whether the Host that suits one backend breaks another one.
func warnOfHost(p *policy.Pass[*networkingv1.Ingress], d *intent.Dialect, w intent.Wishes, m mixture) bool {
	ing := p.Object
	alias := first(m.outside, func(j judgedAt) bool { return j.Kind == intent.ExternalName })
	if alias == nil {
		return false
	}
	value, annotation := w.Get(intent.WishHost)
	host, rewrites := strings.CutPrefix(value, "rewrite:")
	switch {
	case rewrites:
		meant := first(m.outside, func(j judgedAt) bool { return strings.EqualFold(j.Name, hostOnly(host)) })
		if meant == nil {
			return false
		}
		p.Report(field.Invalid(annotationPath(annotation), ing.Annotations[annotation], fmt.Sprintf(
			"must not hold for Service '%s' too; %s", quoted(m.inside[0].svc.Name), split(ing, *meant))), nil)
		return true
	case value == "pass":
		p.Report(field.Invalid(annotationPath(annotation), ing.Annotations[annotation], fmt.Sprintf(
			"must not hold for Service '%s' too, which needs '%s' as Host; %s", quoted(alias.svc.Name), quoted(alias.Name), split(ing, *alias))), nil)
		return true
	case value != "" || d == intent.Drawbridge || d.NodeHost || d.Says(intent.WishHost, ing.Annotations) || d.PerService(intent.WishHost, "node"):
		return false
	}
	// One Service may say it itself, in dialects that let it.
	if v, _ := intent.ReadBackend(d, ing.Annotations, alias.svc, alias.Service.Port).Get(intent.WishHost); v != "" {
		return false
	}
	written, can := d.Spell(intent.WishHost, "node", intent.Target{Host: alias.Name})
	if !can || len(written) == 0 {
		return false
	}
	p.Report(field.Invalid(alias.field().Child("service", "name"), alias.svc.Name, fmt.Sprintf(
		"must get '%s' as Host, and `%s` would hold for Service '%s' too; %s", quoted(alias.Name), written[0].Key, quoted(m.inside[0].svc.Name), split(ing, *alias))), nil)
	return true
}

// warnOfProtocol tells of a protocol that suits one backend and breaks another one.
func warnOfProtocol(p *policy.Pass[*networkingv1.Ingress], d *intent.Dialect, w intent.Wishes, m mixture) {
	ing := p.Object
	value, annotation := w.Get(intent.WishProtocol)
	if value == "" {
		return
	}
	tls := intent.Protocol(value).TLS()
	// A backend whose Service says something of its own is not concerned.
	concerned := func(j judgedAt) bool {
		return intent.ReadBackend(d, ing.Annotations, j.svc, j.Service.Port).Place(intent.WishProtocol) == intent.OnIngress
	}
	suits := func(j judgedAt) bool { return tls == maySpeakTLS(j.Backend) && concerned(j) }
	breaks := func(j judgedAt) bool { return tls != maySpeakTLS(j.Backend) && concerned(j) }
	of, beside := first(m.outside, suits), first(m.inside, breaks)
	broken := beside
	if of == nil || beside == nil {
		of, beside = first(m.outside, breaks), first(m.inside, suits)
		if broken = of; of == nil || beside == nil {
			return
		}
	}
	p.Report(field.Invalid(annotationPath(annotation), ing.Annotations[annotation], fmt.Sprintf(
		"must not hold for port %d of Service '%s' too; %s", broken.Port, quoted(broken.svc.Name), split(ing, *of))), nil)
}

// maySpeakTLS tells that a port looks like one of TLS: 443, 8443 and the like, or by its name or appProtocol.
func maySpeakTLS(b intent.Backend) bool {
	return speaksTLS(b) || !speaksPlain(b) && (strings.HasPrefix(b.PortName, "https") || b.Port%1000 == 443)
}

func first(list []judgedAt, is func(judgedAt) bool) *judgedAt {
	for i := range list {
		if is(list[i]) {
			return &list[i]
		}
	}
	return nil
}

// hostOnly is a Host without its port.
func hostOnly(host string) string {
	name, _, _ := strings.Cut(host, ":")
	return strings.TrimSuffix(name, ".")
}
