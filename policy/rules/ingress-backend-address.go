package rules

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
)

var ingressBackendAddress = policy.Rule[*networkingv1.Ingress]{
	ID:      "ingress-backend-address",
	Levels:  policy.Same(policy.Deny),
	Unfixed: policy.Deny,
	Guard:   true,
	Doc: policy.Doc{
		Summary: "An Ingress must not send traffic to hand-written endpoints that are addresses of the cluster.",
		Why: "Endpoints that somebody writes may be the address of another team's pod, of a Service, of a node or of the API " +
			"server (CVE-2021-25740). By themselves they give nobody a new power; behind an Ingress the proxy reaches what " +
			"NetworkPolicies keep from their author. The rules about endpoints deny them while an Ingress leads there; this one " +
			"holds where the Ingress comes second. Endpoints that the control plane makes of pods are not judged, nor are pods " +
			"of the same namespace. `addresses.allowed` of the policy lends an address.",
		Bad: `apiVersion: v1
kind: Service
metadata:
  name: ledger
  namespace: team-b
spec:
  selector:
    app: ledger
  clusterIP: 10.96.7.8
  clusterIPs: [10.96.7.8]
  ports:
  - port: 80
---
apiVersion: v1
kind: Service
metadata:
  name: db
  namespace: team-a
spec:
  ports:
  - name: http
    port: 80
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: db-1
  namespace: team-a
  labels:
    kubernetes.io/service-name: db
    endpointslice.kubernetes.io/managed-by: hand-written.drawbridge.dev
addressType: IPv4
ports:
- name: http
  port: 80
endpoints:
- addresses: [10.96.7.8]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: db
  namespace: team-a
spec:
  ingressClassName: drawbridge
  rules:
  - host: db.team-a.example
    http:
      paths:
      - path: /
        pathType: Prefix
        backend:
          service:
            name: db
            port:
              number: 80
`,
		Good: `apiVersion: v1
kind: Service
metadata:
  name: db
  namespace: team-a
spec:
  ports:
  - name: http
    port: 80
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: db-1
  namespace: team-a
  labels:
    kubernetes.io/service-name: db
    endpointslice.kubernetes.io/managed-by: hand-written.drawbridge.dev
addressType: IPv4
ports:
- name: http
  port: 80
endpoints:
- addresses: [192.0.2.10]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: db
  namespace: team-a
spec:
  ingressClassName: drawbridge
  rules:
  - host: db.team-a.example
    http:
      paths:
      - path: /
        pathType: Prefix
        backend:
          service:
            name: db
            port:
              number: 80
`,
		Since:  "0.2.0",
		Source: "CVE-2021-25740, https://github.com/kubernetes/kubernetes/issues/103675",
	},
	Check: func(p *policy.Pass[*networkingv1.Ingress]) {
		services, left := lookupOf[string](p), maxLent
		for _, at := range backendsOf(p.Object) {
			if at.Service == nil {
				continue
			}
			k, fresh := services.get(at.Service.Name)
			if fresh && k.svc != nil {
				k.Thought = lentAddress(p.Config, p.World, k.svc, &left)
			}
			if k.Thought != "" {
				p.Report(field.Invalid(at.field().Child("service", "name"), at.Service.Name, k.Thought), nil)
			}
		}
	},
}

// maxLent bounds the hand-written addresses that are judged for one Ingress or Service: each of many Ingresses may lead
// to all that a namespace holds. More are refused, and not passed over: a Guard must not be blind behind a crowd.
const maxLent = 20000

var tooMany = fmt.Sprintf("must not have more than %d endpoints that are written by hand, or they can not all be judged", maxLent)

// lentAddress says of the first endpoint that somebody wrote by hand and that an Ingress must not lead to what is wrong
// with it; empty where there is none. left is how many may still be judged.
func lentAddress(c *policy.Config, w policy.World, svc *corev1.Service, left *int) string {
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		return ""
	}
	own := ofAPIServer(svc.Namespace, svc.Name)
	selects := len(svc.Spec.Selector) > 0
	for _, slice := range w.EndpointSlices(svc.Namespace, svc.Name) {
		// Of a Service without selector nothing is made of pods, whatever the slice calls itself.
		if slice.AddressType == discoveryv1.AddressTypeFQDN || own && slice.Name == svc.Name || selects && slice.Labels[discoveryv1.LabelManagedBy] == policy.ManagedByPods {
			continue
		}
		for i := range slice.Endpoints {
			if *left -= len(slice.Endpoints[i].Addresses); *left < 0 {
				return tooMany
			}
			for _, a := range slice.Endpoints[i].Addresses {
				if why := lent(c, w, svc.Namespace, a); why != "" {
					return why
				}
			}
		}
	}
	if selects || own {
		return ""
	}
	if ep := w.Endpoints(svc.Namespace, svc.Name); ep != nil {
		for i := range ep.Subsets {
			for _, list := range [...][]corev1.EndpointAddress{ep.Subsets[i].Addresses, ep.Subsets[i].NotReadyAddresses} {
				if *left -= len(list); *left < 0 {
					return tooMany
				}
				for j := range list {
					if why := lent(c, w, svc.Namespace, list[j].IP); why != "" {
						return why
					}
				}
			}
		}
	}
	return ""
}

// lent says why an Ingress of a namespace must not lead to an address, empty where it may.
func lent(c *policy.Config, w policy.World, namespace, address string) string {
	addr, ok := parseAddress(address)
	if !ok {
		return ""
	}
	if err := c.Addresses.Check(addr); err != nil {
		return "must not have forbidden endpoints: " + err.Error() + "; take the address out"
	}
	o := strangerAt(c, w, namespace, addr)
	if o.Kind == policy.NoOwner || o.Kind == policy.OwnerService && o.Namespace == namespace {
		return ""
	}
	return "must not have the endpoint '" + addr.String() + "', the address of " + ownerText(o) + "; " + ownerAdvice(o)
}
