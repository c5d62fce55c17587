package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/signal"
	"reflect"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/manifest"
	"drawbridge.dev/drawbridge/policy/rules"
	"drawbridge.dev/drawbridge/policy/trial"
)

// simulateFlags are the flags of policy simulate.
type simulateFlags struct {
	policyFlags
	from, configMap string
	all             bool
	exempt          []string
	output          string
}

// simulated is what `drawbridge policy simulate -o json` prints.
type simulated struct {
	From    string            `json:"from"`
	To      string            `json:"to"`
	Summary trial.Summary     `json:"summary"`
	Changes []simulatedChange `json:"changes"`
}

type simulatedChange struct {
	trial.Change
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
}

func newPolicySimulateCommand() *cobra.Command {
	var s simulateFlags
	cmd := &cobra.Command{
		Use:   "simulate --policy NEW [--from OLD] [FILE|DIR|PATTERN|-... | --namespace NS | -A]",
		Short: "Tell which objects a new policy would judge differently",
		Long: `Judges objects by two policies, and tells which of them would be judged differently: denied, mended or warned of by the
one and not by the other.

The objects are those of manifests, where some are named, else those that a cluster holds, which it reads and does not
change. The policy of now is --from; without it, that of the cluster, or for manifests the default one.

What a cluster holds is judged as it is stored, by rules of which some are milder then: the proxy goes on serving an
Ingress with a mistake that a new one is denied for. It goes on working when a policy denies it: on an update, what an
object had before is only warned of. The proxy leaves out routes that are denied, and says so.

Exit status: 0 nothing is newly denied, 1 something is, 2 something could not be read or the command line is wrong.`,
		Example: `  drawbridge policy simulate --policy next.yaml -A
  drawbridge policy simulate --policy next.yaml --from policy.yaml deploy/
  drawbridge policy simulate --profile strict -A -o json`,
		RunE: func(cmd *cobra.Command, paths []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return s.run(ctx, cmd, paths)
		},
	}
	s.registerPolicy(cmd)
	f := cmd.Flags()
	f.Lookup("policy").Usage = "the new policy: a policy.yaml, or the manifest of a ConfigMap that holds one (default that of now)"
	f.Lookup("profile").Usage = "profile of the new policy, whatever it says: baseline or strict"
	f.StringVar(&s.from, "from", "", "the policy of now, as --policy (default the cluster's, or for manifests the default one)")
	f.StringVarP(&s.namespace, "namespace", "n", "", "namespace to judge (default that of the kubeconfig); for manifests that of objects that name none")
	f.BoolVarP(&s.all, "all-namespaces", "A", false, "judge all namespaces")
	f.StringVar(&s.configMap, "policy-configmap", "drawbridge-system/"+policy.ConfigMapName, "ConfigMap of the cluster's policy, as namespace/name")
	f.StringSliceVar(&s.exempt, "exempt-namespaces", nil, "namespaces that -A leaves out beside kube-system and that of --policy-configmap")
	f.StringVarP(&s.output, "output", "o", "text", "format: text or json")
	complete(cmd, "output", "text", "json")
	return cmd
}

