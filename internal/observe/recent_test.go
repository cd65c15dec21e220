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
	for range 3 * recentLines {
		log.Info(strings.Repeat("x", 2000))
	}
	if n, lines := len(recent.Text()), bytes.Count(recent.Text(), []byte("\n")); n > recentBytes || lines > recentLines || lines < 400 {
		t.Errorf("%d bytes in %d lines are kept", n, lines)
	}
}
