package webhook_test

import (
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/yaml"

	"drawbridge.dev/drawbridge/webhook"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestConfigurations(t *testing.T) {
	for name, o := range map[string]webhook.ConfigurationOptions{
		"service": {
			Service:     &admissionregistrationv1.ServiceReference{Name: "drawbridge-webhook", Namespace: "drawbridge-system", Port: new(int32(443))},
			Annotations: map[string]string{"cert-manager.io/inject-ca-from": "drawbridge-system/drawbridge-webhook"},
		},
		"url": {
			Name: "other", Namespace: "infra", URL: "https://192.0.2.1:9443/", CABundle: []byte("PEM"), TimeoutSeconds: 30,
			ExcludedNamespaces: []string{"quiet", "infra"}, ExcludedUsers: []string{"o'hara\\", "system:node:*", "é"},
			ServiceAccount: "manager",
			Failures: &webhook.Failures{
				Mutate: admissionregistrationv1.Fail, Service: admissionregistrationv1.Ignore, Ingress: admissionregistrationv1.Ignore,
				Endpoints: admissionregistrationv1.Fail, EndpointSlice: admissionregistrationv1.Fail,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			mutating, validating := webhook.Configurations(o)
			var got []byte
			for _, object := range []any{mutating, validating} {
				text, err := yaml.Marshal(object)
				if err != nil {
					t.Fatal(err)
				}
				got = append(append(got, "---\n"...), text...)
			}
			golden := "testdata/configurations-" + name + ".yaml"
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("%s (-update writes it):\n%s", golden, diff)
			}
		})
	}
}
