package rules

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/intent"
)

var ingressAnnotationForeign = policy.Rule[*networkingv1.Ingress]{
	ID:     "ingress-annotation-foreign",
	Levels: policy.Same(policy.Warn),
	Doc: policy.Doc{
		Summary: "An Ingress must say what it wants of its backends in annotations that its class reads.",
		Why: "Every Ingress controller has annotations of its own for the same few wishes, and passes over those of the others " +
			"without a word: upstream-vhost of ingress-nginx sets no Host under Traefik, which reads an annotation on the Service. " +
			"Ingresses without a class, or of one that nobody knows, and annotations that say nothing of a backend, are left alone. " +
			"`drawbridge fix --dialect` writes them in the words of another controller.",
		Bad: `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: api
  namespace: team-a
  annotations:
    nginx.ingress.kubernetes.io/backend-protocol: HTTPS
spec:
  ingressClassName: haproxy
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
              number: 8443
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata:
  name: haproxy
spec:
  controller: haproxy.org/ingress-controller/haproxy
---
apiVersion: v1
kind: Service
metadata:
  name: api
  namespace: team-a
spec:
  selector:
    app: api
  ports:
  - port: 8443
`,
		Good: `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: api
  namespace: team-a
  annotations:
    haproxy.org/server-ssl: "true"
spec:
  ingressClassName: haproxy
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
              number: 8443
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata:
  name: haproxy
spec:
  controller: haproxy.org/ingress-controller/haproxy
---
apiVersion: v1
kind: Service
metadata:
  name: api
  namespace: team-a
spec:
  selector:
    app: api
  ports:
  - port: 8443
`,
		Since:  "0.2.0",
		Source: "https://github.com/traefik/traefik/blob/master/pkg/provider/kubernetes/ingress/annotations.go, https://github.com/nginx/kubernetes-ingress/blob/main/internal/configs/annotations.go and the like, where only the controller's own prefix is read",
	},
	Check: func(p *policy.Pass[*networkingv1.Ingress]) {
		ing := p.Object
		if len(ing.Annotations) == 0 || intent.ClassName(ing) == "" || metav1.GetControllerOfNoCopy(ing) != nil {
			return
		}
		d, served := p.Config.DialectOf(ing, p.World.IngressClass)
		if !served || !d.Speaks() {
			return
		}
		var keys []string
		// What drawbridge injected under another class it takes away by itself, as soon as the Ingress is stored.
		var leaving map[string]bool
		if policy.Mendable(ing) {
			leaving = intent.InjectedKeys(ing)
		}
		for key := range ing.Annotations {
			if leaving[key] {
				continue
			}
			if owners := intent.KeyOwners(key); len(owners) > 0 && (!slices.Contains(owners, d) || d.OnlyOnService(key)) {
				keys = append(keys, key)
			}
		}
		slices.Sort(keys)
		for n, key := range keys {
			if n == maxTold {
				p.Warn(field.Required(field.NewPath("metadata", "annotations"), fmt.Sprintf("and %d more annotations must be written in the words of %s", len(keys)-n, d.Title)))
				return
			}
			p.Warn(field.Invalid(annotationPath(key), ing.Annotations[key], foreignDetail(p, d, key)))
		}
	},
}

// foreignDetail says what to write in the dialect instead of an annotation that it does not read.
func foreignDetail(p *policy.Pass[*networkingv1.Ingress], d *intent.Dialect, key string) string {
	owners := intent.KeyOwners(key)
	if slices.Contains(owners, d) {
		return fmt.Sprintf("must stand on the Service: %s does not read it on the Ingress", d.Title)
	}
	inert := fmt.Sprintf("%s serves the Ingress, and does not read what is %s's", d.Title, owners[0].Name)
	for _, wish := range intent.AllWishes() {
		value, _ := intent.Read(owners[0], map[string]string{key: p.Object.Annotations[key]}).Get(wish)
		if value == "" {
			continue
		}
		written, can := d.Spell(wish, value, targetOf(p, d))
		if can && wish == intent.WishRewrite {
			if anew := rewriteAnew(p, owners[0], d, value); anew != "" {
				return anew
			}
		}
		switch limit := d.Limit(wish); {
		case can && len(written) == 0:
			return "must go: " + inert + "; it does so by itself"
		case can:
			where := ""
			if written[0].On == intent.OnService {
				where = " on the Service"
			}
			return fmt.Sprintf("must be written as `%s: \"%s\"`%s: %s", written[0].Key, quoted(written[0].Text), where, inert)
		case limit != nil:
			return "must go: " + inert + "; " + limit.Instead
		}
	}
	return "must go: " + inert
}

// rewriteAnew says what to write instead of a rewrite whose text means another thing in the dialect than it did to its
// owner: it has captures, or it replaces what a regular expression of a path matched. It is empty where the text can be
// taken over.
func rewriteAnew(p *policy.Pass[*networkingv1.Ingress], owner, d *intent.Dialect, value string) string {
	capture := anyCapture.FindString(value)
	alike := owner.Rewrite == d.Rewrite && d.Limit(intent.WishRegex) == nil
	if capture == "" && (alike || owner.Limit(intent.WishRegex) != nil || !anyExpressionPath(p.Object)) {
		return ""
	}
	if d.Rewrite != intent.RewritePrefix || d.Limit(intent.WishRegex) == nil {
		return "must be written anew: regular expressions of paths, and their captures, are written in another way for " + d.Title
	}
	why := "the paths are regular expressions"
	if capture != "" {
		why = "it has no captures such as '" + quoted(capture) + "'"
	}
	written, _ := d.Spell(intent.WishRewrite, "/NEW", targetOf(p, d))
	said := []string{"`pathType: Prefix`"}
	for _, a := range written {
		key := fmt.Sprintf("`%s: \"%s\"`", a.Key, quoted(a.Text))
		if a.On == intent.OnService {
			key += " on the Service"
		}
		said = append(said, key)
	}
	return fmt.Sprintf("must be written anew: %s replaces a prefix, and %s; write %s", d.Title, why, strings.Join(said, " and "))
}

// anyCapture is a group of a regular expression, as nginx and HAProxy write it: $1, ${1} or \1.
var anyCapture = regexp.MustCompile(`\$[0-9]+|\$\{[0-9]+\}|\\[0-9]`)

// anyExpressionPath tells whether a path of the Ingress has what only a regular expression has.
func anyExpressionPath(ing *networkingv1.Ingress) bool {
	for i := range ing.Spec.Rules {
		if http := ing.Spec.Rules[i].HTTP; http != nil {
			for j := range http.Paths {
				if strings.ContainsAny(http.Paths[j].Path, `()[]{}*+^$|\`) {
					return true
				}
			}
		}
	}
	return false
}

// targetOf is the first external backend of an Ingress, as an example of what to write.
func targetOf(p *policy.Pass[*networkingv1.Ingress], d *intent.Dialect) intent.Target {
	for _, at := range backendsOf(p.Object) {
		if at.Service == nil {
			continue
		}
		t := intent.Target{Namespace: p.Object.Namespace, Service: at.Service.Name, Ports: intent.PortText(at.Service.Port)}
		if svc := p.World.Service(p.Object.Namespace, at.Service.Name); svc != nil {
			if b, _, err := d.BackendOf(svc, at.Service.Port, p.Config.ClusterDomain); err == nil {
				t.Host = b.Name
			}
		}
		return t
	}
	return intent.Target{Namespace: p.Object.Namespace}
}
