package config

import (
	"regexp"
	"strings"
	"time"
)

// ends are the least and the most of the accepted values, and the values just outside, as TOML
// source. The documentation has its ranges from here.
type ends struct {
	least, most, below, above string
	list                      bool // of each value of an array
}

// bounded notes the ends of a kind. Both are accepted.
func bounded[T int | int64 | time.Duration](least, most T, show func(T) string, of kind[T]) kind[T] {
	of.ends = &ends{least: show(least), most: show(most), below: show(least - 1), above: show(most + 1)}
	return of
}

// each returns the ends of the values of an array.
func (e *ends) each() *ends {
	if e == nil {
		return nil
	}
	of := *e
	of.list = true
	return &of
}

// String returns the range as people read it.
func (e *ends) String() string {
	return strings.ReplaceAll(e.least+" to "+e.most, `"`, "")
}

// rangeOf matches the place of a range in the documentation of a key: its own, or that of another
// key of the same section.
var rangeOf = regexp.MustCompile(`\{range(?: ([a-z_.]+))?\}`)

// withEnds puts the ranges into the documentation of the keys.
func withEnds(all []key) []key {
	byPath := make(map[string]*ends, len(all))
	for _, k := range all {
		byPath[k.path] = k.ends
	}
	for i := range all {
		k := &all[i]
		section := k.path[:strings.LastIndexByte(k.path, '.')+1]
		if rest, ok := strings.CutPrefix(k.path, feedsTable+"."); ok && !strings.HasPrefix(rest, "account.") {
			section = feedsTable + "."
		}
		k.doc = rangeOf.ReplaceAllStringFunc(k.doc, func(found string) string {
			path := k.path
			if name := rangeOf.FindStringSubmatch(found)[1]; name != "" {
				path = section + name
			}
			return byPath[path].String() // a panic: the documentation is wrong, which a test finds
		})
	}
	return all
}
