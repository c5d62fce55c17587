package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	ctrlwebhook "sigs.k8s.io/controller-runtime/pkg/webhook"

	"drawbridge.dev/drawbridge/policy"
	"drawbridge.dev/drawbridge/policy/live"
	"drawbridge.dev/drawbridge/policy/rules"
	"drawbridge.dev/drawbridge/render/slices"
	"drawbridge.dev/drawbridge/webhook"
	"drawbridge.dev/drawbridge/webhook/audit"
	"drawbridge.dev/drawbridge/webhook/injected"
)

// managerOptions are the flags of `drawbridge manager`.
type managerOptions struct {
	webhookPort    int
	webhookAddress string
	certDir        string
	metricsAddress string
	probeAddress   string
	namespace      string
	policyName     string
	leaderElect    bool
	shutdownDelay  time.Duration
	auditInterval  time.Duration
	auditReports   bool
	exempt         []string
}

func newManagerCommand() *cobra.Command {
	var o managerOptions
	cmd := &cobra.Command{
		Use:   "manager",
		Short: "Judge and mend objects as they are applied, and generate EndpointSlices",
		Long: `Runs the admission webhook, on every replica, and, on the one that holds the Lease drawbridge-manager, the generator
of EndpointSlices, the keeper of injected annotations, which follow their Services, and the audit of what is stored. The
policy is read from a ConfigMap and followed as it changes.

The audit judges everything that the cluster holds, and changes nothing: on start, as the policy changes and every
--audit-interval. What it finds shows as the metrics drawbridge_audit_*, as Events on the objects, and as Reports of
openreports.io where that API is installed; 'drawbridge audit' shows the same to a person.

The serving certificate is read from tls.crt and tls.key in --cert-dir, and read again when they change.`,
		Example: `  # In a cluster, as the chart runs it
  drawbridge manager --cert-dir /run/drawbridge/tls

  # Beside a cluster, on a person's machine
  drawbridge manager --kubeconfig ~/.kube/config --cert-dir ./tls --leader-elect=false`,
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.auditInterval != 0 && o.auditInterval < minAuditInterval {
				return usageErrorf("--audit-interval must be %s or more, or 0 for no audit, not %s", minAuditInterval, o.auditInterval)
			}
			config, err := clusterConfig(kubeconfigPath(cmd))
			if err != nil {
				return err
			}
			// The first signal shuts down in order, the second ends the process.
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			context.AfterFunc(ctx, stop)
			return o.run(ctx, config)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.webhookPort, "webhook-port", 9443, "port of the webhook")
	f.StringVar(&o.webhookAddress, "webhook-bind-address", "", "address that the webhook listens on (default all)")
	f.StringVar(&o.certDir, "cert-dir", "/run/drawbridge/tls", "folder of tls.crt and tls.key")
	f.StringVar(&o.metricsAddress, "metrics-address", ":9090", "address of /metrics; 0 for none")
	f.StringVar(&o.probeAddress, "probe-address", ":9091", "address of /healthz and /readyz; 0 for none")
	f.StringVar(&o.namespace, "namespace", "drawbridge-system", "namespace of the policy and the Lease")
	f.StringVar(&o.policyName, "policy-configmap", "drawbridge-policy", "ConfigMap whose key policy.yaml is the policy")
	f.BoolVar(&o.leaderElect, "leader-elect", true, "generate EndpointSlices and keep annotations only while holding the Lease drawbridge-manager")
	f.DurationVar(&o.auditInterval, "audit-interval", 10*time.Minute, "time between two audits of what is stored, 10s or more; 0 for none")
	f.BoolVar(&o.auditReports, "audit-reports", true, "write Reports of what the audit finds where the API openreports.io/v1alpha1 is installed")
	f.StringSliceVar(&o.exempt, "exempt-namespaces", nil, "namespaces that the webhook configurations leave out, and the audit with them, beside kube-system and --namespace")
	f.DurationVar(&o.shutdownDelay, "shutdown-delay", 5*time.Second, "time between reporting not ready and closing the webhook")
	return cmd
}

// minAuditInterval keeps the audit from running all the time.
const minAuditInterval = 10 * time.Second

// errNoCluster tells that neither a file nor a pod names a cluster.
var errNoCluster = errors.New("there is no cluster to work with: name one with --kubeconfig")

// clusterConfig finds a cluster: by a file, by $KUBECONFIG, as a pod, or by ~/.kube/config. The client's own rate limit
// is off: the API server has a fairer one.
func clusterConfig(path string) (*rest.Config, error) {
	loading := clientcmd.NewDefaultClientConfigLoadingRules()
	loading.ExplicitPath = path
	if path == "" && os.Getenv(clientcmd.RecommendedConfigPathEnvVar) == "" {
		if config, err := rest.InClusterConfig(); err == nil {
			config.QPS = -1
			return config, nil
		} else if !errors.Is(err, rest.ErrNotInCluster) {
			return nil, fmt.Errorf("use the pod's service account: %w", err)
		}
	}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(loading, nil).ClientConfig()
	switch {
	case clientcmd.IsEmptyConfig(err):
		return nil, errNoCluster
	case err != nil:
		return nil, fmt.Errorf("find a cluster (--kubeconfig names one): %w", err)
	}
	config.QPS = -1
	return config, nil
}

// parsePolicy reads a policy that may name every rule there is.
func parsePolicy(text []byte) (*policy.Config, error) { return policy.ParseConfig(text, rules.Known) }

