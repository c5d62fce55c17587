package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/rules"
	"drawbridge.dev/drawbridge/policy/trial"
)

func newPolicyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy COMMAND",
		Short: "Try a policy out before it is in force",
		Long: `Tries a policy out: 'test' on cases of your own, each some objects and the findings expected of them, and 'simulate'
on the objects of a cluster or a folder, beside the policy that is in force now. Neither changes a cluster.

A policy itself is judged by 'drawbridge check', as the manifest of its ConfigMap; 'drawbridge rules --policy' tells
which level is in force where.`,
		Args: commandOnly,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newPolicyTestCommand(), newPolicySimulateCommand())
	return cmd
}

func newPolicyTestCommand() *cobra.Command {
	var flags policyFlags
	var output string
	var update bool
	cmd := &cobra.Command{
		Use:   "test [--policy FILE] [--update] DIR",
		Short: "Hold a policy to what is expected of it",
		Long: `Judges each case of a folder by a policy, and compares what it finds with what is expected.

A case is a file of manifests (.yaml, .yml, .json) at any depth. What is expected of its objects stands beside it, in a
file of the same name that ends in .expected, a finding a line, in any order:

    # The old gateway is spared until May.
    exempt team-a/Service/gateway spec.externalIPs[0] (service-external-ips)
    deny team-a/Service/api spec.externalName (service-external-name-ip)

The level is deny, warn, fix or exempt. Lines 'user: NAME' and 'groups: NAME, NAME' say who writes the objects, for
exemptions of users. A case of which nothing is expected has a file that is empty but for comments. --update writes the
files as the policy has it now: read them.

The policy is policy.yaml in the folder, unless --policy names another. world.yaml, or the folder world, holds objects
that every case knows, such as Namespaces with labels.

Exit status: 0 all cases are as expected, 1 one is not, 2 an input could not be read or the command line is wrong.`,
		Example: `  drawbridge policy test cases/
  drawbridge policy test --update cases/
  drawbridge policy test --policy next.yaml -o json cases/`,
		Args: func(cmd *cobra.Command, a []string) error {
			if len(a) == 0 {
				return usageErrorf("name a folder of cases; see '%s --help'", cmd.CommandPath())
			}
			return atMost(1)(cmd, a)
		},
		RunE: func(cmd *cobra.Command, dirs []string) error {
			if output != "text" && output != "json" {
				return usageErrorf("-o must be 'text' or 'json', not '%s'", output)
			}
			dir := dirs[0]
			if info, err := os.Stat(dir); err != nil || !info.IsDir() {
				return usageErrorf("'%s' must be a folder of cases", dir)
			}
			if flags.file == "" {
				flags.file = filepath.Join(dir, trial.PolicyFile)
				if _, err := os.Stat(flags.file); err != nil {
					return usageErrorf("'%s' has no %s; name a policy with --policy", dir, trial.PolicyFile)
				}
			}
			config, err := flags.config()
			if err != nil {
				return err
			}
			return testPolicy(cmd, dir, config, output, update)
		},
	}
	flags.registerPolicy(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "text", "format: text or json")
	cmd.Flags().BoolVar(&update, "update", false, "write what is found as what is expected")
	complete(cmd, "output", "text", "json")
	return cmd
}

// testPolicy runs the cases of a folder.
func testPolicy(cmd *cobra.Command, dir string, config *policy.Config, output string, update bool) error {
	suite, errs := trial.Load(dir)
	for _, err := range errs {
		fmt.Fprintln(cmd.ErrOrStderr(), safeLine(err.Error()))
	}
	if len(suite.Cases) == 0 && len(errs) == 0 {
		return usageErrorf("'%s' holds no case: a case is a file of manifests and what is expected of them; see '%s --help'", dir, cmd.CommandPath())
	}
	outcomes, failed, written := []trial.Outcome{}, 0, 0
	for _, c := range suite.Cases {
		o := suite.Run(c, rules.All(), config)
		if update {
			wrote, err := c.Update(o)
			if err != nil {
				return err
			}
			if wrote {
				written++
				fmt.Fprintln(cmd.ErrOrStderr(), safeLine("note: what '"+c.Name+"' expects is written anew"))
				o.OK, o.New, o.Missing, o.Unexpected = true, false, nil, nil
			}
		}
		if !o.OK {
			failed++
		}
		outcomes = append(outcomes, o)
	}
	out := bufio.NewWriter(cmd.OutOrStdout())
	if output == "json" {
		if err := encode(out, map[string]any{"policy": config.Generation, "cases": outcomes, "failed": failed}); err != nil {
			return err
		}
	} else {
		tellOutcomes(out, outcomes, failed)
	}
	if err := out.Flush(); err != nil {
		return err
	}
	return verdict(failed > 0, len(errs) > 0)
}

// tellOutcomes writes a line for each case, and below one that fails the difference: '-' before what was expected and not
// found, '+' before what was found and not expected.
func tellOutcomes(w io.Writer, outcomes []trial.Outcome, failed int) {
	for _, o := range outcomes {
		word := "ok  "
		if !o.OK {
			word = "FAIL"
		}
		fmt.Fprintf(w, "%s  %s\n", word, safeLine(o.Name))
		if o.New {
			fmt.Fprintln(w, "      nothing says what is expected; --update writes what is found")
		}
		for _, line := range o.Missing {
			fmt.Fprintf(w, "    - %s\n", safeLine(line))
		}
		for _, f := range o.Unexpected {
			fmt.Fprintf(w, "    + %s\n", f)
			fmt.Fprintf(w, "      %s\n", safeLine(f.Message))
		}
	}
	cases := "1 case"
	if len(outcomes) != 1 {
		cases = fmt.Sprintf("%d cases", len(outcomes))
	}
	fmt.Fprintf(w, "%s, %d failed\n", cases, failed)
}

func encode(w io.Writer, value any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(value)
}
