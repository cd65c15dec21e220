package embedded_test

import (
	"os"
	"path/filepath"
	"testing"

	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/embedded"
)

// TestI4_VanishedStreamIsKnownOf removes a stream's files, and in steps also what else knows of the
// stream. As long as the mark or the register exists, the stream opens empty and reports up to
// where it had been, until the next append.
func TestI4_VanishedStreamIsKnownOf(t *testing.T) {
	t.Parallel()
	for name, gone := range map[string][]string{
		"its segments":                  {"streams/feed"},
		"and its mark":                  {"streams/feed", "marks/feed"},
		"and the state, but the copy":   {"streams/feed", "marks/feed", "state"},
		"and the state, copy and marks": {"streams/feed", "state", "state.copy", "state.mark", "state.sums"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			store, s := openFeed(t, dir, embedded.Options{})
			batch := new(messages.Batch)
			crashBatch(batch, 0, 50)
			_, err := s.Append(t.Context(), batch, messages.Checkpoint{Position: messages.Position{Seq: 50}})
			must(t, err)
			must(t, store.Close())
			for _, path := range gone {
				must(t, os.RemoveAll(filepath.Join(dir, path)))
			}
			var heard told
			store, err = embedded.Open(t.Context(), dir, embedded.Options{OnNotice: heard.add})
			must(t, err)
			s, err = store.Stream(t.Context(), "feed")
			must(t, err)
			want := persistence.Truncation{Stream: "feed", Oldest: idOf(0), Expected: idOf(49)}
			info, err := s.Info(t.Context())
			must(t, err)
			if info.Lost == nil || *info.Lost != want || info.Entries != 0 {
				t.Errorf("lost is %+v of %+v, want %+v", info.Lost, info, want)
			}
			if lost := store.Truncations(); len(lost) != 1 || lost[0] != want {
				t.Errorf("truncations are %+v; told %q", lost, heard.lines())
			}
			// The loss is still reported if the process ends before the next append.
			must(t, store.Close())
			store, s = openFeed(t, dir, embedded.Options{})
			if info, err = s.Info(t.Context()); err != nil || info.Lost == nil || *info.Lost != want {
				t.Errorf("opened again lost is %+v, %v", info.Lost, err)
			}
			done, err := s.Append(t.Context(), batch, messages.Checkpoint{Position: messages.Position{Seq: 50}})
			must(t, err)
			if info, err = s.Info(t.Context()); err != nil || info.Lost != nil || done.Last != idOf(49) {
				t.Errorf("appended up to %s, lost is %+v, %v", done.Last, info.Lost, err)
			}
			must(t, store.Close())
			store, s = openFeed(t, dir, embedded.Options{})
			if info, err = s.Info(t.Context()); err != nil || info.Lost != nil || info.Entries != 50 {
				t.Errorf("fetched again: %+v, %v", info, err)
			}
			must(t, store.Close())
		})
	}
}
