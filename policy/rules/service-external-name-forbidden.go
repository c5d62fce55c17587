package rules

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
)

var serviceExternalNameForbidden = policy.Rule[*corev1.Service]{
	ID:      "service-external-name-forbidden",
	Levels:  policy.Same(policy.Deny),
	Unfixed: policy.Deny,
	Guard:   true,
	Doc: policy.Doc{
		Summary: "A Service must not be an alias of the machine itself or of a metadata service.",
		Why: "A proxy that looks such a name up reaches its own administration port (CVE-2021-32783) or the credentials that " +
			"a cloud hands out to whoever asks from the node, and hands the answer to anybody. These are localhost and all " +
			"below it, the names of the clouds' metadata services, the name that container engines give to their machine, " +
			"the names that the policy says are the cluster's own proxies (`proxyNames`), and public names that merely " +
			"spell a forbidden address, such as 169.254.169.254.nip.io, or that mean loopback, such as localtest.me. " +
			"An address in an externalName is judged where service-external-name-ip lets it pass. " +
			"What an ordinary name leads to is judged as it is resolved.",
		Bad: `apiVersion: v1
kind: Service
metadata:
  name: credentials
  namespace: team-a
spec:
  type: ExternalName
  externalName: metadata.google.internal
`,
		Good: `apiVersion: v1
kind: Service
metadata:
  name: api
  namespace: team-a
spec:
  type: ExternalName
  externalName: api.example.com
`,
		Since:  "0.2.0",
		Source: "https://github.com/projectcontour/contour/security/advisories/GHSA-5ph6-qq5x-7jwc",
	},
	Check: func(p *policy.Pass[*corev1.Service]) {
		svc := p.Object
		if !isExternalName(svc) {
			return
		}
		name := aliasHost(svc)
		why := forbiddenName(p.Config, name)
		if isIP(name) && lets(p, serviceExternalNameIP.ID, serviceExternalNameIP.Levels) {
			for _, addr := range meantBy(name) {
				if err := p.Config.Addresses.Check(addr); err != nil && why == "" {
					why = meansForbidden(err)
				}
			}
		}
		if why != "" {
			p.Report(field.Invalid(externalNamePath, shown(svc.Spec.ExternalName),
				"must not be served: it "+why+"; write the service's own name, or ask for an exemption (`exemptions`)"), nil)
		}
	},
}
