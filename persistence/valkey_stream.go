package persistence

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/valkey-io/valkey-go"

	"tempestd/messages"
)

// valkeyLayout is the version of what stands in a stream's keys.
const valkeyLayout = "1"

// valkeyStream is one handle on a stream. Reading handles are cheap; the one that was opened with a lease has a connection of its own.
type valkeyStream struct {
	store *Valkey
	name  string
	keys  valkeyKeys
	hub   *valkeyHub

	// The writer's. Append and what it is made of have one caller at a time.
	lease     messages.Lease
	conn      *link
	write     sync.Mutex
	retention Retention
	known     bool      // last is where this handle knows the stream to end
	last      EntryID   // the stream's newest entry
	doubt     *pending  // an append whose outcome is not known
	trimAt    time.Time // when retention is looked at again
	ids       []EntryID
	memory    *appendMemory // of the last append, for the next one
	blocks    []loadedBlock // what Entry looks into, by last
}

// Name implements Stream.
func (s *valkeyStream) Name() string { return s.name }

// Info implements Stream.
func (s *valkeyStream) Info(ctx context.Context) (StreamInfo, error) {
	m, err := s.store.run(ctx, scriptInfo, []string{s.keys.stream, s.keys.meta})
	if err != nil {
		return StreamInfo{}, err
	}
	f := stringsOf(m)
	info := StreamInfo{Name: s.name, Entries: number(f[2]) - number(f[4]), Bytes: number(f[3]) - number(f[5])}
	if f[0] != "" && f[0] != valkeyLayout {
		return info, fmt.Errorf("stream %s has layout version %.20q; this version reads %q", s.name, f[0], valkeyLayout)
	}
	if len(f) > 9 && f[9] != "" && info.Entries > 0 {
		info.Oldest, info.Newest = entryID(f[9]), entryID(f[1])
	}
	info.Trimmed = entryID(f[6])
	if us := number(f[7]); us != 0 {
		at := time.UnixMicro(us).UTC()
		info.ClosedAt, info.ClosedReason = &at, f[8]
	}
	return info, nil
}

// Checkpoint implements Stream.
func (s *valkeyStream) Checkpoint(ctx context.Context) (messages.Checkpoint, error) {
	var cp messages.Checkpoint
	m, err := s.store.do(ctx, func(b valkey.Builder) valkey.Completed {
		return b.Hmget().Key(s.keys.meta).Field("checkpoint", "last").Build()
	})
	if err != nil {
		return cp, err
	}
	f := stringsOf(m)
	last := entryID(f[1])
	switch {
	case f[0] != "":
		if err := json.Unmarshal([]byte(f[0]), &cp); err != nil {
			return cp, fmt.Errorf("decode the checkpoint of stream %s: %w", s.name, err)
		}
	case last == nil:
		return cp, fmt.Errorf("%w in stream %s", ErrNoCheckpoint, s.name)
	default:
		// The very first append was cut short. What is missing of it comes after its first entry.
		info, err := s.Info(ctx)
		if err != nil {
			return cp, err
		}
		if info.Oldest == nil {
			return cp, fmt.Errorf("%w in stream %s", ErrNoCheckpoint, s.name)
		}
		cp.TimeUS = info.Oldest.TimeUS()
	}
	// The chunks of an append that was cut short stand behind the checkpoint.
	if last != nil {
		cp.LastID = *last
	}
	return cp, nil
}

// Trim implements Stream.
func (s *valkeyStream) Trim(ctx context.Context, r Retention) (Trimmed, error) {
	const budget = 64
	var all Trimmed
	for {
		ms, n, b := s.bounds(r)
		m, err := s.store.run(ctx, scriptTrim, []string{s.keys.stream, s.keys.meta, s.keys.blocks}, ms, n, b, strconv.Itoa(budget))
		if err != nil {
			return all, err
		}
		counts := numbersOf(m)
		if counts[0] == 0 && counts[1] == 0 {
			if all.Entries > 0 {
				s.store.emit(StreamTrimmed{s.name, all})
			}
			return all, nil
		}
		all.Entries += counts[0]
		all.Bytes += counts[1]
	}
}

// bounds are the retention's, as the scripts take them.
func (s *valkeyStream) bounds(r Retention) (ms, entries, bytes string) {
	oldest := int64(0)
	if r.Age > 0 {
		oldest = max(s.store.clock.Now().Add(-r.Age).UnixMilli(), 0)
	}
	return strconv.FormatInt(oldest, 10), strconv.FormatInt(r.Entries, 10), strconv.FormatInt(r.Bytes, 10)
}

// Close implements Stream. Any daemon may end a stream: it is not an append.
func (s *valkeyStream) Close(ctx context.Context, reason string) error {
	now := strconv.FormatInt(s.store.clock.Now().UnixMicro(), 10)
	m, err := s.store.run(ctx, scriptClose, []string{s.keys.meta, s.keys.closed}, now, reason)
	if err != nil {
		return err
	}
	if n, _ := m.AsInt64(); n == 1 {
		s.store.emit(StreamEnded{Stream: s.name, Reason: reason})
	}
	return nil
}

// SaveCheckpoint implements CheckpointStore.
func (v *Valkey) SaveCheckpoint(ctx context.Context, feed string, cp messages.Checkpoint) error {
	if err := checkName(feed); err != nil {
		return err
	}
	value, err := json.Marshal(cp)
	if err != nil {
		return fmt.Errorf("encode a checkpoint: %w", err)
	}
	key := newValkeyKeys(v.opt.Prefix, feed).meta
	_, err = v.do(ctx, func(b valkey.Builder) valkey.Completed {
		return b.Hset().Key(key).FieldValue().FieldValue("cursor", string(value)).Build()
	})
	return err
}

// LoadCheckpoint implements CheckpointStore.
func (v *Valkey) LoadCheckpoint(ctx context.Context, feed string) (messages.Checkpoint, error) {
	var cp messages.Checkpoint
	if err := checkName(feed); err != nil {
		return cp, err
	}
	key := newValkeyKeys(v.opt.Prefix, feed).meta
	m, err := v.do(ctx, func(b valkey.Builder) valkey.Completed { return b.Hget().Key(key).Field("cursor").Build() })
	if err != nil {
		return cp, err
	}
	if m.IsNil() {
		return cp, fmt.Errorf("%w for feed %.80q", ErrNoCheckpoint, feed)
	}
	text, err := m.ToString()
	if err != nil {
		return cp, v.failure(ctx, err)
	}
	if err := json.Unmarshal([]byte(text), &cp); err != nil {
		return cp, fmt.Errorf("decode the checkpoint of feed %s: %w", feed, err)
	}
	return cp, nil
}

// stringsOf are an array's values; nil ones are "".
func stringsOf(m valkey.ValkeyMessage) []string {
	array, _ := m.ToArray()
	out := make([]string, max(len(array), 10))
	for i := range array {
		if n, err := array[i].ToInt64(); err == nil {
			out[i] = strconv.FormatInt(n, 10)
		} else {
			out[i], _ = array[i].ToString()
		}
	}
	return out
}

// numbersOf are an array's whole numbers.
func numbersOf(m valkey.ValkeyMessage) []int64 {
	array, _ := m.ToArray()
	out := make([]int64, max(len(array), 2))
	for i := range array {
		out[i], _ = array[i].AsInt64()
	}
	return out
}

func number(s string) int64 {
	n, _ := strconv.ParseInt(s, 10, 64)
	return n
}

// entryID is a stored ID, nil for none.
func entryID(s string) *EntryID {
	id, err := messages.ParseEntryID(s)
	if err != nil || id.IsZero() {
		return nil
	}
	return &id
}
