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
	cmd := &cobra.Command{
		Use:   "fix [--diff] FILE|DIR|-...",
		Short: "Mend manifests",
		Long: `Prints the manifests with everything mended that has one right answer. The text is edited in place: comments, order
and blank lines stay, and a document with nothing to mend is printed byte for byte. A legacy Ingress
(extensions/v1beta1, networking.k8s.io/v1beta1) becomes one of networking.k8s.io/v1.

One input is printed as it would be written back; several are printed one after the other as one stream of documents,
parted by '---', in the order given. With --diff the changes are printed instead, for 'patch -p1'. What remains to be
done by hand is told on standard error, as 'drawbridge check' tells it, with the lines of the input.

Exit status: 0 nothing that remains is denied, 1 something is, 2 an input could not be read, or not be edited, or the
command line is wrong. A document that can not be read or edited is printed as it is.`,
		Example: `  drawbridge fix ingress.yaml > mended.yaml
  drawbridge fix --diff deploy/ | patch -p1
  helm template chart | drawbridge fix - | kubectl apply -f -`,
		Args: inputs,
		RunE: func(cmd *cobra.Command, paths []string) error {
			config, err := flags.config()
			if err != nil {
				return err
			}
			files, unreadable := load(cmd, paths, flags.namespace)
			want, remains, denied := mend(files, config)
			var texts [][]byte
			var changes bytes.Buffer
			for _, f := range files {
				text, errs := f.Mend(want)
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
	cmd.Flags().BoolVar(&asDiff, "diff", false, "print what changes, as a unified diff")
	return cmd
}

// maxRounds bounds how often objects are reviewed again in the world of the mended ones.
const maxRounds = 4

// mend reviews every object until nothing is left to mend: what mends one object may show what another needs. It
// gives the objects that change and the findings that remain.
func mend(files []*manifest.File, config *policy.Config) (want map[*manifest.Object]policy.Object, remains *report.Report, denied bool) {
	want = map[*manifest.Object]policy.Object{}
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
	remains.Sort()
	return want, remains, denied
}
