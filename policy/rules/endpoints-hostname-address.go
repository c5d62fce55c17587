package rules

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
)

var endpointsHostnameAddress = policy.Rule[*corev1.Endpoints]{
	ID:      "endpoints-hostname-address",
	Levels:  policy.Same(policy.Deny),
	Unfixed: policy.Deny,
	Doc: policy.Doc{
		Summary: "Endpoints must have IP addresses, not host names.",
		Why: "Endpoints are what a name was resolved to: kube-proxy writes them into rules of the kernel, which knows no names. " +
			"The API server refuses a host name with the words 'must be a valid IP address' and does not say what to write. " +
			"For a name there is the Service of type ExternalName, for an address with a port the port of the subset.",
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
apiVersion: v1
kind: Endpoints
metadata:
  name: billing
  namespace: team-a
subsets:
- addresses:
  - ip: billing.example.com
  ports:
  - name: http
    port: 80
`,
		Good: `apiVersion: v1
kind: Service
metadata:
  name: billing
  namespace: team-a
spec:
  type: ExternalName
  externalName: billing.example.com
`,
		Since:  "0.2.0",
		Source: "https://kubernetes.io/docs/concepts/services-networking/service/#externalname",
	},
	Check: func(p *policy.Pass[*corev1.Endpoints]) {
		if len(p.Object.Subsets) == 0 {
			return
		}
		l := limited{report: func(err *field.Error) { p.Report(err, nil) }}
		list := addressesOf(p.Object)
		for _, at := range list.list {
			if _, ok := parseAddress(at.text); ok || at.text == "" {
				continue
			}
			l.add(func() *field.Error { return field.Invalid(list.path(at), shown(at.text), hostnameAdvice(at.text)) })
		}
		l.done(list.root, "that must be IP addresses")
	},
}

// hostnameAdvice says what to write instead of what is no address.
func hostnameAdvice(text string) string {
	l := locate(text)
	name := strings.ToLower(strings.TrimRight(l.host, "."))
	switch _, isAddress := parseAddress(l.host); {
	case isAddress && l.port != "":
		return "must be an IP address alone; write '" + quoted(l.host) + "', and the port under `ports`"
	case isAddress && l.path != "":
		return "must be one IP address; write '" + quoted(l.host) + "', and an item for each further one"
	case isAddress:
		return "must be an IP address alone; write '" + quoted(l.host) + "'"
	case isName(name) && !isIP(name):
		return "must be an IP address; for a name write a Service of type ExternalName with `externalName: " + quoted(name) + "`, and no Endpoints"
	}
	return "must be an IP address such as '192.0.2.10' or '2001:db8::10'"
}
