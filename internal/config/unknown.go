package config

import (
	"fmt"
	"strings"
)

// unknown reports the first part of a path that is not in the vocabulary, once for all entries
// below it.
func (l *loader) unknown(e entry) {
	depth := 1
	for depth < len(e.path) && len(l.within(e.path[:depth])) > 0 {
		depth++
	}
	name := showPath(e.path[:depth])
	if _, told := l.lines["unknown "+name]; told {
		return
	}
	l.lines["unknown "+name] = e.line
	parent := e.path[:depth-1]
	if of := l.within(parent); len(of) == 1 && len(of[0].segments()) == len(parent) {
		l.report(e.line, showPath(parent), "found a table", of[0].want)
		return
	}
	what := "unknown key"
	if e.table && depth == len(e.path) {
		what = "unknown table"
	}
	l.report(e.line, name, what, l.meant(parent, e.path[depth-1]))
}

// meant returns a hint about the word that an unknown word below parent may stand for.
func (l *loader) meant(parent []string, word string) string {
	var siblings []string
	for _, k := range l.within(parent) {
		siblings = append(siblings, k.segments()[len(parent)])
	}
	siblings = withoutRepeats(siblings)
	if near := suggest(word, siblings); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	for _, k := range l.keys {
		if parts := k.segments(); len(parts) > 1 && parts[len(parts)-1] == word {
			return fmt.Sprintf("it belongs in [%s]", strings.ReplaceAll(strings.Join(parts[:len(parts)-1], "."), anyFeed, "<name>"))
		}
	}
	return "known here are " + strings.Join(siblings, ", ")
}

// wantTable names the table that the path must be.
func wantTable(path []string) string {
	if len(path) == 1 && path[0] == "feeds" {
		return "[feeds.<name>]"
	}
	return "[" + showPath(path) + "]"
}
