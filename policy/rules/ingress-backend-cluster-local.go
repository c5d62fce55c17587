package rules

import (
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
)

var ingressBackendClusterLocal = policy.Rule[*networkingv1.Ingress]{
	ID:      "ingress-backend-cluster-local",
	Levels:  policy.Same(policy.Deny),
	Milder:  policy.Levels{Baseline: policy.Warn, Strict: policy.Deny},
	Unfixed: policy.Deny,
	Guard:   true,
	Doc: policy.Doc{
		Summary: "An Ingress must not send traffic to an alias of another namespace without a grant.",
		Why: "An ExternalName can be the name of any Service of the cluster. Behind an Ingress it lends the proxy's network " +
			"position: NetworkPolicies let the proxy in, and the whole world reaches another team's Service, or the API server, " +
			"under a host that its owner never chose. Every spelling counts (x.ns, x.ns.svc, the whole name, a pod's), and " +
			"aliases of aliases are followed. A name of one label is looked up in the namespace of the proxy: a warning, " +
			"denied where the policy is strict. The policy's list `grants` allows an alias.",
		Bad: `apiVersion: v1
kind: Service
metadata:
  name: billing
  namespace: team-a
spec:
  type: ExternalName
  externalName: billing.team-b.svc.cluster.local
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: billing
  namespace: team-a
spec:
  ingressClassName: drawbridge
  rules:
  - host: billing.team-a.example
    http:
      paths:
      - path: /
        pathType: Prefix
        backend:
          service:
            name: billing
            port:
              number: 80
`,
		Good: `apiVersion: v1
kind: Service
metadata:
  name: billing
  namespace: team-b
spec:
  selector:
    app: billing
  ports:
  - port: 80
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: billing
  namespace: team-b
spec:
  ingressClassName: drawbridge
  rules:
  - host: billing.team-b.example
    http:
      paths:
      - path: /
        pathType: Prefix
        backend:
          service:
            name: billing
            port:
              number: 80
`,
		Since:  "0.2.0",
		Source: "https://github.com/zalando/skipper/security/advisories/GHSA-mxxc-p822-2hx9 and CVE-2021-25740",
	},
	Check: func(p *policy.Pass[*networkingv1.Ingress]) {
		type verdict struct {
			detail string
			mild   bool
		}
		services := lookupOf[verdict](p)
		world := &remembering{World: p.World}
		for _, at := range backendsOf(p.Object) {
			if at.Service == nil {
				continue
			}
			k, fresh := services.get(at.Service.Name)
			if k.svc == nil || !isExternalName(k.svc) {
				continue
			}
			if fresh {
				hops := aliasHops(world, k.svc, p.Config.ClusterDomain)
				k.Thought.detail, k.Thought.mild = leadsAstray(p.Config, p.World, hops)
			}
			if k.Thought.detail == "" {
				continue
			}
			err := field.Invalid(at.field().Child("service", "name"), at.Service.Name, k.Thought.detail)
			if k.Thought.mild {
				p.Mild(err, nil)
			} else {
				p.Report(err, nil)
			}
		}
	},
}

// leadsAstray says why an Ingress must not lead to an alias of something inside the cluster, empty where it may, and
// whether that is a risk only by what the name may come to mean.
func leadsAstray(c *policy.Config, w policy.World, hops []aliasHop) (detail string, mild bool) {
	hop, found := foreignHop(c, hops)
	switch {
	case found && hop.To.Short:
		return "must not lead to " + hop.leadsTo() + "; write its full name", true
	case found && hop.To.Namespace == "":
		return "must not lead to " + hop.leadsTo() + ": the proxy reaches what its author may not; write the name of a Service", false
	case found:
		return "must not lead to " + hop.leadsTo() + "; write the Ingress beside that Service, or ask for a grant in the policy (`grants`)", false
	}
	if addr, o := strangerIn(c, w, hops); o.Kind != policy.NoOwner {
		return "must not lead to '" + addr.String() + "', the address of " + ownerText(o) + "; " + ownerAdvice(o), false
	}
	return "", false
}
