package rules

import (
	"fmt"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/intent"
)

var ingressAnnotationValue = policy.Rule[*networkingv1.Ingress]{
	ID:      "ingress-annotation-value",
	Levels:  policy.Same(policy.Deny),
	Unfixed: policy.Deny,
	Doc: policy.Doc{
		Summary: "An Ingress must give an annotation a value that it can have.",
		Why: "A value that means nothing is passed over without a word, and the annotation does not do what it says. In " +
			"drawbridge's own dialect that is denied; in that of another controller, and of an Ingress without a class, it is a " +
			"warning, and so it is in an Ingress that is stored already: it was passed over all the time. The annotations of the Services that an Ingress leads to are read with it.",
		Bad: exampleAlias + `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: api
  namespace: team-a
  annotations:
    ingress.kubernetes.io/preserve-host: "no"
spec:
  ingressClassName: drawbridge
  rules:
  - host: api.team-a.example
    http:
      paths:
      - path: /
        pathType: Prefix
        backend:
          service:
            name: api
            port:
              number: 80
`,
		Good: exampleAlias + `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: api
  namespace: team-a
  annotations:
    ingress.kubernetes.io/preserve-host: "false"
spec:
  ingressClassName: drawbridge
  rules:
  - host: api.team-a.example
    http:
      paths:
      - path: /
        pathType: Prefix
        backend:
          service:
            name: api
            port:
              number: 80
`,
		Since:  "0.2.0",
		Source: "https://docs.nginx.com/nginx-ingress-controller/configuration/ingress-resources/advanced-configuration-with-annotations/#validation",
	},
	Check: func(p *policy.Pass[*networkingv1.Ingress]) {
		ing := p.Object
		if spared(ing) {
			return
		}
		d, _ := dialectOf(p)
		if len(ing.Annotations) > 0 {
			for _, bad := range intent.Read(d, ing.Annotations).Invalid {
				err := field.Invalid(annotationPath(bad.Annotation), bad.Value, mustMean(bad, ""))
				if !p.Stored && (strings.HasPrefix(bad.Annotation, intent.Prefix) || d == intent.Drawbridge && intent.ClassName(ing) != "") {
					p.Report(err, nil)
				} else {
					p.Warn(err)
				}
			}
			warnOfCaptures(p, d)
		}
		if !readsServices(d) {
			return
		}
		findings := limited{report: p.Warn}
		last := ""
		for _, t := range targetsOf(p) {
			if len(t.svc.Annotations) == 0 || t.svc.Name == last {
				continue
			}
			last = t.svc.Name
			for _, bad := range intent.ReadBackend(d, nil, t.svc, t.Service.Port).Invalid {
				findings.add(func() *field.Error {
					return field.Invalid(t.field().Child("service", "name"), t.svc.Name, mustMean(bad, " of that Service"))
				})
			}
		}
		findings.done(field.NewPath("spec"), "annotations of Services must have a value that they can mean")
	},
}

// warnOfCaptures tells of a rewrite that refers to groups of a path, which a proxy that replaces a prefix has none of.
// The text is a path all the same, and served as one.
func warnOfCaptures(p *policy.Pass[*networkingv1.Ingress], d *intent.Dialect) {
	for _, prefix := range [...]string{intent.Prefix, "ingress.kubernetes.io/"} {
		key := prefix + "rewrite-target"
		text := p.Object.Annotations[key]
		if d != intent.Drawbridge && prefix != intent.Prefix {
			continue
		}
		if capture := anyCapture.FindString(text); capture != "" {
			p.Warn(field.Invalid(annotationPath(key), text, fmt.Sprintf("must be the path that replaces the prefix: captures such as '%s' mean nothing here, and are sent as they stand", quoted(capture))))
		}
	}
}

// mustMean says which values an annotation can have.
func mustMean(bad intent.Invalid, where string) string {
	const shown = 8
	what := "must have"
	if where != "" {
		what = fmt.Sprintf("must have `%s`%s with", bad.Annotation, where)
	}
	if len(bad.Allowed) == 0 {
		return what + " a value that can be read; '" + quoted(bad.Value) + "' can not"
	}
	return what + " one of the values " + listed(bad.Allowed, shown)
}
