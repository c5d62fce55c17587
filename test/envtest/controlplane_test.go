package envtest

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"drawbridge.dev/drawbridge/test/lab"
)

const mirrored = "endpointslicemirroring-controller.k8s.io"

// endpoints that the mirroring controller copies as they stand: the port has no name, though the Service's has. Its
// slice bears a label that only the control plane may set, and its port is what drawbridge would mend.
const endpoints = `
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec: {ports: [{name: http, port: 80}, {name: https, port: 443}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: NAME}
subsets: [{addresses: [{ip: 1.2.3.4}], ports: [{port: 80}]}]
`

// TestControlPlane holds that what the control plane writes passes as it is, under either of its identities, and
// that it can write while drawbridge is not there.
func TestControlPlane(t *testing.T) {
	for name, flag := range map[string]string{
		"ServiceAccounts": "--use-service-account-credentials=true",
		"OneUser":         "--use-service-account-credentials=false",
	} {
		t.Run(name, func(t *testing.T) {
			cluster := lab.Shared(t)
			namespace := cluster.Namespace(t)
			if name == "OneUser" {
				// What Kubernetes' own roles give each controller's account.
				cluster.Apply(t, "default", `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: mirroring-as-controller-manager}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:controller:endpointslicemirroring-controller"}
subjects: [{kind: User, name: "system:kube-controller-manager"}]
`)
			}
			// drawbridge's own generator would take these Endpoints over.
			if _, _, err := cluster.Kubectl(t, "get", "namespace", system); err != nil {
				cluster.Kubectl(t, "create", "namespace", system)
			}
			cluster.Apply(t, system, policyMap("version: 1\nslices:\n  scope: 'off'"))
			t.Cleanup(func() { cluster.Kubectl(t, "delete", "configmap", "drawbridge-policy", "-n", system) })
			opened := cluster.FailOpenCount(t)

			m := start(t, cluster)
			cluster.StartControllerManager(t, "endpointslice-mirroring-controller", flag)
			write := func(service string) {
				t.Helper()
				// By a user of the control plane, for a person's would be mended.
				_, stderr, err := cluster.KubectlIn(t, strings.ReplaceAll(endpoints, "NAME", service), "create", "-n", namespace, "-f", "-",
					"--as", "system:cloud-controller-manager", "--as-group", "system:masters")
				if err != nil {
					t.Fatal(stderr)
				}
			}
			admin := cluster.Client(t)
			mirror := func(service string) discoveryv1.EndpointSlice {
				t.Helper()
				var list discoveryv1.EndpointSliceList
				lab.Eventually(t, patience, func() error {
					err := admin.List(t.Context(), &list, client.InNamespace(namespace), client.MatchingLabels{
						discoveryv1.LabelServiceName: service, discoveryv1.LabelManagedBy: mirrored,
					})
					if err == nil && len(list.Items) != 1 {
						err = fmt.Errorf("%d mirrored slices of %s", len(list.Items), service)
					}
					return err
				})
				return list.Items[0]
			}
			untouched := func(slice discoveryv1.EndpointSlice) {
				t.Helper()
				if p := slice.Ports; len(p) != 1 || p[0].Name == nil || *p[0].Name != "" {
					t.Errorf("ports %v: they must be as the control plane wrote them", p)
				}
				for key := range slice.Annotations {
					t.Errorf("annotation %s", key)
				}
			}

			write("with")
			untouched(mirror("with"))
			var service corev1.Service
			if err := admin.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "with"}, &service); err != nil {
				t.Fatal(err)
			}
			// A person who writes such a slice is stopped.
			forged := strings.Replace(strings.ReplaceAll(slice, "NAME", "with"), "labels: {", "labels: {endpointslice.kubernetes.io/managed-by: "+mirrored+", ", 1)
			_, stderr, err := cluster.KubectlIn(t, forged, "create", "-n", namespace, "-f", "-")
			if err == nil || !strings.Contains(stderr, "(endpointslice-managed-by-reserved)") {
				t.Errorf("a slice that passes for the control plane's: %v, %q", err, stderr)
			}
			if n := cluster.FailOpenCount(t); n != opened {
				t.Errorf("%d requests passed because the webhook did not answer", n-opened)
			}

			m.Stop()
			write("without")
			untouched(mirror("without"))
			if n := cluster.FailOpenCount(t); n != opened {
				t.Errorf("the control plane's %d requests were sent to the webhook at all", n-opened)
			}
		})
	}
}
