package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/jonboulle/clockwork"

	"tempestd/internal/config"
	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/embedded"
)

// Errors of MoveCursor.
var (
	ErrNotEmbedded = errors.New(`the streams are in a server, whose feeds have one position for all daemons; it can be moved only with backend = "embedded"`)
	ErrFilling     = errors.New("the feed is reading the history that it begins with; its position can be moved when it has that")
	ErrFuture      = errors.New("the moment is in the future")
)

// AheadError says that a move would leave events out.
type AheadError struct{ Covered, At time.Time }

func (e *AheadError) Error() string {
	return fmt.Sprintf("everything is stored until %s, and a move to %s leaves out what came between", e.Covered.UTC().Format(time.RFC3339), e.At.UTC().Format(time.RFC3339))
}

// MoveOptions say how MoveCursor moves.
type MoveOptions struct {
	Clock clockwork.Clock
	Skip  bool // events may be left out; otherwise that is an *AheadError
}

// MovedCursor is what MoveCursor did.
type MovedCursor struct {
	Was messages.Cursor `json:"was"`
	Is  messages.Cursor `json:"is"`
	// Gap is what the feed does not read any more; nil if the position was moved back. It has an
	// entry in the stream and a row in the ledger (I4).
	Gap *messages.GapRow `json:"gap,omitempty"`
}

// MoveCursor moves the position of a feed of a daemon that is not running. When the feed begins
// again, it asks its upstream for what came since at.
//
// A move back stores nothing twice: what the stream holds is recognised (I2). A move forward leaves
// out events, so it records a gap in the same append (I1, I4). The store's lock is held meanwhile.
func MoveCursor(ctx context.Context, cfg *config.Config, feed string, at time.Time, opt MoveOptions) (moved MovedCursor, err error) {
	f, clock := cfg.Feed(feed), opt.Clock
	switch {
	case f == nil:
		return moved, fmt.Errorf("%w: %q", messages.ErrNoFeed, feed)
	case cfg.Stream.Backend != config.BackendEmbedded:
		return moved, ErrNotEmbedded
	case at.After(clock.Now()):
		return moved, ErrFuture
	}
	if err := os.MkdirAll(cfg.DataDir, 0o750); err != nil {
		return moved, fmt.Errorf("data_dir: %w", err)
	}
	store, err := embedded.Open(ctx, filepath.Join(cfg.DataDir, "store"), embedded.Options{MinFree: uint64(cfg.Stream.MinFree), Clock: clock})
	if err != nil {
		return moved, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	stream, err := store.OpenStream(ctx, feed, persistence.StreamOptions{Retention: persistence.Retention(f.Retention)})
	if err != nil {
		return moved, err
	}
	cp, err := stream.Checkpoint(ctx)
	known := err == nil
	if err != nil && !errors.Is(err, persistence.ErrNoCheckpoint) {
		return moved, err
	}
	// The cursor's own checkpoint may be ahead, by what was passed over without an append.
	if saved, err := store.LoadCheckpoint(ctx, feed); err == nil && saved.LastID == cp.LastID && saved.Saved >= cp.Saved && known {
		cp = saved
	}
	if cp.Fill != nil {
		return moved, ErrFilling
	}
	now := clock.Now()
	moved.Was = cursorOf(feed, cp, now)
	batch := &messages.Batch{}
	if us, covered := at.UnixMicro(), cp.Covered().US; known && us > covered && covered > 0 {
		if !opt.Skip {
			return moved, &AheadError{time.UnixMicro(covered), at}
		}
		moved.Gap = passedOver(feed, cp, us, now)
		batch = gapEntry(moved.Gap, cp.LastID)
		cp.Gaps = append(cp.Gaps[:len(cp.Gaps):len(cp.Gaps)], *moved.Gap)
	}
	// A moment without a host: every host is asked for what it has since then, and nothing that it
	// sends is taken for a proof of anything.
	cp.Position, cp.Replay, cp.AtTip = messages.Position{TimeUS: at.UnixMicro(), Moment: true}, messages.Position{}, 0
	cp.CommitUS, cp.Saved = min(cp.CommitUS, at.UnixMicro()), now.UnixMicro()
	if !known {
		cp.Ledger = true
	}
	done, err := stream.Append(ctx, batch, cp)
	if err != nil {
		return moved, fmt.Errorf("store the position: %w", err)
	}
	if done.Entries > 0 {
		cp.LastID = done.Last
	}
	moved.Is = cursorOf(feed, cp, now)
	return moved, nil
}

func cursorOf(feed string, cp messages.Checkpoint, now time.Time) messages.Cursor {
	return messages.Cursor{Feed: feed, At: now.UTC().Truncate(time.Millisecond), Position: cp.Position, CoveredUS: cp.Covered().US, LastID: cp.LastID}
}

// passedOver is the gap between a position and a later moment.
func passedOver(feed string, cp messages.Checkpoint, us int64, now time.Time) *messages.GapRow {
	g := messages.Gap{Host: cp.Host, FromUS: cp.Covered().US, ToUS: us, Cause: messages.GapOperator}
	if !cp.Moment {
		g.FromSeq = cp.Seq
	}
	return &messages.GapRow{ID: messages.GapID(feed, g), Version: 1, Feed: feed, Gap: g, Known: true, State: messages.GapOpen, OpenedAt: now, ChangedAt: now}
}

// gapEntry returns the batch with the entry of a gap behind the entry last, and sets the row's ID of
// it.
func gapEntry(row *messages.GapRow, last messages.EntryID) *messages.Batch {
	row.Entry = messages.DeriveID(row.FromUS, last)
	buf := row.OpeningEntry()
	return &messages.Batch{Buf: buf, Events: []messages.Event{{Len: uint32(len(buf)), Kind: messages.KindGap, TimeUS: row.FromUS, Fingerprint: xxhash.Sum64(row.Gap.Entry())}}}
}
