package report

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"
	"github.com/xeipuuv/gojsonschema"
)

// schema is the schema of SARIF 2.1.0 with its first errata, as OASIS publishes it. A library that reads SARIF has it,
// and keeps it to itself.
var schema = sync.OnceValues(func() (*gojsonschema.Schema, error) {
	out, err := exec.Command("go", "list", "-f", "{{.Dir}}", "github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif").Output()
	if err != nil {
		return nil, err
	}
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(strings.TrimSpace(string(out)), "schema.go"), nil, 0)
	if err != nil {
		return nil, err
	}
	for _, d := range file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, spec := range g.Specs {
			v := spec.(*ast.ValueSpec)
			lit, ok := v.Values[0].(*ast.BasicLit)
			if v.Names[0].Name != "schema" || !ok {
				continue
			}
			text, err := strconv.Unquote(lit.Value)
			if err != nil {
				return nil, err
			}
			return gojsonschema.NewSchema(gojsonschema.NewStringLoader(text))
		}
	}
	return nil, errors.New("go-sarif has no constant 'schema'")
})

func validate(text []byte) error {
	s, err := schema()
	if err != nil {
		return err
	}
	res, err := s.Validate(gojsonschema.NewBytesLoader(text))
	if err != nil {
		return err
	}
	if !res.Valid() {
		return fmt.Errorf("is no SARIF: %v", res.Errors())
	}
	return nil
}

// What is written is SARIF, to the letter of its schema and to a library that reads it.
func TestSARIFIsValid(t *testing.T) {
	for name, r := range map[string]*Report{"sample": sample(), "empty": {}} {
		text := []byte(written(t, SARIF, r, Options{Root: "/src/project"}))
		if err := validate(text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		log, err := sarif.FromBytes(text)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(log.Runs[0].Results); n != len(r.Findings) {
			t.Errorf("%s: %d results of %d findings", name, n, len(r.Findings))
		}
		for _, res := range log.Runs[0].Results {
			if rules := log.Runs[0].Tool.Driver.Rules; *rules[res.RuleIndex].ID != *res.RuleID {
				t.Errorf("rule %d is no %s", res.RuleIndex, *res.RuleID)
			}
		}
	}
	// The schema is one that finds fault.
	text, err := os.ReadFile("testdata/sample.sarif")
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][2]string{{`"2.1.0"`, `"2.0.0"`}, {`"startLine": 7`, `"startLine": 0`}, {`"level": "error"`, `"level": "deny"`}, {`"text":`, `"txt":`}} {
		if validate([]byte(strings.ReplaceAll(string(text), bad[0], bad[1]))) == nil {
			t.Errorf("%s instead of %s passes", bad[1], bad[0])
		}
	}
}

func TestLocateArtifact(t *testing.T) {
	const root = "/src/project"
	for _, c := range []struct{ file, uri, base string }{
		{"a.yaml", "a.yaml", sourceRoot},
		{"./deploy//a.yaml", "deploy/a.yaml", sourceRoot},
		{"deploy/../b.yaml", "b.yaml", sourceRoot},
		{"with blank%.yaml", "with%20blank%25.yaml", sourceRoot},
		{"c:d.yaml", "./c:d.yaml", sourceRoot},
		{"a#b?c.yaml", "a%23b%3Fc.yaml", sourceRoot},
		{"..a.yaml", "..a.yaml", sourceRoot},
		{"/src/project/x/a.yaml", "x/a.yaml", sourceRoot},
		{"/src/projects/a.yaml", "file:///src/projects/a.yaml", ""},
		{"../a.yaml", "file:///src/a.yaml", ""},
		{"stdin", "stdin", ""},
	} {
		if got := locateArtifact(c.file, root); got.URI != c.uri || got.BaseID != c.base {
			t.Errorf("%q is %q of %q, want %q of %q", c.file, got.URI, got.BaseID, c.uri, c.base)
		}
	}
	if got := locateArtifact("../a.yaml", ""); got.URI != "../a.yaml" || got.BaseID != "" {
		t.Errorf("without a root: %+v", got)
	}
}

func TestSemantic(t *testing.T) {
	for version, want := range map[string]string{"v1.2.3": "1.2.3", "0.1.0-rc.1+x": "0.1.0-rc.1+x", "devel": "", "v1.2": "", "": ""} {
		if got := semantic(version); got != want {
			t.Errorf("%q is %q, want %q", version, got, want)
		}
	}
}
