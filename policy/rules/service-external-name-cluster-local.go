package rules

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
)

var serviceExternalNameClusterLocal = policy.Rule[*corev1.Service]{
	ID:      "service-external-name-cluster-local",
	Levels:  policy.Same(policy.Deny),
	Milder:  policy.Levels{Baseline: policy.Warn, Strict: policy.Deny},
	Unfixed: policy.Deny,
	Guard:   true,
	Doc: policy.Doc{
		Summary: "A Service must not be an alias of something in another namespace of the cluster without a grant.",
		Why: "Alone it gives nobody a new power: a pod can look any name up. An Ingress turns it into a way around " +
			"NetworkPolicy and RBAC, because its proxy may reach what the author's pods may not, and a name such as " +
			"kubernetes.default leads it to the API server. It is therefore denied where an Ingress sends traffic to it, and " +
			"warned of elsewhere. All spellings count: x.ns, x.ns.svc, x.ns.svc.<domain>, names of pods, with and without " +
			"the last dot, chains of aliases, and public names that spell a cluster address (10-96-0-1.nip.io). " +
			"The policy lets namespaces refer to others by `grants`.",
		Bad: `apiVersion: v1
kind: Service
metadata:
  name: ledger
  namespace: team-a
spec:
  type: ExternalName
  externalName: ledger.team-b.svc.cluster.local
`,
		Good: `apiVersion: v1
kind: Service
metadata:
  name: ledger
  namespace: team-a
spec:
  type: ExternalName
  externalName: accounts.team-a.svc.cluster.local
`,
		Since:  "0.2.0",
		Source: "https://github.com/kubernetes/kubernetes/issues/103675",
	},
	Check: func(p *policy.Pass[*corev1.Service]) {
		svc := p.Object
		if !isExternalName(svc) {
			return
		}
		lender := ""
		if by := lenderOf(p.World, svc.Namespace, svc.Name); by.ingress {
			lender = by.would()
		}
		report := func(mild bool, detail string) {
			err := field.Invalid(externalNamePath, shown(svc.Spec.ExternalName), detail)
			if mild || lender == "" {
				p.Mild(err, nil)
				return
			}
			p.Report(err, nil)
		}
		// What is judged is the name that is meant; the rules about its spelling tell of the spelling.
		name := aliasHost(svc)
		alias := svc
		if name != svc.Spec.ExternalName {
			alias = &corev1.Service{ObjectMeta: svc.ObjectMeta, Spec: corev1.ServiceSpec{Type: svc.Spec.Type, ExternalName: name}}
		}
		if forbiddenName(p.Config, name) != "" && !lets(p, serviceExternalNameForbidden.ID, serviceExternalNameForbidden.Levels) {
			return // it is denied whatever the address is in the cluster
		}
		if !isIP(name) {
			hop, found := foreignHop(p.Config, aliasHops(&remembering{World: p.World}, alias, p.Config.ClusterDomain))
			switch {
			case found && hop.To.Short && lender == "":
				// Whoever asks decides what it means, and so far nobody asks.
			case found && hop.To.Namespace == "" && !hop.To.Short:
				report(false, "must not lead to a name inside the cluster that is no Service's"+lender+"; write the name of a Service")
				return
			case found:
				what := hop.leadsTo()
				if hop.Service == alias && !hop.To.Short {
					what = strings.TrimPrefix(what, "'"+quoted(hop.Name)+"', ") // the value tells
				}
				report(hop.To.Short, "must not lead to "+what+lender+"; write a name of this namespace, or ask for a grant (`grants`)")
				return
			}
		}
		addresses := spelledIn(name, p.Config.ClusterDomain)
		if isIP(name) && lets(p, serviceExternalNameIP.ID, serviceExternalNameIP.Levels) {
			addresses = meantBy(name)
		}
		for _, addr := range addresses {
			if p.Config.Addresses.Check(addr) != nil {
				continue // service-external-name-forbidden tells of it
			}
			if o := strangerAt(p.Config, p.World, svc.Namespace, addr); o.Kind != policy.NoOwner {
				report(o.Namespace == svc.Namespace, "must not lead to '"+addr.String()+"', the address of "+ownerText(o)+lender+"; "+ownerAdvice(o))
				return
			}
		}
	},
}
