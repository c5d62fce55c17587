// Package ci tests drawbridge where CI systems use it: on what the real Helm and kustomize print, as the hook of
// pre-commit, and in the example for GitHub Actions.
package ci

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"drawbridge.dev/drawbridge/test/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }

var update = flag.Bool("update", false, "write the golden files anew")

// run runs a command in a folder and gives what it printed and its exit status.
func run(t *testing.T, dir, stdin, name string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	built := lab.Drawbridge(t)
	if name == filepath.Base(built) {
		name = built
	}
	cmd := exec.CommandContext(t.Context(), name, args...)
	home := t.TempDir()
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(built)+string(os.PathListSeparator)+os.Getenv("PATH"),
		"HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home, "KUBECONFIG=/dev/null")
	cmd.Stdin = strings.NewReader(stdin)
	var out, messages bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &messages
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), messages.String(), cmd.ProcessState.ExitCode()
}

// watch looks at the files of a folder, which another program reads: it keeps the go command from answering with a
// cached result after one of them has changed.
func watch(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			_, err = os.Stat(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What Helm and kustomize print is read as it is: comments, empty and null documents, lists, kinds of other APIs. Every
// finding points at the line and column of what it is about.
func TestRendered(t *testing.T) {
	watch(t, "testdata")
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for name, command := range map[string][]string{
		"helm-template":  {lab.Bin(t, "helm"), "template", "rel", "testdata/chart", "--include-crds"},
		"kustomize":      {lab.Bin(t, "kubectl"), "kustomize", "testdata/kustomize/overlay"},
		"helm-one-chart": {lab.Bin(t, "helm"), "template", "rel", "testdata/chart", "--show-only", "templates/ingress.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			rendered, stderr, status := run(t, here, "", command[0], command[1:]...)
			if status != 0 {
				t.Fatal(stderr)
			}
			got, stderr, status := run(t, here, rendered, "drawbridge", "check", "-")
			if stderr != "" || status == 2 {
				t.Errorf("status %d: %s", status, stderr)
			}
			got = ofRules(got)
			golden := filepath.Join("testdata", name+".golden")
			text := fmt.Sprintf("%sstatus %d\n", got, status)
			if *update {
				if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), text); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			pointsAtFields(t, rendered, got)
		})
	}
}

// ofRules leaves the findings of a few rules, so that a new rule changes nothing here.
func ofRules(findings string) string {
	var kept strings.Builder
	for f := range strings.Lines(findings) {
		for _, id := range []string{"service-external-name-ip", "service-external-name-format", "ingress-external-name-port-name", "endpoints-port-name"} {
			if strings.HasSuffix(f, " ("+id+")\n") {
				kept.WriteString(f)
			}
		}
	}
	return kept.String()
}

var place = regexp.MustCompile(`^stdin:(\d+):(\d+): \w+: ([^:]+): `)

// pointsAtFields holds that each finding stands where the last name of its field does, or the item of a list that lacks it.
func pointsAtFields(t *testing.T, rendered, findings string) {
	t.Helper()
	lines := strings.Split(rendered, "\n")
	for f := range strings.Lines(findings) {
		m := place.FindStringSubmatch(f)
		if m == nil {
			t.Errorf("has no place: %q", f)
			continue
		}
		line, err1 := strconv.Atoi(m[1])
		column, err2 := strconv.Atoi(m[2])
		if err := errors.Join(err1, err2); err != nil || line > len(lines) {
			t.Errorf("%q: %v", f, err)
			continue
		}
		want := m[3][strings.LastIndexByte(m[3], '.')+1:] + ":"
		if strings.Contains(f, "Required value") {
			want = "port:" // of the port that has no name
		}
		if rest := string([]rune(lines[line-1])[column-1:]); !strings.HasPrefix(rest, want) {
			t.Errorf("%q is at %q", f, rest)
		}
	}
}

