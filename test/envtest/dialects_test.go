package envtest

import (
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"drawbridge.dev/drawbridge/policy/intent"
	"drawbridge.dev/drawbridge/test/lab"
)

type annotations = map[string]string

// spoken is what the table of the dialects comes to for an alias of NAME.example.com.
type spoken struct {
	ingress, service annotations // port 443
	// Port 80, which speaks plain HTTP; and the same with appProtocol https, whose Host then has the port in it.
	plainIngress, plainService annotations
	tlsIngress, tlsService     annotations
}

// said lists the annotations that are injected for an external site by each dialect in which something is. It is written
// out, and not read from the table: what Kubernetes objects get is a promise of its own.
func said(dialect, name string) (s spoken, injected bool) {
	odd := name + ":80"
	switch dialect {
	case "drawbridge":
		s.plainIngress = annotations{ownHost: "false"}
		s.tlsIngress = annotations{ownHost: "false", ownProtocol: "HTTPS"}
	case "ingress-nginx":
		s.plainIngress = annotations{nginxHost: name}
		s.tlsIngress = annotations{nginxHost: odd, nginxProtocol: "HTTPS"}
		s.ingress = annotations{nginxHost: name, nginxProtocol: "HTTPS"}
		return s, true
	case "nginx-inc":
		s.tlsIngress = annotations{"nginx.org/ssl-services": dialect}
	case "traefik":
		s.plainService = annotations{traefikHost: "false"}
		s.tlsService = annotations{traefikHost: "false", "traefik.ingress.kubernetes.io/service.serversscheme": "https"}
		// It speaks TLS to port 443 by itself.
		s.service = s.plainService
		return s, true
	case "contour":
		s.service = annotations{contourTLS: "443"}
		s.tlsService = annotations{contourTLS: "80"}
		return s, true
	case "kong":
		s.plainIngress = annotations{kongHost: "false"}
		s.tlsIngress = s.plainIngress
		s.tlsService = annotations{kongProtocol: "https"}
	case "haproxytech":
		s.plainIngress = annotations{"haproxy.org/set-host": name}
		s.tlsIngress = annotations{"haproxy.org/set-host": odd, "haproxy.org/server-ssl": "true"}
		s.ingress = annotations{"haproxy.org/set-host": name, "haproxy.org/server-ssl": "true"}
		return s, true
	case "jcmoraisjr":
		s.plainIngress = annotations{jcmHeaders: "Host: " + name}
		s.tlsIngress = annotations{jcmHeaders: "Host: " + odd, jcmProtocol: "h1-ssl"}
		s.ingress = annotations{jcmHeaders: "Host: " + name, jcmProtocol: "h1-ssl"}
		return s, true
	case "apisix":
		s.tlsIngress = annotations{"k8s.apisix.apache.org/upstream-scheme": "https"}
	case "trafficserver":
		s.plainIngress = annotations{ownHost: "false"}
		s.tlsIngress = annotations{ownHost: "false", "ingress.kubernetes.io/secure-backends": "true"}
	default:
		return s, false
	}
	s.ingress, s.service = s.tlsIngress, s.tlsService
	return s, true
}

const (
	traefikHost  = "traefik.ingress.kubernetes.io/service.passhostheader"
	contourTLS   = "projectcontour.io/upstream-protocol.tls"
	kongHost     = "konghq.com/preserve-host"
	kongProtocol = "konghq.com/protocol"
	jcmHeaders   = "haproxy-ingress.github.io/headers"
	jcmProtocol  = "haproxy-ingress.github.io/backend-protocol"
)

// dialects holds the objects of one Kubernetes namespace: of each dialect a Service and an Ingress of its name.
type dialects struct {
	*manager
	namespace string
	mode      string // of kubectl apply
}

// class is the class by which the dialect is found here: by its controller, where it has one.
func class(d *intent.Dialect) string {
	if len(d.Controllers) == 0 {
		return d.Classes[0]
	}
	return "test-" + d.Name
}

