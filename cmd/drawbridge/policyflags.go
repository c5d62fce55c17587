package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/manifest"
	"drawbridge.dev/drawbridge/policy/rules"
)

// policyKey is the key of the policy ConfigMap that holds the policy.
const policyKey = "policy.yaml"

// policyFlags are the flags of the commands that judge manifests.
type policyFlags struct {
	namespace, file, profile string
}

func (p *policyFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.namespace, "namespace", manifest.DefaultNamespace, "namespace of objects that name none")
	p.registerPolicy(cmd)
}

// registerPolicy registers the flags about the policy alone.
func (p *policyFlags) registerPolicy(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&p.file, "policy", "", "policy: a policy.yaml, or the manifest of a ConfigMap that holds one")
	f.StringVar(&p.profile, "profile", "", "profile to judge by, whatever the policy says: baseline or strict")
	complete(cmd, "profile", string(policy.Baseline), string(policy.Strict))
	if err := cmd.MarkFlagFilename("policy", "yaml", "yml"); err != nil {
		panic(err)
	}
}

// config is the policy in force.
func (p *policyFlags) config() (*policy.Config, error) {
	config := policy.DefaultConfig()
	if p.file != "" {
		var err error
		if config, err = readPolicy(p.file); err != nil {
			return nil, usageErrorf("--policy: %w", err)
		}
	}
	switch profile := policy.Profile(p.profile); profile {
	case "":
	case policy.Baseline, policy.Strict:
		config = config.WithProfile(profile)
	default:
		return nil, usageErrorf("--profile must be '%s' or '%s', not '%s'", policy.Baseline, policy.Strict, p.profile)
	}
	return config, nil
}

// readPolicy reads a policy from a policy.yaml, or from a manifest with a ConfigMap that has one under its key.
func readPolicy(path string) (*policy.Config, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, manifest.MaxSize+1))
	if err != nil {
		return nil, err
	}
	for _, o := range manifest.Read(path, text, manifest.Options{}).Objects {
		cm, ok := o.Object.(*corev1.ConfigMap)
		if !ok {
			continue
		}
		inner, ok := cm.Data[policyKey]
		if !ok {
			return nil, fmt.Errorf("%s:%d: ConfigMap '%s' has no key '%s'", path, o.Line("data"), cm.Name, policyKey)
		}
		config, err := policy.ParseConfig([]byte(inner), rules.Known)
		if err != nil {
			return nil, fmt.Errorf("%s: ConfigMap '%s', key '%s': %w", path, cm.Name, policyKey, err)
		}
		return config, nil
	}
	config, err := policy.ParseConfig(text, rules.Known)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return config, nil
}