// What `helm install --dry-run` prints is no stream of manifests, and is told apart from one.
func TestHelmDryRun(t *testing.T) {
	watch(t, "testdata")
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	rendered, stderr, status := run(t, here, "", lab.Bin(t, "helm"), "install", "rel", "testdata/chart", "--dry-run=client")
	if status != 0 {
		t.Fatal(stderr)
	}
	_, stderr, status = run(t, here, rendered, "drawbridge", "check", "-")
	if status != 2 || !strings.Contains(stderr, "MANIFEST: unknown field; read what 'helm template' prints instead") {
		t.Errorf("status %d: %s", status, stderr)
	}
}

const (
	bad = `apiVersion: v1
kind: Service
metadata:
  name: site
spec:
  type: ExternalName
  externalName: 192.0.2.10
`
	good = `apiVersion: v1
kind: Service
metadata:
  name: site
spec:
  type: ExternalName
  externalName: www.example.org
`
)

// deploy makes a folder with deploy/service.yaml in it.
func deploy(t *testing.T, service string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "deploy"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"deploy/service.yaml": service, "deploy/other.yml": "a: 1\n", "package.json": "{}\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// read reads a YAML file of the repository, which must have no field that out lacks.
func read(t *testing.T, name string, out any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(lab.Root(), name))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, out); err != nil {
		t.Fatal(err)
	}
}

// pre-commit installs every command of the module with `go install ./...`, and starts the entry with the files of a
// commit as arguments (pre_commit/languages/golang.py).
func TestPreCommitHooks(t *testing.T) {
	var hooks []struct {
		ID            string   `json:"id"`
		Name          string   `json:"name"`
		Description   string   `json:"description"`
		Entry         string   `json:"entry"`
		Language      string   `json:"language"`
		TypesOr       []string `json:"types_or"`
		RequireSerial bool     `json:"require_serial"`
	}
	read(t, ".pre-commit-hooks.yaml", &hooks)
	if len(hooks) != 1 || hooks[0].ID != "drawbridge-check" {
		t.Fatalf("hooks %+v", hooks)
	}
	hook := hooks[0]
	if hook.Language != "golang" || hook.Name == "" || !hook.RequireSerial || !slices.Equal(hook.TypesOr, []string{"yaml", "json"}) {
		t.Errorf("%+v", hook)
	}
	entry := strings.Fields(hook.Entry)
	list, stderr, status := run(t, lab.Root(), "", "go", "list", "-f", `{{if eq .Name "main"}}{{.ImportPath}}{{end}}`, "./...")
	if status != 0 {
		t.Fatal(stderr)
	}
	installed := slices.DeleteFunc(strings.Fields(list), func(path string) bool { return filepath.Base(path) != entry[0] })
	if !slices.Equal(installed, []string{"drawbridge.dev/drawbridge/cmd/drawbridge"}) {
		t.Errorf("'%s' would be %v", entry[0], installed)
	}
	for _, c := range []struct {
		service string
		args    []string
		status  int
	}{
		{bad, []string{"deploy/service.yaml", "deploy/other.yml", "package.json"}, 1},
		{good, []string{"deploy/service.yaml", "deploy/other.yml", "package.json"}, 0},
		{good, []string{"package.json"}, 0},
		{bad, []string{"deploy/"}, 1}, // with pass_filenames: false and args
		{bad, []string{"--fail-on", "warn", "--profile", "strict", "deploy/service.yaml"}, 1},
	} {
		stdout, stderr, status := run(t, deploy(t, c.service), "", entry[0], append(entry[1:], c.args...)...)
		if status != c.status || (status == 1) != strings.Contains(stdout, "deploy/service.yaml:7:3: deny: ") {
			t.Errorf("%v: status %d\n%s%s", c.args, status, stdout, stderr)
		}
	}
}

var goInstall = regexp.MustCompile(`^go install (\S+)@\S+( #.*)?$`)

