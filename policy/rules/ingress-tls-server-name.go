package rules

import (
	"fmt"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/intent"
)

var ingressTLSServerName = policy.Rule[*networkingv1.Ingress]{
	ID:      "ingress-tls-server-name",
	Levels:  policy.Same(policy.Deny),
	Unfixed: policy.Deny,
	Doc: policy.Doc{
		Summary: "An Ingress that verifies an external backend must have a name to verify.",
		Why: "TLS needs a name: for SNI, so that the server picks its certificate, and to compare with what the certificate " +
			"says. It is the server name of the annotation, else the Host that is sent. To bare addresses, from a rule without " +
			"host, there is neither, and every handshake fails. A name that can not be the upstream's is a warning: an address, " +
			"a name of the cluster for a site outside of it, the client's Host for a stranger's site, and 'upstream_balancer', " +
			"which ingress-nginx verifies where nobody tells it a name. Where nothing is verified nothing is judged.",
		Bad: exampleAddresses + `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: partner
  namespace: team-a
  annotations:
    ingress.kubernetes.io/backend-protocol: HTTPS
spec:
  ingressClassName: drawbridge
  rules:
  - http:
      paths:
      - path: /partner
        pathType: Prefix
        backend:
          service:
            name: partner
            port:
              number: 443
`,
		Good: exampleAddresses + `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: partner
  namespace: team-a
  annotations:
    ingress.kubernetes.io/backend-protocol: HTTPS
    ingress.kubernetes.io/tls-server-name: api.partner.example
spec:
  ingressClassName: drawbridge
  rules:
  - http:
      paths:
      - path: /partner
        pathType: Prefix
        backend:
          service:
            name: partner
            port:
              number: 443
`,
		Since:  "0.2.0",
		Source: "https://www.rfc-editor.org/rfc/rfc9110#section-4.3.4, https://github.com/kubernetes/ingress-nginx/issues/4928",
	},
	Check: func(p *policy.Pass[*networkingv1.Ingress]) {
		ing := p.Object
		if spared(ing) {
			return
		}
		d, served := dialectOf(p)
		if !served || d.PassesTLS(ing.Annotations) {
			return
		}
		services := lookupOf[struct{}](p)
		findings := limited{report: p.Warn}
		seen := map[string]bool{}
		var before backendAt
		reported := false
		for _, at := range backendsOf(ing) {
			// The paths of a rule lead to the same Service more often than not.
			same := before.IngressBackend != nil && at.rule == before.rule && at.Service != nil && *at.Service == *before.Service
			if at.Service == nil || same && !reported {
				continue
			}
			before, reported = at, false
			k, _ := services.get(at.Service.Name)
			if k.svc == nil {
				continue
			}
			b, _, err := d.BackendOf(k.svc, at.Service.Port, p.Config.ClusterDomain)
			if err != nil || !b.External() {
				continue
			}
			host := ""
			if at.rule >= 0 {
				host = ing.Spec.Rules[at.rule].Host
			}
			w := intent.ReadBackend(d, ing.Annotations, k.svc, at.Service.Port)
			u := w.For(b)
			if !u.Protocol.TLS() || !verifies(d, w) {
				continue
			}
			nameless := b.Kind == intent.Addresses && u.ServerName == "" && u.Host == "" && host == "" && !isNginx(d)
			why, of := wrongName(d, w, u, b, host, p.Config.ClusterDomain)
			// Of what is half, and so verifies nothing, there is a finding already.
			if !nameless && why == "" || len(d.Halves(ing.Annotations, k.svc, at.Service.Port, b)) > 0 {
				continue
			}
			if nameless {
				reported = true
				err := field.Required(at.field(), "must have a name to verify: TLS to addresses, from a rule without host, has none; "+nameInstead(d))
				if p.Stored || at.rule < 0 && len(ing.Spec.Rules) > 0 {
					// What is stored fails by itself, path by path; a default backend gets what the rules leave over, of
					// their hosts too.
					p.Warn(err)
				} else {
					p.Report(err, nil)
				}
				continue
			}
			path, bad := at.field().Child("service", "name"), at.Service.Name
			if of != "" && ing.Annotations[of] != "" {
				path, bad = annotationPath(of), ing.Annotations[of]
			}
			if key := path.String(); !seen[key] {
				seen[key] = true
				findings.add(func() *field.Error { return field.Invalid(path, bad, why+"; "+nameInstead(d)) })
			}
		}
		findings.done(field.NewPath("spec"), "backends must be verified by a name of theirs")
	},
}

// verifies tells whether the certificate of an upstream is verified.
func verifies(d *intent.Dialect, w intent.Wishes) bool {
	v, _ := w.Get(intent.WishVerify)
	return v == "on" || v == "" && !d.Unverified
}

// isNginx tells of the controller whose name to verify never follows from the Host: nginx takes that of its upstream
// group, which is 'upstream_balancer' for all.
func isNginx(d *intent.Dialect) bool { return d == intent.IngressNginx }

// wrongName says why the name that is verified can not be the upstream's, and which annotation says that name; both are
// empty where it can.
func wrongName(d *intent.Dialect, w intent.Wishes, u intent.Upstream, b intent.Backend, ruleHost, clusterDomain string) (why, annotation string) {
	name, said := w.Get(intent.WishServerName)
	if name == "" {
		if isNginx(d) {
			_, said = w.Get(intent.WishVerify)
			return "must verify a name of the upstream; without one ingress-nginx takes 'upstream_balancer'", said
		}
		_, said = w.Get(intent.WishHost)
		name = hostOnly(u.Host)
	}
	passed := name == ""
	if passed {
		name = ruleHost
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	switch {
	case name == "" || strings.Contains(name, "$"):
		return "", ""
	case isIP(name):
		return "must verify a DNS name of the upstream, not the address '" + quoted(name) + "'", said
	case b.Kind != intent.ExternalName || b.Internal:
		return "", ""
	case intent.Internal(name, clusterDomain):
		return fmt.Sprintf("must verify a name of '%s', not '%s', a name inside the cluster", quoted(b.Name), quoted(name)), said
	case passed && !related(name, b.Name):
		return fmt.Sprintf("must verify a name of '%s', not the client's Host '%s'", quoted(b.Name), quoted(name)), said
	}
	return "", ""
}

// related tells whether two names may be one site's: they end in the same two labels, or one is a wildcard's.
func related(a, b string) bool { return lastLabels(a) == lastLabels(b) }

func lastLabels(name string) string {
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return name
	}
	return name[strings.LastIndexByte(name[:i], '.')+1:]
}

// nameInstead says how a dialect says which name to verify.
func nameInstead(d *intent.Dialect) string {
	if written, ok := d.Spell(intent.WishServerName, "api.example.com", intent.Target{Host: "api.example.com"}); ok && len(written) > 0 {
		return "write it in `" + written[len(written)-1].Key + "`"
	}
	if l := d.Limit(intent.WishServerName); l != nil {
		return l.Instead
	}
	return "give the rule a host"
}
