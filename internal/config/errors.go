package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is one thing that is wrong with a configuration.
type Error struct {
	File  string // as it was given
	Line  int    // 1-based; 0 when the file as a whole is meant
	Key   string // "feeds.bluesky.backoff"; "" when it belongs to none
	Found string // what stands there; never a secret (I10)
	Want  string // what is accepted
}

// Error is "file:line: key: what was found; what is accepted".
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

// Errors is everything that is wrong with a configuration, sorted by line, what stands in other files last. It is never empty.
type Errors struct{ List []*Error }

// Error has one line an error.
func (e *Errors) Error() string {
	lines := make([]string, len(e.List))
	for i, one := range e.List {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives the single errors to errors.Is and errors.As.
func (e *Errors) Unwrap() []error {
	all := make([]error, len(e.List))
	for i, one := range e.List {
		all[i] = one
	}
	return all
}

// sorted orders the errors of a configuration in file.
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
