package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"tempestd/internal/config"
)

func TestI10_SecretShowsNowhere(t *testing.T) {
	const hidden = "hunter2-hunter2"
	s := config.NewSecret(hidden)
	inside := struct {
		Exported config.Secret
		private  config.Secret
		Pointer  *config.Secret
		Any      any
	}{s, s, &s, s}
	var shown strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%10s", "%T"} {
		fmt.Fprintf(&shown, verb+verb+verb, s, &s, inside)
	}
	fmt.Fprintln(&shown, s, &s, inside, []config.Secret{s}, map[config.Secret]config.Secret{s: s}, fmt.Errorf("bad %v", s))
	for _, handler := range []slog.Handler{slog.NewTextHandler(&shown, nil), slog.NewJSONHandler(&shown, nil)} {
		slog.New(handler).Info("m", "secret", s, "inside", inside, "http", config.HTTP{Token: s})
	}
	text, err := s.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := json.Marshal(inside)
	if err != nil {
		t.Fatal(err)
	}
	shown.Write(text)
	shown.Write(encoded)
	if strings.Contains(shown.String(), hidden) || strings.Contains(shown.String(), fmt.Sprintf("%x", hidden)) {
		t.Errorf("the secret shows in %s", shown.String())
	}
	if s.String() != "***" || s.Reveal() != hidden || fmt.Sprint(config.Secret{}) != "" {
		t.Errorf("String %q, Reveal %q, empty %q", s, s.Reveal(), config.Secret{})
	}
}

func TestI10_CheckAndErrorsMaskTheToken(t *testing.T) {
	const hidden = "hunter2-hunter2"
	for _, line := range []string{`token = "` + hidden + `"`, `token = "${T}"`, `token = "${NONE:-` + hidden + `}"`, `token_file = "f"`} {
		dir := write(t, map[string]string{"f": hidden, "c.toml": "[http]\n" + line + "\n" + feed})
		c, err := config.Load(filepath.Join(dir, "c.toml"), env("T", hidden))
		if err != nil {
			t.Fatal(err)
		}
		if c.HTTP.Token.Reveal() != hidden {
			t.Errorf("%s: token is not read", line)
		}
		var out bytes.Buffer
		if err := c.WriteTOML(&out); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), `token = "***"`) || strings.Contains(out.String(), hidden) {
			t.Errorf("%s gives\n%s", line, out.String())
		}
	}
	for _, line := range []string{
		`token = "` + hidden + ` "`, `token = ["` + hidden + `"]`, `token = { a = "` + hidden + `" }`, `token = ` + hidden, `token = "${T} "`,
		`token = "` + hidden, `token = "` + hidden + "\"\ntoken_file = \"f\"", `token_file = "bad"`,
	} {
		dir := write(t, map[string]string{"f": hidden, "bad": hidden + " " + hidden, "c.toml": "[http]\n" + line + "\n" + feed})
		_, err := config.Load(filepath.Join(dir, "c.toml"), env("T", hidden))
		if err == nil || strings.Contains(err.Error(), hidden) {
			t.Errorf("%s: %v", line, err)
		}
	}
	_, err := load(t, "[feeds.a]\nendpoints = [\"http://me:"+hidden+"@example.com\"]\n", noEnv)
	if err == nil || strings.Contains(err.Error(), hidden) {
		t.Errorf("userinfo of an endpoint: %v", err)
	}
}

// Another process than the daemon may be without the daemon's credentials. It loads the rest.
func TestASecretOfAnotherProcessIsUnresolved(t *testing.T) {
	for _, c := range []struct {
		text, want string
		set        []string
	}{
		{"[http]\nlisten = \":7077\"\ntoken_file = \"${CREDENTIALS_DIRECTORY}/token\"\n", "3: http.token_file: the environment variable CREDENTIALS_DIRECTORY is not set", nil},
		{"[http]\nlisten = \":7077\"\ntoken = \"${TOKEN}\"\n", "3: http.token: the environment variable TOKEN is not set", nil},
		{"[valkey]\npassword_file = \"${CREDENTIALS_DIRECTORY}/valkey\"\n", "2: valkey.password_file: the environment variable CREDENTIALS_DIRECTORY is not set", nil},
		{"[feeds.b]\nendpoints = [\"wss://b.example\"]\narchive_keys = { \"b.example\" = \"${KEY}\" }\n", "feeds.b.archive_keys: the environment variable KEY is not set", nil},
		{"[feeds.b]\nendpoints = [\"wss://b.example\"]\narchive_keys = { \"b.example\" = { file = \"${CREDENTIALS_DIRECTORY}/key\" } }\n", "feeds.b.archive_keys: no such file or directory", []string{"CREDENTIALS_DIRECTORY", "/nowhere"}},
		{"[http]\ntoken_file = \"${CREDENTIALS_DIRECTORY}/token\"\n", "2: http.token_file: no such file or directory", []string{"CREDENTIALS_DIRECTORY", "/nowhere"}},
	} {
		path := filepath.Join(write(t, map[string]string{"c.toml": c.text + feed}), "c.toml")
		cfg, err := config.Load(path, env(c.set...))
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if len(cfg.Unresolved) != 1 || !strings.Contains(cfg.Unresolved[0].Error(), c.want) {
			t.Errorf("%s: unresolved %v, want %s", c.text, cfg.Unresolved, c.want)
		}
	}
}

func TestRelativePathsBecomeAbsolute(t *testing.T) {
	t.Chdir(write(t, map[string]string{"c.toml": "data_dir = \"data\"\n" + feed}))
	cfg, err := config.Load("c.toml", env())
	if err != nil {
		t.Fatal(err)
	}
	if !filepath.IsAbs(cfg.DataDir) || !filepath.IsAbs(cfg.Path) || filepath.Base(cfg.DataDir) != "data" {
		t.Errorf("data_dir %s of %s", cfg.DataDir, cfg.Path)
	}
}
