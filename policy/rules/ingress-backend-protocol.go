package rules

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/intent"
)

var backendProtocolDoc = policy.Doc{
	Summary: "An Ingress whose backends are all outside the cluster and speak TLS must say that they do.",
	Why: "Ingress controllers speak plain HTTP to a backend, whatever its port is. A site on port 443 answers that with " +
		"an error, or not at all. External means an ExternalName Service or one without selector; TLS is what port 443, " +
		"a port named https and appProtocol https stand for. Ingresses to pods are left alone. The annotation is written in " +
		"the words of the Ingress's class: on the Ingress, or on the Service where the controller reads it there (Traefik, " +
		"Contour, Kong); those, and lists of Services (NGINX Inc.), concern one Service, whatever stands beside it.",
	Bad: `apiVersion: v1
kind: Service
metadata:
  name: api
  namespace: team-a
spec:
  type: ExternalName
  externalName: api.example.com
---
apiVersion: networking.k8s.io/v1
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
              number: 443
`,
	Good: `apiVersion: v1
kind: Service
metadata:
  name: api
  namespace: team-a
spec:
  type: ExternalName
  externalName: api.example.com
---
apiVersion: networking.k8s.io/v1
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
	Since:  "0.1.0",
	Source: "https://github.com/kubernetes/ingress-nginx/blob/main/docs/user-guide/nginx-configuration/annotations.md#backend-protocol",
}

var ingressBackendProtocol = policy.Rule[*networkingv1.Ingress]{
	ID:      "ingress-backend-protocol",
	Levels:  policy.Same(policy.Fix),
	Injects: policy.InjectProtocol,
	Doc:     backendProtocolDoc,
	Check:   protocolInjection.ingress,
}

// ingressBackendProtocolService is the same for controllers that read the annotation on the Service.
var ingressBackendProtocolService = policy.Rule[*corev1.Service]{
	ID:      "ingress-backend-protocol",
	Levels:  policy.Same(policy.Fix),
	Injects: policy.InjectProtocol,
	Doc:     backendProtocolDoc,
	Check:   protocolInjection.service,
}

var protocolInjection = &injection{
	wish: intent.WishProtocol, value: string(intent.HTTPS),
	suits: func(d *intent.Dialect, b intent.Backend) bool {
		var none intent.Wishes
		// appProtocol may say something else of a port 443, such as h2c.
		return b.External() && none.For(b).Protocol == intent.HTTPS && (!d.SecurePort || b.Port != 443 && !strings.HasPrefix(b.PortName, "https"))
	},
	all:   func(string, string) string { return ": every backend is an external one that speaks TLS" },
	needs: func(intent.Backend) string { return "be spoken to in TLS" },
}
