package main

import (
	"bufio"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/rules"
)

func newRulesCommand() *cobra.Command {
	var output string
	formats := []string{policy.FormatText, policy.FormatMarkdown, policy.FormatJSON}
	cmd := &cobra.Command{
		Use:   "rules [ID] [-o text|markdown|json]",
		Short: "Tell the rules, and what to write instead",
		Long: `Lists the rules, a line each; with the ID of one it tells what the rule requires, why, and shows what to write
instead. The ID stands at the end of every message, in parentheses.`,
		Example: `  drawbridge rules
  drawbridge rules service-external-name-ip
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
			out := bufio.NewWriter(cmd.OutOrStdout())
			if err := policy.WriteRules(out, output, infos); err != nil {
				return err
			}
			return out.Flush()
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", policy.FormatText, "format: text, markdown or json")
	complete(cmd, "output", formats...)
	return cmd
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
