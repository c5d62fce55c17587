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

var snippetDoc = policy.Doc{
	Summary: "An Ingress must not bring configuration of its own into the proxy.",
	Why: "A snippet is pasted into nginx.conf or haproxy.cfg, or run as Lua: its author reads what the controller may read, the " +
		"Secrets of the whole cluster among it (CVE-2021-25742), and one that is wrong keeps everybody's changes from being " +
		"loaded. Controllers ship with snippets off for that reason. Most have an annotation of their own by now: proxy-* and " +
		"custom-headers instead of proxy_set_header, permanent-redirect instead of return. Snippets of every controller are " +
		"judged, whichever serves the Ingress; those of a Service too.",
	Bad: exampleWeb + `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web
  namespace: team-a
  annotations:
    nginx.ingress.kubernetes.io/configuration-snippet: proxy_read_timeout 300s;
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
    nginx.ingress.kubernetes.io/proxy-read-timeout: "300"
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
	Since:  "0.2.0",
	Source: "CVE-2021-25742, https://github.com/kubernetes/ingress-nginx/issues/7837",
}

var ingressSnippet = policy.Rule[*networkingv1.Ingress]{
	ID:      "ingress-snippet",
	Levels:  policy.Levels{Baseline: policy.Warn, Strict: policy.Deny},
	Unfixed: policy.Deny,
	Guard:   true,
	Doc:     snippetDoc,
	Check: func(p *policy.Pass[*networkingv1.Ingress]) {
		judgeSnippets(p.Object.Annotations, func(err *field.Error) { p.Report(err, nil) })
	},
}

// ingressSnippetService holds the same of the annotations of a Service, which some controllers read.
var ingressSnippetService = policy.Rule[*corev1.Service]{
	ID:      ingressSnippet.ID,
	Levels:  ingressSnippet.Levels,
	Unfixed: policy.Deny,
	Guard:   true,
	Doc:     snippetDoc,
	Check: func(p *policy.Pass[*corev1.Service]) {
		judgeSnippets(p.Object.Annotations, func(err *field.Error) { p.Report(err, nil) })
	},
}

// judgeSnippets reports the annotations that are raw configuration, by key.
func judgeSnippets(annotations map[string]string, report func(*field.Error)) {
	var found []string
	for key, text := range annotations {
		if intent.SnippetOf(key) != nil && strings.TrimSpace(text) != "" {
			found = append(found, key)
		}
	}
	slices.Sort(found)
	for _, key := range found {
		report(field.Invalid(annotationPath(key), annotations[key],
			fmt.Sprintf("must not be used: it is configuration of %s itself; write an annotation that says what is meant", intent.SnippetOf(key).Title)))
	}
}
