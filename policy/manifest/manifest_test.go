package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"drawbridge.dev/drawbridge/policy"
)

var update = flag.Bool("update", false, "write the golden files anew")

// archives runs a test over every txtar file of a folder; produce gives the sections to compare, or to write.
func archives(t *testing.T, folder string, produce func(t *testing.T, a *txtar.Archive) []txtar.File) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("testdata", folder, "*.txtar"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no archives in %s: %v", folder, err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, got := range produce(t, a) {
				found := false
				for i := range a.Files {
					if a.Files[i].Name != got.Name {
						continue
					}
					found = true
					if *update {
						a.Files[i].Data = got.Data
					} else if diff := cmp.Diff(string(a.Files[i].Data), string(got.Data)); diff != "" {
						t.Errorf("%s (-want +got):\n%s", got.Name, diff)
					}
				}
				if !found && *update {
					a.Files = append(a.Files, got)
				} else if !found {
					t.Errorf("no section %s; run with -update", got.Name)
				}
			}
			if *update {
				if err := os.WriteFile(name, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func section(a *txtar.Archive, name string) []byte {
	for _, f := range a.Files {
		if f.Name == name {
			return f.Data
		}
	}
	return nil
}

// input is the section "in". The comment of an archive may ask for what an editor of txtar would spoil.
func input(a *txtar.Archive) []byte {
	in := section(a, "in")
	if strings.Contains(string(a.Comment), "CRLF") {
		in = bytes.ReplaceAll(in, []byte("\n"), []byte("\r\n"))
	}
	if strings.Contains(string(a.Comment), "no newline at the end") {
		in = bytes.TrimSuffix(in, []byte("\n"))
	}
	return in
}

// Each archive of testdata/read holds a text, paths to look up in each of its objects, and what is read from it.
func TestRead(t *testing.T) {
	archives(t, "read", func(t *testing.T, a *txtar.Archive) []txtar.File {
		f := Read("in", input(a), Options{})
		var b strings.Builder
		for _, o := range f.Objects {
			fmt.Fprintf(&b, "%s: %s %s %s/%s document %d judged %t legacy %t\n", "object", o.APIVersion, o.Kind,
				o.Object.GetNamespace(), o.Object.GetName(), o.Document, o.Judged, o.Legacy)
			text, err := json.Marshal(o.Object)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "  %s\n", text)
			for _, p := range strings.Fields(string(section(a, "paths"))) {
				from, to := o.Span(p)
				if from != o.Position(p) || from.Line != o.Line(p) || to != (Position{}) && (to.Line != from.Line || to.Column <= from.Column) {
					t.Errorf("%s spans %v to %v", p, from, to)
				}
				fmt.Fprintf(&b, "  %d:%d %q %s\n", from.Line, from.Column, shown(input(a), from, to), p)
			}
		}
		for _, e := range f.Errors {
			fmt.Fprintf(&b, "error: %v\n", e)
		}
		fmt.Fprintf(&b, "passed: %d\n", f.Passed)
		return []txtar.File{{Name: "got", Data: []byte(b.String())}}
	})
}

// shown is the text of a span, as an editor that is told line and column would select it.
func shown(text []byte, from, to Position) string {
	line := strings.Split(strings.TrimPrefix(string(text), string(bom)), "\n")[from.Line-1]
	runes := []rune(strings.TrimSuffix(line, "\r"))
	if to == (Position{}) {
		return string(runes[from.Column-1:min(len(runes), from.Column)]) + "..."
	}
	return string(runes[from.Column-1 : to.Column-1])
}

// Each archive of testdata/mend holds a text, a JSON merge patch for some of its objects, by kind and name, and the
// text that comes of it.
func TestMend(t *testing.T) {
	archives(t, "mend", func(t *testing.T, a *txtar.Archive) []txtar.File {
		f := Read("in", input(a), Options{})
		if len(f.Errors) > 0 {
			t.Fatal(f.Errors)
		}
		var patches map[string]any
		if err := yaml.Unmarshal(section(a, "change"), &patches); err != nil {
			t.Fatal(err)
		}
		want := map[*Object]policy.Object{}
		for _, o := range f.Objects {
			key := o.Kind + "/" + o.Object.GetName()
			patch, ok := patches[key]
			if !ok {
				continue
			}
			delete(patches, key)
			text, err := json.Marshal(patch)
			if err != nil {
				t.Fatal(err)
			}
			want[o] = patched(t, o.Object, text)
		}
		if len(patches) > 0 {
			t.Fatalf("no such objects: %v", patches)
		}
		text, errs := f.Mend(want)
		check(t, f, want, text, errs)
		if bytes.Contains(text, []byte("\r\n")) {
			if bytes.Count(text, []byte("\n")) != bytes.Count(text, []byte("\r\n")) {
				t.Errorf("line ends are mixed: %q", text)
			}
			text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
		}
		if len(text) > 0 && text[len(text)-1] != '\n' {
			text = append(text, '\n')
		}
		out := []txtar.File{{Name: "want", Data: text}}
		var b strings.Builder
		for _, e := range errs {
			fmt.Fprintln(&b, e)
		}
		if b.Len() > 0 || section(a, "errors") != nil {
			out = append(out, txtar.File{Name: "errors", Data: []byte(b.String())})
		}
		return out
	})
}

func patched(t *testing.T, o policy.Object, patch []byte) policy.Object {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	if text, err = jsonpatch.MergePatch(text, patch); err != nil {
		t.Fatal(err)
	}
	out := o.DeepCopyObject().(policy.Object)
	zero(out)
	if err := json.Unmarshal(text, out); err != nil {
		t.Fatal(err)
	}
	return out
}

func zero(o policy.Object) {
	for _, r := range readers {
		if fresh := r.fresh(); fmt.Sprintf("%T", fresh) == fmt.Sprintf("%T", o) {
			raw, _ := json.Marshal(fresh)
			_ = json.Unmarshal(raw, o)
		}
	}
}

// check holds the promise of Mend: every object of a document without an error reads back as it was wanted, the
// others are byte for byte what they were, and no comment is lost.
func check(t *testing.T, f *File, want map[*Object]policy.Object, text []byte, errs []*Error) {
	t.Helper()
	if len(errs) > 0 && len(f.docs) == 1 {
		if !bytes.Equal(text, f.Source) {
			t.Errorf("an error, and half an edit:\n%s", text)
		}
		return
	}
	if bytes.Count(text, []byte("#")) < bytes.Count(f.Source, []byte("#")) {
		t.Errorf("a comment is lost:\n%s", text)
	}
	if len(errs) > 0 {
		return
	}
	again := Read(f.Name, text, f.opts)
	if len(again.Objects) != len(f.Objects) || again.Passed != f.Passed || len(again.Errors) != len(f.Errors) {
		t.Fatalf("%d objects, %d passed, errors %v; had %d, %d, %v\n%s", len(again.Objects), again.Passed, again.Errors,
			len(f.Objects), f.Passed, f.Errors, text)
	}
	for i, o := range f.Objects {
		w := want[o]
		if w == nil {
			w = o.Object
		}
		if !sameJSON(w, again.Objects[i].Object) {
			t.Errorf("object %d differs:\n%s", i, text)
		}
		if again.Objects[i].Legacy {
			t.Errorf("object %d is still of %s", i, again.Objects[i].APIVersion)
		}
	}
	// What was mended once stays.
	twice, errs := again.Mend(nil)
	if len(errs) > 0 || !bytes.Equal(twice, text) {
		t.Errorf("a second Mend changed the text, or failed: %v", errs)
	}
}

func seeds(f *testing.F, folder string, add func([]byte)) {
	names, err := filepath.Glob(filepath.Join("testdata", folder, "*.txtar"))
	if err != nil || len(names) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, name := range names {
		a, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		add(input(a))
	}
}

// A scalar is to us what it is to kubectl, whose YAML library is another one. A boolean that was meant as a string is
// found that way only.
func TestScalarsAsKubectl(t *testing.T) {
	for _, text := range []string{
		"yes", "y", "N", "off", "On", "true", "False", "TRUE", "tRue", "~", "null", "Null", "", "80", "0x1f", "010", "0o10", "0b11",
		"1_000", "+5", "-0", "1e3", "1.50", ".5", "5.", "123456789012345678901234567890", "-9223372036854775808",
		"2001-01-01", "2001-12-14t21:59:43.10-05:00", "10:30:00", "1.2.3.4", "127.1", "::1", "'yes'", `"80"`, "!!str 80", "!!int '80'",
		"!!str yes", "!!binary aGk=", "a b", "{80: x, 1.5: z, yes: w}", "[1, two, [3]]", "|\n  a\n  b", ">-\n  a\n  b",
		"{<<: {a: 1, b: 2}, b: 3}", "{<<: [{a: 1}, {a: 2, c: 3}]}", "{a: &x [1], b: *x}", "=", "<<", "\"\\u00e9\\n\"",
	} {
		text := "v: " + strings.ReplaceAll(text, `\n`, "\n") + "\n"
		want, err := yaml.YAMLToJSON([]byte(text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		d := &document{text: []byte(text), firstLine: 1}
		if err := d.parse(); err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		e, nerr := encode(d.roots[0], new(int))
		if nerr != nil {
			t.Errorf("%q: %v", text, nerr)
			continue
		}
		var a, b any
		if json.Unmarshal(want, &a) != nil || json.Unmarshal(e.buf, &b) != nil || !cmp.Equal(a, b) {
			t.Errorf("%q is %s, kubectl reads %s", text, e.buf, want)
		}
	}
}

// Whatever the text, reading ends, every position is inside it, and JSON says the same as kubectl's YAML library.
func FuzzRead(f *testing.F) {
	for _, folder := range []string{"read", "mend"} {
		seeds(f, folder, func(in []byte) { f.Add(in) })
	}
	f.Add([]byte("a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n"))
	f.Add([]byte("kind: Service\napiVersion: v1\nmetadata: &m {<<: *m}\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		file := Read("in", in, Options{Namespace: "ns"})
		lines := bytes.Count(in, []byte("\n")) + 1
		for _, o := range file.Objects {
			for _, p := range []string{"", "spec", "metadata.annotations[a/b]", "spec.rules[0].http.paths[1].backend.service.port", "]["} {
				from, to := o.Span(p)
				if n := from.Line; n < 1 || n > lines {
					t.Errorf("line %d of %d", n, lines)
					continue
				}
				length := utf8.RuneCount(bytes.Split(bytes.TrimPrefix(in, bom), []byte("\n"))[from.Line-1])
				if from.Column < 1 || from.Column > length+1 {
					t.Errorf("column %d of %d", from.Column, length)
				}
				if to != (Position{}) && (to.Line != from.Line || to.Column <= from.Column || to.Column > length+1) {
					t.Errorf("from %v to %v in a line of %d", from, to, length)
				}
			}
		}
		for _, e := range file.Errors {
			if e.Line < 0 || e.Line > lines || strings.ContainsAny(e.Error(), "\n\r\x1b") {
				t.Errorf("line %d of %d: %q", e.Line, lines, e.Error())
			}
		}
		var all []byte
		for _, d := range file.docs {
			all = append(all, d.text...)
		}
		if len(file.docs) > 0 && !bytes.Equal(all, bytes.TrimPrefix(in, bom)) {
			t.Error("the documents are not the file")
		}
	})
}

// Whatever the text and the change, Mend either gives exactly what was asked for or changes nothing.
func FuzzMend(f *testing.F) {
	for _, folder := range []string{"read", "mend"} {
		seeds(f, folder, func(in []byte) { f.Add(in, "ingress.kubernetes.io/preserve-host", "false") })
	}
	f.Fuzz(func(t *testing.T, in []byte, key, value string) {
		file := Read("in", in, Options{})
		want := map[*Object]policy.Object{}
		for _, o := range file.Objects {
			c := o.Object.DeepCopyObject().(policy.Object)
			a := c.GetAnnotations()
			if a == nil {
				a = map[string]string{}
			}
			if _, set := a[key]; !set {
				a[key] = value
				c.SetAnnotations(a)
			}
			if svc, ok := c.(*corev1.Service); ok {
				for i := range svc.Spec.Ports {
					if svc.Spec.Ports[i].Name == "" {
						svc.Spec.Ports[i].Name = value
					}
				}
			}
			if ep, ok := c.(*corev1.Endpoints); ok && len(ep.Subsets) > 0 {
				ep.Subsets[0].Ports = append(ep.Subsets[0].Ports, corev1.EndpointPort{Name: value, Port: 80})
			}
			// Invalid UTF-8 does not survive JSON; nothing that is read holds any.
			if text, err := json.Marshal(c); err == nil && json.Unmarshal(text, &struct{}{}) == nil && bytes.Contains(text, []byte(`\ufffd`)) {
				continue
			}
			want[o] = c
		}
		text, errs := file.Mend(want)
		check(t, file, want, text, errs)
	})
}

// What is made to be slow to read is read in time, or refused.
func TestReadHostile(t *testing.T) {
	rep := strings.Repeat
	head := "kind: Service\napiVersion: v1\nmetadata:\n  name: x\n  annotations:\n"
	bomb := head + "    a: &a {" + rep("k,", 9) + "k}\n"
	for i := 'b'; i < 'j'; i++ {
		bomb += fmt.Sprintf("    %c: &%c [%s*%c]\n", i, i, rep(fmt.Sprintf("*%c,", i-1), 9), i-1)
	}
	merges := head + "    a: &a {" + strings.Join(strings.Split(rep("k ", 2000), " "), "x: 1, ") + "z: 1}\n    b: {<<: [" + rep("*a,", 100_000) + "*a]}\n"
	for name, text := range map[string]string{
		"bomb": bomb, "bombs": rep(bomb+"---\n", 200), "merges": merges,
		"flow":      head + rep("[", 100_000),
		"nested":    head + "    " + rep("- ", 9_000) + "x\n",
		"json":      rep(`{"a":`, 100_000),
		"documents": rep("--- a\n", 100_000),
		"empty":     rep("---\n", 40_000),
		"keys":      head + rep("    k: v\n", 50_000),
		"long":      head + "    k: \"" + rep("x", 4<<20) + "\"\n",
		"large":     rep("x", MaxSize+1),
		"binary":    "\x00\x01\xff\xfe",
		"utf-16":    "\xff\xfek\x00i\x00n\x00d\x00",
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			f := Read("in", []byte(text), Options{})
			if d := time.Since(start); d > 20*time.Second {
				t.Errorf("took %v", d)
			} else {
				t.Log(d)
			}
			if name != "long" && name != "empty" && len(f.Errors) == 0 {
				t.Error("was read without an error")
			}
			if name != "long" && len(f.Objects) > 0 {
				t.Errorf("gave %d objects", len(f.Objects))
			}
		})
	}
}

// Every field of an object of thousands is found without reading all of it for each, on one line or on many.
func TestSpansOfHugeObject(t *testing.T) {
	const n = 20_000
	annotations, paths := map[string]string{}, make([]any, n)
	for i := range n {
		annotations[fmt.Sprintf("k%d.example/x", i)] = "v"
		paths[i] = map[string]any{"path": fmt.Sprintf("/%d", i), "backend": map[string]any{"service": map[string]any{"name": "s"}}}
	}
	object := map[string]any{
		"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": map[string]any{"name": "i", "annotations": annotations},
		"spec": map[string]any{"rules": []any{map[string]any{"http": map[string]any{"paths": paths}}}},
	}
	line, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := yaml.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"line": line, "lines": lines} {
		f := Read("in", text, Options{})
		if len(f.Objects) != 1 {
			t.Fatal(f.Errors)
		}
		o := f.Objects[0]
		start := time.Now()
		seen := map[Position]bool{}
		for i := range n {
			for _, p := range []string{
				fmt.Sprintf("metadata.annotations[k%d.example/x]", i), fmt.Sprintf("spec.rules[0].http.paths[%d].backend.service.name", i),
			} {
				seen[o.Position(p)] = true
			}
			if got, want := o.Position(fmt.Sprintf("metadata.annotations[absent%d]", i)), o.Position("metadata.annotations"); got != want {
				t.Fatalf("%v, want %v", got, want)
			}
		}
		if len(seen) != 2*n {
			t.Errorf("%s: %d places of %d fields", name, len(seen), 2*n)
		}
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("%s: took %v", name, d)
		}
	}
}

