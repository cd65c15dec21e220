package valkey

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	valkeygo "github.com/valkey-io/valkey-go"

	"tempestd/messages"
	"tempestd/persistence"
)

// valkeyLayout is the version of the layout of a stream's keys.
const layoutVersion = "1"

// stream is a handle of a stream. Handles for reading are cheap. A handle with a lease has
// its own connection.
type stream struct {
	store *Store
	name  string
	keys  streamKeys
	hub   *hub

	// Used by the writer. Append and its parts have one caller at a time.
	lease     messages.Lease
	conn      *link
	write     sync.Mutex
	retention persistence.Retention
	known     bool   // end is valid
	end       ending // the end of the stream, as this handle knows it
	// told is the end of the stream when Checkpoint was first called. What the writer knows of the
	// stream is from then.
	told  atomic.Pointer[ending]
	doubt bool // a chunk was sent and not answered: the stream may be longer
	// foreign is the newest ID that another client is known to have used. New IDs are greater.
	foreign  persistence.EntryID
	conflict *persistence.ConflictError // set when the stream ended elsewhere: this handle appends no more
	ids      []persistence.EntryID
	memory   *appendMemory // of the last append, for reuse by the next one
	blocks   []loadedBlock // the blocks that Entry has loaded, sorted by last

	trimAt     time.Time // when retention is applied again
	trimFailed string    // the last error of applying retention
	// oldest is the oldest millisecond to keep, by the clock, in the last round.
	oldest int64
}

// Name implements persistence.Stream.
func (s *stream) Name() string { return s.name }

// Info implements persistence.Stream.
func (s *stream) Info(ctx context.Context) (persistence.StreamInfo, error) {
	m, err := s.store.run(ctx, scriptInfo, []string{s.keys.stream, s.keys.meta})
	if err != nil {
		return persistence.StreamInfo{}, err
	}
	r, err := decodeInfo(m)
	if err != nil {
		return persistence.StreamInfo{}, s.refuse(err)
	}
	if r.layout != "" && r.layout != layoutVersion {
		return persistence.StreamInfo{}, s.store.refuse("stream %s has layout version %.20q; this version reads %q", s.name, r.layout, layoutVersion)
	}
	info := persistence.StreamInfo{Name: s.name, Entries: r.entries - r.droppedEntries, Bytes: r.bytes - r.droppedBytes}
	if !r.trimmed.IsZero() {
		info.Trimmed = &r.trimmed
	}
	if !r.oldest.IsZero() && info.Entries > 0 && (r.last.IsZero() || r.oldest.Compare(r.last) <= 0) {
		info.Oldest = &r.oldest
		if !r.last.IsZero() {
			info.Newest = &r.last
		}
	}
	if !r.closure.at.IsZero() {
		info.ClosedAt, info.ClosedReason = &r.closure.at, r.closure.reason
	}
	return info, nil
}

// Checkpoint implements persistence.Stream.
func (s *stream) Checkpoint(ctx context.Context) (messages.Checkpoint, error) {
	var cp messages.Checkpoint
	m, err := s.store.do(ctx, func(b valkeygo.Builder) valkeygo.Completed {
		return b.Hmget().Key(s.keys.meta).Field(checkpointFields...).Build()
	})
	if err != nil {
		return cp, err
	}
	r, err := decodeCheckpoint(m)
	if err != nil {
		return cp, s.refuse(err)
	}
	s.told.CompareAndSwap(nil, &r.end)
	switch {
	case r.checkpoint != "":
		if err := json.Unmarshal([]byte(r.checkpoint), &cp); err != nil {
			return messages.Checkpoint{}, s.store.refuse("the checkpoint of stream %s: %v", s.name, err)
		}
	case r.end.last.IsZero():
		return cp, fmt.Errorf("%w in stream %s", persistence.ErrNoCheckpoint, s.name)
	default:
		// The first append was interrupted. Its missing entries come after its first entry.
		info, err := s.Info(ctx)
		if err != nil {
			return cp, err
		}
		if info.Oldest == nil {
			return cp, fmt.Errorf("%w in stream %s", persistence.ErrNoCheckpoint, s.name)
		}
		cp.TimeUS = info.Oldest.TimeUS()
	}
	// The chunks of an append that was interrupted come after the checkpoint.
	if !r.end.last.IsZero() {
		cp.LastID = r.end.last
	}
	return cp, nil
}

