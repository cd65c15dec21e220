package jetstream_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"tempestd/internal/jetstream"
)

func TestParseEndpoint(t *testing.T) {
	for in, want := range map[string]struct{ url, host string }{
		"jetstream2.us-east.bsky.network": {"wss://jetstream2.us-east.bsky.network:443", "jetstream2.us-east.bsky.network:443"},
		"localhost:6008":                  {"wss://localhost:6008", "localhost:6008"},
		"ws://127.0.0.1:6008":             {"ws://127.0.0.1:6008", "127.0.0.1:6008"},
		"ws://127.0.0.1:6008/":            {"ws://127.0.0.1:6008", "127.0.0.1:6008"},
		"ws://Example.COM/a%2Fb/c":        {"ws://example.com:80/a%2Fb/c", "example.com:80"},
		"WSS://user:secret@example.com/x": {"wss://example.com:443/x", "example.com:443"},
		"wss://[::1]:99/subscribe":        {"wss://[::1]:99/subscribe", "[::1]:99"},
		"wss://[2001:DB8::1]":             {"wss://[2001:db8::1]:443", "[2001:db8::1]:443"},
	} {
		ep, err := jetstream.ParseEndpoint(in)
		if err != nil || ep.String() != want.url || ep.Host() != want.host {
			t.Errorf("%s is %s at %s (%v), want %s at %s", in, ep, ep.Host(), err, want.url, want.host)
		}
		for _, text := range []string{fmt.Sprint(ep), fmt.Sprintf("%+v", ep)} {
			if strings.Contains(text, "secret") {
				t.Errorf("%s prints as %s", in, text)
			}
		}
	}
	for in, want := range map[string]string{
		"":                           "no host",
		"http://example.com":         `scheme is "http"`,
		"wss://":                     "no host",
		"wss://:443":                 "no host",
		"wss://example.com:0":        "1 to 65535",
		"wss://example.com:70000":    "1 to 65535",
		"wss://example.com:x":        "invalid port",
		"wss://example.com?cursor=1": "query",
		"wss://example.com?":         "query",
		"wss://example.com#x":        "fragment",
		"wss://a:secret@b:x":         "cannot be parsed",
		"wss://a:secret@b?x":         "query",
		"wss://[fe80::1%25lo]":       "its host is neither",
		"::1":                        "its host is neither",
		"wss://exämple.com":          "its host is neither",
		"wss://exa mple":             "invalid character",
		"wss:/user:secret@host":      "two slashes",
		"wss:secret@host":            "two slashes",
		"wss:/secret":                "two slashes",
		"h:/secret":                  "port is empty",
		"wss:///user:secret@host":    "no host",
		"wss//user:secret@host":      "its path",
		"wss://user:sec/secret@host": "cannot be parsed",
		"wss://user/secret@host":     "its path",
		"wss://user:secret":          "invalid port",
		"wss://h/user%3Asecret":      "its path",
		"wss://h/user%40secret":      "its path",
		"wss://h?secret":             "query",
		"wss://h#secret":             "fragment",
		"wss://h/#":                  "fragment",
		"secret://h":                 "neither ws nor wss",
		"redis://:secret@h:6379":     "neither ws nor wss",
		"wss://u:%zzsecret@h":        "cannot be parsed",
		"wss://[secret":              "cannot be parsed",
	} {
		_, err := jetstream.ParseEndpoint(in)
		if !errors.Is(err, jetstream.ErrBadEndpoint) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q gives %v, want %q", in, err, want)
		}
	}
}

func FuzzParseEndpoint(f *testing.F) {
	for _, s := range []string{"jetstream2.us-east.bsky.network", "ws://127.0.0.1:6008/subscribe", "wss://u:p@[::1]:9/%2f", "wss://[fe80::1%25lo]", "a:b:c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ep, err := jetstream.ParseEndpoint(s)
		if err != nil {
			if !errors.Is(err, jetstream.ErrBadEndpoint) {
				t.Fatal(err)
			}
			return
		}
		again, err := jetstream.ParseEndpoint(ep.String())
		if err != nil || again.String() != ep.String() || again.Host() != ep.Host() {
			t.Fatalf("%q is %q, which is %q (%v)", s, ep, again, err)
		}
	})
}

func TestCursor(t *testing.T) {
	for want, c := range map[string]jetstream.Cursor{
		"live":                            {},
		"seq 17 of host:443":              jetstream.SequenceCursor("host:443", 17),
		"time 2026-11-22T06:20:36.56303Z": jetstream.TimeCursor(1795328436563030),
		// A smaller number would be taken for a sequence number.
		"time 2001-09-09T01:46:40Z": jetstream.TimeCursor(17),
	} {
		if c.String() != want {
			t.Errorf("got %q, want %q", c, want)
		}
	}
	for _, c := range []jetstream.Cursor{jetstream.SequenceCursor("h:1", 0), jetstream.SequenceCursor("h:1", -4), jetstream.SequenceCursor("", 4),
		jetstream.SequenceCursor("h:1", 1_000_000_000_000_000)} {
		if !c.IsLive() {
			t.Errorf("%s is no sequence number", c)
		}
	}
	if _, ok := jetstream.SequenceCursor("h:1", 3).TimeUS(); ok {
		t.Error("a sequence number is a time")
	}
	if _, _, ok := jetstream.TimeCursor(3).Sequence(); ok {
		t.Error("a time is a sequence number")
	}
}
