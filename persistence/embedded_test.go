package persistence_test

import (
	"testing"
	"time"

	"tempestd/messages"
	"tempestd/persistence"
)

func TestSmoke(t *testing.T) {
	dir := t.TempDir()
	st, err := persistence.OpenEmbedded(t.Context(), dir, persistence.EmbeddedOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := st.OpenStream(t.Context(), "a", persistence.StreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b := &messages.Batch{}
	for i := range 10 {
		off := len(b.Buf)
		b.Buf = append(b.Buf, `{"a":1}`...)
		b.Events = append(b.Events, messages.Event{Off: uint32(off), Len: uint32(len(b.Buf) - off), TimeUS: 1e15 + int64(i), Fingerprint: uint64(i)})
	}
	for range 3 {
		got, err := s.Append(t.Context(), b, messages.Checkpoint{})
		t.Log(got, err)
		_, err = persistence.OpenEmbedded(t.Context(), dir, persistence.EmbeddedOptions{})
		t.Log(err)
		f, err := s.Tail(t.Context(), persistence.FromBeginning(), time.Second, 100)
		t.Log(len(f.Frames), err)
		f, err = s.Read(t.Context(), persistence.Start(), persistence.End(), 100)
		t.Log(len(f.Frames), err)
	}
	err = s.Fingerprints(t.Context(), persistence.Horizon{}, func(f persistence.FingerprintBlock) bool {
		e, err := s.Entry(t.Context(), f.Last, 3)
		t.Log(f, string(e), err)
		return true
	})
	t.Log(err)
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	st, err = persistence.OpenEmbedded(t.Context(), dir, persistence.EmbeddedOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(st.Streams(t.Context()))
	st.Close()
}
