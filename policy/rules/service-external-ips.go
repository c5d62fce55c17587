package rules

import (
	"fmt"

	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
)

var serviceExternalIPs = policy.Rule[*corev1.Service]{
	ID:      "service-external-ips",
	Levels:  policy.Levels{Baseline: policy.Warn, Strict: policy.Deny},
	Unfixed: policy.Deny,
	Guard:   true,
	Doc: policy.Doc{
		Summary: "A Service must not have externalIPs that the policy does not give out.",
		Why: "kube-proxy takes whatever goes to an external IP to the Service, on every node, whoever the address belongs to: who may " +
			"write a Service can take over the traffic of the cluster to any address, and answer for it (CVE-2020-8554, which is not " +
			"going to be fixed; the field is deprecated since 1.36). An administrator lists those that may be used in the policy (`externalIPs`). " +
			"On an ExternalName Service they have no effect, which service-external-name-ignored-fields tells of.",
		Bad: `apiVersion: v1
kind: Service
metadata:
  name: billing
  namespace: team-a
spec:
  externalIPs:
  - 203.0.113.7
  selector:
    app: billing
  ports:
  - name: http
    port: 80
`,
		Good: `apiVersion: v1
kind: Service
metadata:
  name: billing
  namespace: team-a
spec:
  type: LoadBalancer
  selector:
    app: billing
  ports:
  - name: http
    port: 80
`,
		Since:  "0.2.0",
		Source: "https://github.com/kubernetes/kubernetes/issues/97076",
	},
	Check: func(p *policy.Pass[*corev1.Service]) {
		spec := &p.Object.Spec
		if spec.Type == corev1.ServiceTypeExternalName {
			return
		}
		path := field.NewPath("spec", "externalIPs")
		judgeTaken(p, spec.ExternalIPs, func(i int) *field.Path { return path.Index(i) }, path)
	},
}

// givenOut tells whether the policy lets Services take an address of the outside.
func givenOut(c *policy.Config, text string) bool {
	addr, ok := parseAddress(text)
	return ok && slices.ContainsFunc(c.ExternalIPs, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// judgeTaken reports addresses that a Service takes and that the policy does not give out. What stood there before the
// update is counted apart, so that it is no cover for another.
func judgeTaken(p *policy.Pass[*corev1.Service], list []string, path func(int) *field.Path, root *field.Path) {
	had := map[string]bool{}
	if p.Old != nil && p.Old.Spec.Type != corev1.ServiceTypeExternalName {
		for _, text := range p.Old.Spec.ExternalIPs {
			had[text] = true
		}
	}
	fresh := limited{report: func(err *field.Error) { p.Report(err, nil) }}
	before := limited{report: p.Warn}
	for i, text := range list {
		if givenOut(p.Config, text) {
			continue
		}
		to := &fresh
		if had[text] {
			to = &before
		}
		to.add(func() *field.Error {
			return field.Invalid(path(i), text, fmt.Sprintf("must not be taken: %s; use a Service of type LoadBalancer, or ask for the address in the policy (`externalIPs`)", notGivenOut))
		})
	}
	fresh.done(root, "addresses that must not be taken")
	before.done(root, "addresses that must not be taken")
}

const notGivenOut = "the cluster's traffic to it would go to this Service"
