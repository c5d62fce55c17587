package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/live"
	"drawbridge.dev/drawbridge/policy/manifest"
	"drawbridge.dev/drawbridge/policy/rules"
	"drawbridge.dev/drawbridge/render"
	"drawbridge.dev/drawbridge/render/controller"
	"drawbridge.dev/drawbridge/render/haproxy"
	"drawbridge.dev/drawbridge/render/resolve"
)

// proxyOptions are the flags of `drawbridge proxy`.
type proxyOptions struct {
	from           []string
	httpAddress    string
	httpsAddress   string
	runDir         string
	haproxy        string
	attach         bool
	resolvers      []string
	caFile         string
	classes        []string
	classless      bool
	policyFile     string
	clusterDomain  string
	namespace      string
	metricsAddress string
	probeAddress   string
	accessLog      bool
}

func newProxyCommand() *cobra.Command {
	var o proxyOptions
	cmd := &cobra.Command{
		Use:   "proxy [--from DIR]",
		Short: "Serve Ingresses by HAProxy, from a cluster or from a folder of manifests",
		Long: `Serves Ingresses by HAProxy: of a cluster, or, with --from, of a folder of manifests, whose changes are followed.

HAProxy is started as a child, or, with --attach, is one that another container runs on the same --run-dir. Routes,
addresses and certificates change while it runs; names are resolved here, by DNS alone (/etc/hosts is not read), and
followed within their TTL.

Loopback, link-local and metadata addresses are not served, unless the policy allows them. To try it with a server on
this host, allow its range in a file for --policy:

  version: 1
  addresses:
    allowed: [127.0.0.0/8]`,
		Example: `  # Try a folder of manifests on a laptop
  drawbridge proxy --from ./manifests --http-address 127.0.0.1:8080 --https-address ""

  # Let it reach servers on this host
  drawbridge proxy --from ./manifests --policy policy.yaml

  # Serve what the class nginx used to serve
  drawbridge proxy --kubeconfig ~/.kube/config --ingress-class nginx`,
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			context.AfterFunc(ctx, stop)
			if !cmd.Flags().Changed("classless") {
				o.classless = len(o.from) > 0
			}
			return o.run(ctx, kubeconfigPath(cmd))
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&o.from, "from", nil, "file or folder of manifests to serve in place of a cluster's objects; repeatable")
	f.StringVar(&o.httpAddress, "http-address", ":8080", "address for HTTP; empty for none")
	f.StringVar(&o.httpsAddress, "https-address", ":8443", "address for HTTPS; empty for none")
	f.StringVar(&o.runDir, "run-dir", "", "folder of HAProxy's files and sockets, with a short path (default a new one, removed at the end)")
	f.StringVar(&o.haproxy, "haproxy", "haproxy", "the HAProxy program")
	f.BoolVar(&o.attach, "attach", false, "HAProxy is run by another container on the same --run-dir; do not start one")
	f.StringArrayVar(&o.resolvers, "resolver", nil, "DNS server HOST:PORT for external names; repeatable (default those of /etc/resolv.conf)")
	f.StringVar(&o.caFile, "ca-file", "", "PEM file of the authorities that upstreams are verified against (default the system's)")
	f.StringArrayVar(&o.classes, "ingress-class", nil, "IngressClass to serve; repeatable (default those of controller drawbridge.dev/ingress)")
	f.BoolVar(&o.classless, "classless", false, "serve Ingresses without a class too (on with --from)")
	f.StringVar(&o.policyFile, "policy", "", "file with the policy, in place of the ConfigMap; its changes are followed")
	f.StringVar(&o.clusterDomain, "cluster-domain", "", "DNS domain of the cluster (default the policy's)")
	f.StringVar(&o.namespace, "namespace", "", "namespace of the policy's ConfigMap (default drawbridge-system); with --from, of objects that name none (default default)")
	f.StringVar(&o.metricsAddress, "metrics-address", ":9100", "address of /metrics; 0 for none")
	f.StringVar(&o.probeAddress, "probe-address", ":9101", "address of /healthz and /readyz; 0 for none")
	f.BoolVar(&o.accessLog, "access-log", false, "HAProxy writes a line for each request")
	return cmd
}

