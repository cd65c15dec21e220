package observe_test

import (
	"flag"
	"os"
	"strings"
	"testing"

	"tempestd/internal/observe"
)

var update = flag.Bool("update", false, "rewrite the tables of docs/operate.md")

const page = "../../docs/operate.md"

func TestTablesAreTheCodes(t *testing.T) {
	raw, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	for name, table := range map[string]string{"events": observe.EventsTable(), "metrics": observe.MetricsTable()} {
		begin, end := "<!-- "+name+":begin -->\n", "<!-- "+name+":end -->"
		before, rest, ok := strings.Cut(text, begin)
		found, after, closed := strings.Cut(rest, end)
		if !ok || !closed {
			t.Fatalf("docs/operate.md lacks the markers %q and %q", begin, end)
		}
		if *update {
			text = before + begin + table + end + after
		} else if found != table {
			t.Errorf("the table of %s in docs/operate.md is not the code's: run go test ./internal/observe -update", name)
		}
	}
	if *update {
		if err := os.WriteFile(page, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
