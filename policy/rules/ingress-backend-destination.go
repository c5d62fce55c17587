package rules

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/intent"
)

var ingressBackendDestination = policy.Rule[*networkingv1.Ingress]{
	ID:      "ingress-backend-destination",
	Levels:  policy.Same(policy.Deny),
	Unfixed: policy.Deny,
	Guard:   true,
	Doc: policy.Doc{
		Summary: "An Ingress must lead to a name and port that the policy allows in its namespace.",
		Why: "`destinations` of the policy lists hosts and ports. The name stands in the ExternalName Service and is judged " +
			"there; the port is the Ingress's own, so that only here both are known. Without a list every public name may be " +
			"reached, on every port.",
		Bad: `# with a policy that says: destinations: {allowed: [{hosts: ["*.example.com"], ports: [443]}]}
` + exampleAlias + `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: api
  namespace: team-a
  annotations:
    ingress.kubernetes.io/preserve-host: "false"
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
              number: 25
`,
		Good: `# with a policy that says: destinations: {allowed: [{hosts: ["*.example.com"], ports: [443]}]}
` + exampleAlias + `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: api
  namespace: team-a
  annotations:
    ingress.kubernetes.io/preserve-host: "false"
    ingress.kubernetes.io/backend-protocol: HTTPS
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
              number: 443
`,
		Since:  "0.2.0",
		Source: "https://github.com/projectcontour/contour/issues/3950: \"the list would need host/port pairs\"",
	},
	Check: func(p *policy.Pass[*networkingv1.Ingress]) {
		to := &p.Config.Destinations
		if len(to.Allowed)+len(to.Forbidden) == 0 {
			return
		}
		type verdict struct{ hops []aliasHop }
		services := lookupOf[verdict](p)
		world := &remembering{World: p.World}
		d, served := dialectOf(p)
		for _, at := range backendsOf(p.Object) {
			if at.Service == nil {
				continue
			}
			k, fresh := services.get(at.Service.Name)
			if k.svc == nil || !isExternalName(k.svc) {
				continue
			}
			if fresh {
				k.Thought.hops = aliasHops(world, k.svc, p.Config.ClusterDomain)
			}
			if err := destination(to, k.Thought.hops, aliasPorts(d, served, k.svc, at.Service.Port, p.Config.ClusterDomain), p.Config.ClusterDomain); err != nil {
				p.Report(field.Invalid(at.field().Child("service"), at.Service.Name+":"+portText(at.Service.Port),
					fmt.Sprintf("must be an allowed destination: %v", err)), nil)
			}
		}
	},
}

// destination tells why an alias must not be reached on some ports. Names inside the cluster are for the rules about
// cluster-local names to judge.
func destination(to *policy.Destinations, hops []aliasHop, ports []int32, clusterDomain string) error {
	for i := range hops {
		name := hops[i].Name
		switch {
		case isIP(name):
			if err := checkAddresses(to, meantBy(name), ports); err != nil {
				return err
			}
		case !hops[i].Inside || hops[i].To.Short:
			// A name that spells an address must be among the names that are allowed, and not be one that is forbidden.
			if err := checkAddresses(&policy.Destinations{Forbidden: to.Forbidden}, spelledIn(name, clusterDomain), ports); err != nil {
				return err
			}
			for _, port := range ports {
				if err := to.CheckHost(name, port); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func checkAddresses(to *policy.Destinations, addresses []netip.Addr, ports []int32) error {
	for _, addr := range addresses {
		for _, port := range ports {
			if err := to.CheckAddress(addr, port); err != nil {
				return err
			}
		}
	}
	return nil
}

// aliasPorts are the ports on which an ExternalName may be reached: one where the dialect is known, else both of those
// that controllers take. 0 stands for one that is not known.
func aliasPorts(d *intent.Dialect, served bool, svc *corev1.Service, port networkingv1.ServiceBackendPort, clusterDomain string) []int32 {
	b, sp, _ := d.BackendOf(svc, port, clusterDomain)
	if served || sp == nil || sp.TargetPort.Type != intstr.Int || sp.TargetPort.IntVal == 0 || sp.TargetPort.IntVal == b.Port {
		return []int32{b.Port}
	}
	return []int32{b.Port, sp.TargetPort.IntVal}
}
