package rules

import (
	corev1 "k8s.io/api/core/v1"

	"drawbridge.dev/drawbridge/policy"
)

// addressWhy says of Endpoints, EndpointSlices and Services alike why their addresses are judged.
const addressWhy = "Whoever writes addresses sends a proxy there that may reach more than he: metadata services with their credentials, " +
	"and with pods, Services, nodes and the API server all that NetworkPolicy keeps apart (CVE-2021-25740). The forbidden " +
	"addresses (loopback, link-local, multicast, unspecified and the metadata services of the clouds, in IPv4-mapped, 6to4 and " +
	"NAT64 spelling too) and those that the policy does not allow for the namespace (`destinations`) are always denied. " +
	"Addresses of the cluster, which Knative, vCluster and service meshes write all day, are denied where an Ingress, a " +
	"LoadBalancer, a NodePort or externalIPs lend their place in the network, and warned of elsewhere. Private ranges are where " +
	"on-premises services live, and pass. Of a range of pods nobody can say whose pod it is; only an Ingress has it denied. " +
	"An owner or a manager that the object names excuses nothing, as anybody can write one; the policy does: by " +
	"`addresses.allowed`, by `grants` of all Services of a namespace, which are those of its pods too, or by `exemptions`."

var endpointsAddress = policy.Rule[*corev1.Endpoints]{
	ID:      "endpoints-address",
	Levels:  policy.Same(policy.Deny),
	Milder:  policy.Levels{Baseline: policy.Warn, Strict: policy.Deny},
	Unfixed: policy.Deny,
	Guard:   true,
	Doc: policy.Doc{
		Summary: "Endpoints must have addresses that may be served.",
		Why: addressWhy + " Endpoints of a Service with a selector that are stored are the control plane's, and only their " +
			"forbidden addresses count.",
		Bad: `apiVersion: v1
kind: Service
metadata:
  name: billing
  namespace: team-a
spec:
  ports:
  - name: http
    port: 80
---
apiVersion: v1
kind: Endpoints
metadata:
  name: billing
  namespace: team-a
subsets:
- addresses:
  - ip: 169.254.169.254
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
  ports:
  - name: http
    port: 80
---
apiVersion: v1
kind: Endpoints
metadata:
  name: billing
  namespace: team-a
subsets:
- addresses:
  - ip: 192.0.2.10
  ports:
  - name: http
    port: 80
`,
		Since:  "0.2.0",
		Source: "https://github.com/kubernetes/kubernetes/issues/103675",
	},
	Check: func(p *policy.Pass[*corev1.Endpoints]) {
		ep := p.Object
		if len(ep.Subsets) == 0 || ofAPIServer(ep.Namespace, ep.Name) {
			return
		}
		j := &addressJudge{
			config: p.Config, world: p.World, namespace: ep.Namespace,
			lending: lenderOf(p.World, ep.Namespace, ep.Name),
			pods:    p.Stored && selects(p.World.Service(ep.Namespace, ep.Name)),
		}
		var before func() *addressed
		if p.Old != nil {
			before = func() *addressed { return addressesOf(p.Old) }
		}
		judgeAddresses(p, j, addressesOf(ep), before)
	},
}

// ofAPIServer tells of the Service by which a cluster reaches its own API server, whose endpoints that keeps itself.
func ofAPIServer(namespace, service string) bool {
	return namespace == "default" && service == "kubernetes"
}

// selects tells whether a Service has a selector, so that the control plane makes its endpoints.
func selects(svc *corev1.Service) bool {
	return svc != nil && len(svc.Spec.Selector) > 0 && svc.Spec.Type != corev1.ServiceTypeExternalName
}
