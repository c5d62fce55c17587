package rules

import (
	"fmt"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/intent"
)

var ingressHostOwner = policy.Rule[*networkingv1.Ingress]{
	ID:      "ingress-host-owner",
	Levels:  policy.Same(policy.Deny),
	Unfixed: policy.Deny,
	Guard:   true,
	Doc: policy.Doc{
		Summary: "An Ingress must use hosts that belong to its namespace.",
		Why: "A host is nobody's in Kubernetes: an Ingress of another namespace can take a path of it, or all of it where the " +
			"first one goes away, and read passwords and cookies that are meant for its neighbor. The policy's list `hosts` says " +
			"whose a host is: rules, wildcards, hosts of certificates, and the further names that some annotations bring are " +
			"judged by it, and so is what only looks like such a host. A host that the policy does not give to anybody is a " +
			"warning where another namespace had it first, under the same class.",
		Bad: exampleWeb + `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: shop
  namespace: shop
  creationTimestamp: "2026-01-01T00:00:00Z"
spec:
  ingressClassName: drawbridge
  rules:
  - host: shop.example.com
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web
  namespace: team-a
spec:
  ingressClassName: drawbridge
  rules:
  - host: shop.example.com
    http:
      paths:
      - path: /login
        pathType: Prefix
        backend:
          service:
            name: web
            port:
              number: 80
`,
		Good: exampleWeb + `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: shop
  namespace: shop
  creationTimestamp: "2026-01-01T00:00:00Z"
spec:
  ingressClassName: drawbridge
  rules:
  - host: shop.example.com
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web
  namespace: team-a
spec:
  ingressClassName: drawbridge
  rules:
  - host: web.team-a.example
    http:
      paths:
      - path: /login
        pathType: Prefix
        backend:
          service:
            name: web
            port:
              number: 80
`,
		Since:  "0.2.0",
		Source: "https://github.com/torchbox/k8s-ts-ingress, domain-access-list; https://github.com/kubernetes-sigs/gateway-api/blob/main/apis/v1/httproute_types.go, hostnames",
	},
	Check: func(p *policy.Pass[*networkingv1.Ingress]) {
		ing := p.Object
		spec := field.NewPath("spec")
		if len(p.Config.Hosts) > 0 {
			if ing.Spec.DefaultBackend != nil && len(ing.Spec.Rules) == 0 {
				judgeOwner(p, "", "", func() *field.Path { return spec.Child("defaultBackend") })
			}
			for i := range ing.Spec.Rules {
				host := ing.Spec.Rules[i].Host
				judgeOwner(p, host, host, func() *field.Path { return spec.Child("rules").Index(i).Child("host") })
			}
			for i := range ing.Spec.TLS {
				for j, host := range ing.Spec.TLS[i].Hosts {
					judgeOwner(p, host, host, func() *field.Path { return spec.Child("tls").Index(i).Child("hosts").Index(j) })
				}
			}
			for _, key := range hostAnnotations {
				text, set := ing.Annotations[key]
				if !set {
					continue
				}
				for host := range entries(text, true) {
					if strings.HasPrefix(host, "~") || strings.HasSuffix(key, "-regex") {
						if owned, ok := p.Config.OwnsHost(ing.Namespace, ""); !ok {
							p.Report(field.Invalid(annotationPath(key), text,
								fmt.Sprintf("must be host names: a regular expression may take in '%s', which the policy gives to other namespaces", quoted(owned))), nil)
						}
						continue
					}
					judgeOwner(p, host, text, func() *field.Path { return annotationPath(key) })
				}
			}
		}
		var seen map[string]bool
		if len(ing.Spec.Rules) > 1 {
			seen = make(map[string]bool, len(ing.Spec.Rules))
		}
		findings, left := limited{report: p.Warn}, maxHosts
		for i := range ing.Spec.Rules {
			host := strings.ToLower(ing.Spec.Rules[i].Host)
			if host == "" || seen[host] {
				continue
			}
			if seen != nil {
				seen[host] = true
			}
			if _, ok := p.Config.OwnsHost(ing.Namespace, host); !ok {
				continue // it was reported
			}
			if left--; left < 0 {
				break
			}
			if other := firstOf(p.World.IngressesOf(host), ing); other != nil {
				findings.add(func() *field.Error {
					return field.Invalid(spec.Child("rules").Index(i).Child("host"), ing.Spec.Rules[i].Host,
						fmt.Sprintf("must not be a host of another namespace: '%s' had it first; write one of your own, or ask for it in the policy (`hosts`)", quoted(other.Namespace)))
				})
			}
		}
		findings.done(spec, "hosts must not be those of other namespaces")
	},
}

