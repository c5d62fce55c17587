package intent

import (
	"regexp"
	"strings"
)

// endpointsInstead is what serves an external site under controllers that know endpoints only.
const endpointsInstead = "write a Service without selector and an EndpointSlice"

// others are controllers that are known for their way with ExternalName only: they have no Keys.
var others = []*Dialect{
	{
		Name: "skipper", Title: "Skipper",
		Classes: []string{"skipper"}, Class: "skipper", NodeHost: true,
		// docs/kubernetes/ingress-usage.md and docs/reference/filters.md.
		Fetches: []Fetch{
			{Annotation: "zalando.org/skipper-filter", Find: eskipURLs},
			{Annotation: "zalando.org/skipper-routes", Find: eskipURLs},
		},
		Aliases: Aliases{AliasOff, "-enable-kubernetes-external-names", endpointsInstead,
			"https://github.com/zalando/skipper/security/advisories/GHSA-mxxc-p822-2hx9"},
	},
	{
		Name: "gce", Title: "GKE's ingress controller",
		Classes: []string{"gce", "gce-internal"}, Class: "gce",
		Aliases: Aliases{AliasNever, "", "write a network endpoint group of internet endpoints, or serve the host by another class",
			"https://github.com/kubernetes/ingress-gce/issues/1169"},
	},
	{
		Name: "aws", Title: "the AWS Load Balancer Controller",
		Controllers: []string{"ingress.k8s.aws/alb"}, Classes: []string{"alb"}, Class: "alb",
		Aliases: Aliases{AliasNever, "", "write a TargetGroupBinding or a `forward` action to a target group of IP addresses",
			"https://github.com/kubernetes-sigs/aws-load-balancer-controller/issues/3505"},
	},
	{
		Name: "azure", Title: "the Application Gateway Ingress Controller of Azure",
		Controllers: []string{"azure/application-gateway"}, Classes: []string{"azure-application-gateway", "azure/application-gateway"},
		Class: "azure-application-gateway",
		Aliases: Aliases{AliasNever, "", "add the site to a backend pool of the gateway by hand, or serve the host by another class",
			"https://github.com/Azure/application-gateway-kubernetes-ingress/issues/1119"},
	},
	{
		Name: "istio", Title: "Istio's ingress gateway",
		Controllers: []string{"istio.io/ingress-controller"}, Classes: []string{"istio"}, Class: "istio",
		Aliases: Aliases{AliasNever, "", "write a ServiceEntry with `resolution: DNS` and a VirtualService",
			"https://github.com/istio/istio/issues/30547"},
	},
	{
		Name: "cilium", Title: "Cilium",
		Controllers: []string{"cilium.io/ingress-controller"}, Classes: []string{"cilium"}, Class: "cilium",
		Aliases: Aliases{AliasNever, "", endpointsInstead, "https://github.com/cilium/cilium/issues/24495"},
	},
	{
		Name: "openshift", Title: "OpenShift's router",
		Controllers: []string{"openshift.io/ingress-to-route"}, Classes: []string{"openshift-default"}, Class: "openshift-default",
		Aliases: Aliases{AliasNever, "", endpointsInstead, "https://github.com/openshift/router/pull/819"},
	},
}

// What Skipper's routes send requests to: the first argument of the filters that ask somebody, or send a copy; backends,
// the last step of a route; and those of a load-balanced backend, in angle brackets.
var (
	eskipAsked = regexp.MustCompile(`(?:->|\b(?:webhook|[Tt]ee|teenf|setDynamicBackendUrl|setDynamicBackendHost|(?:o|secureO)authTokenintrospection\w*|oauthO(?:idc|IDC)\w*)\s*\()(?:\s|//[^\n]*\n)*` + eskipString)
	eskipMany  = regexp.MustCompile(`<[^<>]*>`)
	eskipText  = regexp.MustCompile(eskipString)
)

const eskipString = "(?:\"((?:[^\"\\\\]|\\\\.)*)\"|`([^`]*)`)"

func eskipURLs(text string) []string {
	var list []string
	add := func(found [][]string) {
		for _, m := range found {
			list = append(list, strings.ReplaceAll(m[1], `\`, "")+m[2])
		}
	}
	add(eskipAsked.FindAllStringSubmatch(text, -1))
	for _, group := range eskipMany.FindAllString(text, -1) {
		add(eskipText.FindAllStringSubmatch(group, -1))
	}
	return list
}
