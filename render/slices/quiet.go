package slices

import (
	"context"
	"strings"

	"k8s.io/client-go/rest"
)

// Quiet copies a client's configuration and drops one warning of the API server from it, that v1 Endpoints is
// deprecated, which else comes with every read and watch. Other warnings go where they went.
func Quiet(cfg *rest.Config) *rest.Config {
	cfg = rest.CopyConfig(cfg)
	next := cfg.WarningHandlerWithContext
	if next == nil {
		next = rest.WarningLogger{}
		if h := cfg.WarningHandler; h != nil {
			next = withoutContext{h}
		}
	}
	cfg.WarningHandler = nil // the other one takes precedence, but one is enough
	cfg.WarningHandlerWithContext = quiet{next}
	return cfg
}

type quiet struct {
	next rest.WarningHandlerWithContext
}

func (q quiet) HandleWarningHeaderWithContext(ctx context.Context, code int, agent, text string) {
	if !strings.HasPrefix(text, "v1 Endpoints is deprecated") {
		q.next.HandleWarningHeaderWithContext(ctx, code, agent, text)
	}
}

type withoutContext struct{ next rest.WarningHandler }

func (w withoutContext) HandleWarningHeaderWithContext(_ context.Context, code int, agent, text string) {
	w.next.HandleWarningHeader(code, agent, text)
}