// maxHosts bounds the hosts of an Ingress of which others are asked, and maxSharing the Ingresses of a host that are
// looked at: whoever writes many Ingresses of many hosts would make each the slower. It is a warning that they may miss.
const (
	maxHosts   = 64
	maxSharing = 1000
)

// hostAnnotations are annotations that give an Ingress further hosts, by commas; an entry that begins with '~', and what
// stands in a key that ends in -regex, is a regular expression. They are judged whichever controller serves the Ingress.
// Sources: the annotations of ingress-nginx, Kong and jcmoraisjr's controller, where redirect-from takes a host too.
var hostAnnotations = []string{
	"nginx.ingress.kubernetes.io/server-alias",
	"konghq.com/host-aliases",
	"haproxy-ingress.github.io/server-alias",
	"haproxy-ingress.github.io/server-alias-regex",
	"haproxy-ingress.github.io/redirect-from",
	"haproxy-ingress.github.io/redirect-from-regex",
	"ingress.kubernetes.io/server-alias",
	"ingress.kubernetes.io/server-alias-regex",
	"ingress.kubernetes.io/redirect-from",
	"ingress.kubernetes.io/redirect-from-regex",
}

// judgeOwner reports a host that the policy gives to other namespaces, or that looks like one.
func judgeOwner(p *policy.Pass[*networkingv1.Ingress], host, shown string, path func() *field.Path) {
	namespace := p.Object.Namespace
	owned, ok := p.Config.OwnsHost(namespace, host)
	like := ""
	if ok {
		if like = scriptOf(strings.ToLower(host)).Like; like != "" {
			owned, ok = p.Config.OwnsHost(namespace, like)
		}
	}
	switch {
	case ok:
	case like != "":
		p.Report(field.Invalid(path(), shown, fmt.Sprintf("must not look like '%s': the policy gives '%s' to other namespaces", quoted(like), quoted(owned))), nil)
	case host == "":
		p.Report(field.Required(path(), fmt.Sprintf("must have a host: without one it takes in '%s', which the policy gives to other namespaces", quoted(owned))), nil)
	default:
		p.Report(field.Invalid(path(), shown, fmt.Sprintf("must be a host of namespace '%s': the policy gives '%s' to others", quoted(namespace), quoted(owned))), nil)
	}
}

// firstOf is an Ingress of another namespace and the same class that is older than one; nil where there is none. Of two
// that are as old, as in files, the one whose namespace and name come first counts as older.
func firstOf(list []*networkingv1.Ingress, ing *networkingv1.Ingress) *networkingv1.Ingress {
	class := intent.ClassName(ing)
	for _, other := range list[:min(len(list), maxSharing)] {
		if other.Namespace != ing.Namespace && intent.ClassName(other) == class && older(other, ing) {
			return other
		}
	}
	return nil
}

func older(a, b *networkingv1.Ingress) bool {
	x, y := a.CreationTimestamp, b.CreationTimestamp
	switch {
	case x.IsZero() != y.IsZero():
		return y.IsZero() // what has no date is only being made
	case !x.Equal(&y):
		return x.Before(&y)
	case a.Namespace != b.Namespace:
		return a.Namespace < b.Namespace
	}
	return a.Name < b.Name
}
