package rules

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/intent"
)

var update = flag.Bool("update", false, "write the golden parts anew")

func findings(res policy.Result) []policy.Finding {
	return slices.Concat(res.Denied, res.Fixed, res.Warned, res.Exempt)
}

func render(t testing.TB, before policy.Object, res policy.Result) map[string]string {
	t.Helper()
	var b strings.Builder
	for _, f := range findings(res) {
		fmt.Fprintf(&b, "%s: %s", f.Level, f.Message())
		if f.Exempt {
			b.WriteString(" [exempt]")
		}
		if f.Ratcheted {
			b.WriteString(" [ratcheted]")
		}
		b.WriteByte('\n')
	}
	for _, f := range res.Unheeded {
		fmt.Fprintf(&b, "unheeded: %s\n", f.Message())
	}
	for _, a := range res.Awaited {
		fmt.Fprintf(&b, "awaits %s (%s)", a.Missing, a.Rule)
		if a.Ratcheted {
			b.WriteString(" [ratcheted]")
		}
		b.WriteByte('\n')
	}
	parts := map[string]string{"findings": b.String()}
	ops, err := policy.Patch(before, res.Object)
	if err != nil {
		t.Fatal(err)
	}
	if ops == nil {
		return parts
	}
	text, err := json.MarshalIndent(ops, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	parts["patch.json"] = string(text) + "\n"
	text, err = yaml.Marshal(res.Object)
	if err != nil {
		t.Fatal(err)
	}
	parts["mended.yaml"] = string(text)
	return parts
}

func TestGolden(t *testing.T) {
	for _, c := range cases(t) {
		t.Run(c.name, func(t *testing.T) {
			got := render(t, c.req.Object, All().Review(c.req))
			want := map[string]string{}
			var kept []txtar.File
			for _, f := range c.ar.Files {
				switch f.Name {
				case "findings", "mended.yaml", "patch.json":
					want[f.Name] = string(f.Data)
				default:
					kept = append(kept, f)
				}
			}
			if !*update {
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("-want +got (go test ./policy/rules -update writes them):\n%s", diff)
				}
				return
			}
			for _, name := range []string{"findings", "mended.yaml", "patch.json"} {
				if text, ok := got[name]; ok {
					kept = append(kept, txtar.File{Name: name, Data: []byte(text)})
				}
			}
			if err := os.WriteFile(c.path, txtar.Format(&txtar.Archive{Comment: c.ar.Comment, Files: kept}), 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestInvariants holds what the design promises of every review, on every test case and in every mode.
func TestInvariants(t *testing.T) {
	for _, c := range cases(t) {
		for _, mode := range []struct {
			name                 string
			nofix, stored, asNew bool
		}{{name: "as it stands"}, {name: "nofix", nofix: true}, {name: "stored", stored: true}, {name: "new", asNew: true}} {
			t.Run(c.name+"/"+mode.name, func(t *testing.T) {
				req := c.req
				req.NoFix = req.NoFix || mode.nofix
				req.Stored = req.Stored || mode.stored
				if mode.asNew {
					req.Old = nil
				}
				checkInvariants(t, c.world, req)
			})
		}
	}
}

func checkInvariants(t testing.TB, world []policy.Object, req policy.Request) {
	t.Helper()
	copies := func() []policy.Object {
		var list []policy.Object
		for _, o := range append(slices.Clone(world), req.Object, req.Old) {
			if o != nil {
				list = append(list, o.DeepCopyObject().(policy.Object))
			}
		}
		return list
	}
	before := copies()
	res := All().Review(req)
	if diff := cmp.Diff(before, copies()); diff != "" {
		t.Errorf("Review changed what it was given:\n%s", diff)
	}
	for _, f := range findings(res) {
		checkMessage(t, f)
	}
	if req.NoFix {
		if len(res.Fixed) > 0 || res.Object != req.Object {
			t.Errorf("NoFix fixed %v", res.Fixed)
		}
	}
	if len(res.Fixed) == 0 && res.Object != req.Object {
		t.Error("nothing was fixed, and the object is another one")
	}
	checkOnlyAdded(t, "", asJSON(t, req.Object), asJSON(t, res.Object))
	checkPatch(t, req.Object, res.Object)
	checkSameUpstreams(t, req, res.Object)

	again := req
	again.Object = res.Object
	second := All().Review(again)
	if len(second.Fixed) > 0 || second.Object != res.Object {
		t.Errorf("the second fix was not quiet: %v", second.Fixed)
	}
	for _, f := range res.Fixed {
		for _, g := range findings(second) {
			if g.Rule == f.Rule && g.Err.Field == f.Err.Field {
				t.Errorf("%s still finds %s after its fix", f.Rule, g.Message())
			}
		}
	}
	// What a request with the mended object may look like next: nothing of it is new.
	for _, pair := range [][2]policy.Object{{res.Object, req.Object}, {res.Object, res.Object}, {req.Object, res.Object}, {req.Object, req.Object}} {
		next := req
		next.Object, next.Old = pair[0], pair[1]
		r := All().Review(next)
		if pair[0] == pair[1] && (len(r.Denied) > 0 || len(r.Fixed) > 0) {
			t.Errorf("an update that changes nothing is denied %v or fixed %v", r.Denied, r.Fixed)
		}
		// Server-side apply sends what the person wrote over what was mended: it is mended again, to the same.
		if req.Old == nil && pair[1] == res.Object && pair[0] == req.Object {
			if diff := cmp.Diff(res.Object, r.Object); diff != "" {
				t.Errorf("applied once more it becomes something else:\n%s", diff)
			}
		}
	}
	for _, level := range []policy.Level{policy.Off, policy.Warn} {
		next := req
		next.Config = allAt[level]
		for _, f := range findings(All().Review(next)) {
			if level == policy.Off || f.Level != policy.Warn {
				t.Errorf("%s at level %s gives %s: %s", f.Rule, level, f.Level, f.Message())
			}
		}
	}
}

// allAt are policies that give every rule one level.
var allAt = func() map[policy.Level]*policy.Config {
	at := map[policy.Level]*policy.Config{}
	for _, level := range []policy.Level{policy.Off, policy.Warn} {
		at[level] = policy.DefaultConfig()
		at[level].Rules = map[string]policy.Level{}
		for _, i := range All().Infos() {
			at[level].Rules[i.ID] = level
		}
	}
	return at
}()

func checkMessage(t testing.TB, f policy.Finding) {
	t.Helper()
	for _, text := range []string{f.Message(), f.Cause()} {
		if !strings.HasSuffix(text, "("+f.Rule+")") {
			t.Errorf("does not end with the rule's ID: %q", text)
		}
		if strings.ContainsFunc(text, unicode.IsControl) || !utf8.ValidString(text) {
			t.Errorf("has control characters: %q", text)
		}
	}
	if n := utf8.RuneCountInString(f.Cause()); n > 256 {
		t.Errorf("%d characters: %s", n, f.Cause())
	}
	if f.Err.Detail == "" || !strings.Contains(f.Err.Detail, "must") && f.Level == policy.Deny {
		t.Errorf("says not what must be: %s", f.Message())
	}
}

func asJSON(t testing.TB, o policy.Object) any {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// checkOnlyAdded holds that a fix removes nothing, reorders nothing and overwrites nothing but what is empty; the list
// of injected annotations is drawbridge's own.
func checkOnlyAdded(t testing.TB, path string, before, after any) {
	t.Helper()
	switch b := before.(type) {
	case map[string]any:
		a, ok := after.(map[string]any)
		if !ok {
			t.Errorf("%s is gone", path)
			return
		}
		for k := range b {
			checkOnlyAdded(t, path+"/"+k, b[k], a[k])
		}
	case []any:
		a, ok := after.([]any)
		if !ok || len(a) < len(b) {
			t.Errorf("%s is shorter", path)
			return
		}
		for i := range b {
			checkOnlyAdded(t, fmt.Sprint(path, "/", i), b[i], a[i])
		}
	default:
		if before != nil && before != "" && before != after && path != "/metadata/annotations/"+intent.Injected {
			t.Errorf("%s was %v and is %v", path, before, after)
		}
	}
}

// checkPatch holds that the patch makes the mended object of what was sent, and that a field which the types do not
// know stays.
func checkPatch(t testing.TB, before, after policy.Object) {
	t.Helper()
	ops, err := policy.Patch(before, after)
	if err != nil {
		t.Fatal(err)
	}
	if len(ops) == 0 {
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("no patch for:\n%s", diff)
		}
		return
	}
	text, err := json.Marshal(ops)
	if err != nil {
		t.Fatal(err)
	}
	patch, err := jsonpatch.DecodePatch(text)
	if err != nil {
		t.Fatal(err)
	}
	sent, want := asJSON(t, before).(map[string]any), asJSON(t, after).(map[string]any)
	for _, v := range []map[string]any{sent, want} {
		v["unheardOf"] = "stays"
		v["metadata"].(map[string]any)["unheardOf"] = []any{"stays"}
	}
	raw, err := json.Marshal(sent)
	if err != nil {
		t.Fatal(err)
	}
	patched, err := patch.Apply(raw)
	if err != nil {
		t.Fatalf("apply %s: %v", text, err)
	}
	var got map[string]any
	if err := json.Unmarshal(patched, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the patch makes something else:\n%s", diff)
	}
}

// checkSameUpstreams holds that what is injected says what the proxy does without it.
func checkSameUpstreams(t testing.TB, req policy.Request, mended policy.Object) {
	t.Helper()
	before, ok := req.Object.(*networkingv1.Ingress)
	if !ok {
		return
	}
	after := mended.(*networkingv1.Ingress)
	d, _ := intent.Of(before, req.World.IngressClass)
	for _, at := range backendsOf(before) {
		if at.Service == nil {
			continue
		}
		b, _, err := d.BackendOf(req.World.Service(before.Namespace, at.Service.Name), at.Service.Port, "cluster.local")
		if err != nil {
			continue
		}
		want := intent.Read(d, before.Annotations).For(b)
		got := intent.Read(d, after.Annotations).For(b)
		if want != got {
			t.Errorf("%s: the proxy does %+v without the annotation and %+v with it", at.field(), want, got)
		}
	}
}

// TestNamesakes holds that each rule stands in the file of its ID, and that an ID names one requirement.
func TestNamesakes(t *testing.T) {
	ids := map[string]bool{}
	for _, i := range All().Infos() {
		if ids[i.ID] {
			t.Errorf("%s stands twice", i.ID)
		}
		ids[i.ID] = true
		if msgs := validation.IsQualifiedName(policy.AllowPrefix + i.ID); len(msgs) > 0 {
			t.Errorf("%s can not be exempted: %v", i.ID, msgs)
		}
		if _, err := os.Stat(i.ID + ".go"); err != nil {
			t.Error(err)
		}
		if len(slices.Compact(slices.Sorted(slices.Values(i.Kinds)))) != len(i.Kinds) {
			t.Errorf("%s judges a kind twice: %v", i.ID, i.Kinds)
		}
	}
	files, err := filepath.Glob("*-*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !ids[strings.TrimSuffix(strings.TrimSuffix(f, ".go"), "_test")] {
			t.Errorf("%s is named like a rule that there is not", f)
		}
	}
}

// TestReadme holds policy/README.md current. With -update it writes it.
func TestReadme(t *testing.T) {
	const path = "../README.md"
	var b bytes.Buffer
	if err := policy.WriteRules(&b, policy.FormatMarkdown, All().Infos()); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, b.Bytes()) {
		t.Errorf("policy/README.md is not current (%v): run go generate ./policy/rules", err)
	}
}
