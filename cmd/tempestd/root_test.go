package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"tempestd/internal/config"
	"tempestd/internal/version"
)

const goodConfig = "data_dir = \"d\"\n[http]\ntoken = \"hunter2\"\n[feeds.sky]\nendpoints = [\"example.com\"]\n"

func TestExitCodes(t *testing.T) {
	good := file(t, "config.toml", goodConfig)
	bad := file(t, "config.toml", "shutdown_timeout = 5\n")
	off := file(t, "config.toml", "[http]\nlisten = \"\"\n[feeds.sky]\nendpoints = [\"example.com\"]\n")
	tests := []struct {
		args     string
		code     int
		out, err string // parts of the output
	}{
		{"", 0, "Try it with nothing installed", ""},
		{"help", 0, "Usage:", ""},
		{"frobnicate", 2, "", `unknown command "frobnicate"`},
		{"stat", 2, "", "status"}, // "did you mean"
		{"run --frob", 2, "", "unknown flag: --frob"},
		{"run extra", 2, "", `got the argument "extra"; want none`},
		{"run -c /nonexistent/c.toml", 2, "", "/nonexistent/c.toml: cannot be read"},
		{"run -c " + bad, 2, "", "config.toml:1: shutdown_timeout: found the bare number 5"},
		{"check -c " + bad, 2, "", "config.toml:1: shutdown_timeout"},
		{"check -c " + good, 0, `token = "***"`, ""},
		{"check -q -c " + good, 0, "", ""},
		{"version", 0, "tempestd ", ""},
		{"tail", 2, "", "got 0 arguments; want one, the name of a stream"},
		{"tail sky --after 1-1 --since 1m", 2, "", "after since"},
		{"tail sky --after yesterday", 2, "", `--after: malformed entry ID: "yesterday"`},
		{"tail sky -n -1", 2, "", "-n: got -1"},
		{"tail sky --since -1m", 2, "", `got "-1m"`},
		{"tail sky --since 10", 2, "", "invalid argument"},
		{"status --addr ftp://x", 2, "", `daemon address "ftp://x"`},
		{"status --addr 127.0.0.1:1", 1, "", "is `tempestd run` running there?"},
		{"status -c " + off, 2, "", "http.listen is off"},
		{"status -c " + bad, 2, "", "config.toml:1"},
		{"status --token-file /nonexistent", 2, "", "--token-file"},
		{"status --watch --interval 1ms --addr 127.0.0.1:1", 2, "", "--interval: got 1ms"},
		{"pause", 2, "", "want one, the name of a feed"},
		{"demo --for 0s", 2, "", "want 1s or more"},
		{"simulate --fault explode", 2, "", `there is no fault "explode"`},
		{"simulate --listen nowhere", 1, "", "nowhere"},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			p := run(t, strings.Fields(tt.args)...)
			if p.code != tt.code || !strings.Contains(p.out.String(), tt.out) || !strings.Contains(p.err.String(), tt.err) {
				t.Errorf("exit %d, want %d\nstdout:\n%s\nstderr:\n%s", p.code, tt.code, p.out, p.err)
			}
			if tt.code != 0 && p.out.String() != "" {
				t.Errorf("a failure printed to standard output:\n%s", p.out)
			}
		})
	}
}

func TestCheckNamesSixMistakesAtOnce(t *testing.T) {
	bad := file(t, "config.toml", `data_dir = "${NOWHERE}"
[log]
levle = "info"
[stream]
min_free = 1024
[feeds.sky]
endpoints = ["http://example.com"]
ping_interval = 15s
dids = ["alice"]
`)
	p := run(t, "check", "-c", bad)
	lines := strings.Split(strings.TrimSpace(p.err.String()), "\n")
	if p.code != 2 || len(lines) != 6 {
		t.Fatalf("exit %d, %d lines:\n%s", p.code, len(lines), p.err)
	}
	for i, want := range []string{":1: data_dir: ", ":3: log.levle: ", ":5: stream.min_free: ", ":7: feeds.sky.endpoints: ", ":8: feeds.sky.ping_interval: ", ":9: feeds.sky.dids: "} {
		if !strings.HasPrefix(lines[i], bad+want) {
			t.Errorf("line %d: %s; want %s", i, lines[i], want)
		}
	}
}

// A credential of the unit is missing everywhere else: check and clients warn, and a daemon refuses.
func TestAnUnresolvedCredentialIsAWarningOutsideTheUnit(t *testing.T) {
	cfg := file(t, "c.toml", "[http]\nlisten = \"127.0.0.1:1\"\ntoken_file = \"${CREDENTIALS_DIRECTORY}/token\"\n[feeds.sky]\nendpoints = [\"h\"]\n")
	const unset = ":3: http.token_file: the environment variable CREDENTIALS_DIRECTORY is not set"
	if p := run(t, "check", "-q", "-c", cfg); p.code != 0 || !strings.HasPrefix(p.err.String(), "warning: ") || !strings.Contains(p.err.String(), unset) {
		t.Errorf("check: exit %d\n%s", p.code, p.err)
	}
	if p := run(t, "status", "-c", cfg); p.code != 1 || !strings.Contains(p.err.String(), "trying without a token") || !strings.Contains(p.err.String(), "refused") {
		t.Errorf("status: exit %d\n%s", p.code, p.err)
	}
	if p := run(t, "run", "-c", cfg); p.code != 2 || !strings.Contains(p.err.String(), unset) {
		t.Errorf("run: exit %d\n%s", p.code, p.err)
	}
}

func TestCheckPrintsAConfigurationThatLoads(t *testing.T) {
	p := run(t, "check")
	if p.code != 0 || !strings.HasPrefix(p.out.String(), "# the built-in defaults") {
		t.Fatalf("exit %d\n%s%s", p.code, p.out, p.err)
	}
	if _, err := config.Load(file(t, "c.toml", p.out.String()), func(string) (string, bool) { return "", false }); err != nil {
		t.Errorf("%v\n%s", err, p.out)
	}
}

func TestVersionAsJSON(t *testing.T) {
	var b version.Build
	p := run(t, "version", "--json")
	if err := json.Unmarshal([]byte(p.out.String()), &b); err != nil || b.Version == "" || !strings.HasPrefix(b.Go, "go1.") {
		t.Errorf("%v: %s", err, p.out)
	}
}

func TestEveryCommandExplainsItself(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: short help %q", c.CommandPath(), c.Short)
		}
		if c.Name() != "version" && (c.Long == "" || c.HasParent() && c.Example == "") {
			t.Errorf("%s has no long help or no example", c.CommandPath())
		}
		for line := range strings.Lines(c.Long) {
			if len([]rune(line)) > 100 {
				t.Errorf("%s: a line of the help is too long: %s", c.CommandPath(), line)
			}
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newRoot(&app{}))
}

func TestCompletionScripts(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if p := run(t, "completion", shell); p.code != 0 || !strings.Contains(p.out.String(), "tempestd") {
			t.Errorf("%s: exit %d, %d bytes", shell, p.code, len(p.out.String()))
		}
	}
}
