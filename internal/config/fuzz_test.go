package config_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tempestd/internal/config"
)

// FuzzLoad checks that any bytes give a configuration or errors with lines, never a panic, and that
// a written configuration loads again.
func FuzzLoad(f *testing.F) {
	if data, err := os.ReadFile(reference); err == nil {
		f.Add(data)
	}
	for _, seed := range []string{
		"", feed, "[feeds.a]\nendpoints=[\"h\"]\nretention={age=\"1d\",bytes=\"1GB\"}", "a.b.c=1\n[a]\nb={c=[{d=1}]}\n[[a]]", "[\n]\n=\n\"\n'''\n", "\ufeff[log]",
		"feeds = {a = {endpoints = ['h']}, b = {}}", "[feeds]\na.endpoints=['h']\n[feeds.a]", "x = [[[[", "log = 1979-05-27T07:32:00Z", "[http]\ntoken=\"${A:-${B}}\"",
		"http.allowed_origins = ['*', 'https://*.b.example:8443', 'http://[::1]:3000']\n" + feed,
		"[feeds.a]\nendpoints=['ws://[::1]:1/x','wss://u:p@h/?q#f']\r\ndids=['did:web:h%3A80:a']",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file := filepath.Join(t.TempDir(), "c.toml")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(file, noEnv)
		if err != nil {
			var all *config.Errors
			if !errors.As(err, &all) || len(all.List) == 0 {
				t.Fatalf("not *Errors: %v", err)
			}
			for i, e := range all.List {
				if e.Found == "" || e.Want == "" || e.Line < 0 || i > 0 && e.File == all.List[i-1].File && e.Line < all.List[i-1].Line {
					t.Fatalf("error %d is incomplete or out of order:\n%v", i, err)
				}
			}
			return
		}
		written, err := os.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		defer written.Close()
		if err := c.WriteTOML(written); err != nil {
			t.Fatal(err)
		}
		if _, err := config.Load(file, noEnv); err != nil && c.HTTP.Token.IsEmpty() {
			t.Fatalf("what was written is not accepted: %v", err)
		}
	})
}

// TestUnitsRoundTrip writes durations and sizes in Go's form and in the file's form, and reads them
// back.
func TestUnitsRoundTrip(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(r *rapid.T) {
		age := time.Duration(rapid.Int64Range(int64(time.Minute), int64(3650*24*time.Hour)).Draw(r, "age"))
		if rapid.Bool().Draw(r, "whole") {
			age = age.Truncate(time.Minute)
		}
		bytes := rapid.Int64Range(1<<20, 1<<50).Draw(r, "bytes")
		file := filepath.Join(dir, "c.toml")
		load := func(text string) *config.Config {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				r.Fatal(err)
			}
			c, err := config.Load(file, noEnv)
			if err != nil {
				r.Fatal(err)
			}
			return c
		}
		want := config.Retention{Age: age, Bytes: bytes}
		c := load(feed + fmt.Sprintf("retention = { age = %q, bytes = \"%dB\" }", age, bytes))
		if c.Feeds[0].Retention != want {
			r.Fatalf("read %+v, want %+v", c.Feeds[0].Retention, want)
		}
		written, err := os.Create(file)
		if err != nil {
			r.Fatal(err)
		}
		if err := errors.Join(c.WriteTOML(written), written.Close()); err != nil {
			r.Fatal(err)
		}
		again, err := config.Load(file, noEnv)
		if err != nil || again.Feeds[0].Retention != want {
			r.Fatalf("wrote and read %+v, %v; want %+v", again, err, want)
		}
	})
}
