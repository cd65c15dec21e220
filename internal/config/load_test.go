package config_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tempestd/internal/config"
)

// noEnv is an empty environment.
func noEnv(string) (string, bool) { return "", false }

// env is an environment with the given names and values.
func env(pairs ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1], true
			}
		}
		return "", false
	}
}

// write writes files into a new directory and returns the directory.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// load loads text as a configuration file.
func load(t *testing.T, text string, environment func(string) (string, bool)) (*config.Config, error) {
	t.Helper()
	return config.Load(filepath.Join(write(t, map[string]string{"c.toml": text}), "c.toml"), environment)
}

// feed is the smallest valid file.
const feed = "[feeds.a]\nendpoints = [\"example.com\"]\n"

func TestLoadSetsWhatTheFileSays(t *testing.T) {
	dir := write(t, map[string]string{
		"token": " s3cret-of-16-and-more\n",
		"dids":  "# ours\ndid:plc:333libf5czqkykcsyqbqtcvs\n\ndid:web:example.com # a friend\n",
		"c.toml": `
data_dir = "state"
shutdown_timeout = "1m30s"
log = { level = "debug", format = "json" }
http.listen = "0.0.0.0:80"
http.token_file = "${WHERE:-.}/token"
[stream]
sync = "interval"
min_free = "1.5GB"
[feeds.zulu]
endpoints = ["wss://one.example/subscribe", "two.example:8080"]
collections = ["app.bsky.feed.post", "app.bsky.graph.*", "app.bsky.feed.post"]
dids = ["did:plc:aundg2bbjkngd7rfn2p64wkp", "did:web:example.com"]
dids_file = "dids"
backoff = ["100ms"]
stale_after = "1d12h"
replay_window = "36h"
dedupe = "overlap"
dedupe_horizon.age = "1h"
retention = { age = "0s", entries = 5_000 }
[feeds."alpha"]
endpoints = ["three.example"]
`})
	c, err := config.Load(filepath.Join(dir, "c.toml"), noEnv)
	if err != nil {
		t.Fatal(err)
	}
	if c.Path != filepath.Join(dir, "c.toml") || c.DataDir != filepath.Join(dir, "state") || c.ShutdownTimeout != 90*time.Second {
		t.Errorf("top: %+v", c)
	}
	if c.Log.Level.String() != "DEBUG" || c.Log.Format != "json" || c.HTTP.Listen != "0.0.0.0:80" || c.HTTP.Token.Reveal() != "s3cret-of-16-and-more" {
		t.Errorf("log, http: %+v", c)
	}
	if c.Stream.Sync != "interval" || c.Stream.MinFree != 1_500_000_000 || c.Stream.SyncInterval != time.Second {
		t.Errorf("stream: %+v", c.Stream)
	}
	if len(c.Feeds) != 2 || c.Feeds[0].Name != "alpha" || c.Feeds[1].Name != "zulu" {
		t.Fatalf("feeds are not sorted by name: %+v", c.Feeds)
	}
	defaults, z := c.Feeds[0], c.Feeds[1]
	if !slices.Equal(written(z.Endpoints), []string{"wss://one.example:443/subscribe", "wss://two.example:8080"}) ||
		!slices.Equal(z.Collections, []string{"app.bsky.feed.post", "app.bsky.graph.*"}) ||
		!slices.Equal(z.DIDs, []string{"did:plc:aundg2bbjkngd7rfn2p64wkp", "did:web:example.com", "did:plc:333libf5czqkykcsyqbqtcvs"}) {
		t.Errorf("what to subscribe to: %+v", z)
	}
	if z.StaleAfter != 36*time.Hour || z.ReplayWindowAuto || z.ReplayWindow != 36*time.Hour || z.Dedupe != "overlap" || !slices.Equal(z.Backoff, []time.Duration{100 * time.Millisecond}) {
		t.Errorf("feed: %+v", z)
	}
	if want := (config.DedupeHorizon{Entries: defaults.DedupeHorizon.Entries, Age: time.Hour}); z.DedupeHorizon != want {
		t.Errorf("dedupe_horizon %+v, want %+v: what is left out keeps its default", z.DedupeHorizon, want)
	}
	if want := (config.Retention{Bytes: defaults.Retention.Bytes, Entries: 5000}); z.Retention != want {
		t.Errorf("retention %+v, want %+v", z.Retention, want)
	}
	if defaults.StaleAfter != 0 || !defaults.ReplayWindowAuto || defaults.ReplayWindow != 12*time.Hour || defaults.Dedupe != "always" || defaults.CheckpointInterval != 5*time.Second {
		t.Errorf("defaults: %+v", defaults)
	}
}