func (o *proxyOptions) run(ctx context.Context, kubeconfig string) error {
	log := slog.Default()
	ctrl.SetLogger(logr.FromSlogHandler(log.Handler()))
	registry := prometheus.NewRegistry()
	group, ctx := errgroup.WithContext(ctx)

	facts, err := controller.NewFacts()
	if err != nil {
		return err
	}
	current := live.New(parsePolicy, registry)
	if err := o.readable(); err != nil {
		return err
	}
	if o.policyFile != "" {
		if err := current.FollowFile(ctx, o.policyFile, 2*time.Second); err != nil {
			return usageErrorf("--policy: %v", err)
		}
	}
	resolver, err := resolve.New(resolve.Options{
		Servers: o.resolvers, Check: facts.Judge(current.Current()), Log: log,
	})
	if err != nil {
		return usageErrorf("--resolver: %v", err)
	}

	var source controller.Source
	var report func(render.Problem)
	if len(o.from) > 0 {
		source = controller.Folder{Paths: o.from, Namespace: o.namespace, Log: log}
	} else {
		config, err := clusterConfig(kubeconfig)
		if errors.Is(err, errNoCluster) {
			return fmt.Errorf("%w, or a folder of manifests with --from", err)
		}
		if err != nil {
			return err
		}
		if source, report, err = o.cluster(ctx, group, config, current); err != nil {
			return err
		}
	}

	proxy, cleanup, err := o.proxy(log)
	if err != nil {
		return err
	}
	defer cleanup()
	loop := controller.New(controller.Options{
		Source: source, Policy: inDomain{current, o.clusterDomain}, Resolver: resolver, Proxy: proxy, Facts: facts,
		Render: render.Options{Book: rules.All(), Classes: o.classes, Classless: o.classless},
		Report: report, Log: log,
	})
	registry.MustRegister(loop, resolver.Metrics())
	if err := o.listen(ctx, group, registry, loop.Ready); err != nil {
		return err
	}
	log.Info("proxy begins", "http", o.httpAddress, "https", o.httpsAddress, "metrics", o.metricsAddress, "probes", o.probeAddress)
	group.Go(func() error { return loop.Run(ctx) })
	return group.Wait()
}

// readable finds out before anything starts what would otherwise be tried again for ever.
func (o *proxyOptions) readable() error {
	if o.attach && o.runDir == "" {
		return usageErrorf("--attach needs the --run-dir that HAProxy runs on")
	}
	for _, path := range o.from {
		if path == manifest.Stdin {
			return usageErrorf("--from must be a file or a folder, whose changes can be followed, not standard input")
		}
		if _, err := os.Stat(path); err != nil {
			return usageErrorf("--from: %s: %w", path, cause(err))
		}
	}
	if o.caFile == "" || o.attach { // HAProxy may have the file where the agent has none
		return nil
	}
	text, err := os.ReadFile(o.caFile)
	if err != nil {
		return usageErrorf("--ca-file: %s: %w", o.caFile, cause(err))
	}
	if !x509.NewCertPool().AppendCertsFromPEM(text) {
		return usageErrorf("--ca-file: %s: holds no certificate in PEM", o.caFile)
	}
	return nil
}

// cause is an error about a file without the name of the system call.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// writable makes a run dir that the user named, and tries it.
func writable(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	probe, err := os.CreateTemp(dir, ".drawbridge-")
	if err != nil {
		return err
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// free tells whether HAProxy will get its addresses. HAProxy itself would share a port with another HAProxy, each of
// them getting some of the connections, and wait for any other program to leave it.
func (o *proxyOptions) free() error {
	for _, a := range []struct{ flag, address string }{{"--http-address", o.httpAddress}, {"--https-address", o.httpsAddress}} {
		if a.address == "" {
			continue
		}
		listener, err := net.Listen("tcp", a.address)
		if err != nil {
			return fmt.Errorf("%s: %w", a.flag, err)
		}
		if err := listener.Close(); err != nil {
			return fmt.Errorf("%s: %w", a.flag, err)
		}
	}
	return nil
}

// inDomain is a policy with the cluster domain that a flag gives, where one does.
type inDomain struct {
	*live.Policy
	domain string
}

func (p inDomain) Current() *policy.Config {
	c := *p.Policy.Current()
	if p.domain != "" {
		c.ClusterDomain = p.domain
	}
	return &c
}

// cluster makes the source of a cluster's objects, and what reports a problem to the Ingress that it came from.
func (o *proxyOptions) cluster(ctx context.Context, group *errgroup.Group, config *rest.Config, current *live.Policy) (controller.Source, func(render.Problem), error) {
	namespace := o.namespace
	if namespace == "" {
		namespace = "drawbridge-system"
	}
	key := types.NamespacedName{Namespace: namespace, Name: "drawbridge-policy"}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, nil, fmt.Errorf("set up: %w", err)
	}
	mapper, err := apiutil.NewDynamicRESTMapper(config, client)
	if err != nil {
		return nil, nil, fmt.Errorf("set up: %w", err)
	}
	objects := controller.ClusterObjects()
	objects[&corev1.ConfigMap{}] = live.CacheOptions(key)
	informers, err := cache.New(config, cache.Options{
		Scheme: clientgoscheme.Scheme, Mapper: mapper, HTTPClient: client, ByObject: objects,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("set up: %w", err)
	}
	clientset, err := kubernetes.NewForConfigAndClient(config, client)
	if err != nil {
		return nil, nil, fmt.Errorf("set up: %w", err)
	}
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: clientset.EventsV1()})
	if err := broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
		return nil, nil, fmt.Errorf("record events: %w", err)
	}
	recorder := broadcaster.NewRecorder(clientgoscheme.Scheme, "drawbridge-proxy")
	var loaded func() bool
	if o.policyFile == "" {
		if loaded, err = current.Follow(ctx, informers, key, recorder); err != nil {
			return nil, nil, err
		}
	}
	group.Go(func() error { return informers.Start(ctx) })
	// The recorder of events.k8s.io takes two Events for one that differ in nothing but their text, and keeps the first
	// text: a second problem of an Ingress would never be seen. This one tells them apart.
	problems := record.NewBroadcaster(record.WithContext(ctx))
	problems.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: clientset.CoreV1().Events("")})
	reporter := problems.NewRecorder(clientgoscheme.Scheme, corev1.EventSource{Component: "drawbridge-proxy"})
	report := func(p render.Problem) {
		if p.Origin.Kind != "Ingress" {
			return
		}
		// From the cache, for its UID: `kubectl describe` shows no Event without.
		var regarding networkingv1.Ingress
		if informers.Get(ctx, types.NamespacedName{Namespace: p.Origin.Namespace, Name: p.Origin.Name}, &regarding) == nil {
			reporter.Event(&regarding, corev1.EventTypeWarning, "NotServedAsWritten", p.Message)
		}
	}
	return controller.Cluster{Cache: informers, Mapper: mapper, Loaded: loaded, Log: slog.Default()}, report, nil
}

