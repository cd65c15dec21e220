package config

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// WriteTOML writes the effective configuration as a file that Load accepts. Secrets are masked
// (I10), so the file does not restore them.
func (c *Config) WriteTOML(w io.Writer) error { return c.write(w, false) }

// WriteReference writes the same as WriteTOML, with the documentation of every key, and with
// examples for the keys that have no value. With Default it writes the project's config.toml.
func (c *Config) WriteReference(w io.Writer) error { return c.write(w, true) }

// heading is the beginning of the reference.
const heading = `# tempestd: the documented default configuration. Every key is shown with its default; a key that is left out has it too.
#
# Durations and sizes are strings with a unit: "500ms", "5s", "12h", "7d"; "64KiB", "4MiB" (1024), "20GB" (1000).
# Every string may use ${NAME} and ${NAME:-default} from the environment; a relative path starts at this file.
# "tempestd reload" takes over a changed file, but these need a restart:
# %s.
# "tempestd check" prints the effective configuration, or everything that is wrong with it.
`

func (c *Config) write(w io.Writer, reference bool) error {
	out := writer{Writer: bufio.NewWriter(w), reference: reference}
	at := place{draft: &draft{Config: *c}}
	if reference {
		fmt.Fprintf(out, heading+"\n", listed(fixedKeys()))
	}
	out.section("", at)
	for _, t := range tables() {
		if t.path != feedsTable {
			out.header(t.path, t.doc)
			out.section(t.path, at)
			continue
		}
		for i := range c.Feeds {
			at.feed = &feedDraft{Feed: c.Feeds[i]}
			out.header(showPath([]string{"feeds", c.Feeds[i].Name}), t.doc)
			out.section(feedsTable, at)
		}
	}
	return out.Flush()
}

type writer struct {
	*bufio.Writer
	reference bool
}

// header writes the header of a table.
func (w writer) header(name, doc string) {
	fmt.Fprintln(w)
	if w.reference {
		fmt.Fprintf(w, "# %s\n", strings.ReplaceAll(doc, "\n", "\n# "))
	}
	fmt.Fprintf(w, "[%s]\n", name)
}

// section writes the keys directly below parent. Deeper keys are written as one inline table per
// name.
func (w writer) section(parent string, at place) {
	prefix := parent
	if parent != "" {
		prefix += "."
	}
	var inline string         // the name of the current inline table
	var fields, docs []string // its fields
	var examples []string     // of fields without a value
	first := true
	flush := func() {
		if inline != "" {
			w.line(inline, braced(fields), braced(examples), strings.Join(docs, "\n"), false)
			inline, fields, docs, examples = "", nil, nil, nil
		}
	}
	for _, k := range keys() {
		rest, below := strings.CutPrefix(k.path, prefix)
		if !below {
			continue
		}
		name, field, deeper := strings.Cut(rest, ".")
		if deeper && parent == "" {
			continue // it belongs to another section
		}
		if !deeper || name != inline {
			flush()
		}
		if !deeper {
			w.line(name, k.show(at), k.example, k.doc, first)
			first = false
			continue
		}
		inline = name
		if value := k.show(at); value != "" {
			fields = append(fields, field+" = "+value)
		} else if k.example != "" {
			examples = append(examples, field+" = "+k.example)
		}
		if k.doc != "" {
			docs = append(docs, k.doc)
		}
	}
	flush()
}

// braced returns an inline table, "" for none.
func braced(fields []string) string {
	if len(fields) == 0 {
		return ""
	}
	return "{ " + strings.Join(fields, ", ") + " }"
}

// line writes one key. In the reference an empty line comes before it, unless it is the first below
// a header.
func (w writer) line(name, value, example, doc string, first bool) {
	if w.reference && doc != "" {
		if !first {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "# %s\n", strings.ReplaceAll(doc, "\n", "\n# "))
	}
	switch {
	case w.reference && example != "":
		fmt.Fprintf(w, "#%s = %s\n", name, example)
	// An empty value of a key that has an example means that the key was not set.
	case value != "" && (example == "" || value != `""` && value != "[]"):
		fmt.Fprintf(w, "%s = %s\n", name, value)
	}
}

// listed joins names to lines of a comment that are short enough to read.
func listed(names []string) string {
	const longest = 130
	text, line := "", 0
	for i, name := range names {
		switch {
		case i == 0:
		case line+len(name) > longest:
			text, line = text+",\n# ", 0
		default:
			text, line = text+", ", line+len(", ")
		}
		text, line = text+name, line+len(name)
	}
	return text
}
