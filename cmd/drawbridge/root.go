// Command drawbridge checks, mends and serves Kubernetes objects that point outside the cluster.
//
// Exit status: 0 where nothing is denied, 1 where something is or a running program failed, 2 where an input could
// not be read or the command line is wrong.
package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"drawbridge.dev/drawbridge/policy/manifest"
)

// The exit statuses.
const (
	exitDenied = 1 // something is denied; for a program that runs on, it failed
	exitUsage  = 2 // an input could not be read, or the command line is wrong; counts for more than exitDenied
)

func main() { os.Exit(execute(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// exitError ends the program with a status; nothing is printed where err is nil.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// usageErrorf is an error in the command line, or in what it names.
func usageErrorf(format string, a ...any) error {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, a...)}
}

// inputs wants a command to be told what to read.
func inputs(cmd *cobra.Command, a []string) error {
	if len(a) == 0 {
		return usageErrorf("name a file, a folder, or '-' for standard input; see '%s --help'", cmd.CommandPath())
	}
	return nil
}

// atMost wants a command to have no more than n arguments.
func atMost(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, a []string) error {
		if len(a) > n {
			return usageErrorf("there is no place for the argument '%s'; see '%s --help'", a[n], cmd.CommandPath())
		}
		return nil
	}
}

// commandOnly wants an argument of the program to be one of its commands.
func commandOnly(root *cobra.Command, a []string) error {
	if len(a) == 0 {
		return nil
	}
	root.SuggestionsMinimumDistance = 2
	if near := root.SuggestionsFor(a[0]); len(near) > 0 {
		return usageErrorf("there is no command '%s'; did you mean '%s'?", a[0], strings.Join(near, "' or '"))
	}
	return usageErrorf("there is no command '%s'; see '%s --help'", a[0], root.CommandPath())
}

// execute runs the command line and gives the exit status.
func execute(argv []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRootCommand()
	root.SetArgs(argv)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	started := false
	prepare := root.PersistentPreRunE
	root.PersistentPreRunE = func(cmd *cobra.Command, a []string) error {
		started = true
		return prepare(cmd, a)
	}
	err := root.Execute()
	if err == nil {
		return 0
	}
	code := exitDenied
	var ee *exitError
	switch {
	case errors.As(err, &ee):
		code = ee.code
		err = ee.err
	case !started: // cobra did not get as far as running something: flags, arguments, names of commands
		code = exitUsage
	}
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			fmt.Fprintf(stderr, "drawbridge: %s\n", safeLine(strings.TrimSuffix(line, "\n")))
		}
	}
	return code
}

// safeLine makes text from objects, files and their names fit for a line of a terminal.
func safeLine(s string) string { return manifest.OneLine(s) }

func newRootCommand() *cobra.Command {
	var level, format string
	root := &cobra.Command{
		Use:   "drawbridge",
		Short: "Check, mend and serve Kubernetes objects that point outside the cluster",
		Long: `drawbridge makes it safe and easy to reach a service outside the cluster by the objects that Kubernetes has:
Service, Endpoints, EndpointSlice and Ingress. It checks and mends them, in files or as they are applied, and serves
them with HAProxy.`,
		Example: `  # What is wrong with these manifests?
  drawbridge check deploy/

  # Mend them, and see what changed
  drawbridge fix --diff deploy/

  # Why, and what to write instead
  drawbridge rules service-external-name-ip

  # Serve a folder of manifests on this machine
  drawbridge proxy --from deploy/`,
		Version:       buildVersion(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          commandOnly,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return setLogger(cmd.ErrOrStderr(), level, format)
		},
	}
	root.SetVersionTemplate(versionLine())
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageErrorf("%w; see '%s --help'", err, cmd.CommandPath())
	})
	f := root.PersistentFlags()
	f.StringVar(&level, "log-level", "info", "what to log: debug, info, warn or error")
	f.StringVar(&format, "log-format", "text", "how to log: text or json")
	f.String("kubeconfig", "", "kubeconfig file of the cluster, where one is used (default: $KUBECONFIG, the pod's own, ~/.kube/config)")
	complete(root, "log-level", "debug", "info", "warn", "error")
	complete(root, "log-format", "text", "json")
	root.AddCommand(
		newCheckCommand(),
		newFixCommand(),
		newRulesCommand(),
		newAuditCommand(),
		newPolicyCommand(),
		newVersionCommand(),
		newManagerCommand(),
		newProxyCommand(),
		newRenderCommand(),
	)
	return root
}

// kubeconfigPath is the value of --kubeconfig, empty where it was not given.
func kubeconfigPath(cmd *cobra.Command) string {
	path, err := cmd.Flags().GetString("kubeconfig")
	if err != nil {
		return ""
	}
	return path
}

// setLogger makes the program's log: on standard error, because standard output is for what was asked for.
func setLogger(w io.Writer, level, format string) error {
	var l slog.Level
	switch level {
	case "debug", "info", "warn", "error":
		if err := l.UnmarshalText([]byte(level)); err != nil {
			return usageErrorf("--log-level: %w", err)
		}
	default:
		return usageErrorf("--log-level must be 'debug', 'info', 'warn' or 'error', not '%s'", level)
	}
	options := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		slog.SetDefault(slog.New(slog.NewTextHandler(w, options)))
	case "json":
		slog.SetDefault(slog.New(slog.NewJSONHandler(w, options)))
	default:
		return usageErrorf("--log-format must be 'text' or 'json', not '%s'", format)
	}
	return nil
}

// complete offers the values of a flag to the shell.
func complete(cmd *cobra.Command, flag string, values ...string) {
	// The error is that the flag does not exist, which the first start would show.
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err)
	}
}