// A key with a bracket in it is found among many.
func TestSpanOfOddKey(t *testing.T) {
	text := "apiVersion: v1\nkind: Service\nmetadata:\n  name: x\n  annotations:\n"
	for i := range 100 {
		text += fmt.Sprintf("    k%d: v\n", i)
	}
	o := Read("in", []byte(text+"    \"a]b[c\": v\n"), Options{}).Objects[0]
	if got := o.Position("metadata.annotations[a]b[c]"); got != (Position{106, 5}) {
		t.Errorf("at %v", got)
	}
	if got := o.Position("metadata.annotations[k99]"); got != (Position{105, 5}) {
		t.Errorf("at %v", got)
	}
}

// Nothing in a name or a text moves the cursor of who reads an error.
func TestErrorIsOneSafeLine(t *testing.T) {
	f := Read("a\x1b[2J\nb.yaml", []byte("kind: Service\napiVersion: v1\n\"spec\\e[31m\\u202e\\n\": 1\n"), Options{})
	if len(f.Errors) != 1 {
		t.Fatalf("%d errors", len(f.Errors))
	}
	if got := f.Errors[0].Error(); strings.ContainsAny(got, "\x1b\n\u202e") || !strings.Contains(got, "unknown field") || !strings.Contains(got, ":3:1: ") {
		t.Errorf("%q", got)
	}
}

