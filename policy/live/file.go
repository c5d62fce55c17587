package live

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/log"
)

// FollowFile reads the policy from a file, and again whenever its content changes, until ctx ends. It asks for the file
// each interval: that holds through renames, the symbolic links of a mounted ConfigMap and a file that goes and comes
// back. It fails where the first read does; afterwards a file that is wrong or gone leaves the policy as it was.
func (p *Policy) FollowFile(ctx context.Context, path string, interval time.Duration) error {
	last, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the policy: %w", err)
	}
	if err := p.Load(last); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	logger := log.FromContext(ctx).WithName("policy").WithValues("file", path)
	go func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			text, err := os.ReadFile(path)
			if err != nil {
				if !errors.Is(err, fs.ErrNotExist) {
					logger.Error(err, "the policy can not be read, the one before stays in force")
				}
				continue
			}
			if bytes.Equal(text, last) {
				continue
			}
			last = text
			if err := p.Load(text); err != nil {
				logger.Error(err, "the policy is wrong, the one before stays in force", "generation", p.Current().Generation)
				continue
			}
			logger.Info("policy in force", "generation", p.Current().Generation)
		}
	}()
	return nil
}