// written are the endpoints as URLs.
func written(all []config.Endpoint) []string {
	urls := make([]string, len(all))
	for i, e := range all {
		urls[i] = e.String()
	}
	return urls
}

func TestEveryMistakeIsNamed(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string // "line: key: …" with parts of the message, in order
	}{
		{"bare duration", "shutdown_timeout = 5\n" + feed, []string{`1: shutdown_timeout: found the bare number 5; want a duration from "1s" to "10m"`}},
		{"duration without quotes", feed + "ping_interval = 5s", []string{"3: feeds.a.ping_interval: not TOML"}},
		{"bare zero", feed + `batch_delay = "0"`, []string{`3: feeds.a.batch_delay: found "0"`}},
		{"negative", feed + `rewind = "-5s"`, []string{`3: feeds.a.rewind: found "-5s"`}},
		{"replay window", feed + `replay_window = "59s"`, []string{`3: feeds.a.replay_window: found "59s"; want "auto" or a duration from "1m" to "30d"`}},
		{"overflow", feed + `stale_after = "999999d99999999h"`, []string{`3: feeds.a.stale_after: found`}},
		{"bare size", "[stream]\nmin_free = 1024\n" + feed, []string{`2: stream.min_free: found the bare number 1024; want a size from "16MiB"`}},
		{"size unit", "[stream]\nmin_free = \"5 MiBs\"\n" + feed, []string{`2: stream.min_free: found "5 MiBs"`}},
		{"quoted count", feed + `batch_events = "100"`, []string{`3: feeds.a.batch_events: found "100"; want a whole number from 1 to 65_536`}},
		{"count out of range", feed + `batch_events = 0`, []string{`3: feeds.a.batch_events: found the bare number 0`}},
		{"float", feed + `batch_events = 1.5`, []string{`3: feeds.a.batch_events: found the bare number 1.5`}},
		{"int64 overflow", feed + `batch_events = 99999999999999999999`, []string{`3: feeds.a.batch_events: `}},
		{"date", feed + `backoff = 2026-11-22`, []string{`3: feeds.a.backoff: found the date or time 2026-11-22`}},
		{"word", "[log]\nlevel = \"loud\"\n" + feed, []string{`2: log.level: found "loud"; want "debug", "info", "warn" or "error"`}},
		{"type", "[log]\nlevel = true\n" + feed, []string{`2: log.level: found true`}},
		{"unknown key", "[log]\nlevle = \"info\"\n" + feed, []string{`2: log.levle: unknown key; did you mean "level"?`}},
		{"unknown table", "[feed.a]\nendpoints = []\n" + feed, []string{`1: feed: unknown key; did you mean "feeds"?`}},
		{"unknown in inline table", feed + `retention = { aeg = "1d" }`, []string{`3: feeds.a.retention.aeg: unknown key; did you mean "age"?`}},
		{"key of another table", "listen = \"127.0.0.1:1\"\n" + feed, []string{`1: listen: unknown key; it belongs in [http]`}},
		{"case", feed + `Backoff = ["1s"]`, []string{`3: feeds.a.Backoff: unknown key; did you mean "backoff"?`}},
		{"table for a value", feed + "[feeds.a.backoff]\nx = 1", []string{`3: feeds.a.backoff: found a table`, `4: feeds.a.backoff: found a table`}},
		{"value for a table", "http = 1\n" + feed, []string{`1: http: found the bare number 1; want a table: [http]`}},
		{"value for feeds", "feeds = 1\n", []string{`1: feeds: found the bare number 1; want a table: [feeds.<name>]`}},
		{"double brackets", "[[feeds.a]]\nendpoints = [\"h\"]\n", []string{`1: feeds.a: found a table in double brackets; want single ones: [feeds.a]`}},
		{"duplicate key", feed + "rewind = \"1s\"\nrewind = \"2s\"", []string{`4: feeds.a.rewind: set a second time; want it once: the first is on line 3`}},
		{"duplicate table", feed + "[feeds.a]", []string{`3: feeds.a: set a second time; want it once: the first is on line 1`}},
		{"table after inline table", feed + "retention = { age = \"1d\" }\n[feeds.a.retention]", []string{`4: feeds.a.retention: set a second time`}},
		{"feed name", "[feeds.\"Big Sky\"]\nendpoints = [\"h\"]\n", []string{`1: feeds."Big Sky": found the feed name "Big Sky"; want a name of 1 to 64`}},
		{"no feed", "", []string{`feeds: no feed is configured`}},
		{"no endpoints", "[feeds.a]\nrewind = \"1s\"", []string{`1: feeds.a.endpoints: missing`}},
		{"empty endpoints", "[feeds.a]\nendpoints = []", []string{`2: feeds.a.endpoints: found an array of 0; want an array of 1 to 16`}},
		{"bad endpoints", "[feeds.a]\nendpoints = [\n\"http://h\",\n\"ok.example\",\n7]", []string{`3: feeds.a.endpoints: found "http://h"`, `feeds.a.endpoints: found the bare number 7`}},
		{"collections", feed + `collections = ["app.bsky.fo*", "*", "", "app.bsky.feed.post,app.bsky.feed.like", ".*"]`, slices.Repeat([]string{"3: feeds.a.collections: found "}, 5)},
		{"10001 collections", feed + "collections = [" + strings.Repeat(`"app.bsky.feed.post",`, 10_001) + "]", []string{"3: feeds.a.collections: found an array of 10001"}},
		{"collections without commits", feed + "kinds = [\"identity\"]\ncollections = [\"app.bsky.feed.post\"]", []string{"4: feeds.a.collections: servers say: collections filter can never apply"}},
		{"kind", feed + "kinds = [\"bogus\"]", []string{`3: feeds.a.kinds: found "bogus"; want`}},
		{"raw", feed + "raw = \"yes\"", []string{`3: feeds.a.raw: found "yes"; want true or false`}},
		{"dictionary", feed + "zstd_dictionary = \"nowhere\"", []string{"3: feeds.a.zstd_dictionary: "}},
		{"dids", feed + `dids = ["did:plc:short", "did:key:z6Mk", "alice.example"]`, slices.Repeat([]string{"3: feeds.a.dids: found "}, 3)},
		{"rewind of the whole window", feed + "replay_window = \"5m\"\nrewind = \"5m\"", []string{`4: feeds.a.rewind: found "5m"; want less than replay_window, which is "5m"`}},
		{"rewind beyond the window", feed + "replay_window = \"5m\"\nrewind = \"10m\"", []string{`4: feeds.a.rewind: found "10m"; want less than replay_window, which is "5m"`}},
		{"open listener", "[http]\nlisten = \":7077\"\n" + feed, []string{`2: http.listen: found ":7077", which others can reach, and no token`}},
		{"listener", "[http]\nlisten = \"7077\"\n" + feed, []string{`2: http.listen: found "7077"; want "host:port"`}},
		{"origins", "[http]\nallowed_origins = [" + strings.Join(notOrigins, ",\n") + "]\n" + feed, originLines()},
		{"origins that are no array", "[http]\nallowed_origins = \"*\"\n" + feed, []string{`2: http.allowed_origins: found "*"; want an array of 0 to 64 values, each an origin as browsers send it`}},
		{"an origin twice", "[http]\nallowed_origins = [\"https://a.example\",\n\"*\",\n\"https://a.example\"]\n" + feed, []string{`4: http.allowed_origins: found "https://a.example" a second time; want each value once`}},
		{"missing variable", "data_dir = \"${NOPE}/x\"\n" + feed, []string{`1: data_dir: the environment variable NOPE is not set`}},
		{"malformed variable", "data_dir = \"${NOPE\"\n" + feed, []string{`1: data_dir: found "${" that names no environment variable`}},
		{"home", "data_dir = \"~/x\"\n" + feed, []string{`1: data_dir: found "~/x"; want ${HOME} in place of ~`}},
		{"empty data_dir", "data_dir = \"\"\n" + feed, []string{`1: data_dir: found ""`}},
		{"unreadable files", "[http]\ntoken_file = \"nope\"\n" + feed + "dids_file = \"nope\"", []string{"2: http.token_file: no such file", "5: feeds.a.dids_file: no such file"}},
		{"syntax", "[http\nlisten = \"\"\n" + feed + "rewind = \n", []string{"1: not TOML", "2: listen: unknown key; it belongs in [http]", "5: feeds.a.rewind: not TOML"}},
		{"unclosed array", feed + "backoff = [\"1s\",\nrewind = \"x\"\n", []string{"not TOML"}},
		{"control character", feed + "rewind = \"1\x00s\"", []string{"3: feeds.a.rewind: not TOML"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := load(t, tt.text, noEnv)
			var all *config.Errors
			if !errors.As(err, &all) {
				t.Fatalf("got %v, want *Errors", err)
			}
			if len(all.List) != len(tt.want) {
				t.Fatalf("got %d errors, want %d:\n%v", len(all.List), len(tt.want), err)
			}
			for i, e := range all.List {
				_, got, _ := strings.Cut(e.Error(), "c.toml:")
				if !strings.Contains(got, tt.want[i]) {
					t.Errorf("error %d:\n got %s\nwant %s", i, got, tt.want[i])
				}
			}
		})
	}
}

