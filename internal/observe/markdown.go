package observe

import (
	"fmt"
	"strings"
)

// EventsTable returns the catalogue as a Markdown table.
func EventsTable() string {
	var b strings.Builder
	b.WriteString("| event | level | meaning | fields |\n|---|---|---|---|\n")
	for _, d := range Catalogue {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", d.Event, strings.ToLower(d.Level.String()), d.Help, codes(d.Fields))
	}
	return b.String()
}

// MetricsTable returns every tempestd metric as a Markdown table.
func MetricsTable() string {
	var b strings.Builder
	b.WriteString("| metric | type | labels | meaning |\n|---|---|---|---|\n")
	for _, d := range NewMetrics().Definitions() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", d.Name, d.Type, codes(d.Labels), d.Help)
	}
	return b.String()
}

// codes returns the words as a list of code spans, "–" for none.
func codes(words []string) string {
	if len(words) == 0 {
		return "–"
	}
	return "`" + strings.Join(words, "` `") + "`"
}
