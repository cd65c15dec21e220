package config_test

import (
	"strings"
	"testing"
	"time"

	"tempestd/internal/config"
)

func TestStartIsReadOnceIntoItsForm(t *testing.T) {
	for text, want := range map[string]config.Start{
		"live":                      config.StartLive{},
		"earliest":                  config.StartEarliest{},
		"archive":                   config.StartArchive{},
		"7d":                        config.StartAgo{Ago: 7 * 24 * time.Hour},
		"1d12h":                     config.StartAgo{Ago: 36 * time.Hour},
		"2026-11-01T00:00:00Z":      config.StartAt{At: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)},
		"2026-11-01T02:00:00+02:00": config.StartAt{At: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)},
	} {
		c, err := load(t, feed+"start = \""+text+"\"\n", noEnv)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got := c.Feeds[0].Start
		if at, ok := got.(config.StartAt); ok {
			got = config.StartAt{At: at.At.UTC()}
		}
		if got != want {
			t.Errorf("%s is read as %#v", text, got)
		}
		if shown := config.ShowStart(got); shown != text && !strings.Contains(text, "+02:00") && text != "1d12h" {
			t.Errorf("%s is shown as %s", text, shown)
		}
	}
	for _, text := range []string{`"now"`, `"0s"`, `"-7d"`, `"2021-12-31T00:00:00Z"`, `"2026-11-01"`, `7`, `""`, `"4000d"`} {
		if _, err := load(t, feed+"start = "+text+"\n", noEnv); err == nil || !strings.Contains(err.Error(), `want "live", "earliest", "archive"`) {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, bad := range []string{
		"[feeds.a]\nendpoints = [\"example.com\"]\nprotocol = \"v1\"\nstart = \"archive\"\n",
		"[feeds.a]\nendpoints = [\"wss://example.com/subscribe\"]\nstart = \"archive\"\n",
	} {
		if _, err := load(t, bad, noEnv); err == nil || !strings.Contains(err.Error(), "no endpoint of v2") {
			t.Errorf("%v", err)
		}
	}
}