// notOrigins lists values that no browser sends as Origin, and patterns that are too wide or make
// no sense.
var notOrigins = []string{
	`"null"`, `""`, `"app.example"`, `"https://"`, `"ftp://app.example"`, `"https://app.example/"`, `"https://app.example/path"`, `"https://app.example?q"`, `"https://app.example#f"`,
	`"https://App.example"`, `"HTTPS://app.example"`, `"https://app.example:443"`, `"http://app.example:80"`, `"https://app.example:0"`, `"https://app.example:65536"`, `"https://app.example:"`,
	`"https://u:p@app.example"`, `"https://app.example."`, `"https://bücher.example"`, `"https://*"`, `"https://*.org"`, `"https://a.*.example"`, `"https://*app.example"`, `"*.example.org"`,
	`"https://*.10.0.0.1"`, `"http://[::1"`, `"http://[0::1]:80"`, `"http://*.[::1]"`, `" https://app.example"`, `"https://app.example, https://b.example"`, `"**"`, `7`,
}

// originLines returns the beginning of the error about each of them, one per line from the second
// line on.
func originLines() (want []string) {
	for i := range notOrigins {
		want = append(want, fmt.Sprintf("%d: http.allowed_origins: found ", i+2))
	}
	return want
}

func TestOriginsAreTakenAsBrowsersSendThem(t *testing.T) {
	all := []string{"*", "https://app.example", "http://localhost:5173", "http://127.0.0.1:8080", "http://[::1]:3000", "http://[2001:db8::1]", "https://*.example.org",
		"https://*.example.org:8443", "https://xn--bcher-kva.example", "https://my_app.internal", "http://app.example:443", "https://a"}
	c, err := load(t, fmt.Sprintf("http.allowed_origins = [\"%s\"]\n", strings.Join(all, `", "`))+feed, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(c.HTTP.AllowedOrigins, all) {
		t.Errorf("got %q", c.HTTP.AllowedOrigins)
	}
}

func TestAllMistakesAtOnceSortedByLine(t *testing.T) {
	_, err := load(t, `shutdown_timeout = 30
[log]
format = "xml"
colour = true
[feeds.a]
endpoints = ["ftp://example.com"]
ping_interval = 15s
max_message_size = "1PiB"
[feeds.a]
`, noEnv)
	var lines []int
	for _, e := range err.(*config.Errors).List {
		lines = append(lines, e.Line)
	}
	if want := []int{1, 3, 4, 6, 7, 8, 9}; !slices.Equal(lines, want) {
		t.Errorf("lines %v, want %v:\n%v", lines, want, err)
	}
	var one *config.Error
	if !errors.As(err, &one) || one.Key != "shutdown_timeout" {
		t.Errorf("errors.As found %v", one)
	}
}

func TestDIDsFileMistakesNameItsLines(t *testing.T) {
	dir := write(t, map[string]string{"dids": "did:web:ok.example\nnonsense\n", "c.toml": feed + "dids_file = \"dids\"\nrewind = 1\n"})
	_, err := config.Load(filepath.Join(dir, "c.toml"), noEnv)
	list := err.(*config.Errors).List
	if len(list) != 2 || list[0].Line != 4 || list[1].File != filepath.Join(dir, "dids") || list[1].Line != 2 {
		t.Errorf("want the configuration's own error first, then dids:2:\n%v", err)
	}
}

func TestTooManyDIDs(t *testing.T) {
	var b strings.Builder
	for i := range 1_000_001 {
		fmt.Fprintf(&b, "did:web:h%d.example\n", i)
	}
	dir := write(t, map[string]string{"dids": b.String(), "c.toml": feed + "dids_file = \"dids\"\n"})
	_, err := config.Load(filepath.Join(dir, "c.toml"), noEnv)
	if err == nil || !strings.Contains(err.Error(), "feeds.a.dids_file: found 1000001 DIDs") {
		t.Errorf("got %v", err)
	}
}

func TestDataDirFollowsTheEnvironment(t *testing.T) {
	tests := []struct {
		env  []string
		want string
	}{
		{nil, "/var/lib/tempestd"},
		{[]string{"HOME", "/home/a"}, "/home/a/.local/share/tempestd"},
		{[]string{"HOME", "/home/a", "XDG_DATA_HOME", "/x"}, "/x/tempestd"},
		{[]string{"HOME", "/home/a", "XDG_DATA_HOME", "relative"}, "/home/a/.local/share/tempestd"},
		{[]string{"HOME", "/home/a", "STATE_DIRECTORY", "/var/lib/t:/var/lib/u"}, "/var/lib/t"},
	}
	for _, tt := range tests {
		c, err := config.Load("", env(tt.env...))
		if err != nil || c.DataDir != tt.want {
			t.Errorf("env %v: %q, %v; want %q", tt.env, c.DataDir, err, tt.want)
		}
	}
}

func TestFindPrefersWhatIsExplicit(t *testing.T) {
	t.Chdir(t.TempDir())
	if got, err := config.Find("there.toml"); got != "there.toml" || err != nil {
		t.Errorf("explicit: %q, %v", got, err)
	}
	if err := os.WriteFile("config.toml", []byte(feed), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := config.Find(""); got != "config.toml" || err != nil {
		t.Errorf("working directory: %q, %v", got, err)
	}
}

func TestLoadSaysWhyAFileCannotBeRead(t *testing.T) {
	_, err := config.Load("/nonexistent/c.toml", noEnv)
	var all *config.Errors
	if !errors.As(err, &all) || all.List[0].Found != "cannot be read: no such file or directory" {
		t.Errorf("got %v", err)
	}
}

func TestVariablesWorkInEveryString(t *testing.T) {
	env := map[string]string{"HOST": "jet.example.com", "DELAY": "40ms", "POLICY": "record", "SIZE": "2GiB", "PORT": "7099", "SECRET": "Hunter2-Hunter2"}
	lookup := func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	file := filepath.Join(t.TempDir(), "config.toml")
	put := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(`
[http]
listen = "127.0.0.1:${PORT}"
[feeds.sky]
endpoints = ["${HOST}", "wss://${OTHER:-b.example.com}/subscribe"]
batch_delay = "${DELAY}"
gap_policy = "${POLICY}"
retention = { bytes = "${SIZE}" }
`)
	c, err := config.Load(file, lookup)
	if err != nil {
		t.Fatal(err)
	}
	f := c.Feeds[0]
	if c.HTTP.Listen != "127.0.0.1:7099" || f.Endpoints[0].Host() != "jet.example.com:443" || f.Endpoints[1].Host() != "b.example.com:443" ||
		f.BatchDelay != 40*time.Millisecond || f.Repair.Policy != config.GapsRecord || f.Retention.Bytes != 2<<30 {
		t.Errorf("got %q and %+v", c.HTTP.Listen, f)
	}
	// I10: an error repeats the variable and not what the environment holds.
	put("[log]\nlevel = \"${SECRET}\"\nformat = \"${NOT_SET}\"\n[feeds.sky]\nendpoints = [\"jet.example.com\"]\nkinds = [\"${SECRET}\"]\n")
	_, err = config.Load(file, lookup)
	if err == nil || strings.Contains(err.Error(), "Hunter2") || !strings.Contains(err.Error(), "NOT_SET is not set") || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("got %v", err)
	}
}

// A listener that others can reach has a token that cannot be guessed. A hash says nothing of that.
func TestTokensOfAListenerThatOthersReach(t *testing.T) {
	const hash = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	for _, c := range []struct{ keys, wrong string }{
		{`token = "short"`, "http.token: found 5 characters"},
		{`token = "long-enough,I-think"`, ""},
		{`token = "` + hash + `"`, ""},
		{`token = "sha256:abc"`, "http.token: found \"sha256:\" and no hash"},
		{`read_token = "long-enough,I-think"`, ""},
		{"token = \"long-enough,I-think\"\nread_token = \"short\"", "http.read_token: found 5 characters"},
		{``, "http.listen: found"},
	} {
		path := filepath.Join(t.TempDir(), "config.toml")
		text := "[http]\nlisten = \"0.0.0.0:7077\"\n" + c.keys + "\n[feeds.sky]\nendpoints = [\"h.example\"]\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := config.Load(path, os.LookupEnv)
		if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%s: %v, want %q", c.keys, err, c.wrong)
		}
	}
}
