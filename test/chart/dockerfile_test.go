package chart

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"drawbridge.dev/drawbridge/test/lab"
)

// A stage of the Dockerfile: what it begins from and its instructions, continuation lines joined.
type stage struct {
	from  string
	lines []string
}

func dockerfile(t *testing.T) map[string]stage {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(lab.Root(), "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	from := regexp.MustCompile(`^FROM (?:--platform=\S+ )?(\S+) AS (\S+)$`)
	stages := map[string]stage{}
	name := ""
	for line := range strings.Lines(strings.ReplaceAll(string(text), "\\\n", " ")) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if m := from.FindStringSubmatch(line); m != nil {
			name = m[2]
			stages[name] = stage{from: m[1]}
			continue
		}
		s, ok := stages[name]
		if !ok {
			t.Fatalf("before the first stage: %s", line)
		}
		s.lines = append(s.lines, line)
		stages[name] = s
	}
	return stages
}

func TestDockerfile(t *testing.T) {
	stages := dockerfile(t)
	r := render(t, "")
	command := func(pod, container string) (path string) {
		spec := r.pods()[pod].Spec
		for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
			if c.Name == container {
				path = c.Command[0]
			}
		}
		return path
	}
	for target, binary := range map[string]string{
		"manager": command("drawbridge-manager", "manager"),
		"proxy":   command("drawbridge-proxy", "agent"),
	} {
		s, ok := stages[target]
		if !ok {
			t.Fatalf("there is no target %s", target)
		}
		for _, want := range []string{"COPY --from=build /drawbridge " + binary, "USER 65532:65532", `ENTRYPOINT ["` + binary + `"]`} {
			if !slices.Contains(s.lines, want) {
				t.Errorf("target %s does not say %s", target, want)
			}
		}
	}
	if s := stages["manager"]; s.from != "scratch" || slices.ContainsFunc(s.lines, func(l string) bool { return strings.HasPrefix(l, "RUN ") }) {
		t.Errorf("the manager's image must hold the static binary alone: %+v", s)
	}
	for name, s := range stages {
		if s.from != "scratch" && (!strings.Contains(s.from, ":") || strings.HasSuffix(s.from, ":latest")) {
			t.Errorf("stage %s begins from %s: must have a tag other than latest", name, s.from)
		}
	}
	for name, pod := range r.pods() {
		if c := pod.Spec.SecurityContext; *c.RunAsUser != 65532 || *c.RunAsGroup != 65532 {
			t.Errorf("%s runs as %d:%d, the images' user is 65532:65532", name, *c.RunAsUser, *c.RunAsGroup)
		}
	}
}

// Without a container engine: what the build stage copies is enough to build, by the very command that it gives, and what
// comes out is what the chart starts.
func TestDockerfileBuilds(t *testing.T) {
	source := t.TempDir()
	build := ""
	for _, line := range dockerfile(t)["build"].lines {
		fields := strings.Fields(line)
		switch {
		case fields[0] == "COPY":
			for _, name := range fields[1 : len(fields)-1] {
				if info, err := os.Stat(filepath.Join(lab.Root(), name)); err != nil {
					t.Fatal(err)
				} else if info.IsDir() {
					if err := os.CopyFS(filepath.Join(source, name), os.DirFS(filepath.Join(lab.Root(), name))); err != nil {
						t.Fatal(err)
					}
				} else {
					copyFile(t, filepath.Join(lab.Root(), name), filepath.Join(source, name))
				}
			}
		case fields[0] == "RUN" && strings.Contains(line, "go build"):
			build = strings.TrimPrefix(line, "RUN ")
		}
	}
	out := filepath.Join(t.TempDir(), "drawbridge")
	script := strings.Replace(build, "-o /drawbridge ", "-o "+out+" ", 1)
	if script == build {
		t.Fatalf("the build stage has no command that writes /drawbridge: %q", build)
	}
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-euc", script)
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "TARGETOS=linux", "TARGETARCH="+runtime.GOARCH, "VERSION=v1.2.3", "GOFLAGS=-mod=readonly", "GOWORK=off")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	knowsFlags(t, out)
	if text, err := exec.CommandContext(t.Context(), out, "version").CombinedOutput(); err != nil || !strings.Contains(string(text), "v1.2.3") {
		t.Errorf("drawbridge version: %v\n%s", err, text)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// knowsFlags fails for a flag that the chart passes and the program does not have.
func knowsFlags(t *testing.T, drawbridge string) {
	t.Helper()
	for _, variant := range []string{"defaults", "everything"} {
		for name, pod := range render(t, variants[variant]).pods() {
			for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
				if !strings.HasSuffix(c.Command[0], "/drawbridge") {
					continue
				}
				// Flags are read up to --help, which then does nothing.
				args := append(slices.Clone(c.Args), "--help")
				if out, err := exec.CommandContext(t.Context(), drawbridge, args...).CombinedOutput(); err != nil {
					t.Errorf("%s: %s: drawbridge %s: %v\n%s", variant, name, strings.Join(args, " "), err, out)
				}
			}
		}
	}
}
