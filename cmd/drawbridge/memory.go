package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// garbage is how much the manager's heap may grow over what is in use before it is collected, in percent: most of it
	// is the cache, which lives on, and Go's own 100 would keep as much again free.
	garbage = 40
	// spare is how much memory may be free in the heap without being given back, in bytes.
	spare = 8 << 20
)

// keepSmall keeps the process as small as what it holds, until ctx ends: it makes the collector come more often, unless
// $GOGC says how often, and gives memory back that is free, such as what filling the cache left over.
func keepSmall(ctx context.Context) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbage)
	}
	free := []metrics.Sample{{Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}}
	for wait := 5 * time.Second; ; wait = 30 * time.Second {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if metrics.Read(free); free[0].Value.Uint64()+free[1].Value.Uint64() > spare {
			debug.FreeOSMemory()
		}
	}
}