// A line can be printed wherever a CI system reads along.
func TestOneLine(t *testing.T) {
	for text, want := range map[string]string{
		"a\nb\x1b[31mc":          "a b [31mc",
		"a\u202eb":               "a?b",
		"::error::x":             ": :error::x",
		" \u00a0::error::x":      ": :error::x",
		"a ::error::x":           "a ::error::x",
		"x ##[set-output name=]": "x # #[set-output name=]",
		"##VSO[task]###[x]":      "# #VSO[task]## #[x]",
		"## a heading [1]":       "## a heading [1]",
		"":                       "",
	} {
		if got := OneLine(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

// A path is a pattern only for who says so: a folder that is followed is walked by its name.
func TestLoadPatterns(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.yaml"), []byte("a: 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	pattern := filepath.Join(dir, "*.yaml")
	if files, errs := Load([]string{pattern}, nil, Options{Patterns: true}); len(files) != 1 || len(errs) != 0 {
		t.Errorf("files %v, errors %v", files, errs)
	}
	if files, errs := Load([]string{pattern}, nil, Options{}); len(files) != 0 || len(errs) != 1 || !errors.Is(errs[0], os.ErrNotExist) {
		t.Errorf("files %v, errors %v", files, errs)
	}
}

// TestLoadWithoutStdin holds that a reader that has no standard input says so.
func TestLoadWithoutStdin(t *testing.T) {
	files, errs := Load([]string{Stdin}, nil, Options{})
	if len(files) != 0 || len(errs) != 1 || errs[0].Error() != "stdin: there is no standard input here" {
		t.Errorf("files %v, errors %v", files, errs)
	}
}
