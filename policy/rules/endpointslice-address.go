package rules

import (
	"fmt"
	"slices"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
)

var endpointSliceAddress = policy.Rule[*discoveryv1.EndpointSlice]{
	ID:      "endpointslice-address",
	Levels:  policy.Same(policy.Deny),
	Milder:  policy.Levels{Baseline: policy.Warn, Strict: policy.Deny},
	Unfixed: policy.Deny,
	Guard:   true,
	Doc: policy.Doc{
		Summary: "An EndpointSlice must have addresses that may be served.",
		Why: addressWhy + " A stored slice that names the control plane's controller of pods as its manager is believed where " +
			"its Service has a selector; the copies that are made of Endpoints are judged as those are. " +
			"Host names are judged where endpointslice-fqdn lets them pass.",
		Bad: `apiVersion: v1
kind: Service
metadata:
  name: billing
  namespace: team-a
spec:
  ports:
  - name: http
    port: 80
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: billing-1
  namespace: team-a
  labels:
    kubernetes.io/service-name: billing
    endpointslice.kubernetes.io/managed-by: hand-written.drawbridge.dev
addressType: IPv4
ports:
- name: http
  port: 80
  protocol: TCP
endpoints:
- addresses:
  - 100.100.100.200
`,
		Good: `apiVersion: v1
kind: Service
metadata:
  name: billing
  namespace: team-a
spec:
  ports:
  - name: http
    port: 80
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: billing-1
  namespace: team-a
  labels:
    kubernetes.io/service-name: billing
    endpointslice.kubernetes.io/managed-by: hand-written.drawbridge.dev
addressType: IPv4
ports:
- name: http
  port: 80
  protocol: TCP
endpoints:
- addresses:
  - 192.0.2.10
`,
		Since:  "0.2.0",
		Source: "https://github.com/kubernetes/kubernetes/issues/103675",
	},
	Check: func(p *policy.Pass[*discoveryv1.EndpointSlice]) {
		s := p.Object
		service := s.Labels[discoveryv1.LabelServiceName]
		if s.Name == service && ofAPIServer(s.Namespace, service) {
			return // the API server's own; another that calls itself its Service's is anybody's
		}
		j := &addressJudge{config: p.Config, world: p.World, namespace: s.Namespace, lending: lenderOf(p.World, s.Namespace, service)}
		if s.AddressType == discoveryv1.AddressTypeFQDN {
			if owned, foreign := sliceManager(s); owned || foreign || lets(p, endpointSliceFQDN.ID, endpointSliceFQDN.Levels) {
				judgeNames(p, j)
			}
			return
		}
		j.pods = p.Stored && s.Labels[discoveryv1.LabelManagedBy] == policy.ManagedByPods && selects(p.World.Service(s.Namespace, service))
		now := addressesIn(s)
		if p.Old == nil {
			judgeAddresses(p, j, now, nil)
			return
		}
		if was := p.Old.Labels[discoveryv1.LabelServiceName]; was != service {
			handOver(p, j, now, service)
		}
		judgeAddresses(p, j, now, func() *addressed { return addressesIn(p.Old) })
	},
}

// handOver judges old addresses as those of another Service, which an Ingress may lead to where none led to the old one.
func handOver(p *policy.Pass[*discoveryv1.EndpointSlice], j *addressJudge, now *addressed, service string) {
	if j.lending.who == "" {
		return
	}
	for _, at := range now.list {
		addr, ok := parseAddress(at.text)
		if !ok {
			continue
		}
		if f := j.wrong(addr, at.group, now.groups[at.group]); f.detail != "" && !f.mild {
			p.Report(field.Invalid(labelPath(discoveryv1.LabelServiceName), service,
				fmt.Sprintf("must not be given endpoint '%s', %s%s%s", quoted(at.text), f.what, j.lending.would(), f.advice)), nil)
			return
		}
	}
}

// judgeNames judges the host names of a slice as an alias of each would be.
func judgeNames(p *policy.Pass[*discoveryv1.EndpointSlice], j *addressJudge) {
	severe := limited{report: func(err *field.Error) { p.Report(err, nil) }}
	mild := limited{report: func(err *field.Error) { p.Mild(err, nil) }}
	had := limited{report: p.Warn}
	now := addressesIn(p.Object)
	before := map[string]bool{}
	added := "" // the first port that the slice did not have
	if p.Old != nil {
		was := addressesIn(p.Old)
		for _, at := range was.list {
			before[hostIn(at.text)] = true
		}
		if len(now.groups[0]) == 0 && len(was.groups[0]) > 0 {
			added = ":0" // every port
		}
		for _, port := range now.groups[0] {
			if added == "" && len(was.groups[0]) > 0 && !slices.Contains(was.groups[0], port) {
				added = fmt.Sprintf(":%d", port)
			}
		}
	}
	for _, at := range now.list {
		name := hostIn(at.text)
		detail, light := "", false
		if why := forbiddenName(p.Config, name); why != "" {
			detail = "must not be served: it " + why
		} else if c, inside := clusterNameOf(p.World, name, p.Config.ClusterDomain); inside &&
			(c.Namespace == "" || !p.Config.Granted(p.Object.Namespace, "Service", c.Namespace, c.Service)) {
			detail = "must not be a name inside the cluster; ask for a grant in the policy (`grants`)"
			light = j.lending.who == ""
		} else if err := nameDestination(p.Config, name, now.groups[0]); err != nil && !inside {
			detail = fmt.Sprintf("must be an allowed destination: %v", err)
		}
		if detail == "" {
			continue
		}
		to, value := &severe, at.text
		if light {
			to = &mild
		}
		if before[name] {
			// What stood there is no cover for another name, nor for another port.
			if value += added; added == "" {
				to = &had
			}
		}
		to.add(func() *field.Error { return field.Invalid(now.path(at), value, detail) })
	}
	for _, l := range [...]*limited{&severe, &mild, &had} {
		l.done(now.root, "names that must not be served")
	}
}

func nameDestination(c *policy.Config, name string, ports []int32) error {
	if len(c.Destinations.Allowed)+len(c.Destinations.Forbidden) == 0 {
		return nil
	}
	if len(ports) == 0 {
		return c.Destinations.CheckHost(name, policy.EveryPort)
	}
	if err := c.Destinations.CheckHost(name, 0); err != nil {
		return err
	}
	const few = 16 // names times ports must not become a product
	for i, port := range ports {
		if i == few {
			return fmt.Errorf("a slice of names must have at most %d ports", few)
		}
		if err := c.Destinations.CheckHost(name, port); err != nil {
			return err
		}
	}
	return nil
}
