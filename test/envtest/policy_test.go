package envtest

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/live"
	"drawbridge.dev/drawbridge/policy/rules"
	"drawbridge.dev/drawbridge/test/lab"
)

// TestPolicyAtStart begins where the ConfigMap is already wrong: the default is in force, which still denies what can
// not work, and a webhook that never became ready would stop the cluster.
func TestPolicyAtStart(t *testing.T) {
	cluster := lab.Shared(t)
	key := types.NamespacedName{Namespace: cluster.Namespace(t), Name: "drawbridge-policy"}
	cluster.Apply(t, key.Namespace, policyMap("version: 1\nno-such-key: 1"))
	// Another ConfigMap of the namespace is none of its business.
	cluster.Apply(t, key.Namespace, strings.Replace(policyMap("version: 1\nprofile: strict"), "drawbridge-policy", "other", 1))

	c, err := cache.New(cluster.Config, cache.Options{
		Scheme: scheme.Scheme, ByObject: map[client.Object]cache.ByObject{&corev1.ConfigMap{}: live.CacheOptions(key)},
	})
	if err != nil {
		t.Fatal(err)
	}
	current := live.New(func(text []byte) (*policy.Config, error) { return policy.ParseConfig(text, rules.Known) }, nil)
	recorder := events.NewFakeRecorder(10)
	loaded, err := current.Follow(t.Context(), c, key, recorder)
	if err != nil {
		t.Fatal(err)
	}
	if loaded() {
		t.Error("loaded before anything was read")
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	lab.Eventually(t, patience, func() error {
		if !loaded() {
			return fmt.Errorf("not loaded")
		}
		return nil
	})
	if got := current.Current().Generation; got != policy.DefaultConfig().Generation {
		t.Errorf("generation %s", got)
	}
	if len(recorder.Events) != 1 {
		t.Fatalf("%d Events", len(recorder.Events))
	}
	if got := <-recorder.Events; !strings.Contains(got, "Warning InvalidPolicy") || !strings.Contains(got, "no-such-key") {
		t.Errorf("Event %q", got)
	}

	cluster.Apply(t, key.Namespace, policyMap("version: 1\nprofile: strict"))
	lab.Eventually(t, patience, func() error {
		if got := current.Current().Profile; got != policy.Strict {
			return fmt.Errorf("profile %s", got)
		}
		return nil
	})
}
