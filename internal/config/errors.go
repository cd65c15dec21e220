package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is one fault of a configuration.
type Error struct {
	File  string // as the caller gave it
	Line  int    // 1-based; 0 for the file as a whole
	Key   string // "feeds.bluesky.backoff"; "" if it is about no key
	Found string // the value in the file; never a secret (I10)
	Want  string // the accepted values
}

// Error returns "file:line: key: what was found; what is accepted".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	b.WriteString(": ")
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	b.WriteString(e.Found)
	if e.Want != "" {
		b.WriteString("; " + e.Want)
	}
	return b.String()
}

// Errors lists every fault of a configuration, sorted by line. Faults in other files come last. The
// list is never empty.
type Errors struct{ List []*Error }

// Error returns one line per error.
func (e *Errors) Error() string {
	lines := make([]string, len(e.List))
	for i, one := range e.List {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the single errors, for errors.Is and errors.As.
func (e *Errors) Unwrap() []error {
	all := make([]error, len(e.List))
	for i, one := range e.List {
		all[i] = one
	}
	return all
}

// sorted sorts the errors of the configuration in file.
func (e *Errors) sorted(file string) *Errors {
	slices.SortStableFunc(e.List, func(a, b *Error) int {
		if a.File != b.File {
			switch file {
			case a.File:
				return -1
			case b.File:
				return 1
			}
		}
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return e
}
