// Package live keeps the policy in force: read from a ConfigMap or a file, followed as it changes, and never replaced
// by one that is wrong.
package live

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"drawbridge.dev/drawbridge/policy"
)

// Key is the key of the ConfigMap that holds the policy, and the name of its file.
const Key = "policy.yaml"

// Parse makes a policy of a text, and tells what is wrong with it.
type Parse func(text []byte) (*policy.Config, error)

// Policy is the policy in force. Before it was told of any it is policy.DefaultConfig. It is safe for concurrent use.
type Policy struct {
	parse   Parse
	current atomic.Pointer[policy.Config]

	mu       sync.Mutex // held while a policy is put in force, so that they come to listeners in order
	onChange []func(*policy.Config)

	success    prometheus.Gauge
	generation *prometheus.GaugeVec
}

// New makes a Policy that reads texts by parse, with the default in force. The metrics
// drawbridge_policy_last_reload_success (0 or 1) and drawbridge_policy_generation{generation} (1 for the policy in
// force) go to the registry, where it is not nil; it panics where they are registered already.
func New(parse Parse, registry prometheus.Registerer) *Policy {
	p := &Policy{
		parse: parse,
		success: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "drawbridge_policy_last_reload_success",
			Help: "Whether the last policy that was read is in force (1), or was wrong and the one before stays (0).",
		}),
		generation: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "drawbridge_policy_generation",
			Help: "The policy in force, by the hash of its text; always 1.",
		}, []string{"generation"}),
	}
	if registry != nil {
		registry.MustRegister(p.success, p.generation)
	}
	p.set(policy.DefaultConfig())
	return p
}

// Current is the policy in force. It must not be changed.
func (p *Policy) Current() *policy.Config { return p.current.Load() }

// OnChange calls f with each policy that comes in force from now on, one after the other; f must not block, nor call
// back into the Policy except for Current.
func (p *Policy) OnChange(f func(*policy.Config)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.onChange = append(p.onChange, f)
}

// Changed is a channel that holds a value whenever a policy came in force since it was last read.
func (p *Policy) Changed() <-chan struct{} {
	changed := make(chan struct{}, 1)
	p.OnChange(func(*policy.Config) {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	return changed
}

// Load puts the policy that a text says in force. A wrong one is refused with what is wrong, and the one before stays.
func (p *Policy) Load(text []byte) error {
	config, err := p.parse(text)
	if err != nil {
		p.success.Set(0)
		return err
	}
	p.set(config)
	return nil
}

// Reset puts the default in force.
func (p *Policy) Reset() { p.set(policy.DefaultConfig()) }

func (p *Policy) set(config *policy.Config) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.success.Set(1)
	before := p.current.Swap(config)
	if before != nil && before.Generation == config.Generation {
		return
	}
	p.generation.Reset()
	p.generation.WithLabelValues(config.Generation).Set(1)
	if before == nil {
		return
	}
	for _, f := range slices.Clone(p.onChange) {
		f(config)
	}
}
