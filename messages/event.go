package messages

import "time"

// Kind is what an event tells about.
type Kind uint8

// The kinds upstreams send, and the one tempestd writes itself.
const (
	KindUnknown  Kind = iota // well-formed, but of a kind this version does not know: stored, told apart by its bytes alone
	KindCommit               // a repository operation
	KindIdentity             // a handle or DID document changed
	KindAccount              // an account's status changed
	KindSync                 // a repository's state was declared anew (v2 only)
	KindGap                  // tempestd's own: events that are known or suspected to be missing here
)

var kindNames = [...]string{"unknown", "commit", "identity", "account", "sync", "gap"}

// String is the kind as it stands in the event's "kind" field.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return kindNames[KindUnknown]
}

// Event is what was scanned from one frame: enough to order it, to recognise it and to resume after it. The event itself is
// the bytes Batch.Buf[Off:Off+Len], verbatim.
type Event struct {
	Off, Len    uint32
	Kind        Kind
	Drop        bool   // the stream holds it already: not to be appended
	TimeUS      int64  // position in its upstream's time, Unix microseconds: when the instance witnessed it, where that is said; not unique and not always increasing
	Seq         int64  // the upstream's sequence number, 0 where it has none; belongs to one host
	Fingerprint uint64 // 64-bit hash of the event's identity
}

// Batch is a run of upstream events in arrival order. Its buffers are reused: ownership moves with the batch, and it goes back
// to the connection that filled it once it is committed.
type Batch struct {
	Epoch  Epoch
	Number uint64  // 1, 2, 3 … within the epoch; a writer accepts only the next one
	Buf    []byte  // the events' JSON, back to back in order
	Events []Event // in arrival order
	// Skipped are events that were sent and not read, in arrival order: each is missing here.
	Skipped []SkippedEvent
	Frames  int // frames read, those that gave no event, or one that is not wanted, included
	Bad     int // frames that could not be parsed and were left out

	// How far the batch reaches upstream: the sequence number and the time, Unix µs, of its last event, wanted or not; 0 where there is
	// none. A batch of frames without a wanted event has no Events, and still moves the position. What was Skipped counts where it is known.
	Seq, TimeUS int64
	// PresentUS is the latest that the host's own clock can have shown when the batch was handed over, Unix µs; 0 where that is not known.
	PresentUS int64
	// Waited is how long the connection took to fill the batch. One that has nothing more to send takes long, a replay does not.
	Waited time.Duration
}

// SkippedEvent is an event that was sent and could not be taken. What is not known of it is zero or "": of a commit, everything but its record usually is.
type SkippedEvent struct {
	After       int    // how many of the batch's Events came before it
	Size        int64  // bytes of its JSON, or, where that could not be told, of its packed message
	Why         string // for people
	TimeUS, Seq int64  // as an Event's
	Kind        Kind
	Fingerprint uint64 // as an Event's; 0 where its identity is not known

	DID, Rev, Collection, RKey, Operation string // as the upstream says them, 2 KiB each at most
}

// Bytes is the JSON of event i. It aliases Buf.
func (b *Batch) Bytes(i int) []byte {
	e := &b.Events[i]
	return b.Buf[e.Off : e.Off+e.Len : e.Off+e.Len]
}

// keepBytes is how much memory an empty batch may keep however little of it was used.
const keepBytes = 256 << 10

// Reset empties the batch and keeps its memory, unless the batch had used only a small part of it: what a catch-up needed is given back
// once the feed is live.
func (b *Batch) Reset() {
	if cap(b.Buf) > keepBytes && len(b.Buf) < cap(b.Buf)/16 {
		b.Buf, b.Events = nil, nil
	}
	b.Skipped = nil
	b.Buf, b.Events = b.Buf[:0], b.Events[:0]
	b.Epoch, b.Number, b.Frames, b.Bad, b.Seq, b.TimeUS, b.PresentUS, b.Waited = 0, 0, 0, 0, 0, 0, 0, 0
}
