package main

import (
	"bytes"
	"path/filepath"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/manifest"
	"drawbridge.dev/drawbridge/policy/report"
	"drawbridge.dev/drawbridge/policy/rules"
)

func newFixCommand() *cobra.Command {
	var flags policyFlags
	var asDiff bool
	var move dialectFlags
	cmd := &cobra.Command{
		Use:   "fix [--diff] [--dialect NAME] FILE|DIR|-...",
		Short: "Mend manifests",
		Long: `Prints the manifests with everything mended that has one right answer. The text is edited in place: comments, order
and blank lines stay, and a document with nothing to mend is printed byte for byte. A legacy Ingress
(extensions/v1beta1, networking.k8s.io/v1beta1) becomes one of networking.k8s.io/v1.

One input is printed as it would be written back; several are printed one after the other as one stream of documents,
parted by '---', in the order given. With --diff the changes are printed instead, for 'patch -p1'. What remains to be
done by hand is told on standard error, as 'drawbridge check' tells it, with the lines of the input.

With --dialect the annotations of Ingresses, and of the Services that they lead to, are written in the words of another
Ingress controller first, and the Ingresses get its class. What could not be carried over stays where it is and is told
on standard error, with the reason and what to use instead; what has one right answer in the new dialect is mended.

Exit status: 0 nothing that remains is denied, 1 something is, or control of access would be lost by --dialect, 2 an
input could not be read, or not be edited, or the command line is wrong. A document that can not be read or edited is printed as it is.`,
		Example: `  drawbridge fix ingress.yaml > mended.yaml
  drawbridge fix --diff deploy/ | patch -p1
  helm template chart | drawbridge fix - | kubectl apply -f -
  drawbridge fix --dialect traefik --diff deploy/`,
		Args: inputs,
		RunE: func(cmd *cobra.Command, paths []string) error {
			config, err := flags.config()
			if err != nil {
				return err
			}
			if err := move.check(); err != nil {
				return err
			}
			files, unreadable := load(cmd, paths, flags.namespace)
			want, lost := move.translate(files, config)
			remains, denied := mend(files, move.policy(config), want)
			for _, l := range lost {
				result := policy.Result{Warned: []policy.Finding{l.finding}}
				if l.finding.Level == policy.Deny {
					result, denied = policy.Result{Denied: result.Warned}, true
				}
				remains.Add(l.object.Object, result, func(field string) report.Source { return sourceOf(l.object, field) })
			}
			remains.Sort()
			var texts [][]byte
			var changes bytes.Buffer
			for _, f := range files {
				text, errs := move.edit(f, want)
				complain(cmd, errs)
				unreadable = unreadable || len(errs) > 0
				texts = append(texts, text)
				name := filepath.ToSlash(safeLine(f.Name))
				changes.Write(diff.Diff("a/"+name, f.Source, "b/"+name, text))
			}
			if err := report.Write(cmd.ErrOrStderr(), report.Text, remains, report.Options{}); err != nil {
				return err
			}
			out := manifest.Join(texts)
			if asDiff {
				out = changes.Bytes()
			}
			if _, err := cmd.OutOrStdout().Write(out); err != nil {
				return err
			}
			return verdict(denied, unreadable)
		},
	}
	flags.register(cmd)
	move.register(cmd)
	cmd.Flags().BoolVar(&asDiff, "diff", false, "print what changes, as a unified diff")
	return cmd
}

// maxRounds bounds how often objects are reviewed again in the world of the mended ones.
const maxRounds = 4

// mend reviews every object until nothing is left to mend: what mends one object may show what another needs. want
// holds the objects that change, and gets those that are mended; the findings that remain come out.
func mend(files []*manifest.File, config *policy.Config, want map[*manifest.Object]policy.Object) (remains *report.Report, denied bool) {
	book := rules.All()
	for range maxRounds {
		var objects []policy.Object
		for _, f := range files {
			for _, o := range f.Objects {
				if w, ok := want[o]; ok {
					objects = append(objects, w)
				} else {
					objects = append(objects, o.Object)
				}
			}
		}
		world := policy.NewIndex(objects...)
		changed := false
		remains, denied = &report.Report{}, false
		i := -1
		for _, f := range files {
			for _, o := range f.Objects {
				i++
				if !o.Judged {
					continue
				}
				res := book.Review(policy.Request{Object: objects[i], World: world, Config: config, Stored: stored(objects[i])})
				if len(res.Fixed) > 0 {
					want[o] = res.Object
					changed = true
				}
				denied = denied || len(res.Denied) > 0
				remains.Add(o.Object, policy.Result{Denied: res.Denied, Warned: res.Warned},
					func(field string) report.Source { return sourceOf(o, field) })
			}
		}
		if !changed {
			break
		}
	}
	return remains, denied
}
