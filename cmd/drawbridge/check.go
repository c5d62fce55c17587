package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/manifest"
	"drawbridge.dev/drawbridge/policy/report"
	"drawbridge.dev/drawbridge/policy/rules"
)

// checkFlags are the flags of check beside those of the policy.
type checkFlags struct {
	output, failOn, color string
}

func newCheckCommand() *cobra.Command {
	var flags policyFlags
	var check checkFlags
	formats := []string{report.Text, report.JSON, report.SARIF, report.JUnit, report.GitHub}
	cmd := &cobra.Command{
		Use:   "check [-o text|json|sarif|junit|github] FILE|DIR|PATTERN|-...",
		Short: "Judge manifests",
		Long: `Judges the Services, Endpoints, EndpointSlices and Ingresses in manifests by the rules that the webhook applies, and
prints what it finds, a line each: file:line:column: level: field: message (rule). All inputs are one world: an Ingress
in one file is judged with its Service in another.

The level is 'deny', 'warn', or 'fix' for what 'drawbridge fix' mends. A folder is read with everything below it
(.yaml, .yml, .json; no hidden files, no links out of it); a pattern such as 'deploy/**/*.yaml' in quotes, so that the
shell leaves it alone, is what it matches; '-' is standard input. Other kinds of object are passed over. What can not be
read is told on standard error, and the rest is judged all the same.

Formats: json holds everything, also what is exempt or can not be read; sarif (2.1.0) is for code scanning; junit is for
the test reports of GitLab, Jenkins and others, with a test for each object; github makes annotations in GitHub Actions.

Exit status: 0 nothing is as bad as --fail-on, 1 something is, 2 an input could not be read or the command line is wrong.`,
		Example: `  drawbridge check deploy/
  drawbridge check --fail-on warn 'deploy/**/*.yaml'
  kustomize build . | drawbridge check -
  helm template chart | drawbridge check -o github -
  drawbridge check -o json --profile strict --policy policy.yaml service.yaml ingress.yaml`,
		Args: inputs,
		RunE: func(cmd *cobra.Command, paths []string) error {
			if !slices.Contains(formats, check.output) {
				return usageErrorf("-o must be 'text', 'json', 'sarif', 'junit' or 'github', not '%s'", check.output)
			}
			var failOn policy.Level
			switch check.failOn {
			case "deny":
				failOn = policy.Deny
			case "warn":
				failOn = policy.Warn
			case "fix":
				failOn = policy.Fix
			default:
				return usageErrorf("--fail-on must be 'deny', 'warn' or 'fix', not '%s'", check.failOn)
			}
			colored, err := useColor(check.color, cmd.OutOrStdout())
			if err != nil {
				return err
			}
			config, err := flags.config()
			if err != nil {
				return err
			}
			files, errs := loadAll(cmd, paths, flags.namespace)
			notes(cmd.ErrOrStderr(), files)
			r := judge(files, config)
			for _, e := range errs {
				r.Unreadable = append(r.Unreadable, report.Unreadable{File: e.File, Line: e.Line, Column: e.Column, Field: e.Field, Detail: e.Detail})
			}
			r.Sort()
			if len(r.Judged) == 0 && len(errs) == 0 {
				slog.Warn("found no Service, Endpoints, EndpointSlice or Ingress to judge")
			}
			opts := report.Options{Color: colored, FailOn: failOn}
			if root, err := os.Getwd(); err == nil {
				opts.Root = filepath.ToSlash(root)
			}
			if err := report.Write(cmd.OutOrStdout(), check.output, r, opts); err != nil {
				return err
			}
			if check.output == report.Text && isTerminal(cmd.ErrOrStderr()) {
				fmt.Fprintln(cmd.ErrOrStderr(), summary(r))
			}
			return verdict(r.Reaches(failOn), len(errs) > 0)
		},
	}
	flags.register(cmd)
	f := cmd.Flags()
	f.StringVarP(&check.output, "output", "o", report.Text, "format: text, json, sarif, junit or github")
	f.StringVar(&check.failOn, "fail-on", "deny", "the mildest level that makes the exit status 1: deny, warn or fix")
	f.StringVar(&check.color, "color", colorAuto, "color text: auto (on a terminal, unless NO_COLOR is set), always or never")
	complete(cmd, "output", formats...)
	complete(cmd, "fail-on", "deny", "warn", "fix")
	complete(cmd, "color", colorAuto, colorAlways, colorNever)
	return cmd
}

// summary is one line for a person; what a program reads ends without it.
func summary(r *report.Report) string {
	objects := "1 object"
	if n := len(r.Judged); n != 1 {
		objects = fmt.Sprintf("%d objects", n)
	}
	text := fmt.Sprintf("%s: %d to deny, %d to warn of, %d to fix", objects, r.Count(policy.Deny), r.Count(policy.Warn), r.Count(policy.Fix))
	if n := len(r.Unreadable); n > 0 {
		text += fmt.Sprintf("; %d could not be read", n)
	}
	return text
}

// load reads the inputs, and tells on standard error what can not be read.
func load(cmd *cobra.Command, paths []string, namespace string) (files []*manifest.File, unreadable bool) {
	files, errs := loadAll(cmd, paths, namespace)
	return files, len(errs) > 0
}

// loadAll is load for who wants to know what can not be read.
func loadAll(cmd *cobra.Command, paths []string, namespace string) (files []*manifest.File, errs []*manifest.Error) {
	files, errs = manifest.Load(paths, cmd.InOrStdin(), manifest.Options{Namespace: namespace, Patterns: true})
	errs = append(errs, manifest.Errors(files)...)
	complain(cmd, errs)
	return files, errs
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
			at := sourceOf(o, "")
			if o.Legacy {
				fmt.Fprintf(w, "%s: note: '%s' is gone since Kubernetes 1.22; 'drawbridge fix' makes it networking.k8s.io/v1\n", at, safeLine(o.APIVersion))
			}
			name := fmt.Sprintf("%s '%s/%s'", o.Kind, o.Object.GetNamespace(), o.Object.GetName())
			if o.Object.GetName() == "" { // generateName
				continue
			}
			if f, ok := first[name]; ok {
				fmt.Fprintf(w, "%s: note: %s is at %s too; where other objects refer to it, the last one counts\n", at, safeLine(name), sourceOf(f, ""))
				continue
			}
			first[name] = o
		}
	}
}

// judge reviews every object in the world that all of them make.
func judge(files []*manifest.File, config *policy.Config) *report.Report {
	book := rules.All()
	r := &report.Report{Version: buildVersion(), Rules: book.Infos()}
	world := manifest.WorldOf(files)
	for _, f := range files {
		for _, o := range f.Objects {
			if o.Judged {
				res := book.Review(policy.Request{Object: o.Object, World: world, Config: config, Stored: stored(o.Object)})
				r.Add(o.Object, res, func(field string) report.Source { return sourceOf(o, field) })
			}
		}
	}
	return r
}

// stored tells that an object was exported from a cluster, and is judged as what is already there: its writer is not
// known, and a label of the control plane may be the control plane's.
func stored(o policy.Object) bool { return o.GetUID() != "" }

// sourceOf is the place of a field.
func sourceOf(o *manifest.Object, field string) report.Source {
	from, to := o.Span(field)
	return report.Source{File: o.File, Line: from.Line, Column: from.Column, EndLine: to.Line, EndColumn: to.Column}
}
