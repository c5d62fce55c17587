package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// garbage is how much the manager's heap may grow over what is in use before it is collected, in percent: most of it
	// is the cache, which lives on, and Go's own 100 would keep as much again free.
	garbage = 40
	// garbageAtFirst is the same while the cache is filled: what is decoded and dropped then lies between what stays, and
	// the sooner its room is used again the closer that lies together.
	garbageAtFirst = 15
	// pause is the time between two looks, once the cache is filled.
	pause = 30 * time.Second
	// spare is how much may have been allocated without looking what of it can be given back, in bytes.
	spare = 4 << 20
)

// keepSmall keeps the process as small as what it holds, until ctx ends: it makes the collector come more often, unless
// $GOGC says how often, and gives memory back that is free, such as what filling the cache left over. filled tells when
// the cache is. It is called before the cache starts, and does not wait.
func keepSmall(ctx context.Context, filled func() bool) {
	runtime.MemProfileRate = 0 // the books of which nobody can ask for
	tuned := os.Getenv("GOGC") == ""
	if tuned {
		debug.SetGCPercent(garbageAtFirst)
	}
	allocated, before := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}, uint64(0)
	go func() {
		for wait := time.Second; ; wait = pause {
			if !filled() {
				wait = time.Second
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
			if !filled() {
				continue
			}
			// The leader has looked at all that there is by the second time.
			if tuned && wait == pause {
				debug.SetGCPercent(garbage)
			}
			// What is garbage by now would lie there until as much again is.
			if metrics.Read(allocated); allocated[0].Value.Uint64()-before > spare {
				debug.FreeOSMemory()
				before = allocated[0].Value.Uint64()
			}
		}
	}()
}
