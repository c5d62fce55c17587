package render_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"flag"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/intent"
	"drawbridge.dev/drawbridge/policy/rules"
	"drawbridge.dev/drawbridge/render"
	"drawbridge.dev/drawbridge/render/model"
	builder "drawbridge.dev/drawbridge/render/slices"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGolden builds the objects of each testdata/*.txtar. The comment of an archive may have a line "options: ",
// of words as optionsOf reads them. Endpoints become slices as drawbridge makes them.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			options := optionsOf(t, string(archive.Comment))
			var objects []policy.Object
			for _, f := range archive.Files {
				if strings.HasSuffix(f.Name, ".yaml") {
					objects = append(objects, decodeAll(t, f.Data)...)
				}
			}
			objects = append(objects, slicesOf(objects)...)
			m, problems := render.Build(render.NewSnapshot(objects...), options)
			got := map[string]string{"model.txt": printModel(m), "problems.txt": printProblems(problems)}

			checkModel(t, m, problems)
			everyOrder(t, objects, options, m, problems)
			everyInjection(t, objects, options, m)
			hostByHost(t, objects, options, m)

			for name, text := range got {
				i := slicesIndex(archive.Files, name)
				if *update {
					if i < 0 {
						archive.Files = append(archive.Files, txtar.File{Name: name})
						i = len(archive.Files) - 1
					}
					archive.Files[i].Data = []byte(text)
					continue
				}
				if i < 0 {
					t.Fatalf("no %s in the archive: run with -update, and read what it says", name)
				}
				if diff := cmp.Diff(string(archive.Files[i].Data), text); diff != "" {
					t.Errorf("%s differs (-want +got):\n%s", name, diff)
				}
			}
			if *update {
				rank := func(f txtar.File) int { return slicesRank(f.Name) }
				sortStable(archive.Files, rank)
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func slicesIndex(files []txtar.File, name string) int {
	return slices.IndexFunc(files, func(f txtar.File) bool { return f.Name == name })
}

func slicesRank(name string) int {
	return slices.Index([]string{"model.txt", "problems.txt"}, name)
}

func sortStable(files []txtar.File, rank func(txtar.File) int) {
	slices.SortStableFunc(files, func(a, b txtar.File) int { return rank(a) - rank(b) })
}

// everyOrder applies the objects one by one, in every order where they are few, else in many: the model is the same
// each time, whether built at the end or kept along the way.
func everyOrder(t *testing.T, objects []policy.Object, o render.Options, want model.Model, problems []render.Problem) {
	t.Helper()
	try := func(order []policy.Object) {
		s := render.NewSnapshot()
		kept := render.NewIncremental(s, o)
		for _, obj := range order {
			var touched render.Touched
			s, touched = s.With(obj)
			kept.Update(s, touched)
		}
		if m := kept.Model(); !reflect.DeepEqual(m, want) {
			t.Fatalf("the order of objects matters (-want +got):\n%s", cmp.Diff(printModel(want), printModel(m)))
		}
		if diff := cmp.Diff(printProblems(problems), printProblems(kept.Problems())); diff != "" {
			t.Fatalf("problems depend on the order of objects (-want +got):\n%s", diff)
		}
	}
	if len(objects) <= 5 {
		permutations(objects, try)
		return
	}
	random := mathrand.New(mathrand.NewPCG(1, 2))
	for range 100 {
		order := slices.Clone(objects)
		random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		try(order)
	}
}

func permutations(list []policy.Object, yield func([]policy.Object)) {
	var walk func(int)
	walk = func(k int) {
		if k == len(list) {
			yield(list)
			return
		}
		for i := k; i < len(list); i++ {
			list[k], list[i] = list[i], list[k]
			walk(k + 1)
			list[k], list[i] = list[i], list[k]
		}
	}
	list = slices.Clone(list)
	walk(0)
}

// everyInjection builds the objects as the webhook would have mended them, knowing all the others, and without any
// rule, which injects nothing: what is denied aside, the model is the same.
func everyInjection(t *testing.T, objects []policy.Object, o render.Options, want model.Model) {
	t.Helper()
	world := render.NewSnapshot(objects...)
	var mended []policy.Object
	injected := false
	for _, obj := range objects {
		res := o.Book.Review(policy.Request{Object: obj, World: world, Config: o.Config})
		if len(res.Denied) > 0 {
			return
		}
		injected = injected || res.Object.GetAnnotations()[intent.Injected] != ""
		mended = append(mended, res.Object)
	}
	m, _ := render.Build(render.NewSnapshot(mended...), o)
	if !reflect.DeepEqual(m, want) {
		t.Errorf("what the webhook injected changes the model (-without +with):\n%s", cmp.Diff(printModel(want), printModel(m)))
	}
	if !injected {
		return
	}
	o.Book.Ingresses = nil
	if m, _ := render.Build(render.NewSnapshot(objects...), o); !reflect.DeepEqual(m, want) {
		t.Errorf("without rules for Ingresses the model is another (-with +without):\n%s", cmp.Diff(printModel(want), printModel(m)))
	}
}

func hostByHost(t *testing.T, objects []policy.Object, o render.Options, want model.Model) {
	t.Helper()
	s := render.NewSnapshot(objects...)
	var hosts []model.Host
	for _, name := range s.Hosts() {
		if h, _, _ := render.BuildHost(s, o, name); len(h.Routes) > 0 {
			hosts = append(hosts, h)
		}
	}
	if !reflect.DeepEqual(hosts, want.Hosts) {
		t.Errorf("host by host the model is another")
	}
	if u, _ := render.BuildDefault(s, o); !reflect.DeepEqual(u, want.Default) {
		t.Errorf("the default backend is another")
	}
}

// optionsOf reads: classless, class=NAME, forbid=PREFIX, allow=PREFIX, grant=NAMESPACE/SERVICE to all, RULE=LEVEL.
func optionsOf(t *testing.T, comment string) render.Options {
	config := policy.DefaultConfig()
	config.Rules = map[string]policy.Level{}
	o := render.Options{Book: rules.All(), Config: config}
	for l := range strings.Lines(comment) {
		words, ok := strings.CutPrefix(l, "options: ")
		if !ok {
			continue
		}
		for _, word := range strings.Fields(words) {
			key, value, _ := strings.Cut(word, "=")
			switch key {
			case "classless":
				o.Classless = true
			case "class":
				o.Classes = append(o.Classes, value)
			case "forbid":
				config.Addresses.Forbidden = append(config.Addresses.Forbidden, netip.MustParsePrefix(value))
			case "allow":
				config.Addresses.Allowed = append(config.Addresses.Allowed, netip.MustParsePrefix(value))
			case "grant":
				to, service, _ := strings.Cut(value, "/")
				config.Grants = append(config.Grants, policy.Grant{
					From: []policy.Pattern{"*"}, To: []policy.Pattern{policy.Pattern(to)}, Kinds: []string{"Service"}, Names: []policy.Pattern{policy.Pattern(service)},
				})
			default:
				var level policy.Level
				if err := level.UnmarshalText([]byte(value)); err != nil || !rules.Known(key) {
					t.Fatalf("unknown option %q", word)
				}
				config.Rules[key] = level
			}
		}
	}
	return o
}

var kinds = map[string]func() policy.Object{
	"Ingress":       func() policy.Object { return new(networkingv1.Ingress) },
	"IngressClass":  func() policy.Object { return new(networkingv1.IngressClass) },
	"Service":       func() policy.Object { return new(corev1.Service) },
	"EndpointSlice": func() policy.Object { return new(discoveryv1.EndpointSlice) },
	"Endpoints":     func() policy.Object { return new(corev1.Endpoints) },
	"Secret":        func() policy.Object { return new(corev1.Secret) },
}

func decodeAll(t *testing.T, text []byte) []policy.Object {
	t.Helper()
	var objects []policy.Object
	for doc := range strings.SplitSeq("\n"+string(text), "\n---\n") {
		if strings.TrimSpace(doc) == "" {
			continue
		}
		var head struct{ Kind string }
		if err := yaml.Unmarshal([]byte(doc), &head); err != nil {
			t.Fatal(err)
		}
		fresh := kinds[head.Kind]
		if fresh == nil {
			t.Fatalf("unknown kind %q", head.Kind)
		}
		obj := fresh()
		if err := yaml.UnmarshalStrict([]byte(doc), obj); err != nil {
			t.Fatalf("%v in:\n%s", err, doc)
		}
		if obj.GetNamespace() == "" && head.Kind != "IngressClass" {
			obj.SetNamespace("default")
		}
		if secret, ok := obj.(*corev1.Secret); ok {
			fill(t, secret)
		}
		objects = append(objects, obj)
	}
	return objects
}

// slicesOf makes what the manager makes of Endpoints.
func slicesOf(objects []policy.Object) []policy.Object {
	var made []policy.Object
	world := render.NewSnapshot(objects...)
	for _, obj := range objects {
		if ep, ok := obj.(*corev1.Endpoints); ok {
			wanted, _ := builder.Wanted(ep, world.Service(ep.Namespace, ep.Name), nil)
			for _, s := range wanted {
				made = append(made, s)
			}
		}
	}
	return made
}

var (
	keysMade sync.Mutex
	keys     = map[string]crypto.Signer{}
)

// keyFor makes each key once: 'weak' is an RSA key of 1024 bits.
func keyFor(t testing.TB, id string) crypto.Signer {
	keysMade.Lock()
	defer keysMade.Unlock()
	if keys[id] == nil {
		var key crypto.Signer
		var err error
		if id == "weak" {
			key, err = rsa.GenerateKey(rand.Reader, 1024)
		} else {
			key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		}
		if err != nil {
			t.Fatal(err)
		}
		keys[id] = key
	}
	return keys[id]
}

// fill puts a certificate and a key into a Secret whose stringData say "names" (of the certificate) and, where that
// matters, "key" (of the certificate, by ID) and "other" (a key that is not its own).
func fill(t testing.TB, secret *corev1.Secret) {
	names, ok := secret.StringData["names"]
	if !ok {
		for k, v := range secret.StringData {
			if secret.Data == nil {
				secret.Data = map[string][]byte{}
			}
			secret.Data[k] = []byte(v)
		}
		return
	}
	key := keyFor(t, secret.StringData["key"])
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "test"},
		NotBefore:    time.Unix(0, 0),
		NotAfter:     time.Unix(1<<32, 0),
		DNSNames:     strings.Fields(names),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	own := key
	if other := secret.StringData["other"]; other != "" {
		own = keyFor(t, other)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		t.Fatal(err)
	}
	secret.Data = map[string][]byte{
		"tls.crt": append([]byte("a comment\n\n"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Headers: map[string]string{"A": "header"}, Bytes: der})...),
		"tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}
}

func printModel(m model.Model) string {
	var b strings.Builder
	for _, h := range m.Hosts {
		fmt.Fprintf(&b, "host %q", h.Name)
		if h.Certificate != "" {
			fmt.Fprintf(&b, " certificate %s", h.Certificate)
		}
		b.WriteString("\n")
		for _, r := range h.Routes {
			fmt.Fprintf(&b, "  %-6s %s", [...]string{"exact", "prefix"}[r.Match], r.Path)
			if r.Rewrite.Mode != model.KeepPath {
				fmt.Fprintf(&b, "  %s %s", [...]string{"", "prefix becomes", "path becomes"}[r.Rewrite.Mode], r.Rewrite.Path)
			}
			fmt.Fprintf(&b, "  (%s %s/%s %s)\n", r.Origin.Kind, r.Origin.Namespace, r.Origin.Name, r.Origin.Field)
			printUpstream(&b, r.Upstream)
		}
	}
	if !reflect.ValueOf(m.Default).IsZero() {
		b.WriteString("default\n")
		printUpstream(&b, m.Default)
	}
	for _, c := range m.Certificates {
		fmt.Fprintf(&b, "certificate %s %s  (%s %s/%s %s)\n", c.ID, c.PEM, c.Origin.Kind, c.Origin.Namespace, c.Origin.Name, c.Origin.Field)
	}
	return b.String()
}

func printUpstream(b *strings.Builder, u model.Upstream) {
	fmt.Fprintf(b, "    %s %s", u.Service, [...]string{"http", "https", "h2c", "h2"}[u.Protocol])
	if u.Name != "" || u.Port != 0 {
		fmt.Fprintf(b, " name %s port %d", u.Name, u.Port)
	}
	if u.Addresses != nil {
		fmt.Fprintf(b, " addresses %s", u.Addresses)
	}
	if u.Host != "" {
		fmt.Fprintf(b, " host %s", u.Host)
	}
	if u.ServerName != "" {
		fmt.Fprintf(b, " server name %s", u.ServerName)
	}
	b.WriteString("\n")
}

func printProblems(problems []render.Problem) string {
	var b strings.Builder
	for _, p := range problems {
		b.WriteString(p.String() + "\n")
	}
	return b.String()
}
