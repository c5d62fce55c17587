package rules

import (
	"fmt"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/intent"
)

var ingressHostConflict = policy.Rule[*networkingv1.Ingress]{
	ID:      "ingress-host-conflict",
	Levels:  policy.Same(policy.Deny),
	Unfixed: policy.Deny,
	Doc: policy.Doc{
		Summary: "An Ingress must not say two things about the Host that its backends get.",
		Why: "One annotation keeps the client's Host, another one replaces it: which of the two counts is an accident of the " +
			"controller, and changes with its version. preserve-host \"false\" beside the name to send is no contradiction: one " +
			"gives the Host up and the other says what takes its place. Only the annotations of the class that serves the " +
			"Ingress count, and drawbridge.dev/*; those of its Services are read with them.",
		Bad: exampleAlias + `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: api
  namespace: team-a
  annotations:
    ingress.kubernetes.io/preserve-host: "true"
    ingress.kubernetes.io/upstream-vhost: api.example.com
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
    ingress.kubernetes.io/upstream-vhost: api.example.com
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
		Source: "https://github.com/Kong/kubernetes-ingress-controller/issues/69: preserve-host must be \"false\" for host-header to count",
	},
	Check: func(p *policy.Pass[*networkingv1.Ingress]) {
		if spared(p.Object) {
			return
		}
		d, _ := dialectOf(p)
		var targets []targetAt
		if readsServices(d) {
			targets = targetsOf(p)
		}
		reportConflicts(p, d, targets, intent.WishHost, hostConflict, func(v intent.Voice) string {
			name, rewrites := strings.CutPrefix(v.Value, "rewrite:")
			switch {
			case rewrites:
				return "sends '" + quoted(name) + "'"
			case v.Value == "pass":
				return "keeps the client's Host"
			}
			return "sends the name of the external service"
		})
	},
}

// hostConflict tells whether two wishes for the Host exclude each other. To give up the client's Host and to say what
// takes its place does not.
func hostConflict(a, b intent.Voice) bool {
	_, rewrites := strings.CutPrefix(a.Value, "rewrite:")
	_, too := strings.CutPrefix(b.Value, "rewrite:")
	switch {
	case strings.EqualFold(a.Value, b.Value):
		return false
	case rewrites && too:
		return true
	}
	return a.Value == "pass" || b.Value == "pass"
}

// reportConflicts reports each annotation that contradicts the one that decides a wish: of the Ingress, and of each
// Service that it leads to beside it. One key on both objects is no contradiction: one of them overrides the other.
func reportConflicts(p *policy.Pass[*networkingv1.Ingress], d *intent.Dialect, targets []targetAt, wish intent.Wish, conflict func(a, b intent.Voice) bool, does func(intent.Voice) string) {
	ing := p.Object
	report := func(path *field.Path, loser, winner intent.Voice) {
		where := ""
		if winner.On == intent.OnService && loser.On != intent.OnService {
			where = " of the Service"
		}
		err := field.Invalid(path, valueOf(ing, loser), fmt.Sprintf("must not contradict `%s`%s, which %s, where this %s; take one of them away",
			winner.Annotation, where, does(winner), does(loser)))
		// What is stored is served as the first of them has it, and must not cease to be for a contradiction of old.
		if p.Stored {
			p.Warn(err)
		} else {
			p.Report(err, nil)
		}
	}
	if len(ing.Annotations) > 0 {
		voices := d.Voices(wish, ing.Annotations, nil, networkingv1.ServiceBackendPort{})
		for i := 1; i < len(voices); i++ {
			if conflict(voices[0], voices[i]) {
				report(annotationPath(voices[i].Annotation), voices[i], voices[0])
			}
		}
	}
	if !readsServices(d) {
		return
	}
	for _, t := range targets {
		if len(t.svc.Annotations) == 0 {
			continue
		}
		voices := d.Voices(wish, ing.Annotations, t.svc, t.Service.Port)
		for i := 1; i < len(voices); i++ {
			a, b := voices[0], voices[i]
			if a.On == intent.OnIngress && b.On == intent.OnIngress || a.Annotation == b.Annotation || !conflict(a, b) {
				continue
			}
			if b.On == intent.OnService && a.On == intent.OnIngress {
				a, b = b, a // told of the Ingress, where it is under review
			}
			path := annotationPath(b.Annotation)
			if b.On == intent.OnService {
				path = t.field().Child("service", "name")
			}
			report(path, b, a)
		}
	}
}

// valueOf is what the finding shows: the text of the annotation, or its key where it stands on a Service.
func valueOf(ing *networkingv1.Ingress, v intent.Voice) string {
	if v.On == intent.OnService {
		return v.Annotation
	}
	return ing.Annotations[v.Annotation]
}
