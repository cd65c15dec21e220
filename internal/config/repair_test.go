package config_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tempestd/internal/config"
	"tempestd/messages"
)

func TestRepairKeys(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte("from-a-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := load(t, `
[feeds.a]
endpoints = ["h.example", "ws://127.0.0.1:6008", "i.example"]
gap_policy = "stop"
repair_sources = ["archive", "socket"]
repair_budget = "0B"
repair_pace = 500
archive_keys = { "h.example" = "${KEY}", "ws://127.0.0.1:6008" = "plain", "i.example" = { file = "`+file+`" } }
[feeds.b]
endpoints = ["h.example"]
[feeds.b.archive_keys]
"h.example" = "other"
`, func(name string) (string, bool) {
		if name == "KEY" {
			return "from-the-environment", true
		}
		return "", false
	})
	if err != nil {
		t.Fatal(err)
	}
	a := c.Feeds[0].Repair
	if !c.Repair || a.Policy != config.GapsStop || a.Budget != 0 || a.Pace != 500 || len(a.Sources) != 2 || a.Sources[0] != messages.SourceArchive {
		t.Errorf("%+v", a)
	}
	for host, want := range map[string]string{"h.example:443": "from-the-environment", "127.0.0.1:6008": "plain", "i.example:443": "from-a-file"} {
		if got := a.ArchiveKeys[host].Reveal(); got != want {
			t.Errorf("the key of %s is %q, want %q", host, got, want)
		}
	}
	if b := c.Feeds[1].Repair; b.ArchiveKeys["h.example:443"].Reveal() != "other" || b.Policy != config.GapsRepair || b.Budget != 10<<30 || len(b.Sources) != 4 {
		t.Errorf("%+v", b)
	}
	var out bytes.Buffer
	if err := c.WriteTOML(&out); err != nil {
		t.Fatal(err)
	}
	for _, hidden := range []string{"from-the-environment", "plain\"", "from-a-file", "\"other\""} {
		if strings.Contains(out.String(), hidden) {
			t.Errorf("the written configuration has %s", hidden)
		}
	}
}

func TestI10_WrongArchiveKeysAreToldWithoutThem(t *testing.T) {
	const hidden = "s3cret-Key-0123456789"
	for name, c := range map[string]struct{ line, want string }{
		"a string":           {`archive_keys = "` + hidden + `"`, "want a table of hosts"},
		"another host":       {`archive_keys = { "other.example" = "` + hidden + `" }`, "want keys of the feed's endpoints alone"},
		"no host":            {`archive_keys = { "a b" = "` + hidden + `" }`, "want a table of hosts"},
		"no string":          {`archive_keys = { "h.example" = 7 }`, "want a string"},
		"a space":            {`archive_keys = { "h.example" = "` + hidden + ` x" }`, "found a character"},
		"another table":      {`archive_keys = { "h.example" = { key = "` + hidden + `" } }`, "want a table of hosts"},
		"a file not there":   {`archive_keys = { "h.example" = { file = "/nowhere/` + hidden + `" } }`, "want a readable file"},
		"twice":              {`archive_keys = { "h.example" = "` + hidden + `", "wss://h.example" = "` + hidden + `" }`, "found two keys"},
		"no such policy":     {`gap_policy = "ignore"`, `want "record", "repair" or "stop"`},
		"no such source":     {`repair_sources = ["relay"]`, `"socket", "archive", "accounts" or "timeline"`},
		"too small a budget": {`repair_budget = "1KiB"`, "repair_budget"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, "[feeds.a]\nendpoints = [\"h.example\"]\n"+c.line+"\n", noEnv)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), hidden) {
				t.Fatalf("got %v", err)
			}
		})
	}
}