// proxy prepares HAProxy. cleanup ends it.
func (o *proxyOptions) proxy(log *slog.Logger) (proxy *haproxy.Proxy, cleanup func(), err error) {
	dir, remove := o.runDir, func() {}
	if dir == "" {
		if dir, err = os.MkdirTemp("", "drawbridge-"); err != nil {
			return nil, nil, fmt.Errorf("make a run dir (--run-dir names one): %w", err)
		}
		remove = func() { _ = os.RemoveAll(dir) }
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, nil, usageErrorf("--run-dir: %v", err)
	}
	binary, err := exec.LookPath(o.haproxy)
	if err != nil && !o.attach {
		remove()
		return nil, nil, fmt.Errorf("find HAProxy: install the package haproxy, 2.6 or later, or name it with --haproxy: %w", err)
	}
	options := haproxy.ProxyOptions{
		Options: haproxy.Options{RunDir: dir, CAFile: o.caFile, AccessLog: o.accessLog},
		Binary:  binary, Attach: o.attach, Log: log,
	}
	options.HTTP, options.HTTPS = addresses(o.httpAddress), addresses(o.httpsAddress)
	proxy, err = haproxy.NewProxy(options)
	if err != nil {
		remove()
		return nil, nil, usageErrorf("%w", err)
	}
	switch {
	case o.attach:
	case o.runDir != "":
		// Its addresses are not tried: a HAProxy that a killed agent left may still be about to end.
		if err := writable(dir); err != nil {
			return nil, nil, usageErrorf("--run-dir: %w", err)
		}
	default:
		if err := o.free(); err != nil {
			remove()
			return nil, nil, err
		}
	}
	return proxy, func() {
		if err := proxy.Close(); err != nil {
			log.Warn("end HAProxy", "err", err)
		}
		remove()
	}, nil
}

// listen serves metrics and probes.
func (o *proxyOptions) listen(ctx context.Context, group *errgroup.Group, registry *prometheus.Registry, ready func() bool) error {
	metrics := http.NewServeMux()
	metrics.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	probes := http.NewServeMux()
	probes.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	probes.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !ready() {
			http.Error(w, "nothing is served yet", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	for _, s := range []struct {
		flag, address string
		handler       http.Handler
	}{{"--metrics-address", o.metricsAddress, metrics}, {"--probe-address", o.probeAddress, probes}} {
		if s.address == "" || s.address == "0" {
			continue
		}
		listener, err := net.Listen("tcp", s.address)
		if err != nil {
			return fmt.Errorf("%s: %w", s.flag, err)
		}
		server := &http.Server{Handler: s.handler, ReadHeaderTimeout: 10 * time.Second}
		group.Go(func() error {
			if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("%s: %w", s.flag, err)
			}
			return nil
		})
		group.Go(func() error {
			<-ctx.Done()
			return server.Close()
		})
	}
	return nil
}
