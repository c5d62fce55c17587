package policy

import (
	"net/netip"
	"slices"
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
	// Namespaces change the policy for some namespaces; [Config.For] is the policy in force in one.
	Namespaces []Override
	// Destinations are those of namespaces that no override gives others.
	Destinations Destinations
	Grants       []Grant
	Hosts        []HostOwner
	Exemptions   []Exemption
	Ranges       Ranges
	// ProxyNames are DNS names of the cluster's own proxies, in lower case, or "*.example.com" for all below one: an
	// alias must not lead back to them.
	ProxyNames []string
	// ExternalIPs are the addresses that a Service may have in spec.externalIPs.
	ExternalIPs []netip.Prefix
	Classes     []Class
	// Inject lists what may be injected, of Injections.
	Inject []string
	// Generation identifies the text that this was parsed from: a short hash.
	Generation string

	// A flat policy is one of [Config.For]: origins tells which override said a level.
	flat          bool
	origins       map[string]string
	profileOrigin string
	scoped        scoped
}

// clone is a shallow copy without what was derived.
func (c *Config) clone() *Config {
	return &Config{
		Profile: c.Profile, Rules: c.Rules, ClusterDomain: c.ClusterDomain, Addresses: c.Addresses, Slices: c.Slices,
		Namespaces: c.Namespaces, Destinations: c.Destinations, Grants: c.Grants, Hosts: c.Hosts, Exemptions: c.Exemptions,
		Ranges: c.Ranges, ProxyNames: c.ProxyNames, ExternalIPs: c.ExternalIPs, Classes: c.Classes, Inject: c.Inject,
		Generation: c.Generation, origins: c.origins, profileOrigin: c.profileOrigin,
	}
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
		Inject:     slices.Clone(Injections),
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
