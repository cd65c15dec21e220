package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"tempestd/messages"
)

func TestSupportCollectsEverythingAndNoSecret(t *testing.T) {
	const token = "0123456789-hunter2-abcdef"
	d := newFakeDaemon(t, token)
	d.append(t, posts(0, 3)...)
	cfg := file(t, "c.toml", fmt.Sprintf("[http]\nlisten = %q\ntoken = %q\n[feeds.sky]\nendpoints = [\"ws://127.0.0.1:1\"]\n", d.Listener.Addr(), token))
	p := run(t, "support", "-c", cfg, "-o", "-")
	if p.code != exitOK {
		t.Fatalf("exit %d: %s", p.code, p.err)
	}
	packed, err := gzip.NewReader(strings.NewReader(p.out.String()))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for archive := tar.NewReader(packed); ; {
		header, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		var content bytes.Buffer
		if _, err := io.Copy(&content, archive); err != nil {
			t.Fatal(err)
		}
		found[path.Base(header.Name)] = content.String()
		if header.Mode != 0o600 || !strings.HasPrefix(header.Name, "tempestd-support-") {
			t.Errorf("%s has mode %o", header.Name, header.Mode)
		}
	}
	for name, want := range map[string]string{"version.json": `"go":"go1`, "config.toml": `token = "***"`, "doctor.json": `"check":"handshake"`, "status.json": `"feed":"sky"`,
		"gaps.json": `"gaps":[]`, "metrics.txt": "tempestd_stream_entries", "goroutines.txt": "goroutine ", "missing.txt": "log.txt: "} {
		if !strings.Contains(found[name], want) {
			t.Errorf("%s has no %q: %.300s", name, want, found[name])
		}
	}
	for name, content := range found {
		if strings.Contains(content, "hunter2") {
			t.Errorf("%s has the token", name)
		}
	}
	// Without a daemon there is still something to send.
	t.Chdir(t.TempDir())
	p = execIn(t.Context(), nil, "support", "--addr", "127.0.0.1:1", "-c", cfg)
	if p.code != exitOK || !strings.HasPrefix(p.out.String(), "tempestd-support-") {
		t.Errorf("exit %d: %s%s", p.code, p.out, p.err)
	}
}

func TestStreamsAreShownAndTrimmed(t *testing.T) {
	d := newFakeDaemon(t, "")
	d.append(t, posts(0, 10)...)
	d.append(t, posts(10, 10)...)
	for args, want := range map[string][]string{
		"streams info sky":                  {"0 ", "entries  20", "feed     yes", "open     yes"},
		"streams info sky --json":           {"0 ", `"entries":20`},
		"streams info none":                 {"1 ", "the streams are: sky"},
		"streams trim sky":                  {"2 ", "--age, --bytes or --entries"},
		"streams trim sky --age 1x":         {"2 ", "--age: got"},
		"streams trim sky --bytes many":     {"2 ", "--bytes: got"},
		"log level loud":                    {"2 ", "debug, info, warn, error"},
		"log level":                         {"1 ", "cannot be changed"},
		"cursor show sky":                   {"0 ", "feed        sky", "last entry  20-0"},
		"cursor show none":                  {"1 ", "the feeds are: sky"},
		"cursor export sky":                 {"1 ", "has no position yet"},
		"cursor set sky":                    {"2 ", "want two"},
		"cursor set sky tomorrow":           {"2 ", "yesterday"},
		"cursor import /nonexistent/cursor": {"2 ", "no such file"},
	} {
		words := strings.Fields(args)
		if !slices.Contains(words, "import") && !slices.Contains(words, "set") {
			words = append(words, "--addr", d.URL)
		}
		p := run(t, words...)
		got := fmt.Sprintf("%d %s%s", p.code, p.out, p.err)
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: no %q in %s", args, w, got)
			}
		}
	}
	if p := run(t, "streams", "trim", "sky", "--entries", "10", "--addr", d.URL); p.code != exitOK || !strings.Contains(p.err.String(), "dropped 10 entries") || !strings.Contains(p.err.String(), "10 entries left") {
		t.Errorf("exit %d: %s", p.code, p.err)
	}
}

// Attempts in between do not make an outage shorter.
func TestStatusTellsSinceWhenAFeedIsReallyAway(t *testing.T) {
	d := newFakeDaemon(t, "")
	away := time.Now().Add(-11*time.Minute - 500*time.Millisecond)
	d.control.status.State, d.control.status.Since, d.control.status.AwaySince = messages.StateReconnecting, time.Now(), &away
	if p := run(t, "status", "--addr", d.URL); p.code != exitOK || !strings.Contains(p.out.String(), "11m") {
		t.Errorf("exit %d: %s", p.code, p.out)
	}
}
