package rules

import (
	"strings"
	"testing"

	"drawbridge.dev/drawbridge/policy"
)

// defaultExamples are the policies that default.yaml shows in comments.
func defaultExamples(t *testing.T) []string {
	t.Helper()
	var list []string
	var block strings.Builder
	for line := range strings.Lines(policy.DefaultYAML + "\n") {
		if example, ok := strings.CutPrefix(line, "#   "); ok {
			block.WriteString(example)
			continue
		}
		// The meaning of the profiles stands in the same form.
		if text := block.String(); text != "" && !strings.HasPrefix(text, "baseline ") {
			list = append(list, text)
		}
		block.Reset()
	}
	return list
}

// TestDefaultExamples holds that the examples of the default policy name rules that there are, and that those for what is
// known to need them under strict do what they are for: without them the object is denied, with them it is not.
func TestDefaultExamples(t *testing.T) {
	all := defaultExamples(t)
	for _, text := range all {
		if _, err := policy.ParseConfig([]byte("version: 1\n"+text), Known); err != nil {
			t.Errorf("%s\n%v", text, err)
		}
	}
	example := func(part string) string {
		t.Helper()
		for _, text := range all {
			if strings.Contains(text, part) {
				return text
			}
		}
		t.Fatalf("no example has %q", part)
		return ""
	}
	alias := func(to string) string {
		return "apiVersion: v1\nkind: Service\nmetadata: {name: hello, namespace: shop}\nspec: {type: ExternalName, externalName: " + to + "}\n"
	}
	const assigned = "apiVersion: v1\nkind: Service\nmetadata: {name: lb, namespace: shop}\nspec: {type: LoadBalancer, ports: [{port: 80}]}\n" +
		"status: {loadBalancer: {ingress: [{ip: 203.0.113.7}]}}\n"
	for name, tt := range map[string]struct {
		part, object, user, rule string
		status                   bool
		world                    string
	}{
		"Knative with Kourier": {part: "kourier", object: alias("kourier-internal.kourier-system.svc.cluster.local"), rule: "service-external-name-cluster-local"},
		"Knative with Istio":   {part: "kourier", object: alias("knative-local-gateway.istio-system.svc.cluster.local"), rule: "service-external-name-cluster-local"},
		"Knative with Contour": {part: "kourier", object: alias("envoy.contour-internal.svc.cluster.local"), rule: "service-external-name-cluster-local"},
		"Tailscale":            {part: "tailscale", object: alias("ts-db-x2b4c.tailscale.svc.cluster.local"), rule: "service-external-name-cluster-local"},
		"MetalLB":              {part: "metallb", object: assigned, user: "system:serviceaccount:metallb-system:controller", status: true, rule: "service-load-balancer-status"},
		"MetalLB by Helm":      {part: "metallb", object: assigned, user: "system:serviceaccount:metallb-system:metallb-controller", status: true, rule: "service-load-balancer-status"},
		"kube-vip":             {part: "kubernetes-admin", object: assigned, user: "kubernetes-admin", status: true, rule: "service-load-balancer-status"},
		"OpenShift":            {part: "vmware", object: assigned, user: "system:serviceaccount:openshift-cloud-controller-manager:cloud-controller-manager", status: true, rule: "service-load-balancer-status"},
		"vSphere":              {part: "vmware", object: assigned, user: "system:serviceaccount:vmware-system-cloud-provider:cloud-provider-svc-account", status: true, rule: "service-load-balancer-status"},
		"Knative's activator": {part: "knative-serving", user: "system:serviceaccount:knative-serving:controller", rule: "endpoints-address",
			object: "apiVersion: v1\nkind: Endpoints\nmetadata: {name: hello-00001, namespace: shop}\nsubsets:\n- addresses: [{ip: 10.244.7.7}]\n  ports: [{name: http, port: 8012}]\n",
			world: "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: activator\n  namespace: knative-serving\n  labels:\n" +
				"    kubernetes.io/service-name: activator-service\n    endpointslice.kubernetes.io/managed-by: endpointslice-controller.k8s.io\n" +
				"addressType: IPv4\nendpoints: [{addresses: [10.244.7.7], targetRef: {kind: Pod, name: activator}}]\nports: [{name: http, port: 8012}]\n" +
				"---\napiVersion: v1\nkind: Service\nmetadata: {name: hello-00001, namespace: shop}\nspec: {ports: [{name: http, port: 80, targetPort: 8012}]}\n"},
	} {
		denied := func(text string) bool {
			config, err := policy.ParseConfig([]byte("version: 1\nprofile: strict\n"+text), Known)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			res := All().Review(policy.Request{
				Object: objects(t, tt.object)[0], World: policy.NewIndex(objects(t, tt.world)...), Config: config, User: tt.user, Status: tt.status,
			})
			found := false
			for _, f := range res.Denied {
				if f.Rule == tt.rule {
					found = true
				} else {
					t.Errorf("%s: denied for something else: %s", name, f.Message())
				}
			}
			return found
		}
		if !denied("") {
			t.Errorf("%s: is not denied where the profile is strict", name)
		}
		if denied(example(tt.part)) {
			t.Errorf("%s: is denied in spite of its example", name)
		}
	}
}
