package config

import (
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// problem is a fault of a value or of a part of it. The loader adds the key, and the file if it is
// "".
type problem struct {
	file  string // "" for the configuration itself
	line  int
	found string
	want  string
	unset string // the variable that is not set, if that is the problem
}

// kind says how the values of one type are read from TOML and written back.
type kind[T any] struct {
	want  string // the accepted values; the end of an error message
	parse func(s *source, v value) (T, []problem)
	show  func(T) string // as TOML source
	ends  *ends          // nil for values that have no least and no most
	// secret says that a variable in the value may be set for the daemon alone.
	secret bool
}

// source is the part of the outside world that reading a value may use.
type source struct {
	dir string // the start of relative paths
	env func(string) (string, bool)
}

// scalar returns a kind whose values are right or wrong as a whole. parse reports only whether the
// value is right.
func scalar[T any](want string, parse func(v value) (T, bool), show func(T) string) kind[T] {
	return kind[T]{want: want, show: show, parse: func(_ *source, v value) (T, []problem) {
		t, ok := parse(v)
		if !ok {
			return t, []problem{{line: v.line, found: "found " + v.String(), want: want}}
		}
		return t, nil
	}}
}

// choice accepts one of the given words.
func choice[T ~string](words ...T) kind[T] {
	return scalar("want "+orList(words), func(v value) (T, bool) {
		return T(v.text), v.kind == unstable.String && slices.Contains(words, T(v.text))
	}, func(t T) string { return strconv.Quote(string(t)) })
}

// named accepts the names of the given values, which parse reads.
func named[T fmt.Stringer](parse func(string) (T, error), values ...T) kind[T] {
	names := make([]string, len(values))
	for i, t := range values {
		names[i] = t.String()
	}
	return scalar("want "+orList(names), func(v value) (T, bool) {
		t, err := parse(v.text)
		return t, v.kind == unstable.String && err == nil
	}, func(t T) string { return strconv.Quote(t.String()) })
}

// flag accepts true and false.
func flag() kind[bool] {
	return scalar("want true or false", func(v value) (bool, bool) {
		return v.text == "true", v.kind == unstable.Bool
	}, strconv.FormatBool)
}

// orList returns `"a", "b" or "c"`.
func orList[T ~string](words []T) string {
	var b strings.Builder
	for i, w := range words {
		switch {
		case i > 0 && i == len(words)-1:
			b.WriteString(" or ")
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(strconv.Quote(string(w)))
	}
	return b.String()
}

// level accepts the names of slog's levels, in lower case.
func level() kind[slog.Level] {
	names := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	return scalar(`want "debug", "info", "warn" or "error"`, func(v value) (slog.Level, bool) {
		l, ok := names[v.text]
		return l, ok && v.kind == unstable.String
	}, func(l slog.Level) string { return strconv.Quote(strings.ToLower(l.String())) })
}

// count accepts whole numbers from least to most.
func count[T int | int64](least, most T) kind[T] {
	want := fmt.Sprintf("want a whole number from %s to %s, without quotes", showCount(least), showCount(most))
	return bounded(least, most, showCount[T], scalar(want, func(v value) (T, bool) {
		n, err := strconv.ParseInt(strings.ReplaceAll(v.text, "_", ""), 0, 64)
		return T(n), v.kind == unstable.Integer && err == nil && n >= int64(least) && n <= int64(most)
	}, showCount[T]))
}

// showCount groups the digits as TOML permits: 3_000_000.
func showCount[T int | int64](n T) string {
	s := strconv.FormatInt(int64(n), 10)
	for i := len(s) - 3; i > 0 && n >= 10_000; i -= 3 {
		s = s[:i] + "_" + s[i:]
	}
	return s
}

// list accepts an array of least to most values of one kind, and reports each value that is wrong.
func list[T any](least, most int, of kind[T]) kind[[]T] {
	what := strings.TrimPrefix(of.want, "want ")
	want := fmt.Sprintf("want an array of %d to %s values, each %s", least, showCount(most), what)
	parse := func(s *source, v value) ([]T, []problem) {
		if v.kind != unstable.Array {
			return nil, []problem{{line: v.line, found: "found " + v.String(), want: want}}
		}
		if len(v.items) < least || len(v.items) > most {
			return nil, []problem{{line: v.line, found: fmt.Sprintf("found an array of %d", len(v.items)), want: want}}
		}
		var all []T
		var bad []problem
		for _, item := range v.items {
			t, wrong := of.parse(s, item)
			bad = append(bad, wrong...)
			all = append(all, t)
		}
		return all, bad
	}
	show := func(all []T) string {
		parts := make([]string, len(all))
		for i, t := range all {
			parts[i] = of.show(t)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return kind[[]T]{want: want, parse: parse, show: show, ends: of.ends.each()}
}

// unique is list without repeats. It drops a value that is written a second time silently, because
// the value changes nothing.
func unique[T any](of kind[[]T]) kind[[]T] {
	parse := of.parse
	of.parse = func(s *source, v value) ([]T, []problem) {
		all, bad := parse(s, v)
		if len(bad) > 0 {
			return nil, bad
		}
		first := make(map[string]bool, len(all))
		var kept []T
		for i, t := range all {
			if text := v.items[i].text; !first[text] {
				first[text] = true
				kept = append(kept, t)
			}
		}
		return kept, nil
	}
	return of
}

func withoutRepeats(all []string) []string {
	seen := make(map[string]bool, len(all))
	return slices.DeleteFunc(all, func(s string) bool {
		again := seen[s]
		seen[s] = true
		return again
	})
}
