package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/tools/txtar"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/yaml"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/manifest"
	"drawbridge.dev/drawbridge/policy/rules"
	"drawbridge.dev/drawbridge/render"
	"drawbridge.dev/drawbridge/render/controller"
	"drawbridge.dev/drawbridge/render/haproxy"
	"drawbridge.dev/drawbridge/render/model"
	"drawbridge.dev/drawbridge/render/resolve"
)

// renderOptions are the flags of `drawbridge render`.
type renderOptions struct {
	policyFlags
	to        string
	resolvers []string
	classes   []string
	haproxy   haproxy.Options
	http      string
	https     string
}

func newRenderCommand() *cobra.Command {
	var o renderOptions
	cmd := &cobra.Command{
		Use:   "render [--to DIR] [--resolver HOST:PORT] FILE|DIR|-...",
		Short: "Show what a proxy would serve",
		Long: `Shows what 'drawbridge proxy' would run on for these manifests: haproxy.cfg, the map with a line for each route, and the
EndpointSlices that the manager would generate. Certificates and keys are not written.

Names stay names: a route to one that is not resolved answers 503, and a comment at the head of the map tells where it
would lead. With --resolver they are resolved now, and their addresses judged by the policy; a proxy in a cluster also
refuses those that belong to the cluster.

What can not be served as written is told on standard error. Without --to the files come in one stream, each after a
line "-- NAME --".`,
		Example: `  drawbridge render deploy/
  drawbridge render --resolver 10.96.0.10:53 --to /tmp/rendered deploy/`,
		Args: inputs,
		RunE: o.run,
	}
	o.register(cmd)
	f := cmd.Flags()
	f.StringVar(&o.to, "to", "", "folder for the files, made where it is missing (default standard output)")
	f.StringArrayVar(&o.resolvers, "resolver", nil, "DNS server HOST:PORT by which to resolve names; repeatable")
	f.StringArrayVar(&o.classes, "ingress-class", nil, "IngressClass to serve; repeatable (default those of controller drawbridge.dev/ingress)")
	f.StringVar(&o.http, "http-address", ":8080", "address for HTTP; empty for none")
	f.StringVar(&o.https, "https-address", ":8443", "address for HTTPS; empty for none")
	f.StringVar(&o.haproxy.RunDir, "run-dir", "/run/drawbridge", "folder that HAProxy will run on, as haproxy.cfg names it")
	f.StringVar(&o.haproxy.CAFile, "ca-file", "", "PEM file of the authorities that upstreams are verified against (default the system's)")
	return cmd
}

func (o *renderOptions) run(cmd *cobra.Command, paths []string) error {
	config, err := o.config()
	if err != nil {
		return err
	}
	files, unreadable := load(cmd, paths, o.namespace)
	objects, generated, left := controller.Complete(manifest.Objects(files))
	for _, p := range left {
		fmt.Fprintln(cmd.ErrOrStderr(), p)
	}

	built, problems := render.Build(render.NewSnapshot(objects...), render.Options{
		Book: rules.All(), Config: config, Classes: o.classes, Classless: true,
	})
	denied := false
	for _, p := range problems {
		denied = denied || p.Kind == render.Denied
		fmt.Fprintln(cmd.ErrOrStderr(), p)
	}
	table, err := o.resolve(cmd, config, &built)
	if err != nil {
		return err
	}
	state, refused := haproxy.Render(&built, table)
	for _, p := range refused {
		fmt.Fprintln(cmd.ErrOrStderr(), p)
	}
	o.haproxy.HTTP, o.haproxy.HTTPS = addresses(o.http), addresses(o.https)
	cfg, err := haproxy.Config(o.haproxy)
	if err != nil {
		return usageErrorf("%w", err)
	}
	slicesText, err := manifests(generated)
	if err != nil {
		return err
	}
	if err := o.write(cmd.OutOrStdout(), []txtar.File{
		{Name: "haproxy.cfg", Data: cfg},
		{Name: "routes.map", Data: append(unresolved(&built, table), state.Map()...)},
		{Name: "endpointslices.yaml", Data: slicesText},
	}); err != nil {
		return err
	}
	return verdict(denied, unreadable)
}

func addresses(address string) []string {
	if address == "" {
		return nil
	}
	return []string{address}
}

// resolve asks for every name of a model, where there is a resolver to ask. A name that is an address needs none.
func (o *renderOptions) resolve(cmd *cobra.Command, config *policy.Config, m *model.Model) (model.Table, error) {
	if len(o.resolvers) == 0 {
		table := model.Table{}
		for _, name := range namesOf(m) {
			if a, err := netip.ParseAddr(name); err == nil && config.Addresses.Check(a) == nil {
				table[name] = []netip.Addr{a}
			}
		}
		return table, nil
	}
	resolver, err := resolve.New(resolve.Options{
		Servers: o.resolvers,
		Check:   func(_ string, a netip.Addr) error { return config.Addresses.Check(a) },
	})
	if err != nil {
		return nil, usageErrorf("--resolver: %w", err)
	}
	resolver.SetNames(namesOf(m))
	ctx, cancel := context.WithCancel(cmd.Context())
	done := make(chan error, 1)
	go func() { done <- resolver.Run(ctx) }()
	select {
	case <-resolver.Settled():
	case <-ctx.Done():
	}
	for _, p := range resolver.Problems() {
		fmt.Fprintln(cmd.ErrOrStderr(), p.Message)
	}
	table := resolver.Table()
	cancel()
	return table, <-done
}

func namesOf(m *model.Model) []string {
	var names []string
	eachUpstream(m, func(_ string, u *model.Upstream) {
		if u.Name != "" {
			names = append(names, u.Name)
		}
	})
	slices.Sort(names)
	return slices.Compact(names)
}

// eachUpstream visits the upstreams of a model, with the host and the path that lead there.
func eachUpstream(m *model.Model, visit func(route string, u *model.Upstream)) {
	for i := range m.Hosts {
		host := m.Hosts[i].Name
		if host == "" {
			host = "*"
		}
		for j := range m.Hosts[i].Routes {
			r := &m.Hosts[i].Routes[j]
			visit(host+r.Path, &r.Upstream)
		}
	}
	if m.Default.Service != "" {
		visit("default", &m.Default)
	}
}

// unresolved tells, as comments of a map, where the routes to names without an address would lead.
func unresolved(m *model.Model, table model.Table) []byte {
	var b bytes.Buffer
	eachUpstream(m, func(route string, u *model.Upstream) {
		if u.Name != "" && len(table[u.Name]) == 0 {
			fmt.Fprintf(&b, "# %s goes to %s:%d\n", route, u.Name, u.Port)
		}
	})
	return b.Bytes()
}

// manifests writes slices as YAML documents.
func manifests(generated []*discoveryv1.EndpointSlice) ([]byte, error) {
	var documents []string
	for _, s := range generated {
		text, err := yaml.Marshal(s)
		if err != nil {
			return nil, err
		}
		documents = append(documents, string(text))
	}
	return []byte(strings.Join(documents, "---\n")), nil
}

func (o *renderOptions) write(stdout io.Writer, files []txtar.File) error {
	if o.to == "" {
		_, err := stdout.Write(txtar.Format(&txtar.Archive{Files: files}))
		return err
	}
	if err := os.MkdirAll(o.to, 0o755); err != nil {
		return usageErrorf("--to: %w", err)
	}
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(o.to, f.Name), f.Data, 0o644); err != nil {
			return usageErrorf("--to: %w", err)
		}
	}
	return nil
}
