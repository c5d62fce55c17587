package rules

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
)

var serviceExternalNameLoop = policy.Rule[*corev1.Service]{
	ID:      "service-external-name-loop",
	Levels:  policy.Same(policy.Deny),
	Unfixed: policy.Deny,
	Doc: policy.Doc{
		Summary: "A Service must not be an alias that leads back to itself.",
		Why: "Cluster DNS answers with a CNAME that points at itself, or at others that come back: resolvers follow it for a " +
			"while and give up, each at another point, and a proxy that follows it blindly asks for ever. Every alias of the " +
			"chain is told of, whichever was written last, and a chain of more than 64 is refused like a circle: no resolver comes to its end. An Ingress that serves the very name its backend is an alias of " +
			"is warned of: where DNS has the proxy for that name, requests go round in circles. Services that another object owns are not judged.",
		Bad: `apiVersion: v1
kind: Service
metadata:
  name: api
  namespace: team-a
spec:
  type: ExternalName
  externalName: api-v2.team-a.svc.cluster.local
---
apiVersion: v1
kind: Service
metadata:
  name: api-v2
  namespace: team-a
spec:
  type: ExternalName
  externalName: api.team-a.svc.cluster.local
`,
		Good: `apiVersion: v1
kind: Service
metadata:
  name: api
  namespace: team-a
spec:
  type: ExternalName
  externalName: api-v2.team-a.svc.cluster.local
---
apiVersion: v1
kind: Service
metadata:
  name: api-v2
  namespace: team-a
spec:
  type: ExternalName
  externalName: api.example.com
`,
		Since:  "0.2.0",
		Source: "https://www.rfc-editor.org/rfc/rfc1034#section-3.6.2",
	},
	Check: func(p *policy.Pass[*corev1.Service]) {
		svc := p.Object
		// Knative lets the Service of a Route that has no traffic yet be an alias of its own name.
		if !isExternalName(svc) || len(svc.OwnerReferences) > 0 {
			return
		}
		invalid := func(detail string) *field.Error {
			return field.Invalid(externalNamePath, shown(svc.Spec.ExternalName), detail)
		}
		way, own, long := loop(&remembering{World: p.World}, svc, p.Config.ClusterDomain)
		switch {
		case long:
			p.Report(invalid(fmt.Sprintf("must not lead through more than %d aliases: no resolver follows them; write the name at their end", maxChain)), nil)
			return
		case own:
			p.Report(invalid("must not lead back to this Service"+way+"; write the name of the service outside"), nil)
			return
		case way != "":
			p.Warn(invalid("must not lead into a circle of aliases" + way + "; write the name of the service outside"))
			return
		}
		name := aliasHost(svc)
		for _, ing := range p.World.IngressesTo(svc.Namespace, svc.Name) {
			if slices.ContainsFunc(policy.HostsOf(ing), func(host string) bool { return serves(host, name) }) {
				p.Warn(invalid(fmt.Sprintf("must not be a host that Ingress '%s' serves from this Service, or requests go round in circles "+
					"where DNS has the proxy for it; write a name that only the service outside has", quoted(ing.Name))))
				return
			}
		}
	},
}

// serves tells whether a host of an Ingress's rule takes requests for a name: a wildcard stands for one label.
func serves(host, name string) bool {
	if suffix, wild := strings.CutPrefix(host, "*"); wild {
		_, rest, found := strings.Cut(name, ".")
		return found && suffix == "."+rest
	}
	return host != "" && host == name
}

// maxChain bounds the aliases that are followed to find a circle: each of many in a chain would follow all after it.
// Resolvers give up long before.
const maxChain = 64

// loop follows an alias through others and tells the way round where it comes back to one that it passed, and whether
// that one is the alias itself. long tells of a chain that is not followed to its end.
func loop(w policy.World, svc *corev1.Service, clusterDomain string) (way string, own, long bool) {
	type id struct{ namespace, name string }
	var passed []string
	seen := map[id]bool{}
	for at := svc; at != nil && isExternalName(at); {
		name := aliasHost(at)
		to, inside := clusterNameOf(w, name, clusterDomain)
		if name == svc.Name+"."+svc.Namespace { // which the World need not have yet
			to, inside = clusterName{Namespace: svc.Namespace, Service: svc.Name}, true
		}
		if !inside || to.Namespace == "" || to.Service == "" {
			return "", false, false
		}
		next := id{to.Namespace, to.Service}
		if next == (id{svc.Namespace, svc.Name}) || seen[next] {
			own = !seen[next]
			const few = 3
			if len(passed) > few {
				passed = append(passed[:few:few], "...")
			}
			if len(passed) > 0 {
				way = ", by way of " + strings.Join(passed, ", ")
			} else if !own {
				way = ", by way of itself"
			}
			return way, own, false
		}
		if len(passed) == maxChain {
			return "", false, true
		}
		seen[next] = true
		passed = append(passed, "'"+quoted(to.Namespace+"/"+to.Service)+"'")
		at = w.Service(to.Namespace, to.Service)
	}
	return "", false, false
}
