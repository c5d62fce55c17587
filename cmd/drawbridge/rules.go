package main

import (
	"bufio"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/rules"
)

func newRulesCommand() *cobra.Command {
	var output string
	var flags rulesFlags
	formats := []string{policy.FormatText, policy.FormatMarkdown, policy.FormatJSON}
	cmd := &cobra.Command{
		Use:   "rules [ID] [-o text|markdown|json]",
		Short: "Tell the rules, and what to write instead",
		Long: `Lists the rules, a line each; with the ID of one it tells what the rule requires, why, and shows what to write
instead. The ID stands at the end of every message, in parentheses.

With --policy, --profile or --namespace it tells the level that is in force of each rule instead, and where it comes from:
'rules' of the policy, a profile, or an entry of its 'namespaces'.`,
		Example: `  drawbridge rules
  drawbridge rules service-external-name-ip
  drawbridge rules --policy policy.yaml --namespace team-a --labels env=prod
  drawbridge rules -o markdown > rules.md`,
		Args: atMost(1),
		ValidArgsFunction: func(_ *cobra.Command, given []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			var ids []cobra.Completion
			if len(given) == 0 {
				for _, i := range rules.All().Infos() {
					ids = append(ids, cobra.CompletionWithDesc(i.ID, i.Doc.Summary))
				}
			}
			return ids, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, ids []string) error {
			if !slices.Contains(formats, output) {
				return usageErrorf("-o must be 'text', 'markdown' or 'json', not '%s'", output)
			}
			infos := rules.All().Infos()
			if len(ids) == 1 {
				i := slices.IndexFunc(infos, func(i policy.Info) bool { return i.ID == ids[0] })
				if i < 0 {
					return usageErrorf("there is no rule '%s'%s", ids[0], likely(ids[0], infos))
				}
				infos = infos[i : i+1]
			}
			inForce, err := flags.inForce(cmd, infos)
			if err != nil {
				return err
			}
			out := bufio.NewWriter(cmd.OutOrStdout())
			if inForce != nil {
				err = policy.WriteInForce(out, output, infos, inForce)
			} else {
				err = policy.WriteRules(out, output, infos)
			}
			if err != nil {
				return err
			}
			return out.Flush()
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", policy.FormatText, "format: text, markdown or json")
	complete(cmd, "output", formats...)
	flags.registerPolicy(cmd)
	cmd.Flags().StringVarP(&flags.namespace, "namespace", "n", "", "tell the levels in this namespace")
	cmd.Flags().StringToStringVar(&flags.labels, "labels", nil, "labels of the namespace, as KEY=VALUE,...")
	return cmd
}

// rulesFlags choose a policy, and a namespace to tell it of.
type rulesFlags struct {
	policyFlags
	labels map[string]string
}

// inForce is what the policy makes of the rules, nil where no policy was asked for.
func (f *rulesFlags) inForce(cmd *cobra.Command, infos []policy.Info) ([]policy.InForce, error) {
	changed := cmd.Flags().Changed
	if !changed("policy") && !changed("profile") && !changed("namespace") && !changed("labels") {
		return nil, nil
	}
	if changed("labels") && f.namespace == "" {
		return nil, usageErrorf("--labels are those of a namespace: name it with --namespace")
	}
	if msgs := validation.IsDNS1123Label(f.namespace); f.namespace != "" && len(msgs) > 0 {
		return nil, usageErrorf("--namespace must be the name of a namespace, not '%s'", f.namespace)
	}
	config, err := f.config()
	if err != nil {
		return nil, err
	}
	lookup := func(name string) *corev1.Namespace {
		if !changed("labels") {
			return nil
		}
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: f.labels}}
	}
	if f.namespace != "" && !changed("labels") && slices.ContainsFunc(config.Namespaces, func(o policy.Override) bool { return o.Labels != nil }) {
		fmt.Fprintln(cmd.ErrOrStderr(), "note: entries of the policy by labels are left out; --labels says those of the namespace")
	}
	var list []policy.InForce
	for _, i := range infos {
		list = append(list, config.InForce(i, f.namespace, lookup))
	}
	return list, nil
}

// likely names the rules that a wrong ID is a part of, or that are a part of it.
func likely(id string, infos []policy.Info) string {
	var near []string
	for _, i := range infos {
		if wrong := strings.ToLower(id); len(id) > 2 && (strings.Contains(i.ID, wrong) || strings.Contains(wrong, i.ID)) {
			near = append(near, "'"+i.ID+"'")
		}
	}
	if len(near) == 0 {
		return "; 'drawbridge rules' lists them all"
	}
	return "; did you mean " + strings.Join(near, " or ") + "?"
}