// Trim implements persistence.Stream. It is an explicit request, so it uses the clock alone.
func (s *stream) Trim(ctx context.Context, r persistence.Retention) (persistence.Trimmed, error) {
	const budget = 64
	var all persistence.Trimmed
	for {
		args := bounds(s.tooOld(r), 0, r)
		m, err := s.store.run(ctx, scriptTrim, []string{s.keys.stream, s.keys.meta, s.keys.blocks}, append(args[:], strconv.Itoa(budget))...)
		if err != nil {
			return all, err
		}
		dropped, err := decodeTrim(m)
		if err != nil {
			return all, s.refuse(err)
		}
		if dropped == (persistence.Trimmed{}) {
			if all.Entries > 0 {
				s.store.emit(persistence.StreamTrimmed{Stream: s.name, Trimmed: all})
			}
			return all, nil
		}
		all.Entries += dropped.Entries
		all.Bytes += dropped.Bytes
	}
}

// tooOld is the oldest millisecond that a retention keeps by our clock, 0 for no bound.
func (s *stream) tooOld(r persistence.Retention) int64 {
	if r.Age <= 0 {
		return 0
	}
	return max(s.store.clock.Now().Add(-r.Age).UnixMilli(), 0)
}

// bounds returns the bounds of a retention as the scripts take them: the oldest millisecond to keep
// by the clock, the age before the newest entry (0 for no bound), entries and bytes.
func bounds(oldest int64, age time.Duration, r persistence.Retention) [4]string {
	return [4]string{decimal(oldest), decimal(age.Milliseconds()), decimal(r.Entries), decimal(r.Bytes)}
}

// round returns the bounds for one round of the retention by appends. A clock may be wrong. So an
// entry is dropped only if it is also too old by the stream's newest entry, and was too old by the
// clock in the round before.
func (s *stream) round(r persistence.Retention) [4]string {
	before, now := s.oldest, s.tooOld(r)
	s.oldest = now
	return bounds(min(before, now), r.Age, r)
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

// Close implements persistence.Stream. Any daemon may close a stream, because closing is not an
// append.
func (s *stream) Close(ctx context.Context, reason string) error {
	now := strconv.FormatInt(s.store.clock.Now().UnixMicro(), 10)
	m, err := s.store.run(ctx, scriptClose, []string{s.keys.meta, s.keys.closed, s.keys.shown}, now, reason)
	if err != nil {
		return err
	}
	n, err := decodeNumber("the answer to a close", m)
	if err != nil {
		return s.refuse(err)
	}
	if n == 1 {
		s.store.emit(persistence.StreamEnded{Stream: s.name, Reason: reason})
	}
	return nil
}

// SaveCheckpoint implements persistence.CheckpointStore.
func (v *Store) SaveCheckpoint(ctx context.Context, feed string, cp messages.Checkpoint) error {
	if err := persistence.CheckName(feed); err != nil {
		return err
	}
	value, err := json.Marshal(cp)
	if err != nil {
		return fmt.Errorf("encode a checkpoint: %w", err)
	}
	key := newStreamKeys(v.opt.Prefix, feed).meta
	_, err = v.do(ctx, func(b valkeygo.Builder) valkeygo.Completed {
		return b.Hset().Key(key).FieldValue().FieldValue("cursor", string(value)).Build()
	})
	return err
}

// LoadCheckpoint implements persistence.CheckpointStore.
func (v *Store) LoadCheckpoint(ctx context.Context, feed string) (messages.Checkpoint, error) {
	var cp messages.Checkpoint
	if err := persistence.CheckName(feed); err != nil {
		return cp, err
	}
	key := newStreamKeys(v.opt.Prefix, feed).meta
	m, err := v.do(ctx, func(b valkeygo.Builder) valkeygo.Completed { return b.Hget().Key(key).Field("cursor").Build() })
	if err != nil {
		return cp, err
	}
	if m.IsNil() {
		return cp, fmt.Errorf("%w for feed %.80q", persistence.ErrNoCheckpoint, feed)
	}
	text, err := decodeText("the checkpoint", m)
	if err != nil {
		return cp, v.refuse("feed %s: %v", feed, err)
	}
	if err := json.Unmarshal([]byte(text), &cp); err != nil {
		return messages.Checkpoint{}, v.refuse("the checkpoint of feed %s: %v", feed, err)
	}
	return cp, nil
}
