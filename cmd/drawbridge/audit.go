package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/report"
	"drawbridge.dev/drawbridge/policy/rules"
	"drawbridge.dev/drawbridge/webhook/audit"
)

// auditFlags are the flags of audit.
type auditFlags struct {
	policyFlags
	all               bool
	configMap         string
	exempt            []string
	output, failOn    string
	color             string
	namespaceWasGiven bool
}

func newAuditCommand() *cobra.Command {
	var a auditFlags
	formats := []string{report.Text, report.JSON, report.SARIF}
	cmd := &cobra.Command{
		Use:   "audit [-o text|json|sarif] [--namespace NS | -A]",
		Short: "Judge what a cluster holds",
		Long: `Judges the Services, Endpoints, EndpointSlices and Ingresses that a cluster holds, as the leader of 'drawbridge manager'
does, and prints what it finds, a line each: namespace/kind/name: level: field: message (rule). It changes nothing: the
right to get and list is enough. What the user may not list is told on standard error.

The level is 'deny' for what admission would deny today, and 'warn' for the rest, what it would mend included. The policy
is that of the cluster, unless --policy names another: to see what a new one would find, before it is in force.
Namespaces without admission are left out by -A.

Exit status: 0 nothing is as bad as --fail-on, 1 something is, 2 something could not be read or the command line is wrong.`,
		Example: `  drawbridge audit -A
  drawbridge audit --namespace shop --fail-on warn
  drawbridge audit -A -o sarif --policy policy.yaml --profile strict > audit.sarif`,
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			a.namespaceWasGiven = cmd.Flags().Changed("namespace")
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return a.run(ctx, cmd, formats)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&a.namespace, "namespace", "n", "", "namespace to judge (default that of the kubeconfig)")
	f.BoolVarP(&a.all, "all-namespaces", "A", false, "judge all namespaces")
	f.StringVar(&a.file, "policy", "", "policy: a policy.yaml, or the manifest of a ConfigMap that holds one (default the cluster's)")
	f.StringVar(&a.profile, "profile", "", "profile to judge by, whatever the policy says: baseline or strict")
	f.StringVar(&a.configMap, "policy-configmap", "drawbridge-system/drawbridge-policy", "ConfigMap of the cluster's policy, as namespace/name")
	f.StringSliceVar(&a.exempt, "exempt-namespaces", nil, "namespaces that -A leaves out beside kube-system and that of --policy-configmap")
	f.StringVarP(&a.output, "output", "o", report.Text, "format: text, json or sarif")
	f.StringVar(&a.failOn, "fail-on", "deny", "the mildest level that makes the exit status 1: deny or warn")
	f.StringVar(&a.color, "color", colorAuto, "color text: auto (on a terminal, unless NO_COLOR is set), always or never")
	complete(cmd, "output", formats...)
	complete(cmd, "fail-on", "deny", "warn")
	complete(cmd, "profile", string(policy.Baseline), string(policy.Strict))
	complete(cmd, "color", colorAuto, colorAlways, colorNever)
	return cmd
}

func (a *auditFlags) run(ctx context.Context, cmd *cobra.Command, formats []string) error {
	if !slices.Contains(formats, a.output) {
		return usageErrorf("-o must be 'text', 'json' or 'sarif', not '%s'", a.output)
	}
	if a.all && a.namespaceWasGiven {
		return usageErrorf("--namespace and -A must not be given together")
	}
	if a.namespaceWasGiven && a.namespace == "" {
		return usageErrorf("--namespace must not be empty; -A is all namespaces")
	}
	var failOn policy.Level
	switch a.failOn {
	case "deny":
		failOn = policy.Deny
	case "warn":
		failOn = policy.Warn
	default:
		return usageErrorf("--fail-on must be 'deny' or 'warn', not '%s'", a.failOn)
	}
	system, name, ok := strings.Cut(a.configMap, "/")
	if !ok || system == "" || name == "" || strings.Contains(name, "/") {
		return usageErrorf("--policy-configmap must be namespace/name, not '%s'", a.configMap)
	}
	colored, err := useColor(a.color, cmd.OutOrStdout())
	if err != nil {
		return err
	}
	config, err := a.config()
	if err != nil {
		return err
	}
	c, err := openCluster(kubeconfigPath(cmd))
	if err != nil {
		return &exitError{code: exitUsage, err: err}
	}
	tell := func(format string, args ...any) {
		fmt.Fprintln(cmd.ErrOrStderr(), safeLine("note: "+fmt.Sprintf(format, args...)))
	}
	if a.file == "" {
		key := types.NamespacedName{Namespace: system, Name: name}
		stored, found, err := c.policy(ctx, key)
		if err != nil {
			return &exitError{code: exitUsage, err: err}
		}
		if !found {
			tell("there is no policy in ConfigMap '%s': judged by the default one", key)
		}
		if config = stored; a.profile != "" {
			config = config.WithProfile(policy.Profile(a.profile))
		}
	}
	namespace := a.namespace
	if namespace == "" {
		namespace = c.namespace
	}
	if a.all {
		namespace = ""
	}
	if namespace != "" {
		missing, err := c.missing(ctx, namespace)
		if err != nil {
			return &exitError{code: exitUsage, err: err}
		}
		if missing {
			return &exitError{code: exitUsage, err: fmt.Errorf("there is no namespace '%s'; --namespace must name one that exists, -A is all", namespace)}
		}
	}
	objects, notes, failed := c.read(ctx, namespace)
	for _, note := range notes {
		tell("%s", note)
	}
	r := &report.Report{Version: buildVersion(), Rules: rules.All().Infos()}
	for _, err := range failed {
		fmt.Fprintln(cmd.ErrOrStderr(), "drawbridge:", safeLine(err.Error()))
		r.Unreadable = append(r.Unreadable, report.Unreadable{Detail: err.Error()})
	}
	scan := audit.Scan{Book: rules.All(), Config: config, World: policy.NewIndex(objects...)}
	if a.all {
		scan.Exempt = append([]string{metav1.NamespaceSystem, system}, a.exempt...)
	}
	broken := 0
	err = scan.Run(ctx, judgedIn(objects, namespace), func(o policy.Object, res policy.Result, err error) {
		if err != nil {
			broken++
			detail := fmt.Sprintf("%T '%s/%s' could not be judged: %v", o, o.GetNamespace(), o.GetName(), err)
			fmt.Fprintln(cmd.ErrOrStderr(), "drawbridge:", safeLine(detail))
			r.Unreadable = append(r.Unreadable, report.Unreadable{Detail: detail})
			return
		}
		r.Add(o, res, nil)
	})
	if err != nil {
		return err
	}
	r.Sort()
	if err := report.Write(cmd.OutOrStdout(), a.output, r, report.Options{Color: colored, FailOn: failOn}); err != nil {
		return err
	}
	if a.output == report.Text && isTerminal(cmd.ErrOrStderr()) {
		fmt.Fprintln(cmd.ErrOrStderr(), summary(r))
	}
	return verdict(r.Reaches(failOn), len(failed)+broken > 0)
}

// judgedIn are the objects of the kinds that are judged, of one namespace or, where it is empty, of all.
func judgedIn(objects []policy.Object, namespace string) []policy.Object {
	var out []policy.Object
	for _, o := range objects {
		if audit.Judges(o) && (namespace == "" || o.GetNamespace() == namespace) {
			out = append(out, o)
		}
	}
	return out
}
