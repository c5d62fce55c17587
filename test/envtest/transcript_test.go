package envtest

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"drawbridge.dev/drawbridge/test/lab"
)

var update = flag.Bool("update", false, "write the transcripts in testdata anew")

// transcripts runs testdata/*.txtar: each is a list of kubectl commands and what a person sees of them, with the files
// that they read. A line `$ kubectl ...` is run in a Kubernetes namespace of its own, whose name is written and printed as
// NAMESPACE; what follows it up to the next is what it printed, standard output and error together, and its exit code if not 0. A
// line `# ...` is a comment. `$ settle` waits for the manager to have heard of what went before.
func transcripts(t *testing.T, cluster *lab.ControlPlane) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			dir, namespace := lab.Dir(t), cluster.Namespace(t)
			for _, f := range archive.Files {
				text := bytes.ReplaceAll(f.Data, []byte("NAMESPACE"), []byte(namespace))
				if err := os.WriteFile(filepath.Join(dir, f.Name), text, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want := string(archive.Comment)
			got := replay(t, cluster, dir, namespace, want)
			if *update && got != want {
				archive.Comment = []byte(got)
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-update writes it):\n%s", file, diff)
			}
		})
	}
}

// replay runs the commands of a transcript, and gives it back with what they print now.
func replay(t *testing.T, cluster *lab.ControlPlane, dir, namespace, transcript string) string {
	t.Helper()
	var out strings.Builder
	for line := range strings.Lines(transcript) {
		if strings.TrimSpace(line) != "" && line[0] != '#' && line[0] != '$' {
			continue // what it printed last time
		}
		out.WriteString(line)
		command, ok := strings.CutPrefix(line, "$ ")
		if !ok {
			continue
		}
		args := strings.Fields(strings.ReplaceAll(command, "NAMESPACE", namespace))
		switch args[0] {
		case "settle":
			time.Sleep(time.Second)
		case "kubectl":
			out.WriteString(strings.ReplaceAll(kubectl(t, cluster, dir, namespace, args[1:]), namespace, "NAMESPACE"))
		default:
			t.Fatalf("not a command of a transcript: %s", line)
		}
	}
	return out.String()
}

func kubectl(t *testing.T, cluster *lab.ControlPlane, dir, namespace string, args []string) string {
	t.Helper()
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "'", "")
	}
	cmd := exec.CommandContext(t.Context(), lab.Bin(t, "kubectl"), append([]string{"--namespace", namespace}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "KUBECONFIG="+cluster.Kubeconfig)
	text, err := cmd.CombinedOutput()
	var out string
	for line := range strings.Lines(string(text)) {
		if strings.TrimSpace(line) != "" {
			out += strings.TrimSuffix(line, "\n") + "\n"
		}
	}
	if err != nil {
		out += "[" + err.Error() + "]\n"
	}
	return out
}
