package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWhatIsAllowedAndUnwiseIsAWarning(t *testing.T) {
	const feed = "[feeds.a]\nendpoints = [\"one.example\", \"two.example\"]\n"
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
		want []string // parts of the warnings, in order
	}{
		"nothing":                 {text: feed, mode: 0o644},
		"the defaults":            {text: builtin, mode: 0o644},
		"a short token":           {text: "[http]\ntoken = \"hunter2\"\n" + feed, mode: 0o600, want: []string{":2: http.token: found 7 characters"}},
		"a token for everyone":    {text: "[http]\ntoken = \"0123456789abcdef\"\n" + feed, mode: 0o644, want: []string{":2: http.token: found it in a file that every user can read"}},
		"a token of its group":    {text: "[http]\ntoken = \"0123456789abcdef\"\n" + feed, mode: 0o640},
		"a token by its variable": {text: "[http]\ntoken = \"${TOKEN}\"\n" + feed, mode: 0o644},
		"a file for everyone":     {text: "[http]\ntoken_file = \"token\"\n" + feed, mode: 0o600, want: []string{":2: http.token_file: found a file that every user can read"}},
		"any page, no token":      {text: "[http]\nallowed_origins = [\"*\"]\n" + feed, mode: 0o600, want: []string{"http.allowed_origins"}},
		"one endpoint":            {text: "[feeds.a]\nendpoints = [\"one.example\"]\n", want: []string{":2: feeds.a.endpoints: found only one"}},
		"one server twice": {text: "[feeds.a]\nendpoints = [\"wss://one.example/subscribe\", \"one.example\"]\n",
			want: []string{"found one.example:443 twice"}},
		"one endpoint twice": {text: "[feeds.a]\nendpoints = [\"one.example\", \"two.example\", \"one.example\"]\n", want: []string{`:2: feeds.a.endpoints: found "one.example" twice`}},
		"one feed twice":     {text: feed + "[feeds.b]\nendpoints = [\"one.example\", \"three.example\"]\n", want: []string{":4: feeds.b.endpoints: found the same server and filter as in feed a"}},
		"one feed three times": {text: feed + "[feeds.b]\nendpoints = [\"one.example\", \"three.example\"]\n[feeds.c]\nendpoints = [\"one.example\", \"three.example\"]\n",
			want: []string{":4: feeds.b.endpoints: found the same server and filter as in feed a", ":6: feeds.c.endpoints: found the same server and filter as in feed a"}},
		"a name that is not repeated": {text: "[feeds.a]\nendpoints = [\"jetstream.a.example\", \"two.example\", \"jetstream.a.example\"]\n", want: []string{`found item 3 twice`}},
		"two filters":                 {text: feed + "[feeds.b]\nendpoints = [\"one.example\", \"three.example\"]\nkinds = [\"account\"]\n"},
		"no bound":                    {text: feed + "retention = { age = \"0s\", bytes = \"0B\", entries = 0 }\n", want: []string{"feeds.a.retention: found no bound"}},
		"the default in a server": {text: "[stream]\nbackend = \"valkey\"\n[valkey]\naddresses = [\"127.0.0.1:6379\"]\n" + feed,
			want: []string{"feeds.a.retention.bytes: found 20GiB"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "c.toml")
			for file, text := range map[string]string{path: c.text, filepath.Join(dir, "token"): "0123456789abcdef"} {
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Chmod(path, c.mode|0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(filepath.Join(dir, "token"), 0o644); err != nil {
				t.Fatal(err)
			}
			cfg, err := Load(path, func(name string) (string, bool) {
				return map[string]string{"TOKEN": "0123456789abcdef", "HOME": dir}[name], true
			})
			if err != nil {
				t.Fatal(err)
			}
			if len(cfg.Warnings) != len(c.want) {
				t.Fatalf("got %v, want %q", cfg.Warnings, c.want)
			}
			for i, w := range cfg.Warnings {
				if !strings.Contains(w.Error(), c.want[i]) || strings.Contains(w.Error(), "hunter2") {
					t.Errorf("got %v, want %q", w, c.want[i])
				}
			}
		})
	}
}
