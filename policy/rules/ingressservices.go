package rules

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/intent"
)

// lookup finds the Services that an Ingress names, each name once, and keeps what a rule thinks of one.
type lookup[V any] struct {
	world     policy.World
	namespace string
	few       []known[V]
	many      map[string]int // by name, once there are many
}

type known[V any] struct {
	name string
	svc  *corev1.Service
	// Thought is the rule's own; the zero value until it is set.
	Thought V
}

func lookupOf[V any](p *policy.Pass[*networkingv1.Ingress]) lookup[V] {
	return lookup[V]{world: p.World, namespace: p.Object.Namespace}
}

// get is what is known of a name; fresh tells that it is asked for the first time. What is returned is good until the
// next call.
func (l *lookup[V]) get(name string) (k *known[V], fresh bool) {
	const few = 8
	if l.many == nil {
		for i := range l.few {
			if l.few[i].name == name {
				return &l.few[i], false
			}
		}
	} else if i, ok := l.many[name]; ok {
		return &l.few[i], false
	}
	l.few = append(l.few, known[V]{name: name, svc: l.world.Service(l.namespace, name)})
	switch n := len(l.few); {
	case l.many != nil:
		l.many[name] = n - 1
	case n > few:
		l.many = make(map[string]int, 4*few)
		for i := range l.few {
			l.many[l.few[i].name] = i
		}
	}
	return &l.few[len(l.few)-1], true
}

// portAt is a Service and port that an Ingress names.
type portAt struct {
	service string
	port    networkingv1.ServiceBackendPort
}

// targetAt is a backend of an Ingress that is a Service which is known.
type targetAt struct {
	backendAt
	svc *corev1.Service
}

// targetsOf lists the backends of an Ingress that are Services which are known, each Service and port once, as it
// stands first.
func targetsOf(p *policy.Pass[*networkingv1.Ingress]) []targetAt {
	backends := backendsOf(p.Object)
	services := lookupOf[struct{}](p)
	list := make([]targetAt, 0, min(len(backends), 8))
	var seen map[portAt]bool
next:
	for _, at := range backends {
		if at.Service == nil {
			continue
		}
		key := portAt{at.Service.Name, at.Service.Port}
		const few = 8
		switch {
		case len(list) <= few && seen == nil:
			for i := range list {
				if list[i].Service.Name == key.service && list[i].Service.Port == key.port {
					continue next
				}
			}
		case seen == nil:
			seen = make(map[portAt]bool, len(backends))
			for i := range list {
				seen[portAt{list[i].Service.Name, list[i].Service.Port}] = true
			}
			fallthrough
		default:
			if seen[key] {
				continue next
			}
			seen[key] = true
		}
		if k, _ := services.get(key.service); k.svc != nil {
			list = append(list, targetAt{at, k.svc})
		}
	}
	return list
}

// dialectOf is the dialect of the class that serves an Ingress. One that nobody knows reads drawbridge's own keys.
func dialectOf(p *policy.Pass[*networkingv1.Ingress]) (d *intent.Dialect, ok bool) {
	return p.Config.DialectOf(p.Object, p.World.IngressClass)
}

// readsServices tells whether a dialect has annotations that stand on a Service.
func readsServices(d *intent.Dialect) bool {
	return slices.ContainsFunc(d.Keys, func(k intent.Key) bool { return k.On == intent.OnService })
}

// spared tells that an Ingress is not its author's to change: a mistake in it is that of whatever owns it. Risks are
// judged all the same, as anybody may write an owner into his object.
func spared(ing *networkingv1.Ingress) bool { return len(ing.OwnerReferences) > 0 }

// isAnnotationPort tells of a port that is no port: the controller of AWS, and Argo Rollouts with it, write it where an
// annotation says what to do, and no Service needs to be there.
func isAnnotationPort(port networkingv1.ServiceBackendPort) bool {
	return port.Name == "use-annotation"
}

// portText is the port of a backend as it is written.
func portText(port networkingv1.ServiceBackendPort) string {
	if port.Name != "" {
		return port.Name
	}
	return fmt.Sprint(port.Number)
}

// limited passes on the first findings of a rule that only warns, and counts the others.
type limited struct {
	report func(*field.Error)
	n      int
}

const maxRepeated = 5

func (l *limited) add(err func() *field.Error) {
	if l.n++; l.n <= maxRepeated {
		l.report(err())
	}
}

// done tells of those that were not passed on: detail says of them, after "and N more", what they must be.
func (l *limited) done(path *field.Path, detail string) {
	if n := l.n - maxRepeated; n > 0 {
		l.report(field.Required(path, fmt.Sprintf("and %d more %s", n, detail)))
	}
}

// exampleAlias, exampleWeb and exampleAddresses are Services that the examples of rules about Ingresses lead to.
const (
	exampleAlias = `apiVersion: v1
kind: Service
metadata:
  name: api
  namespace: team-a
spec:
  type: ExternalName
  externalName: api.example.com
---
`
	exampleWeb = `apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: team-a
spec:
  selector:
    app: web
  ports:
  - name: http
    port: 80
---
`
	exampleAddresses = `apiVersion: v1
kind: Service
metadata:
  name: partner
  namespace: team-a
spec:
  ports:
  - name: https
    port: 443
  - name: http
    port: 80
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: partner-1
  namespace: team-a
  labels:
    kubernetes.io/service-name: partner
    endpointslice.kubernetes.io/managed-by: hand-written.drawbridge.dev
addressType: IPv4
ports:
- name: https
  port: 443
  protocol: TCP
- name: http
  port: 80
  protocol: TCP
endpoints:
- addresses:
  - 192.0.2.10
  conditions:
    ready: true
---
`
)
