package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"tempestd/messages"
	"tempestd/persistence"
)

func TestReloadSaysWhatChanged(t *testing.T) {
	d := newFakeDaemon(t, "")
	addr := d.Listener.Addr().String()
	for _, c := range []struct {
		answer  messages.Reloaded
		refuses error
		code    int
		out     string
		err     []string
	}{
		{out: "nothing has changed\n"},
		{answer: messages.Reloaded{Added: []string{"a", "b"}, Removed: []string{"c"}, Changed: []string{"d"}, Keys: []string{"log.level"}, Restart: []string{"http.listen"}},
			out: "feeds added: a, b\nfeeds removed: c\nfeeds changed: d\nkeys changed: log.level\nneeds a restart: http.listen\n"},
		{refuses: &messages.RejectedError{Err: errors.New("c.toml:3: log.level: found \"x\"\nc.toml:4: log.format: found \"\x1b[2J\"")},
			code: exitUsage, err: []string{"c.toml:3: log.level", "\nc.toml:4: log.format"}},
		{refuses: messages.ErrNotNow, code: exitFailure, err: []string{"not now"}},
	} {
		d.control.reloaded, d.control.refuses = c.answer, c.refuses
		p := execIn(t.Context(), nil, "reload", "--addr", addr)
		if p.code != c.code || p.out.String() != c.out || strings.Contains(p.err.String(), "\x1b") {
			t.Errorf("exit %d: %q %q, want %d: %q", p.code, p.out, p.err, c.code, c.out)
		}
		for _, want := range c.err {
			if !strings.Contains(p.err.String(), want) {
				t.Errorf("%q does not say %q", p.err, want)
			}
		}
	}
}

func TestStreamsAreListedAndDeletedOnlyWithTheirName(t *testing.T) {
	d := newFakeDaemon(t, "")
	d.append(t, posts(0, 3)...)
	if _, err := d.store.OpenStream(t.Context(), "old", persistence.StreamOptions{Retention: persistence.Retention{Entries: 7}}); err != nil {
		t.Fatal(err)
	}
	addr := d.Listener.Addr().String()
	p := execIn(t.Context(), nil, "streams", "list", "--addr", addr)
	for _, want := range []string{"none", "7 entries", "yes"} {
		if !strings.Contains(p.out.String(), want) {
			t.Errorf("exit %d: the list has no %q:\n%s%s", p.code, want, p.out, p.err)
		}
	}
	answer := func(given string, args ...string) process {
		p := process{out: newBuffer(), err: newBuffer()}
		p.code = execute(context.Background(), &app{in: strings.NewReader(given), out: p.out, err: p.err, env: func(string) (string, bool) { return "", false }},
			append([]string{"streams", "delete", "--addr", addr}, args...))
		return p
	}
	for _, given := range []string{"", "yes\n", "sk\n"} {
		if p := answer(given, "sky"); p.code != exitFailure || len(d.control.asked) > 0 {
			t.Errorf("%q: exit %d, asked %v\n%s", given, p.code, d.control.asked, p.err)
		}
	}
	if p := answer("sky\n", "sky"); p.code != exitOK || !strings.Contains(p.err.String(), "3 entries") || !strings.Contains(p.err.String(), "sky: deleted") {
		t.Errorf("exit %d: %s", p.code, p.err)
	}
	if p := answer("", "sky", "--yes"); p.code != exitOK {
		t.Errorf("exit %d: %s", p.code, p.err)
	}
	if got := d.control.asked; !slices.Equal(got, []string{"delete sky", "delete sky"}) {
		t.Errorf("asked %v", got)
	}
	if p := answer("", "none", "--yes"); p.code != exitFailure || !strings.Contains(p.err.String(), "the streams are: old, sky") {
		t.Errorf("exit %d: %s", p.code, p.err)
	}
}
