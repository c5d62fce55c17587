package rules

import (
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/intent"
)

var subrequestDoc = policy.Doc{
	Summary: "An annotation must not have the proxy send requests where its author may not lead.",
	Why: "Some annotations name what the proxy itself asks before it serves (`auth-url`, `auth-uri`, Skipper's `webhook`), what " +
		"gets a copy (`mirror-target`), or whose health it checks. The proxy stands where its author does not: it reaches " +
		"metadata services, loopback and every namespace, headers of the answer can be handed to the client, and whether there " +
		"was one decides about access. A forbidden address or name, in any spelling, and what `destinations` of the policy do " +
		"not allow are denied. An address of the cluster, and the name of another namespace's Service without a grant, are a " +
		"warning, because one login service for all is usual; denied where the policy is strict. So is a host that the " +
		"client chooses by a variable such as '$arg_to'. For '$host' the hosts of the Ingress are judged; what it is on a rule " +
		"without a host, or below a wildcard, can not be known. Annotations of every controller are judged, whichever serves the " +
		"Ingress; those of a Service too. Where only the browser is sent, as by `auth-signin`, is not.",
	Bad: exampleWeb + `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web
  namespace: team-a
  annotations:
    nginx.ingress.kubernetes.io/auth-url: http://169.254.169.254/latest/meta-data/
spec:
  ingressClassName: nginx
  rules:
  - host: web.team-a.example
    http:
      paths:
      - path: /
        pathType: Prefix
        backend:
          service:
            name: web
            port:
              number: 80
`,
	Good: exampleWeb + `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web
  namespace: team-a
  annotations:
    nginx.ingress.kubernetes.io/auth-url: http://web.team-a.svc.cluster.local/check
spec:
  ingressClassName: nginx
  rules:
  - host: web.team-a.example
    http:
      paths:
      - path: /
        pathType: Prefix
        backend:
          service:
            name: web
            port:
              number: 80
`,
	Since: "0.2.0",
	Source: "https://kubernetes.github.io/ingress-nginx/user-guide/nginx-configuration/annotations/#external-authentication and " +
		"annotations-risk, where `auth-url` and `mirror-target` have the risk High",
}

var ingressSubrequestDestination = policy.Rule[*networkingv1.Ingress]{
	ID:      "ingress-subrequest-destination",
	Levels:  policy.Same(policy.Deny),
	Milder:  policy.Levels{Baseline: policy.Warn, Strict: policy.Deny},
	Unfixed: policy.Deny,
	Guard:   true,
	Doc:     subrequestDoc,
	Check: func(p *policy.Pass[*networkingv1.Ingress]) {
		judgeFetches(p, intent.OnIngress, func() []string {
			var hosts []string
			for i := range p.Object.Spec.Rules {
				if host := p.Object.Spec.Rules[i].Host; host != "" && !strings.HasPrefix(host, "*") {
					hosts = append(hosts, strings.ToLower(host))
				}
			}
			slices.Sort(hosts)
			return slices.Compact(hosts)
		})
	},
}

// ingressSubrequestDestinationService holds the same of the annotations of a Service, which some controllers read.
var ingressSubrequestDestinationService = policy.Rule[*corev1.Service]{
	ID:      ingressSubrequestDestination.ID,
	Levels:  ingressSubrequestDestination.Levels,
	Milder:  ingressSubrequestDestination.Milder,
	Unfixed: policy.Deny,
	Guard:   true,
	Doc:     subrequestDoc,
	Check: func(p *policy.Pass[*corev1.Service]) {
		judgeFetches(p, intent.OnService, func() []string { return nil })
	},
}

