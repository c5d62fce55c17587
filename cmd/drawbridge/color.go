package main

import (
	"io"
	"os"

	"golang.org/x/term"
)

// The values of --color.
const (
	colorAuto   = "auto"
	colorAlways = "always"
	colorNever  = "never"
)

// useColor tells whether to color what is written to w.
func useColor(when string, w io.Writer) (bool, error) {
	switch when {
	case colorAlways:
		return true, nil
	case colorNever:
		return false, nil
	case colorAuto:
		// NO_COLOR counts where it is not empty (https://no-color.org).
		return isTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb", nil
	}
	return false, usageErrorf("--color must be 'auto', 'always' or 'never', not '%s'", when)
}

// isTerminal tells whether a person reads what is written to w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
