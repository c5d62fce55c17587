package rules

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/intent"
)

var serviceExternalNameDestination = policy.Rule[*corev1.Service]{
	ID:      "service-external-name-destination",
	Levels:  policy.Same(policy.Deny),
	Unfixed: policy.Deny,
	Guard:   true,
	Doc: policy.Doc{
		Summary: "A Service must be an alias of a name, on ports, that the policy allows for its namespace.",
		Why: "Where the policy lists destinations (`destinations`, for all or for a namespace), a proxy may be sent to those and " +
			"no other. Without a list every public name passes. A name inside the cluster is judged by the rule " +
			"service-external-name-cluster-local and by the list of what is forbidden.",
		Bad: `# with a policy that says: destinations: {allowed: [{hosts: ["*.example.com"], ports: [443]}]}
apiVersion: v1
kind: Service
metadata:
  name: api
  namespace: team-a
spec:
  type: ExternalName
  externalName: api.example.org
  ports:
  - name: https
    port: 443
`,
		Good: `# with a policy that says: destinations: {allowed: [{hosts: ["*.example.com"], ports: [443]}]}
apiVersion: v1
kind: Service
metadata:
  name: api
  namespace: team-a
spec:
  type: ExternalName
  externalName: api.example.com
  ports:
  - name: https
    port: 443
`,
		Since:  "0.2.0",
		Source: "https://github.com/projectcontour/contour/issues/3925",
	},
	Check: func(p *policy.Pass[*corev1.Service]) {
		to := &p.Config.Destinations
		if !isExternalName(p.Object) || len(to.Allowed)+len(to.Forbidden) == 0 {
			return
		}
		svc := p.Object
		name := aliasHost(svc)
		check := func(port int32) error { return to.CheckHost(name, port) }
		addresses := spelledIn(name, p.Config.ClusterDomain)
		what, inside := clusterNameOf(p.World, name, p.Config.ClusterDomain)
		switch {
		case isIP(name):
			if !lets(p, serviceExternalNameIP.ID, serviceExternalNameIP.Levels) {
				return
			}
			addresses = meantBy(name)
			check = func(port int32) error {
				for _, addr := range addresses {
					if err := to.CheckAddress(addr, port); err != nil {
						return err
					}
				}
				return nil
			}
		case inside && !what.Short:
			banned := &policy.Destinations{Forbidden: to.Forbidden}
			check = func(port int32) error { return banned.CheckHost(intent.Absolute(name, p.Config.ClusterDomain), port) }
		case len(addresses) > 0:
			banned := &policy.Destinations{Forbidden: to.Forbidden}
			check = func(port int32) error {
				for _, addr := range addresses {
					if err := banned.CheckAddress(addr, port); err != nil {
						return err
					}
				}
				return to.CheckHost(name, port)
			}
		}
		const must = "must be an allowed destination: %v; ask for it in the policy (`destinations`)"
		if err := check(0); err != nil {
			p.Report(field.Invalid(externalNamePath, shown(svc.Spec.ExternalName), fmt.Sprintf(must, err)), nil)
			return
		}
		// Ports that stood there before the update, for the same name, are counted apart: they are no cover for others.
		had := map[int32]bool{}
		if p.Old != nil && isExternalName(p.Old) && aliasHost(p.Old) == name {
			for _, sp := range p.Old.Spec.Ports {
				had[sp.Port] = true
				if sp.TargetPort.Type == intstr.Int {
					had[sp.TargetPort.IntVal] = true
				}
			}
		}
		fresh := limited{report: func(err *field.Error) { p.Report(err, nil) }}
		before := limited{report: p.Warn}
		tell := func(path *field.Path, port int32, err error) {
			to := &fresh
			if had[port] {
				to = &before
			}
			to.add(func() *field.Error {
				return field.Invalid(path, fmt.Sprintf("%s:%d", name, port), fmt.Sprintf(must, err))
			})
		}
		ports := field.NewPath("spec", "ports")
		for i, sp := range svc.Spec.Ports {
			// Controllers differ in which of the two they connect to.
			if err := check(sp.Port); err != nil {
				tell(ports.Index(i).Child("port"), sp.Port, err)
			}
			if target := sp.TargetPort; target.Type == intstr.Int && target.IntVal != 0 && target.IntVal != sp.Port {
				if err := check(target.IntVal); err != nil {
					tell(ports.Index(i).Child("targetPort"), target.IntVal, err)
				}
			}
		}
		fresh.done(ports, "ports that must be allowed destinations")
		before.done(ports, "ports that must be allowed destinations")
	},
}
