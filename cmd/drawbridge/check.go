package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"slices"

	"github.com/spf13/cobra"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/manifest"
	"drawbridge.dev/drawbridge/policy/rules"
)

// report is what `drawbridge check -o json` prints.
type report struct {
	Findings []reportedFinding `json:"findings"`
	// Objects counts the objects that were judged.
	Objects int `json:"objects"`
}

type reportedFinding struct {
	Rule      string         `json:"rule"`
	Level     policy.Level   `json:"level"`
	Object    reportedObject `json:"object"`
	Field     string         `json:"field"`
	Message   string         `json:"message"`
	Source    reportedSource `json:"source"`
	Exempt    bool           `json:"exempt"`
	Ratcheted bool           `json:"ratcheted"`

	text string // field, message and rule in one line
}

type reportedObject struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace"`
	Name       string `json:"name"`
}

type reportedSource struct {
	File string `json:"file"`
	Line int    `json:"line"`
}

func newCheckCommand() *cobra.Command {
	var flags policyFlags
	var output string
	cmd := &cobra.Command{
		Use:   "check [-o text|json] FILE|DIR|-...",
		Short: "Judge manifests",
		Long: `Judges the Services, Endpoints, EndpointSlices and Ingresses in manifests by the rules that the webhook applies, and
prints what it finds, a line each: file:line: level: field: message (rule). All inputs are one world: an Ingress in one
file is judged with its Service in another.

The level is 'deny', 'warn', or 'fix' for what 'drawbridge fix' mends. A folder is read with everything below it
(.yaml, .yml, .json; no hidden files, no links out of it); '-' is standard input. Other kinds of object are passed
over. What can not be read is told on standard error, and the rest is judged all the same.

Exit status: 0 nothing is denied, 1 something is, 2 an input could not be read or the command line is wrong.`,
		Example: `  drawbridge check deploy/
  kustomize build . | drawbridge check -
  drawbridge check -o json --profile strict --policy policy.yaml service.yaml ingress.yaml`,
		Args: inputs,
		RunE: func(cmd *cobra.Command, paths []string) error {
			if output != "text" && output != "json" {
				return usageErrorf("-o must be 'text' or 'json', not '%s'", output)
			}
			config, err := flags.config()
			if err != nil {
				return err
			}
			files, unreadable := load(cmd, paths, flags.namespace)
			notes(cmd.ErrOrStderr(), files)
			r, denied := judge(files, config)
			if r.Objects == 0 && !unreadable {
				slog.Warn("found no Service, Endpoints, EndpointSlice or Ingress to judge")
			}
			if err := r.write(cmd.OutOrStdout(), output); err != nil {
				return err
			}
			return verdict(denied, unreadable)
		},
	}
	flags.register(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "text", "format: text or json")
	complete(cmd, "output", "text", "json")
	return cmd
}

// load reads the inputs, and tells on standard error what can not be read.
func load(cmd *cobra.Command, paths []string, namespace string) (files []*manifest.File, unreadable bool) {
	files, errs := manifest.Load(paths, cmd.InOrStdin(), manifest.Options{Namespace: namespace})
	errs = append(errs, manifest.Errors(files)...)
	complain(cmd, errs)
	return files, len(errs) > 0
}

func complain(cmd *cobra.Command, errs []*manifest.Error) {
	for _, e := range errs {
		fmt.Fprintln(cmd.ErrOrStderr(), e)
	}
}

// verdict is the exit status, as an error.
func verdict(denied, unreadable bool) error {
	switch {
	case unreadable:
		return &exitError{code: exitUsage}
	case denied:
		return &exitError{code: exitDenied}
	}
	return nil
}

// notes tells what no rule is about and a reader of manifests may not expect: versions of the API that are gone, and
// objects that stand there twice.
func notes(w io.Writer, files []*manifest.File) {
	first := map[string]*manifest.Object{}
	for _, f := range files {
		for _, o := range f.Objects {
			at := fmt.Sprintf("%s:%d", safeLine(o.File), o.Line(""))
			if o.Legacy {
				fmt.Fprintf(w, "%s: note: '%s' is gone since Kubernetes 1.22; 'drawbridge fix' makes it networking.k8s.io/v1\n", at, safeLine(o.APIVersion))
			}
			name := fmt.Sprintf("%s '%s/%s'", o.Kind, o.Object.GetNamespace(), o.Object.GetName())
			if o.Object.GetName() == "" { // generateName
				continue
			}
			if f, ok := first[name]; ok {
				fmt.Fprintf(w, "%s: note: %s is at %s:%d too; where other objects refer to it, the last one counts\n", at, safeLine(name), safeLine(f.File), f.Line(""))
				continue
			}
			first[name] = o
		}
	}
}

// judge reviews every object in the world that all of them make.
func judge(files []*manifest.File, config *policy.Config) (r report, denied bool) {
	r.Findings = []reportedFinding{}
	world := manifest.WorldOf(files)
	book := rules.All()
	for _, f := range files {
		for _, o := range f.Objects {
			if !o.Judged {
				continue
			}
			r.Objects++
			res := book.Review(policy.Request{Object: o.Object, World: world, Config: config, Stored: stored(o.Object)})
			denied = denied || len(res.Denied) > 0
			for _, list := range [...][]policy.Finding{res.Denied, res.Warned, res.Fixed, res.Exempt} {
				for _, finding := range list {
					r.add(o, finding)
				}
			}
		}
	}
	r.sort()
	return r, denied
}

// stored tells that an object was exported from a cluster, and is judged as what is already there: its writer is not
// known, and a label of the control plane may be the control plane's.
func stored(o policy.Object) bool { return o.GetUID() != "" }

func (r *report) sort() {
	slices.SortStableFunc(r.Findings, func(a, b reportedFinding) int {
		return cmp.Or(cmp.Compare(a.Source.File, b.Source.File), cmp.Compare(a.Source.Line, b.Source.Line), cmp.Compare(a.Rule, b.Rule))
	})
}

func (r *report) add(o *manifest.Object, f policy.Finding) {
	apiVersion, kind := o.Object.GetObjectKind().GroupVersionKind().ToAPIVersionAndKind()
	r.Findings = append(r.Findings, reportedFinding{
		Rule: f.Rule, Level: f.Level, Field: f.Err.Field, Message: f.Cause(), text: f.Message(),
		Object: reportedObject{apiVersion, kind, o.Object.GetNamespace(), o.Object.GetName()},
		Source: reportedSource{o.File, o.Line(f.Err.Field)},
		Exempt: f.Exempt, Ratcheted: f.Ratcheted,
	})
}

func (r *report) write(w io.Writer, format string) error {
	out := bufio.NewWriter(w)
	if format == "json" {
		enc := json.NewEncoder(out)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(r); err != nil {
			return err
		}
		return out.Flush()
	}
	r.text(out)
	return out.Flush()
}

// text writes a line for each finding but the exempt ones.
func (r *report) text(w io.Writer) {
	for _, f := range r.Findings {
		if !f.Exempt {
			fmt.Fprintf(w, "%s:%d: %s: %s\n", safeLine(f.Source.File), f.Source.Line, f.Level, f.text)
		}
	}
}
