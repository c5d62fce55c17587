package rules

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/intent"
)

var preserveHostDoc = policy.Doc{
	Summary: "An Ingress whose backends are all ExternalName Services with one public name must send that name as Host.",
	Why: "A proxy passes the Host of the client on. A site outside the cluster has never heard of the Ingress's host: it " +
		"answers with 404, a redirect to itself or a stranger's page, and its certificate does not fit. The annotation is " +
		"written in the words of the Ingress's class, and never beside one that already says something of the Host: on the " +
		"Ingress, or on the Service where the controller reads it there (Traefik), and then for each Service by itself. " +
		"Where a controller has no annotation for it (Contour, APISIX, NGINX Inc.) this is a warning that tells what works.",
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
              number: 80
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
              number: 80
`,
	Since:  "0.1.0",
	Source: "https://kubernetes.io/docs/concepts/services-networking/service/#externalname",
}

var ingressPreserveHost = policy.Rule[*networkingv1.Ingress]{
	ID:      "ingress-preserve-host",
	Levels:  policy.Same(policy.Fix),
	Injects: policy.InjectHost,
	Doc:     preserveHostDoc,
	Check:   hostInjection.ingress,
}

// ingressPreserveHostService is the same for controllers that read the annotation on the Service.
var ingressPreserveHostService = policy.Rule[*corev1.Service]{
	ID:      "ingress-preserve-host",
	Levels:  policy.Same(policy.Fix),
	Injects: policy.InjectHost,
	Doc:     preserveHostDoc,
	Check:   hostInjection.service,
}

var hostInjection = &injection{
	wish: intent.WishHost, value: "node", sameName: true,
	suits: func(d *intent.Dialect, b intent.Backend) bool {
		return b.Kind == intent.ExternalName && !b.Internal && !d.NodeHost && isName(b.Name) && !isIP(b.Name)
	},
	all: func(text, host string) string {
		gets := "its own name"
		if text != host {
			gets += fmt.Sprintf(", '%s',", quoted(host))
		}
		return fmt.Sprintf(", so that the external site gets %s as Host", gets)
	},
	needs: func(b intent.Backend) string { return fmt.Sprintf("get '%s' as Host", quoted(b.Name)) },
}