// README shows what check prints, to the letter.
func TestREADME(t *testing.T) {
	watch(t, filepath.Join(lab.Root(), "examples"))
	readme, err := os.ReadFile(filepath.Join(lab.Root(), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	stdout, stderr, status := run(t, lab.Root(), "", "drawbridge", "check", "examples/rejected")
	if status != 1 || stdout == "" || stderr != "" {
		t.Errorf("status %d: %s", status, stderr)
	}
	if !strings.Contains(string(readme), "$ bin/drawbridge check examples/rejected\n"+stdout) {
		t.Errorf("README.md does not show it:\n%s", stdout)
	}
}

// Every command of the example does in a shell what GitHub's runner has it do: bash -e.
func TestGitHubActions(t *testing.T) {
	type step struct {
		Name string            `json:"name"`
		Uses string            `json:"uses"`
		Run  string            `json:"run"`
		If   string            `json:"if"`
		With map[string]string `json:"with"`
	}
	var workflow struct {
		Name        string            `json:"name"`
		On          map[string]any    `json:"on"`
		Permissions map[string]string `json:"permissions"`
		Jobs        map[string]struct {
			RunsOn      string            `json:"runs-on"`
			Permissions map[string]string `json:"permissions"`
			Steps       []step            `json:"steps"`
		} `json:"jobs"`
	}
	// A parser of YAML 1.1 takes the plain word on, which GitHub's does not, for a boolean.
	text, err := os.ReadFile(filepath.Join(lab.Root(), "examples/ci/github-actions.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(bytes.Replace(text, []byte("\non:"), []byte("\n\"on\":"), 1), &workflow); err != nil {
		t.Fatal(err)
	}
	job := workflow.Jobs["drawbridge"]
	if len(workflow.On) == 0 || job.RunsOn == "" || job.Permissions["security-events"] != "write" || workflow.Permissions["contents"] != "read" {
		t.Errorf("%+v", workflow)
	}
	for name, service := range map[string]string{"denied": bad, "clean": good, "unreadable": bad + "  typo: 1\n"} {
		t.Run(name, func(t *testing.T) {
			dir := deploy(t, service)
			statuses := []int{}
			for _, s := range job.Steps {
				if s.Uses != "" {
					if !strings.Contains(s.Uses, "@") || s.Run != "" {
						t.Errorf("step %+v", s)
					}
					if file := s.With["sarif_file"]; file != "" {
						holdsSARIF(t, filepath.Join(dir, file), name == "denied")
					}
					continue
				}
				if m := goInstall.FindStringSubmatch(s.Run); m != nil {
					// What it downloads is what this repository holds.
					if out, stderr, status := run(t, lab.Root(), "", "go", "list", "-f", "{{.Name}}", m[1]); status != 0 || out != "main\n" {
						t.Errorf("%s is no command: %s%s", m[1], out, stderr)
					}
					continue
				}
				stdout, stderr, status := run(t, dir, "", "bash", "-e", "-c", s.Run)
				statuses = append(statuses, status)
				if name == "denied" && status == 1 && !strings.HasPrefix(stdout, "::error file=deploy/service.yaml,line=7,col=3,") {
					t.Errorf("%s: %s%s", s.Run, stdout, stderr)
				}
				if status != 0 && name == "unreadable" {
					break // the job ends here
				}
			}
			want := map[string][]int{"denied": {0, 1}, "clean": {0, 0}, "unreadable": {1}}[name]
			if !slices.Equal(statuses, want) {
				t.Errorf("statuses %v, want %v", statuses, want)
			}
		})
	}
}

func holdsSARIF(t *testing.T, file string, finding bool) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var log struct {
		Version string
		Runs    []struct{ Results []struct{ RuleID string } }
	}
	if err := json.Unmarshal(text, &log); err != nil {
		t.Fatal(err)
	}
	if log.Version != "2.1.0" || len(log.Runs) != 1 || (len(log.Runs[0].Results) > 0) != finding {
		t.Errorf("%s: %+v", file, log)
	}
}
