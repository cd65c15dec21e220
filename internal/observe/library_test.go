package observe_test

import (
	"log/slog"
	"testing"

	"tempestd/internal/observe"
)

func TestI9_TheWordsOfALibraryAreEvents(t *testing.T) {
	o, out := logged(t, observe.Strict())
	l := o.Library("badger").With("dir", "/x")
	l.Error("cannot flush\n", "error", "EIO")
	l.Warn("slow")
	l.Info("opened")
	rs := records(t, out)
	for i, want := range []map[string]any{
		{"event": "library.failed", "level": "ERROR", "library": "badger", "error": "cannot flush dir=/x error=EIO"},
		{"event": "library.warned", "level": "WARN", "library": "badger", "error": "slow dir=/x"},
		{"event": "library.said", "level": "DEBUG", "library": "badger", "error": "opened dir=/x"},
	} {
		for key, value := range want {
			if rs[i][key] != value {
				t.Errorf("record %d has %s=%v, want %v", i, key, rs[i][key], value)
			}
		}
	}
	if !l.Enabled(t.Context(), slog.LevelDebug) {
		t.Error("a debug log hears no debug records")
	}
}
