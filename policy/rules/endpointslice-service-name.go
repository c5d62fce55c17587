package rules

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
)

var endpointSliceServiceName = policy.Rule[*discoveryv1.EndpointSlice]{
	ID:      "endpointslice-service-name",
	Levels:  policy.Same(policy.Deny),
	Injects: policy.InjectLabels,
	Unfixed: policy.Deny,
	Doc: policy.Doc{
		Summary: "An EndpointSlice must name its Service in the label kubernetes.io/service-name.",
		Why: "The label is all that joins a slice to its Service: kube-proxy, cluster DNS and Ingress controllers find slices " +
			"by it, and one without it is read by nobody. Slices that a controller owns or another manager keeps are not " +
			"judged, nor those with a service-name label of another domain, which leave it off on purpose. With the level " +
			"fix the name comes from the owner reference, or from the one Service that the slice's name begins with.",
		Bad: `apiVersion: v1
kind: Service
metadata:
  name: billing
  namespace: team-a
spec:
  ports:
  - name: https
    port: 443
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: billing-1
  namespace: team-a
  labels:
    endpointslice.kubernetes.io/managed-by: hand-written.drawbridge.dev
addressType: IPv4
ports:
- name: https
  port: 443
  protocol: TCP
endpoints:
- addresses:
  - 192.0.2.10
`,
		Good: `apiVersion: v1
kind: Service
metadata:
  name: billing
  namespace: team-a
spec:
  ports:
  - name: https
    port: 443
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
- name: https
  port: 443
  protocol: TCP
endpoints:
- addresses:
  - 192.0.2.10
`,
		Since:  "0.1.0",
		Source: "https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#ownership",
	},
	Check: func(p *policy.Pass[*discoveryv1.EndpointSlice]) {
		s := p.Object
		if s.Labels[discoveryv1.LabelServiceName] != "" {
			return
		}
		if owned, foreign := sliceManager(s); owned || foreign {
			return
		}
		for key := range s.Labels {
			if key != discoveryv1.LabelServiceName && strings.HasSuffix(key, "/service-name") {
				return
			}
		}
		meant := candidates(sliceName(s), p.World.Services(s.Namespace))
		detail := "must name the Service whose endpoints these are"
		var fix func(*discoveryv1.EndpointSlice)
		if name := serviceOf(s, meant); name != "" {
			detail += fmt.Sprintf(", by its owner or name '%s'", quoted(name))
			meant = slices.DeleteFunc(meant, func(other string) bool { return other == name })
			fix = func(s *discoveryv1.EndpointSlice) { setLabel(s, discoveryv1.LabelServiceName, name) }
		}
		if len(meant) > 0 {
			also := ""
			if fix != nil {
				also = "also "
			}
			detail += "; this namespace " + also + "has " + listed(meant, 5)
		}
		p.Report(field.Required(labelPath(discoveryv1.LabelServiceName), detail), fix)
	},
}

// sliceName is the name of a slice, or what its generated name will begin with.
func sliceName(s *discoveryv1.EndpointSlice) string {
	if s.Name != "" {
		return s.Name
	}
	return strings.TrimSuffix(s.GenerateName, "-")
}

// maxSuggested bounds the Services of a namespace among which a slice may be told to choose: each of many slices would
// look at all of them.
const maxSuggested = 100

// candidates lists the Services that a slice of that name could belong to: those whose name it begins with, longest
// first, then those without a selector, then the others, where there are few. services are in the order of their names.
func candidates(name string, services []*corev1.Service) []string {
	var names []string
	for prefix := name; prefix != ""; {
		i, found := slices.BinarySearchFunc(services, prefix, func(s *corev1.Service, prefix string) int { return cmp.Compare(s.Name, prefix) })
		if found && services[i].Spec.Type != corev1.ServiceTypeExternalName {
			names = append(names, prefix)
		}
		prefix = prefix[:max(strings.LastIndexByte(prefix, '-'), 0)]
	}
	if len(services) > maxSuggested {
		return names
	}
	for _, selects := range [...]bool{false, true} {
		for _, svc := range services {
			if svc.Spec.Type != corev1.ServiceTypeExternalName && (len(svc.Spec.Selector) > 0) == selects && !beginsWith(name, svc.Name) {
				names = append(names, svc.Name)
			}
		}
	}
	return names
}

// beginsWith tells whether a slice is named after a Service: by its name, or by its name and a dash.
func beginsWith(slice, service string) bool {
	return slice == service || strings.HasPrefix(slice, service+"-")
}

// serviceOf is the one Service that a slice can belong to, empty where there is none or more than one: the one that
// an owner reference names, else the only one that its name begins with.
func serviceOf(s *discoveryv1.EndpointSlice, candidates []string) string {
	var owners []string
	for _, ref := range s.OwnerReferences {
		if ref.APIVersion == "v1" && (ref.Kind == "Service" || ref.Kind == "Endpoints") && ref.Name != "" && !slices.Contains(owners, ref.Name) {
			owners = append(owners, ref.Name)
		}
	}
	if len(owners) == 0 {
		owners = slices.DeleteFunc(slices.Clone(candidates), func(name string) bool { return !beginsWith(sliceName(s), name) })
	}
	if len(owners) != 1 {
		return ""
	}
	return owners[0]
}

func labelPath(key string) *field.Path { return field.NewPath("metadata", "labels").Key(key) }

func setLabel(s *discoveryv1.EndpointSlice, key, value string) {
	if s.Labels == nil {
		s.Labels = map[string]string{}
	}
	s.Labels[key] = value
}