// classes are the IngressClasses of the dialects.
func classes() string {
	var b strings.Builder
	for _, d := range injectable() {
		if len(d.Controllers) > 0 {
			controller := d.Controllers[0]
			if strings.HasSuffix(controller, "/") {
				controller += "edge"
			}
			fmt.Fprintf(&b, "---\napiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: %s, labels: {test: dialects}}\nspec: {controller: %s}\n",
				class(d), controller)
		}
	}
	return b.String()
}

// injectable are the dialects that an external site's Host or protocol is written in.
func injectable() []*intent.Dialect {
	var list []*intent.Dialect
	for _, d := range intent.Dialects {
		host, _ := d.Spell(intent.WishHost, "node", intent.Target{Host: "x"})
		protocol, _ := d.Spell(intent.WishProtocol, string(intent.HTTPS), intent.Target{Host: "x"})
		if len(host)+len(protocol) > 0 {
			list = append(list, d)
		}
	}
	return list
}

// service and ingress are manifests, as their author has them: nothing of drawbridge's is in them.
func service(d *intent.Dialect, external, protocol string) string {
	if protocol != "" {
		protocol = ", appProtocol: " + protocol
	}
	return fmt.Sprintf(`---
apiVersion: v1
kind: Service
metadata: {name: %s, annotations: {example.com/mine: kept}}
spec:
  type: ExternalName
  externalName: %s
  ports: [{name: secure, port: 443}, {name: plain, port: 80%s}]
`, d.Name, external, protocol)
}

func ingress(d *intent.Dialect, class string, port int) string {
	return fmt.Sprintf(`---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: %[1]s, annotations: {example.com/mine: kept}}
spec:
  ingressClassName: %[2]s
  rules:
  - host: %[1]s.example.org
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: %[1]s, port: {number: %[3]d}}}}]}
`, d.Name, class, port)
}

// all are the manifests of every dialect.
func all(manifest func(*intent.Dialect) string) string {
	var b strings.Builder
	for _, d := range injectable() {
		b.WriteString(manifest(d))
	}
	return b.String()
}

func services() string {
	return all(func(d *intent.Dialect) string { return service(d, d.Name+".example.com", "") })
}

func ingresses(port int) string {
	return all(func(d *intent.Dialect) string { return ingress(d, class(d), port) })
}

// apply gives what kubectl said on its standard error.
func (s *dialects) apply(t *testing.T, manifests string) string {
	t.Helper()
	_, stderr, err := s.cluster.KubectlIn(t, manifests, "apply", s.mode, "-n", s.namespace, "-f", "-")
	if err != nil {
		t.Fatal(stderr)
	}
	return stderr
}

// stored are the annotations and versions of what is stored, by kind and name. What kubectl keeps there is left out.
func (s *dialects) stored(t *testing.T) (found map[string]annotations, versions map[string]string) {
	t.Helper()
	c := s.cluster.Client(t)
	var services corev1.ServiceList
	var ingresses networkingv1.IngressList
	for _, list := range []client.ObjectList{&services, &ingresses} {
		if err := c.List(t.Context(), list, client.InNamespace(s.namespace)); err != nil {
			t.Fatal(err)
		}
	}
	found, versions = map[string]annotations{}, map[string]string{}
	add := func(kind string, o client.Object) {
		had := o.GetAnnotations()
		delete(had, "kubectl.kubernetes.io/last-applied-configuration")
		found[kind+o.GetName()], versions[kind+o.GetName()] = had, o.GetResourceVersion()
	}
	for i := range services.Items {
		add("Service/", &services.Items[i])
	}
	for i := range ingresses.Items {
		add("Ingress/", &ingresses.Items[i])
	}
	return found, versions
}

