package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func loadText(t *testing.T, text string) (*Config, error) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(name, func(string) (string, bool) { return "", false })
}

func TestAccountOfAFeed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("abcd-efgh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const feed = "[feeds.me]\nendpoints = [\"a.example\"]\n"
	c, err := loadText(t, feed+"[feeds.me.account]\nidentifier = \"me.example\"\npassword_file = \""+file+"\"\nrefresh = \"10m\"\n")
	if err != nil {
		t.Fatal(err)
	}
	a := c.Feeds[0].Account
	if a.Identifier != "me.example" || a.Password.Reveal() != "abcd-efgh" || !a.Follows || a.Refresh != 10*time.Minute {
		t.Errorf("%+v", a)
	}
	var text strings.Builder
	if err := c.WriteTOML(&text); err != nil || strings.Contains(text.String(), "abcd") || !strings.Contains(text.String(), `account = { identifier = "me.example", password = "***", follows = true, refresh = "10m" }`) {
		t.Errorf("%v\n%s", err, text.String())
	}
	if c, err := loadText(t, feed); err != nil || c.Feeds[0].Account != (Account{}) {
		t.Errorf("%v, %+v", err, c)
	}
	for want, text := range map[string]string{
		"a password without identifier": feed + "account = { password = \"abcd-efgh\" }\n",
		"want one of the two":           feed + "account = { identifier = \"me.example\", password = \"abcd-efgh\", password_file = \"" + file + "\" }\n",
		"holds the app password":        feed + "account = { identifier = \"me.example\", password_file = \"nowhere\" }\n",
		"want a handle or a DID":        feed + "account = { identifier = \"not an account\" }\n",
		"want the origin of a server":   feed + "[network]\nplc = \"plc.directory\"\n",
	} {
		if _, err := loadText(t, text); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "abcd") {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
