package controller

import (
	"context"

	"drawbridge.dev/drawbridge/policy"
)

// Source delivers the objects that a proxy serves.
type Source interface {
	// Run delivers changes until ctx ends. The first call of deliver brings everything there is; deliver blocks until
	// the change is taken.
	Run(ctx context.Context, deliver func(Change)) error
}

// Change is what a Source saw.
type Change struct {
	// Objects is everything there is, where All is set; else what was added or changed.
	Objects []policy.Object
	All     bool
	// Gone names what was deleted.
	Gone []Ref
}

// Ref names an object.
type Ref struct{ Kind, Namespace, Name string }