// judgeFetches reports the annotations by which a proxy would send requests to where it must not, by key, each once.
// hosts are those that a request can have come for.
func judgeFetches[T policy.Object](p *policy.Pass[T], on intent.Place, hosts func() []string) {
	annotations := p.Object.GetAnnotations()
	var keys []string
	for key, text := range annotations {
		if _, _, known := intent.FetchOf(key, on); known && strings.TrimSpace(text) != "" {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return
	}
	slices.Sort(keys)
	j := fetchJudge{config: p.Config, world: &remembering{World: p.World}, namespace: p.Object.GetNamespace(), hosts: hosts}
	for _, key := range keys {
		f, _, _ := intent.FetchOf(key, on)
		var port int32
		if f.Port != "" {
			port = portOf(strings.TrimSpace(annotations[f.Port]))
		}
		list := []string{annotations[key]}
		if f.Find != nil {
			list = f.Find(annotations[key])
		}
		var worst wrongFetch
		for _, text := range list {
			if worst = worst.or(j.url(text, port)); worst.detail != "" && !worst.mild {
				break
			}
		}
		if worst.detail == "" {
			continue
		}
		err := field.Invalid(annotationPath(key), shown(annotations[key]), worst.detail)
		if worst.mild {
			p.Mild(err, nil)
		} else {
			p.Report(err, nil)
		}
	}
}

// wrongFetch is what is wrong with where a request is sent; the zero value is nothing.
type wrongFetch struct {
	detail string
	mild   bool
}

// or is the worse of two; of two that are as bad, the first.
func (w wrongFetch) or(other wrongFetch) wrongFetch {
	if w.detail == "" || w.mild && other.detail != "" && !other.mild {
		return other
	}
	return w
}

// fetchJudge judges where the annotations of one object send requests.
type fetchJudge struct {
	config    *policy.Config
	world     *remembering
	namespace string
	hosts     func() []string
}

// Variables of nginx, $name or ${name}; it holds upper and lower case equal.
var (
	// ofPath begin with the slash that ends a host.
	ofPath = variable(`request_uri|document_uri|uri`)
	// ofHost are the host that the request came for.
	ofHost = variable(`host|http_host|best_http_host|server_name`)
	// ofClient are whatever the client sends.
	ofClient    = variable(`arg_[a-z0-9_]+|cookie_[a-z0-9_]+|http_[a-z0-9_]+|args|query_string|request[a-z0-9_]*|remote_user|content_type`)
	ofNamespace = variable(`namespace`)
	anyVariable = variable(`[a-z0-9_]+`)
)

const hostVariable = "${host}"

// ofSocket is how nginx and HAProxy name what is no host.
var ofSocket = regexp.MustCompile(`(?i)\A(?:[a-z]*://)?(?:unix:|(?:unix|uxst|uxdg|abnsz?|fd|sockpair)@)`)

func variable(names string) *regexp.Regexp {
	return regexp.MustCompile(`(?i)\$(?:\{(?:` + names + `)\}|(?:` + names + `)\b)`)
}

// url judges a URL, or a host with or without a port. port holds where the text has none.
func (j *fetchJudge) url(text string, port int32) wrongFetch {
	text = ofNamespace.ReplaceAllLiteralString(ofPath.ReplaceAllLiteralString(strings.TrimSpace(text), "/"), j.namespace)
	if ofSocket.MatchString(anyVariable.ReplaceAllLiteralString(text, "")) {
		return wrongFetch{detail: "must not be a socket or a file of the proxy's own; write a URL"}
	}
	if w, ok := j.service(text); ok {
		return w
	}
	l := locate(text)
	host := strings.ToLower(strings.TrimRight(l.host, "."))
	if l.port != "" {
		port = portOf(l.port)
	} else if port == 0 {
		port = map[string]int32{"http": 80, "https": 443}[l.scheme]
	}
	if host == "" {
		return wrongFetch{} // a path of the proxy itself
	}
	if !strings.ContainsRune(host, '$') {
		return j.forbidden(host, text).or(j.host(host, port))
	}
	if host = ofHost.ReplaceAllLiteralString(host, hostVariable); host == hostVariable {
		// Its hosts are no destinations: the proxy asks itself. One of loopback is how that is done on a developer's machine.
		for _, host := range j.hosts() {
			if !j.loopback(host) {
				if w := j.forbidden(host, text); w.detail != "" {
					return w
				}
			}
		}
		return wrongFetch{}
	}
	// Without its variables, because they may be empty; then as it stands, because names of the cluster and names that
	// mean loopback are told by their ends.
	for _, host := range [...]string{strings.Trim(anyVariable.ReplaceAllLiteralString(host, ""), "."), host} {
		if w := j.forbidden(host, text); w.detail != "" {
			return w
		}
	}
	if ofClient.MatchString(host) {
		if err := j.config.Destinations.CheckHost(host, port); err != nil {
			return notAllowed(err)
		}
		return wrongFetch{"must not take its host from what the client sends; write the host", true}
	}
	return j.inside(host)
}

// service judges svc://NAMESPACE/SERVICE:PORT, in which the namespace may be missing; ok is false for anything else.
func (j *fetchJudge) service(text string) (w wrongFetch, ok bool) {
	rest, ok := strings.CutPrefix(text, "svc://")
	if !ok {
		if rest, ok = strings.CutPrefix(text, "service://"); !ok {
			return w, false
		}
	}
	of, name, qualified := strings.Cut(rest, "/")
	if !qualified || strings.ContainsRune(of, ':') {
		return w, true // the slash is that of the path
	}
	name, _, _ = strings.Cut(name, ":")
	name, _, _ = strings.Cut(name, "/")
	if j.config.Granted(j.namespace, "Service", of, name) {
		return w, true
	}
	return notGranted("Service '" + quoted(name) + "' of namespace '" + quoted(of) + "'"), true
}

// host judges a host without variables, in lower case and without dots at its end, and a port, 0 where it is not known.
func (j *fetchJudge) host(host string, port int32) wrongFetch {
	to := &j.config.Destinations
	if isIP(host) {
		addresses := meantBy(host)
		if err := checkAddresses(to, addresses, []int32{port}); err != nil {
			return notAllowed(err)
		}
		return j.addresses(addresses)
	}
	spelled := spelledIn(host, j.config.ClusterDomain)
	c, inside := clusterNameOf(j.world, host, j.config.ClusterDomain)
	if !inside || c.Short {
		if err := checkAddresses(&policy.Destinations{Forbidden: to.Forbidden}, spelled, []int32{port}); err != nil {
			return notAllowed(err)
		}
		if err := to.CheckHost(host, port); err != nil {
			return notAllowed(err)
		}
	}
	return j.inside(host).or(j.addresses(spelled)).or(j.alias(c, port))
}

// alias judges where a Service leads that is an alias. What its own name must not be is judged as the Service is written;
// the port is known here only.
func (j *fetchJudge) alias(to clusterName, port int32) wrongFetch {
	if to.Namespace == "" || to.Service == "" || !hasService(j.world, to.Namespace, to.Service) {
		return wrongFetch{}
	}
	hops := aliasHops(j.world, j.world.Service(to.Namespace, to.Service), j.config.ClusterDomain)
	if err := destination(&j.config.Destinations, hops, []int32{port}, j.config.ClusterDomain); err != nil {
		return notAllowed(err)
	}
	if hop, found := foreignHop(j.config, hops); found {
		return wrongFetch{"must not lead by an alias to " + hop.leadsTo() + "; write a Service of this namespace, or ask for a grant (`grants`)", true}
	}
	return wrongFetch{}
}

// forbidden judges what nobody may lead to, and names it where the text does not.
func (j *fetchJudge) forbidden(host, text string) wrongFetch {
	why := ""
	if isIP(host) {
		for _, addr := range meantBy(host) {
			if err := j.config.Addresses.Check(addr); err != nil && why == "" {
				why = meansForbidden(err)
			}
		}
	} else {
		why = forbiddenName(j.config, host)
	}
	if why == "" {
		return wrongFetch{}
	}
	it := "it"
	if !strings.Contains(strings.ToLower(text), host) {
		it = "'" + quoted(host) + "'"
	}
	return wrongFetch{detail: "must not be asked: " + it + " " + why + "; write another, or ask for an exemption (`exemptions`)"}
}

// inside judges a name as one of the cluster.
func (j *fetchJudge) inside(host string) wrongFetch {
	to, ok := clusterNameOf(j.world, host, j.config.ClusterDomain)
	hop := aliasHop{Name: host, To: to, Inside: ok}
	switch {
	case !ok || to.Namespace != "" && j.config.Granted(j.namespace, "Service", to.Namespace, to.Service):
		return wrongFetch{}
	case to.Short && strings.ContainsRune(host, '$'):
		return wrongFetch{}
	case to.Short:
		return wrongFetch{"must not lead to " + hop.leadsTo() + "; write its full name", true}
	case to.Namespace == "":
		return wrongFetch{"must not lead to " + hop.leadsTo() + ": the proxy reaches what its author may not; write the name of a Service", true}
	case to.Service == "":
		return notGranted("namespace '" + quoted(to.Namespace) + "'")
	}
	return notGranted("Service '" + quoted(to.Service) + "' of namespace '" + quoted(to.Namespace) + "'")
}

// addresses judges addresses as those of the cluster.
func (j *fetchJudge) addresses(list []netip.Addr) wrongFetch {
	for _, addr := range list {
		if o := strangerAt(j.config, j.world, j.namespace, addr); o.Kind != policy.NoOwner && (o.Kind != policy.OwnerService || o.Namespace != j.namespace) {
			return wrongFetch{"must not lead to '" + addr.String() + "', the address of " + ownerText(o) + "; write a Service's name, or ask for the address (`addresses.allowed`)", true}
		}
	}
	return wrongFetch{}
}

// loopback tells whether a name means loopback.
func (j *fetchJudge) loopback(host string) bool {
	return under(host, "localhost") || slices.ContainsFunc(loopbackDomains, func(d string) bool { return under(host, d) }) ||
		slices.ContainsFunc(spelledIn(host, j.config.ClusterDomain), netip.Addr.IsLoopback)
}

func notGranted(what string) wrongFetch {
	return wrongFetch{"must not lead to " + what + "; write a Service of this namespace, or ask for a grant (`grants`)", true}
}

func notAllowed(err error) wrongFetch {
	return wrongFetch{detail: "must be an allowed destination: " + err.Error() + "; ask for it in the policy (`destinations`)"}
}

// portOf is a port number, 0 where the text is none.
func portOf(text string) int32 {
	n, _ := strconv.ParseUint(text, 10, 16)
	return int32(n)
}