func (s *simulateFlags) run(ctx context.Context, cmd *cobra.Command, paths []string) error {
	switch {
	case s.output != "text" && s.output != "json":
		return usageErrorf("-o must be 'text' or 'json', not '%s'", s.output)
	case s.file == "" && s.profile == "":
		return usageErrorf("--policy or --profile must say what is new")
	case s.all && s.namespace != "":
		return usageErrorf("--namespace and -A must not be given together")
	case s.all && len(paths) > 0:
		return usageErrorf("-A is for a cluster, not for manifests")
	}
	var from *policy.Config
	if s.from != "" {
		var err error
		if from, err = readPolicy(s.from); err != nil {
			return usageErrorf("--from: %w", err)
		}
	}
	var objects func(from, to *policy.Config, out *simulated) (failed bool)
	if len(paths) > 0 {
		if from == nil {
			from = policy.DefaultConfig()
		}
		objects = s.manifests(cmd, paths)
	} else {
		c, err := openCluster(kubeconfigPath(cmd))
		if err != nil {
			return &exitError{code: exitUsage, err: err}
		}
		system, name, ok := strings.Cut(s.configMap, "/")
		if !ok || system == "" || name == "" || strings.Contains(name, "/") {
			return usageErrorf("--policy-configmap must be namespace/name, not '%s'", s.configMap)
		}
		if from == nil {
			key := types.NamespacedName{Namespace: system, Name: name}
			stored, found, err := c.policy(ctx, key)
			if err != nil {
				return &exitError{code: exitUsage, err: err}
			}
			if from = stored; !found {
				fmt.Fprintln(cmd.ErrOrStderr(), safeLine(fmt.Sprintf("note: there is no policy in ConfigMap '%s': the default one is in force", key)))
			}
		}
		objects = s.cluster(ctx, cmd, c, system)
	}
	to, err := s.config()
	if err != nil {
		return err
	}
	if s.file == "" {
		to = from.WithProfile(policy.Profile(s.profile))
	}
	out := &simulated{From: from.Generation, To: to.Generation, Changes: []simulatedChange{}}
	failed := objects(from, to, out)
	if !reflect.DeepEqual(from.Slices, to.Slices) {
		fmt.Fprintln(cmd.ErrOrStderr(), "note: the policies differ in `slices`, and so may the EndpointSlices that are generated")
	}
	if err := out.write(cmd.OutOrStdout(), s.output); err != nil {
		return err
	}
	return verdict(out.Summary.Denied > 0, failed)
}

// manifests judges what files hold.
func (s *simulateFlags) manifests(cmd *cobra.Command, paths []string) func(from, to *policy.Config, out *simulated) bool {
	return func(from, to *policy.Config, out *simulated) bool {
		files, unreadable := load(cmd, paths, s.namespace)
		notes(cmd.ErrOrStderr(), files)
		world := manifest.WorldOf(files)
		for _, f := range files {
			for _, o := range f.Objects {
				if o.Judged {
					out.add(from, to, world, o.Object, stored(o.Object), o.File, o.Line(""))
				}
			}
		}
		return unreadable
	}
}

// cluster judges what a cluster holds.
func (s *simulateFlags) cluster(ctx context.Context, cmd *cobra.Command, c *cluster, system string) func(from, to *policy.Config, out *simulated) bool {
	return func(from, to *policy.Config, out *simulated) bool {
		namespace := s.namespace
		if namespace == "" && !s.all {
			namespace = c.namespace
		}
		objects, notes, failed := c.read(ctx, namespace)
		for _, note := range notes {
			fmt.Fprintln(cmd.ErrOrStderr(), safeLine("note: "+note))
		}
		for _, err := range failed {
			fmt.Fprintln(cmd.ErrOrStderr(), "drawbridge:", safeLine(err.Error()))
		}
		exempt := append([]string{metav1.NamespaceSystem, system}, s.exempt...)
		world := policy.NewIndex(objects...)
		for _, o := range judgedIn(objects, namespace) {
			if !s.all || !slices.Contains(exempt, o.GetNamespace()) {
				out.add(from, to, world, o, true, "", 0)
			}
		}
		slices.SortStableFunc(out.Changes, func(a, b simulatedChange) int { return strings.Compare(a.Object, b.Object) })
		return len(failed) > 0
	}
}

func (r *simulated) add(from, to *policy.Config, world policy.World, o policy.Object, stored bool, file string, line int) {
	r.Summary.Objects++
	if c, differs := trial.Simulate(rules.All(), from, to, world, o, stored); differs {
		r.Summary.Add(c)
		r.Changes = append(r.Changes, simulatedChange{Change: c, File: file, Line: line})
	}
}

func (r *simulated) write(w io.Writer, format string) error {
	out := bufio.NewWriter(w)
	if format == "json" {
		if err := encode(out, r); err != nil {
			return err
		}
		return out.Flush()
	}
	for _, c := range r.Changes {
		where := ""
		if c.File != "" {
			where = fmt.Sprintf("%s:%d: ", c.File, c.Line)
		}
		fmt.Fprintf(out, "%s%s: now %s, then %s\n", safeLine(where), safeLine(c.Object), c.From, c.To)
		for _, f := range c.Gone {
			fmt.Fprintf(out, "    - %s: %s\n", f.Level, safeLine(f.Field+": "+f.Message))
		}
		for _, f := range c.New {
			fmt.Fprintf(out, "    + %s: %s\n", f.Level, safeLine(f.Field+": "+f.Message))
		}
	}
	fmt.Fprintln(out, r.Summary)
	return out.Flush()
}
