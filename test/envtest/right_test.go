package envtest

import (
	"strings"
	"testing"
)

// right has users who may and may not exempt an object from a Guard.
func right(t *testing.T, m *manager) {
	namespace := m.cluster.Namespace(t)
	m.cluster.Apply(t, namespace, `
apiVersion: v1
kind: Service
metadata: {name: site}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: editor}
rules:
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: ["*"]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: editor}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: editor}
subjects: [{kind: Group, name: editors-of-`+namespace+`, apiGroup: rbac.authorization.k8s.io}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: exempt}
rules:
- {apiGroups: [drawbridge.dev], resources: [exemptions], resourceNames: [endpointslice-managed-by-reserved], verbs: [use]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: exempt}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: exempt}
subjects: [{kind: User, name: exempt-in-`+namespace+`, apiGroup: rbac.authorization.k8s.io}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: another}
rules:
- {apiGroups: [drawbridge.dev], resources: [exemptions], resourceNames: [service-external-name-forbidden], verbs: [use]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: another}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: another}
subjects: [{kind: User, name: another-in-`+namespace+`, apiGroup: rbac.authorization.k8s.io}]
`)
	const claimed = `apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: NAME
  labels:
    kubernetes.io/service-name: site
    endpointslice.kubernetes.io/managed-by: endpointslice-controller.k8s.io
  annotations:
    drawbridge.dev/allow-endpointslice-managed-by-reserved: "I say so"
addressType: IPv4
endpoints: [{addresses: [192.0.2.1], conditions: {ready: true}}]
ports: [{name: http, port: 80}]
`
	editors := "editors-of-" + namespace
	for name, user := range map[string]struct {
		kubeconfig string
		may        bool
	}{
		"with-the-right":      {m.cluster.User(t, "exempt-in-"+namespace, editors), true},
		"without":             {m.cluster.User(t, "nobody-in-"+namespace, editors), false},
		"with-another-rule":   {m.cluster.User(t, "another-in-"+namespace, editors), false},
		"with-all-that-is":    {m.cluster.Kubeconfig, false}, // a cluster-admin, by wildcards
		"with-the-annotation": {m.cluster.User(t, "author-in-"+namespace, editors), false},
	} {
		_, stderr, err := m.cluster.KubectlAs(t, user.kubeconfig, strings.ReplaceAll(claimed, "NAME", name), "create", "-n", namespace, "-f", "-")
		switch {
		case user.may && (err != nil || !strings.Contains(stderr, "Warning: exempted by your right to use the rule: ")):
			t.Errorf("%s: %v %s", name, err, stderr)
		case !user.may && (err == nil || !strings.Contains(stderr, "an author can not exempt himself from a guard") ||
			!strings.Contains(stderr, "The EndpointSlice")):
			t.Errorf("%s: %v %s", name, err, stderr)
		}
	}
}
