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

var secretNamespaceDoc = policy.Doc{
	Summary: "An Ingress must name Secrets, ConfigMaps and Services of its own namespace in annotations.",
	Why: "A controller reads Secrets of every namespace. Who may write `other/name` into an annotation uses a client " +
		"certificate, a password file or a CA that he may not read himself, and some controllers show it in their answers. The " +
		"same holds for a Service of another namespace, and for a file of the proxy's own. A grant in the policy allows it, by " +
		"kind and name. A ConfigMap that holds no CA, such as one of headers, is a warning, denied where the policy is strict. " +
		"Annotations of every controller are judged, whichever serves the Ingress; those of a Service too.",
	Bad: exampleWeb + `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web
  namespace: team-a
  annotations:
    nginx.ingress.kubernetes.io/auth-tls-secret: team-b/clients-ca
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
    nginx.ingress.kubernetes.io/auth-tls-secret: team-a/clients-ca
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
	Source: "https://kubernetes.github.io/ingress-nginx/user-guide/nginx-configuration/configmap/#allow-cross-namespace-resources",
}

var ingressSecretNamespace = policy.Rule[*networkingv1.Ingress]{
	ID:      "ingress-secret-namespace",
	Levels:  policy.Same(policy.Deny),
	Milder:  policy.Levels{Baseline: policy.Warn, Strict: policy.Deny},
	Unfixed: policy.Deny,
	Guard:   true,
	Doc:     secretNamespaceDoc,
	Check: func(p *policy.Pass[*networkingv1.Ingress]) {
		judgeReferences(p, p.Object.Annotations)
	},
}

// ingressSecretNamespaceService holds the same of the annotations of a Service, which some controllers read.
var ingressSecretNamespaceService = policy.Rule[*corev1.Service]{
	ID:      ingressSecretNamespace.ID,
	Levels:  ingressSecretNamespace.Levels,
	Milder:  ingressSecretNamespace.Milder,
	Unfixed: policy.Deny,
	Guard:   true,
	Doc:     secretNamespaceDoc,
	Check: func(p *policy.Pass[*corev1.Service]) {
		judgeReferences(p, p.Object.Annotations)
	},
}

// judgeReferences reports the annotations that name an object of another namespace without a grant, by key.
func judgeReferences[T policy.Object](p *policy.Pass[T], annotations map[string]string) {
	c, namespace := p.Config, p.Object.GetNamespace()
	var bad []string
	for key, text := range annotations {
		if r, _, known := intent.ReferenceOf(key); known && text != "" && mustNot(c, namespace, r, text) != "" {
			bad = append(bad, key)
		}
	}
	slices.Sort(bad)
	for _, key := range bad {
		r, _, _ := intent.ReferenceOf(key)
		err := field.Invalid(annotationPath(key), annotations[key], mustNot(c, namespace, r, annotations[key]))
		if r.Kind == "ConfigMap" && !strings.Contains(key, "ca-certificates") {
			p.Mild(err, nil)
		} else {
			p.Report(err, nil)
		}
	}
}

// mustNot says what is wrong with what an annotation names; empty where nothing is.
func mustNot(c *policy.Config, namespace string, r intent.Reference, text string) string {
	// Other kinds are the controller's own, which has rules of its own for them.
	if r.Kind != "Secret" && r.Kind != "ConfigMap" && r.Kind != "Service" {
		return ""
	}
	separator := r.Separator
	if separator == "" {
		separator = "/"
	}
	for entry := range entries(text, r.List) {
		if strings.HasPrefix(strings.ToLower(entry), "file:") {
			return fmt.Sprintf("must not name a file of the proxy; write the name of a %s", r.Kind)
		}
		of, name, qualified := strings.Cut(entry, separator)
		if r.Namespace {
			of, name, qualified = entry, "", true
		}
		if !qualified || of == "" || c.Granted(namespace, r.Kind, of, name) {
			continue
		}
		instead := fmt.Sprintf("write '%s'", quoted(namespace+separator+name))
		if r.Namespace {
			instead = "take it away"
		}
		return fmt.Sprintf("must not name a %s of namespace '%s'; %s, or ask for a grant in the policy (`grants`)", r.Kind, quoted(of), instead)
	}
	return ""
}

// entries are those of a list by commas, or the text itself.
func entries(text string, list bool) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		if !list {
			yield(strings.TrimSpace(text))
			return
		}
		for entry := range strings.SplitSeq(text, ",") {
			if entry = strings.TrimSpace(entry); entry != "" && !yield(entry) {
				return
			}
		}
	}
}
