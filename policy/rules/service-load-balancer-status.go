package rules

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
)

var serviceLoadBalancerStatus = policy.Rule[*corev1.Service]{
	ID:      "service-load-balancer-status",
	Levels:  policy.Levels{Baseline: policy.Off, Strict: policy.Deny},
	Unfixed: policy.Deny,
	Guard:   true,
	Status:  true,
	Doc: policy.Doc{
		Summary: "A Service must not get a load balancer address in its status from anybody but those whom the policy names.",
		Why: "The addresses in status.loadBalancer are taken by kube-proxy as externalIPs are: who may write services/status can take over " +
			"the cluster's traffic to any address (CVE-2020-8554). Only what a write adds is judged. The controllers that hand out " +
			"addresses (of the cloud, MetalLB, kube-vip, Cilium, k3s) are named as `users` of an entry of `exemptions` for this rule, and " +
			"addresses that are anybody's to use are listed in `externalIPs`. An entry with ipMode Proxy has no such effect.",
		Bad: `apiVersion: v1
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
status:
  loadBalancer:
    ingress:
    - ip: 203.0.113.7
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
		path := field.NewPath("status", "loadBalancer", "ingress")
		type key struct {
			ip    string
			proxy bool
		}
		keyOf := func(in corev1.LoadBalancerIngress) key {
			return key{in.IP, in.IPMode != nil && *in.IPMode == corev1.LoadBalancerIPModeProxy}
		}
		had := map[key]bool{}
		if p.Old != nil {
			for _, in := range p.Old.Status.LoadBalancer.Ingress {
				had[keyOf(in)] = true
			}
		}
		l := limited{report: func(err *field.Error) { p.Report(err, nil) }}
		for i, in := range p.Object.Status.LoadBalancer.Ingress {
			if k := keyOf(in); in.IP == "" || k.proxy || had[k] || givenOut(p.Config, in.IP) {
				continue
			}
			l.add(func() *field.Error {
				return field.Invalid(path.Index(i).Child("ip"), in.IP,
					fmt.Sprintf("must not be set by %s: %s; ask the policy for an exemption (`exemptions`) or the address (`externalIPs`)", writer(p.User), notGivenOut))
			})
		}
		l.done(path, "addresses that must not be set")
	},
}

// writer names who writes, where it is known.
func writer(user string) string {
	if user == "" {
		return "anybody"
	}
	return "'" + quoted(user) + "'"
}
