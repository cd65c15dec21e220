package tail

import (
	"encoding/json"
	"log/slog"
	"math"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"pgregory.net/rapid"

	"tempestd/internal/observe"
	"tempestd/persistence"
)

// TestPageSaysItsLength writes many kinds of pages. The length in the header must be that of the
// body.
func TestPageSaysItsLength(t *testing.T) {
	tails := New(Options{Observer: observe.New(slog.New(slog.DiscardHandler), observe.NewMetrics()), Clock: clockwork.NewRealClock()})
	rapid.Check(t, func(r *rapid.T) {
		number := rapid.OneOf(rapid.Uint64(), rapid.SampledFrom([]uint64{0, 1, 9, 10, 99, 100, 999_999, 1_795_327_636_563, 9_999_999_999_999, 1e19, math.MaxUint64}))
		id := func() persistence.EntryID {
			return persistence.EntryID{MS: number.Draw(r, "ms"), Seq: number.Draw(r, "seq")}
		}
		var p Page
		for range rapid.IntRange(0, 20).Draw(r, "frames") {
			n := rapid.SampledFrom([]int{0, 1, 500, ChunkSize - 2, ChunkSize, 2 * ChunkSize}).Draw(r, "length")
			p.Entries = append(p.Entries, persistence.Entry{ID: id(), Event: json.RawMessage(`"` + strings.Repeat("x", n) + `"`)})
		}
		p.Cursor, p.Behind = id(), int64(rapid.IntRange(0, 1e9).Draw(r, "behind"))
		if rapid.Bool().Draw(r, "entries") {
			p.Oldest, p.Newest = id(), id()
		}
		if rapid.Bool().Draw(r, "closed") {
			p.ClosedAt, p.ClosedReason = time.UnixMicro(1_795_000_000_000_000+int64(number.Draw(r, "us")%1e15)), rapid.String().Draw(r, "reason")
		}
		head := rapid.SampledFrom([]string{"", `"token":"abc",`}).Draw(r, "head")
		w := httptest.NewRecorder()
		tails.WritePage(w, "bluesky", head, &p)
		if said := w.Header().Get("Content-Length"); said != strconv.Itoa(w.Body.Len()) {
			r.Fatalf("a body of %d bytes says that it has %s", w.Body.Len(), said)
		}
		var body struct {
			Frames       []persistence.Entry
			Count        int
			Cursor       persistence.EntryID
			ClosedReason *string `json:"closed_reason"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || body.Count != len(p.Entries) || len(body.Frames) != body.Count || body.Cursor != p.Cursor {
			r.Fatalf("%.300s… for %d frames and the cursor %v (%v)", w.Body, len(p.Entries), p.Cursor, err)
		}
		if p.IsClosed() != (body.ClosedReason != nil) {
			r.Fatalf("closed: %t, and the reason is %v", p.IsClosed(), body.ClosedReason)
		}
	})
}