// becomes waits until there is what is wanted: of each object the annotations injected, which its list must name. An
// object in which nothing is injected may be without a list.
func (s *dialects) becomes(t *testing.T, want map[string]annotations) {
	t.Helper()
	lab.Eventually(t, patience, func() error {
		found, _ := s.stored(t)
		if diff := cmp.Diff(listed(want), unlisted(found)); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
}

// listed is what is wanted with the list of it, and what was the author's.
func listed(want map[string]annotations) map[string]annotations {
	out := map[string]annotations{}
	for object, a := range want {
		a = maps.Clone(a)
		if a == nil {
			a = annotations{}
		}
		if list := strings.Join(slices.Sorted(maps.Keys(a)), ","); list != "" {
			a[injectedList] = list
		}
		a["example.com/mine"] = "kept"
		out[object] = a
	}
	return out
}

func unlisted(found map[string]annotations) map[string]annotations {
	for _, a := range found {
		if a[injectedList] == "" {
			delete(a, injectedList)
		}
	}
	return found
}

// wanted is what each dialect comes to, by kind and name of the object.
func wanted(pick func(spoken) (ingress, service annotations)) map[string]annotations {
	want := map[string]annotations{}
	for _, d := range injectable() {
		s, _ := said(d.Name, d.Name+".example.com")
		want["Ingress/"+d.Name], want["Service/"+d.Name] = pick(s)
	}
	return want
}

func secure(s spoken) (ingress, service annotations) { return s.ingress, s.service }

// told counts the warnings of each annotation by a rule that injects.
func told(stderr string) map[string]int {
	count := map[string]int{}
	for line := range strings.Lines(stderr) {
		_, after, ok := strings.Cut(line, "metadata.annotations[")
		if key, _, closed := strings.Cut(after, "]"); ok && closed && injects(line) {
			count[key]++
		}
	}
	return count
}

func injects(line string) bool {
	return strings.HasSuffix(strings.TrimSpace(line), "(ingress-preserve-host)") || strings.HasSuffix(strings.TrimSpace(line), "(ingress-backend-protocol)")
}

// keysOf counts the objects of a kind that each annotation is injected into.
func keysOf(want map[string]annotations, kind string) map[string]int {
	keys := map[string]int{}
	for object, a := range want {
		if strings.HasPrefix(object, kind) {
			for key := range a {
				keys[key]++
			}
		}
	}
	return keys
}

// TestDialects shows injection into Ingresses and Services by every dialect, as a person with kubectl sees it.
func TestDialects(t *testing.T) {
	for _, d := range intent.Dialects {
		if _, injected := said(d.Name, "x"); injected != slices.Contains(injectable(), d) {
			t.Errorf("dialect %s: what it injects is not written down here, or it injects nothing", d.Name)
		}
	}
	cluster := lab.Shared(t)
	m := start(t, cluster)
	cluster.Apply(t, system, classes())
	t.Cleanup(func() { m.kubectl(t, "delete", "ingressclass", "-l", "test=dialects") })
	want := wanted(secure)

	// In either order, by either kind of apply.
	var all []*dialects
	for _, first := range []string{"Service", "Ingress"} {
		for _, mode := range []string{"--server-side=false", "--server-side=true"} {
			s := &dialects{manager: m, namespace: cluster.Namespace(t), mode: mode}
			all = append(all, s)
			if first == "Service" {
				if got := told(s.apply(t, services())); len(got) > 0 {
					t.Errorf("warned before there is an Ingress: %v", got)
				}
				time.Sleep(time.Second) // for the manager to see them
				if diff := cmp.Diff(keysOf(want, "Ingress/"), told(s.apply(t, ingresses(443)))); diff != "" {
					t.Errorf("Services first, %s: warnings of the Ingresses: %s", mode, diff)
				}
			} else {
				if got := told(s.apply(t, ingresses(443))); len(got) > 0 {
					t.Errorf("warned before there is a Service: %v", got)
				}
				time.Sleep(time.Second)
				if diff := cmp.Diff(keysOf(want, "Service/"), told(s.apply(t, services()))); diff != "" {
					t.Errorf("Ingresses first, %s: warnings of the Services: %s", mode, diff)
				}
			}
			s.becomes(t, want)
		}
	}
	// What the leader did nobody was warned of: there are Events.
	for i, kind := range []string{"Service", "Ingress"} {
		keysTold(t, all[2*i], kind, want)
	}
	quietly(t, all)

	t.Run("Changes", func(t *testing.T) { changesFollow(t, all[0]) })
	t.Run("Classes", func(t *testing.T) { classesFollow(t, all[1]) })
	t.Run("Policy", func(t *testing.T) { policyFollows(t, all[2]) })
	t.Run("Owners", func(t *testing.T) { ownersKeep(t, m) })
	t.Run("Fix", func(t *testing.T) { moved(t, all[3]) })
	m.failedOpen(t)
}

// keysTold waits for the Events of what the leader wrote into objects of a kind.
func keysTold(t *testing.T, s *dialects, kind string, want map[string]annotations) {
	t.Helper()
	c := s.cluster.Client(t)
	lab.Eventually(t, patience, func() error {
		var events eventsv1.EventList
		if err := c.List(t.Context(), &events, client.InNamespace(s.namespace)); err != nil {
			return err
		}
		var missing []string
		for object, a := range want {
			if !strings.HasPrefix(object, kind+"/") || len(a) == 0 {
				continue
			}
			if !slices.ContainsFunc(events.Items, func(e eventsv1.Event) bool {
				return e.Reason == "Injected" && e.Regarding.Kind+"/"+e.Regarding.Name == object &&
					strings.Contains(e.Note, "'"+strings.Join(slices.Sorted(maps.Keys(a)), "', '")+"'")
			}) {
				missing = append(missing, object)
			}
		}
		if len(missing) > 0 {
			return fmt.Errorf("no Events for %v among %d", missing, len(events.Items))
		}
		return nil
	})
}

// quietly applies all again, and looks for some seconds whether anybody writes.
func quietly(t *testing.T, all []*dialects) {
	t.Helper()
	before := make([]map[string]string, len(all))
	for i, s := range all {
		_, before[i] = s.stored(t)
	}
	for range 2 {
		for _, s := range all {
			if got := told(s.apply(t, services()+ingresses(443))); len(got) > 0 {
				t.Errorf("%s: applied again, and warned of %v", s.mode, got)
			}
		}
	}
	time.Sleep(2 * time.Second)
	for i, s := range all {
		if _, after := s.stored(t); !maps.Equal(before[i], after) {
			t.Errorf("%s: applied again, and written: %s", s.mode, cmp.Diff(before[i], after))
		}
	}
}

// changesFollow has what was injected follow the external name, the port and the protocol of it.
func changesFollow(t *testing.T, s *dialects) {
	// The external name: where a text holds it.
	_, before := s.stored(t)
	s.apply(t, all(func(d *intent.Dialect) string { return service(d, d.Name+".example.net", "") }))
	want := map[string]annotations{}
	for _, d := range injectable() {
		now, _ := said(d.Name, d.Name+".example.net")
		want["Ingress/"+d.Name], want["Service/"+d.Name] = secure(now)
	}
	s.becomes(t, want)
	_, after := s.stored(t)
	for object := range want {
		if name, ok := strings.CutPrefix(object, "Ingress/"); ok {
			was, _ := said(name, name+".example.com")
			if same := maps.Equal(was.ingress, want[object]); same != (before[object] == after[object]) {
				t.Errorf("%s, whose text stays %t, was written: %s, then %s", object, same, before[object], after[object])
			}
		}
	}
	s.apply(t, services())
	s.becomes(t, wanted(secure))

	// The port that the Ingress leads to.
	s.apply(t, ingresses(80))
	s.becomes(t, wanted(func(w spoken) (annotations, annotations) { return w.plainIngress, w.plainService }))

	// What the Service says that it speaks there.
	s.apply(t, all(func(d *intent.Dialect) string { return service(d, d.Name+".example.com", "https") }))
	s.becomes(t, wanted(func(w spoken) (annotations, annotations) { return w.tlsIngress, w.tlsService }))

	// And both at once, after which nobody is told to do what drawbridge does by itself.
	for line := range strings.Lines(s.apply(t, ingresses(443)+services())) {
		if injects(line) && strings.Contains(line, "metadata.annotations[") {
			t.Errorf("warned of what drawbridge does by itself: %s", line)
		}
	}
	s.becomes(t, wanted(secure))
}

// classesFollow hands each Ingress to the next dialect, takes the Ingresses away, and brings them back.
func classesFollow(t *testing.T, s *dialects) {
	list := injectable()
	next := func(i, by int) *intent.Dialect { return list[(i+by)%len(list)] }
	moved := func(by int) (manifests string, want map[string]annotations) {
		want = map[string]annotations{}
		for i, d := range list {
			manifests += ingress(d, class(next(i, by)), 443)
			w, _ := said(next(i, by).Name, d.Name+".example.com")
			if next(i, by).Name == "nginx-inc" {
				w.ingress = annotations{"nginx.org/ssl-services": d.Name} // the Service's name
			}
			want["Ingress/"+d.Name], want["Service/"+d.Name] = secure(w)
		}
		return manifests, want
	}
	for _, by := range []int{1, 4} {
		manifests, want := moved(by)
		for line := range strings.Lines(s.apply(t, manifests)) {
			if strings.HasSuffix(strings.TrimSpace(line), "(ingress-annotation-foreign)") {
				t.Errorf("warned of an annotation that is drawbridge's own to take away: %s", line)
			}
		}
		s.becomes(t, want)
	}

	// Without an Ingress an alias waits for the next one; what it has serves nobody, and harms nobody.
	_, want := moved(4)
	s.kubectl(t, "delete", "ingress", "--all", "-n", s.namespace)
	time.Sleep(time.Second)
	for object := range want {
		if strings.HasPrefix(object, "Ingress/") {
			delete(want, object)
		}
	}
	s.becomes(t, want)
	s.apply(t, ingresses(443))
	s.becomes(t, wanted(secure))
}

// policyFollows has the policy forbid, allow and extend what is injected.
func policyFollows(t *testing.T, s *dialects) {
	t.Cleanup(func() { s.kubectl(t, "delete", "configmap", "drawbridge-policy", "-n", system, "--ignore-not-found") })
	nothing := wanted(func(spoken) (annotations, annotations) { return nil, nil })
	s.cluster.Apply(t, system, policyMap("version: 1\ninject: []"))
	s.becomes(t, nothing)
	s.cluster.Apply(t, system, policyMap("version: 1\ninject: [host, protocol]"))
	s.becomes(t, wanted(secure))
	s.cluster.Apply(t, system, policyMap("version: 1\nrules:\n  ingress-preserve-host: off\n  ingress-backend-protocol: off"))
	s.becomes(t, nothing)
	s.kubectl(t, "delete", "configmap", "drawbridge-policy", "-n", system)
	s.becomes(t, wanted(secure))

	// A class that no dialect knows is whatever the policy says.
	odd := &dialects{manager: s.manager, namespace: s.cluster.Namespace(t), mode: s.mode}
	s.cluster.Apply(t, system, "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: odd, labels: {test: dialects}}\nspec: {controller: example.com/odd}\n")
	odd.apply(t, service(intent.Kong, "kong.example.com", "")+ingress(intent.Kong, "odd", 443))
	time.Sleep(time.Second)
	none := map[string]annotations{"Ingress/kong": nil, "Service/kong": nil}
	odd.becomes(t, none)
	// Nobody marked the Ingress while nobody knew its class: it keeps its traffic until someone asks.
	s.cluster.Apply(t, system, policyMap("version: 1\nclasses: [{class: odd, dialect: kong}]"))
	odd.kubectl(t, "annotate", "ingress", "kong", "-n", odd.namespace, injectedList+"=")
	odd.becomes(t, map[string]annotations{"Ingress/kong": {kongHost: "false"}, "Service/kong": {kongProtocol: "https"}})
	s.cluster.Apply(t, system, policyMap("version: 1\nclasses: [{controller: example.com/odd, dialect: traefik}]"))
	odd.becomes(t, map[string]annotations{"Ingress/kong": nil, "Service/kong": {traefikHost: "false"}})
}

// ownersKeep has people say something themselves, before and after drawbridge did.
func ownersKeep(t *testing.T, m *manager) {
	s := &dialects{manager: m, namespace: m.cluster.Namespace(t), mode: "--server-side=false"}
	get := func(object string) annotations {
		found, _ := s.stored(t)
		return found[object]
	}
	is := func(object string, want annotations) {
		t.Helper()
		lab.Eventually(t, patience, func() error {
			got := get(object)
			delete(got, "example.com/mine")
			if diff := cmp.Diff(want, got); diff != "" {
				return fmt.Errorf("%s: %s", object, diff)
			}
			return nil
		})
	}
	mine := func(manifest string, own ...string) string {
		return strings.Replace(manifest, "example.com/mine: kept", "example.com/mine: kept, "+strings.Join(own, ", "), 1)
	}
	// Before.
	s.apply(t, mine(service(intent.Traefik, "traefik.example.com", ""), traefikHost+`: "true"`)+ingress(intent.Traefik, class(intent.Traefik), 443))
	s.apply(t, ingress(intent.Contour, class(intent.Contour), 443)+mine(service(intent.Contour, "contour.example.com", ""), contourTLS+`: "80"`))
	s.apply(t, mine(service(intent.Kong, "kong.example.com", ""), kongProtocol+`: http`)+mine(ingress(intent.Kong, class(intent.Kong), 443), kongHost+`: "true"`))
	s.apply(t, service(intent.Jcmoraisjr, "jcmoraisjr.example.com", "")+ingress(intent.Jcmoraisjr, class(intent.Jcmoraisjr), 443))
	time.Sleep(time.Second)
	for object, want := range map[string]annotations{
		"Service/traefik": {traefikHost: "true"}, "Service/contour": {contourTLS: "80"}, "Service/kong": {kongProtocol: "http"}, "Ingress/kong": {kongHost: "true"},
	} {
		got := get(object)
		delete(got, "example.com/mine")
		if got[injectedList] == "" {
			delete(got, injectedList)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", object, diff)
		}
	}

	// On the Service, where it wins over the Ingress: drawbridge's goes.
	both := annotations{jcmHeaders: "Host: jcmoraisjr.example.com", jcmProtocol: "h1-ssl"}
	is("Ingress/jcmoraisjr", with(both))
	s.kubectl(t, "annotate", "service", "jcmoraisjr", "-n", s.namespace, jcmProtocol+"=h1")
	is("Ingress/jcmoraisjr", with(annotations{jcmHeaders: "Host: jcmoraisjr.example.com:443"})) // of plain HTTP
	s.kubectl(t, "annotate", "service", "jcmoraisjr", "-n", s.namespace, jcmProtocol+"-")
	is("Ingress/jcmoraisjr", with(both))

	// After: what a person changes is his from then on, and what he takes away comes back unless he says otherwise.
	after := &dialects{manager: m, namespace: m.cluster.Namespace(t), mode: s.mode}
	s = after
	s.apply(t, services()+ingresses(443))
	s.becomes(t, wanted(secure))
	s.kubectl(t, "annotate", "--overwrite", "service", "traefik", "-n", s.namespace, traefikHost+"=true")
	s.kubectl(t, "annotate", "--overwrite", "service", "kong", "-n", s.namespace, kongProtocol+"=http")
	s.kubectl(t, "annotate", "--overwrite", "service", "contour", "-n", s.namespace, contourTLS+"=secure")
	s.apply(t, ingresses(80))
	is("Service/traefik", annotations{injectedList: "", traefikHost: "true"})
	is("Service/kong", annotations{injectedList: "", kongProtocol: "http"})
	is("Service/contour", annotations{injectedList: "", contourTLS: "secure"})
	is("Ingress/kong", annotations{injectedList: kongHost, kongHost: "false"})

	// A second Ingress of another class, and of another port.
	s.apply(t, ingress(intent.Apisix, class(intent.Contour), 443)+
		strings.ReplaceAll(strings.ReplaceAll(ingress(intent.Apisix, class(intent.Contour), 80), "metadata: {name: apisix,", "metadata: {name: apisix-plain,"), "apisix.example.org", "plain.example.org")+
		strings.ReplaceAll(strings.ReplaceAll(ingress(intent.Apisix, class(intent.Traefik), 443), "metadata: {name: apisix,", "metadata: {name: apisix-traefik,"), "apisix.example.org", "traefik2.example.org"))
	is("Service/apisix", annotations{injectedList: contourTLS + "," + traefikHost, contourTLS: "443", traefikHost: "false"})
	s.apply(t, service(intent.Apisix, "apisix.example.com", "https"))
	is("Service/apisix", annotations{injectedList: contourTLS + "," + traefikHost, contourTLS: "443,80", traefikHost: "false"})
	s.kubectl(t, "delete", "ingress", "apisix", "-n", s.namespace)
	is("Service/apisix", annotations{injectedList: contourTLS + "," + traefikHost, contourTLS: "80", traefikHost: "false"})
}

// with is what is injected and the list of it.
func with(injected annotations) annotations {
	out := maps.Clone(injected)
	out[injectedList] = strings.Join(slices.Sorted(maps.Keys(injected)), ",")
	return out
}

// moved hands all that there is from one controller to the next, as `drawbridge fix --dialect` rewrites what kubectl
// prints: the API server takes it, and drawbridge has nothing more to do.
func moved(t *testing.T, s *dialects) {
	for _, to := range []*intent.Dialect{intent.Traefik, intent.IngressNginx, intent.Kong} {
		text, stderr, err := s.cluster.Kubectl(t, "get", "ingress,service,ingressclass", "-n", s.namespace, "-o", "yaml")
		if err != nil {
			t.Fatal(stderr)
		}
		cmd := exec.CommandContext(t.Context(), lab.Drawbridge(t), "fix", "--dialect", to.Name, "--class", class(to), "-")
		cmd.Stdin = strings.NewReader(text)
		var remains strings.Builder
		cmd.Stderr = &remains
		fixed, err := cmd.Output()
		if err != nil {
			t.Fatalf("fix --dialect %s: %v: %s", to.Name, err, remains.String())
		}
		if !strings.Contains(string(fixed), "ingressClassName: "+class(to)+"\n") {
			t.Errorf("fix --dialect %s moves nothing: %s", to.Name, remains.String())
		}
		if _, stderr, err := s.cluster.KubectlIn(t, string(fixed), "apply", "-n", s.namespace, "-f", "-"); err != nil {
			t.Fatalf("what was rewritten for %s is refused: %s", to.Title, stderr)
		}
		time.Sleep(time.Second)
		found, versions := s.stored(t)
		for _, d := range injectable() {
			want, _ := said(to.Name, d.Name+".example.com")
			for object, injected := range map[string]annotations{"Ingress/" + d.Name: want.ingress, "Service/" + d.Name: want.service} {
				had := found[object]
				if list := strings.Join(slices.Sorted(maps.Keys(injected)), ","); had[injectedList] != list {
					t.Errorf("%s under %s: injected '%s', not '%s'", object, to.Title, had[injectedList], list)
				}
				for key, text := range injected {
					if had[key] != text {
						t.Errorf("%s under %s: %s is '%s', not '%s'", object, to.Title, key, had[key], text)
					}
				}
				for key := range had {
					if owners := intent.KeyOwners(key); len(owners) > 0 && !slices.Contains(owners, to) {
						t.Errorf("%s has %s, which %s does not read", object, key, to.Title)
					}
				}
			}
		}
		time.Sleep(time.Second)
		if _, now := s.stored(t); !maps.Equal(versions, now) {
			t.Errorf("moved to %s, and written afterwards: %s", to.Title, cmp.Diff(versions, now))
		}
	}
}
