package backfill

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"tempestd/internal/accounts"
	"tempestd/internal/atproto"
	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// appendRecord appends the bare event of a record, in v1's shape without a rev.
func appendRecord(dst []byte, r accounts.Record, timeUS int64) []byte {
	dst = appendBare(dst, r.DID, timeUS, "create", r.Collection, r.RKey)
	dst = append(append(dst, `,"record":`...), r.JSON...)
	dst = append(append(dst, `,"cid":"`...), r.CID.String()...)
	return append(dst, `"}}`...)
}

// appendDelete appends the bare event of a delete.
func appendDelete(dst []byte, did string, path accounts.Path, timeUS int64) []byte {
	return append(appendBare(dst, did, timeUS, "delete", path.Collection, path.RKey), "}}"...)
}

// appendBare appends the beginning of an event. None of the strings needs an escape in JSON.
func appendBare(dst []byte, did string, timeUS int64, operation, collection, rkey string) []byte {
	dst = append(append(dst, `{"did":"`...), did...)
	dst = strconv.AppendInt(append(dst, `","time_us":`...), timeUS, 10)
	dst = append(append(dst, `,"kind":"commit","commit":{"operation":"`...), operation...)
	dst = append(append(dst, `","collection":"`...), collection...)
	dst = append(append(dst, `","rkey":"`...), rkey...)
	return append(dst, '"')
}

// timeOf is the time of a record: that of its key, or else when an app view saw it, or else now.
func timeOf(r accounts.Record, now time.Time) int64 {
	us := r.Indexed.UnixMicro()
	if at, ok := accounts.KeyTime(r.RKey); ok {
		us = at.UnixMicro()
	} else if r.Indexed.IsZero() {
		us = now.UnixMicro()
	}
	return max(min(us, now.UnixMicro()), 1)
}

// plainPath says whether a path can stand in JSON as it is, and is one of the network's.
func plainPath(did, collection, rkey string) bool {
	_, _, _, ok := accounts.ParseURI("at://" + did + "/" + collection + "/" + rkey)
	return ok && atproto.IsNSID(collection)
}

// filler puts bare events into batches and hands them over.
type filler struct {
	deliver Deliver
	batch   *messages.Batch
	at      json.RawMessage // the place that is stored with the next batch
}

// add appends an event, which build makes.
func (f *filler) add(ctx context.Context, build func([]byte) []byte) error {
	b := f.batch
	start := len(b.Buf)
	b.Buf = build(b.Buf)
	e := messages.Event{Off: uint32(start), Len: uint32(len(b.Buf) - start)}
	if err := jetstream.ScanRecord(b.Buf[start:], &e); err != nil {
		return err
	}
	b.Events = append(b.Events, e)
	if len(b.Events) >= batchEvents || len(b.Buf) >= batchBytes {
		return f.flush(ctx)
	}
	return nil
}

// flush hands the batch over with the place that was reached, if it has events.
func (f *filler) flush(ctx context.Context) error {
	if len(f.batch.Events) == 0 {
		return nil
	}
	return f.hand(ctx)
}

func (f *filler) hand(ctx context.Context) error {
	next, err := f.deliver(ctx, f.batch, f.at)
	if next != nil {
		f.batch = next
	}
	return err
}
