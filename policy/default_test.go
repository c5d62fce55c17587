package policy

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// examples are the policies that default.yaml shows in comments: by the line that says what each is for, without what
// comes before the last sentence's paragraph.
func examples(t *testing.T) (list []*Config, texts []string) {
	t.Helper()
	var block strings.Builder
	for line := range strings.Lines(DefaultYAML + "\n") {
		if example, ok := strings.CutPrefix(line, "#   "); ok {
			block.WriteString(example)
			continue
		}
		text := block.String()
		block.Reset()
		// The meaning of the profiles stands in the same form.
		if text == "" || strings.HasPrefix(text, "baseline ") {
			continue
		}
		c, err := ParseConfig([]byte("version: 1\n"+text), nil)
		if err != nil {
			t.Fatalf("%s\n%v", text, err)
		}
		list, texts = append(list, c), append(texts, text)
	}
	return list, texts
}

// Whoever uncomments an example gets what its comment promises.
func TestDefaultExamples(t *testing.T) {
	list, texts := examples(t)
	find := func(part string) *Config {
		t.Helper()
		var found *Config
		for i, text := range texts {
			if strings.Contains(text, part) {
				if found != nil {
					t.Fatalf("two examples have %q", part)
				}
				found = list[i]
			}
		}
		if found == nil {
			t.Fatalf("no example has %q", part)
		}
		return found
	}
	for _, to := range []string{"kourier-system/kourier-internal", "istio-system/knative-local-gateway", "contour-internal/envoy", "contour-external/envoy"} {
		namespace, name, _ := strings.Cut(to, "/")
		if c := find("kourier"); !c.Granted("any", "Service", namespace, name) || c.Granted("any", "Service", namespace, "other") || c.Granted("any", "Secret", namespace, name) {
			t.Errorf("Knative: %s", to)
		}
	}
	if c := find("tailscale"); !c.Granted("any", "Service", "tailscale", "ts-db-x2b4c") || c.Granted("any", "Service", "tailscale", "operator") {
		t.Error("Tailscale")
	}
	for part, tt := range map[string]struct{ rule, user string }{
		"knative-serving": {"endpoints-address", "system:serviceaccount:knative-serving:controller"},
		"metallb":         {"service-load-balancer-status", "system:serviceaccount:metallb-system:controller"},
		"kube-vip":        {"service-load-balancer-status", "kubernetes-admin"},
		"vmware":          {"service-load-balancer-status", "system:serviceaccount:vmware-system-cloud-provider:cloud-provider-svc-account"},
	} {
		c := find(part)
		if _, ok := c.Exempts(tt.rule, "any", tt.user, nil); !ok {
			t.Errorf("%s: %s is not exempt", part, tt.user)
		}
		if _, ok := c.Exempts(tt.rule, "any", "alice", []string{"system:authenticated"}); ok {
			t.Errorf("%s: everybody is exempt", part)
		}
		if _, ok := c.Exempts("service-external-name-ip", "any", tt.user, nil); ok {
			t.Errorf("%s: exempt from everything", part)
		}
	}
	if c := find("prod-*"); c.For("payments", nil).Profile != Strict || c.For("prod-1", nil).Profile != Strict || c.For("x", nil).Profile != Baseline {
		t.Error("namespaces")
	}
	d := find("partner.example").Destinations
	if d.CheckHost("a.example.com", 8001) != nil || d.CheckHost("internal.example.com", 443) == nil || d.CheckHost("a.example.com", 80) == nil {
		t.Error("destinations")
	}
}

// Every key is in default.yaml, with what holds where it is left out, and has an example or a value to start from.
func TestDefaultNamesEveryKey(t *testing.T) {
	var said map[string]any
	if err := yaml.Unmarshal([]byte(DefaultYAML), &said); err != nil {
		t.Fatal(err)
	}
	_, texts := examples(t)
	shown := strings.Join(texts, "")
	for _, key := range slices.Sorted(maps.Keys(policyShape.keys)) {
		value, ok := said[key]
		if !ok {
			t.Errorf("'%s' is not there", key)
		}
		empty := false
		switch v := value.(type) {
		case []any:
			empty = len(v) == 0
		case map[string]any:
			empty = len(v) == 0
		}
		if empty && !strings.Contains("\n"+shown, "\n"+key+":") {
			t.Errorf("'%s' has neither a value nor an example", key)
		}
	}
	for line := range strings.Lines(DefaultYAML) {
		if len(line) > 121 {
			t.Errorf("a line of %d characters: %s", len(line), line)
		}
	}
}