func (o *managerOptions) run(ctx context.Context, config *rest.Config) error {
	ctrl.SetLogger(logr.FromSlogHandler(slog.Default().Handler()))
	klog.SetSlogLogger(slog.Default()) // of client-go
	logger := ctrl.Log.WithName("manager")
	policyKey := types.NamespacedName{Namespace: o.namespace, Name: o.policyName}
	var draining atomic.Bool

	objects := webhook.CacheOptions()
	objects[&corev1.ConfigMap{}] = live.CacheOptions(policyKey)
	server := &ctrlwebhook.DefaultServer{Options: ctrlwebhook.Options{
		Host: o.webhookAddress, Port: o.webhookPort, CertDir: o.certDir,
		TLSOpts: []func(*tls.Config){func(c *tls.Config) {
			c.MinVersion = tls.VersionTLS12
			// HTTP/1.1 alone: over HTTP/2 an API server keeps one connection, to one replica, for as long as it lives; and
			// whoever reaches the port could cancel streams faster than they cost him (CVE-2023-44487).
			c.NextProtos = []string{"http/1.1"}
		}},
	}}
	for _, file := range [...]string{"tls.crt", "tls.key"} {
		if _, err := os.Stat(filepath.Join(o.certDir, file)); err != nil {
			return fmt.Errorf("find the webhook's certificate (--cert-dir): %w", err)
		}
	}
	mgr, err := ctrl.NewManager(slices.Quiet(config), ctrl.Options{
		Scheme: clientgoscheme.Scheme,
		Cache: cache.Options{
			ByObject: objects,
			// A kind that nobody listed above would be watched in every namespace at its first use.
			ReaderFailOnMissingInformer: true,
		},
		WebhookServer:                 hung{DefaultServer: server, draining: &draining},
		Metrics:                       metricsserver.Options{BindAddress: o.metricsAddress},
		HealthProbeBindAddress:        o.probeAddress,
		LeaderElection:                o.leaderElect,
		LeaderElectionID:              "drawbridge-manager",
		LeaderElectionNamespace:       o.namespace,
		LeaderElectionReleaseOnCancel: true, // the process ends right after
	})
	if err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	ctx = ctrl.LoggerInto(ctx, logger)

	current := live.New(parsePolicy, ctrlmetrics.Registry)
	loaded, err := current.Follow(ctx, mgr.GetCache(), policyKey, mgr.GetEventRecorder("drawbridge-manager"))
	if err != nil {
		return err
	}
	metrics := webhook.NewMetrics(ctrlmetrics.Registry)
	world, err := webhook.NewCluster(ctx, mgr.GetCache(), mgr.GetAPIReader(), mgr.GetRESTMapper(), metrics)
	if err != nil {
		return err
	}
	webhook.Register(mgr.GetWebhookServer(), webhook.Options{
		Book: rules.All(), Policy: current.Current, World: world.For, Metrics: metrics, PolicyMap: policyKey,
		Authorize: func(ctx context.Context, review *authorizationv1.SubjectAccessReview) error {
			return mgr.GetClient().Create(ctx, review)
		},
	})
	if err := slices.Setup(mgr, current.Current, current.Changed()); err != nil {
		return fmt.Errorf("set up the generator of EndpointSlices: %w", err)
	}
	read := func() *policy.Config {
		if !loaded() {
			return nil // the default might inject, or blame, what the policy has off
		}
		return current.Current()
	}
	if err := injected.Setup(mgr, injected.Options{
		Book: rules.All(), World: world.For, Changed: current.Changed(), Policy: read,
	}); err != nil {
		return fmt.Errorf("set up the keeper of injected annotations: %w", err)
	}
	if o.auditInterval > 0 {
		if err := audit.Setup(mgr, audit.Options{
			Book: rules.All(), Policy: read, Ready: world.HasSynced, Objects: world.Objects, World: world.Cached,
			Changed: current.Changed(), Interval: o.auditInterval, Reports: o.auditReports, Registry: ctrlmetrics.Registry,
			Exempt: append([]string{metav1.NamespaceSystem, o.namespace}, o.exempt...),
		}); err != nil {
			return fmt.Errorf("set up the audit: %w", err)
		}
	}

	ready := func(r *http.Request) error {
		switch {
		case draining.Load():
			return errors.New("shutting down")
		case !world.HasSynced():
			return errors.New("the caches are not filled yet")
		case !loaded():
			return errors.New("the policy is not read yet")
		}
		return server.StartedChecker()(r)
	}
	if err := errors.Join(mgr.AddReadyzCheck("webhook", ready), mgr.AddHealthzCheck("ping", healthz.Ping)); err != nil {
		return fmt.Errorf("set up probes: %w", err)
	}

	// Not ready first, and only then closed: it takes the cluster a moment to send no more requests here.
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	go func() {
		select {
		case <-ctx.Done():
		case <-running.Done():
			return
		}
		draining.Store(true)
		logger.Info("shutting down", "delay", o.shutdownDelay.String())
		select {
		case <-time.After(o.shutdownDelay):
		case <-running.Done():
		}
		cancel()
	}()
	keepSmall(running, world.HasSynced)
	if err := mgr.Start(running); err != nil {
		return fmt.Errorf("run: %w", err)
	}
	return nil
}

// hung makes a webhook server that hangs up after each answer while it shuts down, so that the API server's pool holds
// no connection to it by the time that it closes.
type hung struct {
	*ctrlwebhook.DefaultServer
	draining *atomic.Bool
}

// Register puts a handler on the server.
func (s hung) Register(path string, handler http.Handler) {
	s.DefaultServer.Register(path, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.draining.Load() {
			w.Header().Set("Connection", "close")
		}
		handler.ServeHTTP(w, r)
	}))
}
