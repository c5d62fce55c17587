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

var unsafeTextDoc = policy.Doc{
	Summary: "An Ingress must have only hosts, paths and annotations that can not be taken for a proxy's configuration.",
	Why: "Controllers paste hosts, paths and annotations into nginx.conf or haproxy.cfg. Who writes an Ingress can end the line " +
		"there and begin his own, which reads every Secret that the controller may read: CVE-2021-25745, CVE-2023-5044, " +
		"CVE-2025-1097, CVE-2025-1098, CVE-2025-24514, CVE-2026-24512. Each text has a grammar: what its key means passes, " +
		"regular expressions and variables where the controller takes them, and nothing else. It holds whichever controller " +
		"serves the Ingress. Annotations that are not known are not judged, nor is the annotation of a snippet, for which there " +
		"is ingress-snippet. A host in punycode must be one script, as browsers have it; one that can be taken for a name in " +
		"ASCII is a warning, denied where the policy is strict, and so is a path with ';', as in /a;v=1.",
	Bad: exampleWeb + `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web
  namespace: team-a
  annotations:
    nginx.ingress.kubernetes.io/auth-url: "http://auth.example.com/#;}load_module /tmp/x.so;"
spec:
  ingressClassName: nginx
  rules:
  - host: web.team-a.example
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
	Good: exampleWeb + `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web
  namespace: team-a
  annotations:
    nginx.ingress.kubernetes.io/use-regex: "true"
    nginx.ingress.kubernetes.io/rewrite-target: /$2
    nginx.ingress.kubernetes.io/auth-url: https://auth.example.com/check?rd=$escaped_request_uri
spec:
  ingressClassName: nginx
  rules:
  - host: web.team-a.example
    http:
      paths:
      - path: /foo(/|$)(.*)
        pathType: ImplementationSpecific
        backend:
          service:
            name: web
            port:
              number: 80
`,
	Since:  "0.2.0",
	Source: "https://github.com/kubernetes/ingress-nginx/issues/8502, https://github.com/kubernetes/kubernetes/issues/131006 and their like",
}

var unsafeTextMilder = policy.Levels{Baseline: policy.Warn, Strict: policy.Deny}

var ingressUnsafeText = policy.Rule[*networkingv1.Ingress]{
	ID:      "ingress-unsafe-text",
	Levels:  policy.Same(policy.Deny),
	Milder:  unsafeTextMilder,
	Unfixed: policy.Deny,
	Guard:   true,
	Doc:     unsafeTextDoc,
	Check: func(p *policy.Pass[*networkingv1.Ingress]) {
		ing := p.Object
		traefik := false
		if d, ok := dialectOf(p); ok {
			traefik = d.Name == "traefik"
		}
		spec := field.NewPath("spec")
		for i := range ing.Spec.Rules {
			rule := &ing.Spec.Rules[i]
			judgeHost(p, rule.Host, func() *field.Path { return spec.Child("rules").Index(i).Child("host") })
			if rule.HTTP == nil {
				continue
			}
			for j := range rule.HTTP.Paths {
				text := rule.HTTP.Paths[j].Path
				if isPath(text) || traefik && isPath(untemplated(text)) {
					continue
				}
				path := spec.Child("rules").Index(i).Child("http", "paths").Index(j).Child("path")
				if isPath(unreserved.Replace(text)) {
					p.Mild(field.Invalid(path, text, "must not have ';' or a quote, at which nginx ends a word; match what stands before it"), nil)
					continue
				}
				p.Report(field.Invalid(path, text, "must be "+intent.Path.Says+", and not end in '\\'"), nil)
			}
		}
		for i := range ing.Spec.TLS {
			for j, host := range ing.Spec.TLS[i].Hosts {
				judgeHost(p, host, func() *field.Path { return spec.Child("tls").Index(i).Child("hosts").Index(j) })
			}
		}
		judgeTexts(ing.Annotations, func(err *field.Error) { p.Report(err, nil) })
	},
}

// ingressUnsafeTextService holds the same of the annotations of a Service, which some controllers read.
var ingressUnsafeTextService = policy.Rule[*corev1.Service]{
	ID:      ingressUnsafeText.ID,
	Levels:  ingressUnsafeText.Levels,
	Milder:  unsafeTextMilder,
	Unfixed: policy.Deny,
	Guard:   true,
	Doc:     unsafeTextDoc,
	Check: func(p *policy.Pass[*corev1.Service]) {
		judgeTexts(p.Object.Annotations, func(err *field.Error) { p.Report(err, nil) })
	},
}

// judgeTexts reports the annotations whose text is not what their key means, by key.
func judgeTexts(annotations map[string]string, report func(*field.Error)) {
	var bad []string
	for key, text := range annotations {
		if g, _, known := intent.GrammarOf(key); known && text != "" && !isWord(text) && !g.Valid(text) {
			bad = append(bad, key)
		}
	}
	slices.Sort(bad)
	for _, key := range bad {
		g, _, _ := intent.GrammarOf(key)
		report(field.Invalid(annotationPath(key), annotations[key], "must be "+g.Says))
	}
}

// judgeHost reports a host that is no host name, or one in letters that deceive.
func judgeHost(p *policy.Pass[*networkingv1.Ingress], host string, path func() *field.Path) {
	if host == "" {
		return
	}
	// Upper case is nothing to fear, and for the API server to refuse.
	name := host
	if !isPlainHost(host) {
		if name = strings.ToLower(host); !intent.HostName.Valid(name) {
			p.Report(field.Invalid(path(), host, "must be a DNS name, or '*.' and one; other letters are written in punycode"), nil)
			return
		}
	}
	switch s := scriptOf(name); {
	case s.Broken:
		p.Report(field.Invalid(path(), host, "must be a name that punycode writes so; write it as your registrar does"), nil)
	case s.Mixed:
		p.Report(field.Invalid(path(), host, fmt.Sprintf("must not mix alphabets that look alike, as '%s' does; write each label in one", quoted(s.Shown))), nil)
	case s.Like != "":
		p.Mild(field.Invalid(path(), host, fmt.Sprintf("must not pass for '%s', which it looks like as '%s'", quoted(s.Like), quoted(s.Shown))), nil)
	}
}

// unreserved takes away the two characters of a path, by RFC 3986, that end a word in nginx's configuration. By
// themselves they can spoil a configuration and say nothing in it: for that it takes a space, a brace or an end of line.
var unreserved = strings.NewReplacer(";", "", "'", "")

// isWord tells that a text has letters, digits, '-' and '.' only: nothing that any configuration could mistake, and what
// most values are.
func isWord(text string) bool {
	for i := range len(text) {
		if c := text[i]; !isLower(c) && c != '-' && c != '.' && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return true
}

func isLower(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }

// isPlainHost tells that a text is certainly a host name, without asking the whole grammar.
func isPlainHost(host string) bool {
	before := byte('.')
	for i := range len(host) {
		c := host[i]
		switch {
		case isLower(c):
		case c == '-' && before != '.':
		case c == '.' && before != '.' && before != '-':
		default:
			return false
		}
		before = c
	}
	return before != '.' && before != '-'
}

// isPath tells that a text is a path or a regular expression of one. A backslash at its end would take the quote or
// the space after it along.
func isPath(text string) bool {
	plain := true
	for i := range len(text) {
		if c := text[i]; !isLower(c) && c != '/' && c != '-' && c != '.' && c != '_' && (c < 'A' || c > 'Z') {
			plain = false
			break
		}
	}
	if plain {
		return true
	}
	slashes := len(text) - len(strings.TrimRight(text, `\`))
	return slashes%2 == 0 && intent.Path.Valid(text)
}

// untemplated is a path without the templates of Traefik 2, {name} and {name:expression}, whose rules read them.
func untemplated(path string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(path, "{")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		inside, after, closed := strings.Cut(rest, "}")
		name, expression, _ := strings.Cut(inside, ":")
		if !closed || name == "" || !isWord(name) || strings.ContainsRune(expression, '{') {
			return b.String() + "{" + rest
		}
		b.WriteString(expression)
		path = after
	}
}
