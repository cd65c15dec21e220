package config

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// WriteTOML writes the effective configuration as a file that Load accepts, but for its secrets, which are masked (I10).
func (c *Config) WriteTOML(w io.Writer) error { return c.write(w, false) }

// WriteReference is WriteTOML with every key's documentation, and with the keys that have no value shown as examples. With Default it writes
// the project's config.toml.
func (c *Config) WriteReference(w io.Writer) error { return c.write(w, true) }

// heading opens the reference.
const heading = `# tempestd: the documented default configuration. Every key is shown with its default; a key that is left out has it too.
#
# Durations and sizes are strings with a unit: "500ms", "5s", "12h", "7d"; "64KiB", "4MiB" (1024), "20GB" (1000).
# Paths and secrets may use ${NAME} and ${NAME:-default} from the environment; a relative path starts at this file.
# "tempestd check" prints the effective configuration, or everything that is wrong with it.
`

func (c *Config) write(w io.Writer, reference bool) error {
	out := writer{Writer: bufio.NewWriter(w), reference: reference}
	at := place{draft: &draft{Config: *c}}
	if reference {
		fmt.Fprintf(out, "%s\n", heading)
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

// header opens a table.
func (w writer) header(name, doc string) {
	fmt.Fprintln(w)
	if w.reference {
		fmt.Fprintf(w, "# %s\n", strings.ReplaceAll(doc, "\n", "\n# "))
	}
	fmt.Fprintf(w, "[%s]\n", name)
}

// section writes the keys directly below parent. What lies deeper is written as one inline table a name.
func (w writer) section(parent string, at place) {
	prefix := parent
	if parent != "" {
		prefix += "."
	}
	var inline string         // the inline table being gathered
	var fields, docs []string // its fields
	first := true
	flush := func() {
		if inline != "" {
			w.line(inline, "{ "+strings.Join(fields, ", ")+" }", "", strings.Join(docs, "\n"), false)
			inline, fields, docs = "", nil, nil
		}
	}
	for _, k := range keys() {
		rest, below := strings.CutPrefix(k.path, prefix)
		if !below {
			continue
		}
		name, field, deeper := strings.Cut(rest, ".")
		if deeper && parent == "" {
			continue // a section of its own
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
		fields = append(fields, field+" = "+k.show(at))
		if k.doc != "" {
			docs = append(docs, k.doc)
		}
	}
	flush()
}

// line writes one key, in the reference with an empty line before it unless it is the first below a header.
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
	case value != "" && (example == "" || value != `""` && value != "[]"): // an example's key that is empty was never set
		fmt.Fprintf(w, "%s = %s\n", name, value)
	}
}
