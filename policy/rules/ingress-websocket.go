package rules

import (
	"fmt"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/intent"
)

var ingressWebsocket = policy.Rule[*networkingv1.Ingress]{
	ID:     "ingress-websocket",
	Levels: policy.Same(policy.Warn),
	Doc: policy.Doc{
		Summary: "An Ingress must switch WebSocket on where its class has it off and the Service asks for it.",
		Why: "appProtocol kubernetes.io/ws and kubernetes.io/wss on a Service port say that its clients upgrade to WebSocket. " +
			"Contour, APISIX and NGINX Inc.'s controller pass an upgrade only where an annotation of the Ingress names the path or " +
			"the Service; else the connection ends with 403 or 426, and nothing tells why. Other classes need no annotation.",
		Bad: `apiVersion: v1
kind: Service
metadata:
  name: chat
  namespace: team-a
spec:
  selector:
    app: chat
  ports:
  - port: 80
    appProtocol: kubernetes.io/ws
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: chat
  namespace: team-a
spec:
  ingressClassName: contour
  rules:
  - host: chat.team-a.example
    http:
      paths:
      - path: /socket
        pathType: Prefix
        backend:
          service:
            name: chat
            port:
              number: 80
`,
		Good: `apiVersion: v1
kind: Service
metadata:
  name: chat
  namespace: team-a
spec:
  selector:
    app: chat
  ports:
  - port: 80
    appProtocol: kubernetes.io/ws
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: chat
  namespace: team-a
  annotations:
    projectcontour.io/websocket-routes: /socket
spec:
  ingressClassName: contour
  rules:
  - host: chat.team-a.example
    http:
      paths:
      - path: /socket
        pathType: Prefix
        backend:
          service:
            name: chat
            port:
              number: 80
`,
		Since:  "0.2.0",
		Source: "https://projectcontour.io/docs/main/config/annotations/, https://apisix.apache.org/docs/ingress-controller/concepts/annotations/, https://docs.nginx.com/nginx-ingress-controller/configuration/ingress-resources/advanced-configuration-with-annotations/",
	},
	Check: func(p *policy.Pass[*networkingv1.Ingress]) {
		ing := p.Object
		if spared(ing) {
			return
		}
		d, served := dialectOf(p)
		if !served {
			return
		}
		key, listsPaths := upgradeKey(d)
		if key == "" {
			return
		}
		services := lookupOf[struct{}](p)
		on := map[string]bool{}
		for entry := range entries(ing.Annotations[key], true) {
			on[entry] = true
		}
		findings := limited{report: func(err *field.Error) { p.Report(err, nil) }}
		told := map[string]bool{}
		for _, at := range backendsOf(ing) {
			if at.Service == nil || at.rule < 0 {
				continue
			}
			k, _ := services.get(at.Service.Name)
			if k.svc == nil {
				continue
			}
			_, sp, _ := d.BackendOf(k.svc, at.Service.Port, p.Config.ClusterDomain)
			if sp == nil || sp.AppProtocol == nil || !slices.Contains(upgrades, strings.ToLower(*sp.AppProtocol)) {
				continue
			}
			wants := at.Service.Name
			switch {
			case d.Name == "apisix":
				wants = "true"
			case listsPaths:
				wants = ing.Spec.Rules[at.rule].HTTP.Paths[at.path].Path
			}
			if on[wants] || told[wants] {
				continue
			}
			told[wants] = true
			findings.add(func() *field.Error {
				return field.Required(annotationPath(key), fmt.Sprintf("must have '%s': Service '%s' speaks WebSocket, and %s passes none without",
					quoted(wants), quoted(at.Service.Name), d.Title))
			})
		}
		findings.done(field.NewPath("metadata", "annotations"), "WebSocket backends must be named")
	},
}

var upgrades = []string{"kubernetes.io/ws", "kubernetes.io/wss"}

// upgradeKey is the annotation by which a dialect switches WebSocket on; empty where it always is. It lists paths, or
// Services, or says "true".
func upgradeKey(d *intent.Dialect) (key string, listsPaths bool) {
	switch d.Name {
	case "contour":
		return "projectcontour.io/websocket-routes", true
	case "apisix":
		return "k8s.apisix.apache.org/enable-websocket", false
	case "nginx-inc":
		return "nginx.org/websocket-services", false
	}
	return "", false
}
