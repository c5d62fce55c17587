package policy

import (
	"net/netip"
)

// Profile chooses the level of every rule that the policy does not name.
type Profile string

// The profiles. Baseline denies what can not work and what is an attack, and warns of the rest; Strict denies risks.
const (
	Baseline Profile = "baseline"
	Strict   Profile = "strict"
)

// SliceScope chooses whose Endpoints become EndpointSlices.
type SliceScope string

// The scopes: every selector-less Service with hand-written Endpoints, only those behind an Ingress, only Endpoints
// that ask by the annotation SliceAnnotation "true", or none.
const (
	SlicesAll       SliceScope = "all"
	SlicesIngress   SliceScope = "ingress"
	SlicesAnnotated SliceScope = "annotated"
	SlicesOff       SliceScope = "off"
)

// SliceAnnotation on Endpoints asks for slices ("true") or forbids them ("false"), within the scope of the policy.
const SliceAnnotation = "drawbridge.dev/endpointslices"

// Config is the policy: what policy.yaml in the ConfigMap says, parsed and checked. It is never changed once made.
type Config struct {
	Profile Profile
	// Rules holds the level of each rule that the policy names, by ID.
	Rules map[string]Level
	// ClusterDomain is the DNS domain of the cluster, without dots at its ends: cluster.local.
	ClusterDomain string
	Addresses     Addresses
	Slices        Slices
	// Generation identifies the text that this was parsed from: a short hash.
	Generation string
}

// Slices says which Endpoints drawbridge turns into EndpointSlices.
type Slices struct {
	Scope SliceScope
	// ForeignManagers are field managers known to keep Endpoints themselves; what one of them wrote last is left alone.
	ForeignManagers []string
}

// Level is the level in force of a rule.
func (c *Config) Level(id string, levels Levels) Level {
	if l, ok := c.Rules[id]; ok {
		return l
	}
	if c.Profile == Strict {
		return levels.Strict
	}
	return levels.Baseline
}

// DefaultConfig is the policy where nobody wrote one.
func DefaultConfig() *Config {
	return &Config{
		Profile:       Baseline,
		ClusterDomain: "cluster.local",
		// Patroni and the operator of Zalando keep the Endpoints of a database's leader, the operator of Prometheus
		// those of the kubelets: the names are what their clients send as User-Agent.
		Slices:     Slices{Scope: SlicesAll, ForeignManagers: []string{"Patroni", "postgres-operator", "PrometheusOperator"}},
		Generation: "default",
	}
}

// Addresses says which IP addresses may be served.
type Addresses struct {
	// Allowed lends addresses back from what is forbidden by default and by Forbidden.
	Allowed []netip.Prefix
	// Forbidden adds to what is forbidden by default.
	Forbidden []netip.Prefix
}
