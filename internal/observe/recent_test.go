package observe

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestTheNewestLinesAreKeptAndBounded(t *testing.T) {
	var out bytes.Buffer
	log, recent := Remember(slog.New(slog.NewTextHandler(&out, nil)))
	log.Debug("not logged")
	log.With("a", 1).Warn("kept", "b", "\x1b[2J")
	if got := string(recent.Text()); !strings.Contains(got, "level=WARN msg=kept a=1") || strings.Contains(got, "not logged") || strings.Contains(got, "\x1b") || !strings.Contains(out.String(), "kept") {
		t.Errorf("%s\n%s", got, &out)
	}
	line := func(n int) { _, _ = recent.Write(append(bytes.Repeat([]byte("x"), n), '\n')) }
	for range 2 * recentLines {
		line(10)
	}
	if lines := bytes.Count(recent.Text(), []byte("\n")); lines != recentLines {
		t.Errorf("%d lines are kept, want %d", lines, recentLines)
	}
	for range 5 {
		line(recentBytes / 3)
	}
	if n := len(recent.Text()); n > recentBytes || n < recentBytes/2 {
		t.Errorf("%d bytes are kept", n)
	}
}
