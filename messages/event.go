package messages

import "time"

// Kind is the kind of an event.
type Kind uint8

// The kinds that upstreams send, and the one that tempestd itself writes.
const (
	// KindUnknown is well-formed, but of a kind that this version does not know. It is stored, and
	// only its bytes identify it.
	KindUnknown  Kind = iota
	KindCommit        // a repository operation
	KindIdentity      // a handle or DID document changed
	KindAccount       // an account's status changed
	KindSync          // a repository's state was declared again (v2 only)
	// KindGap is tempestd's own: events are missing here, or may be.
	KindGap
)

var kindNames = [...]string{"unknown", "commit", "identity", "account", "sync", "gap"}

// String returns the kind as it is in the event's "kind" field.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return kindNames[KindUnknown]
}

// Event is what was scanned from one frame: enough to order the event, to recognise it and to
// resume after it. The event itself is the bytes Batch.Buf[Off:Off+Len], verbatim.
type Event struct {
	Off, Len uint32
	Kind     Kind
	Drop     bool // it must not be appended, for example because the stream already holds it
	// TimeUS is the event's position in its upstream's time, Unix µs: the time at which the
	// instance witnessed it, if the event says that, or else its own time. It is not unique and not
	// always increasing.
	TimeUS      int64
	Seq         int64  // the upstream's sequence number, 0 if it has none; valid on one host
	Fingerprint uint64 // 64-bit hash of the event's identity
}

// Batch is a run of upstream events in arrival order. Its buffers are reused: ownership moves with
// the batch, and the batch returns to the connection that filled it once it is committed or
// dropped.
type Batch struct {
	Epoch  Epoch
	Number uint64  // 1, 2, 3 … within the epoch; a writer accepts only the next one
	Buf    []byte  // the events' JSON, in order, without separators
	Events []Event // in arrival order
	// Oversized are events that were sent but not kept, in arrival order. Each of them is missing
	// here.
	Oversized []OversizedEvent
	// Compared is set on a batch of bare events, which were fetched from a source without revs: the
	// stream up to this entry does not have them. It is zero if they were compared with no entry.
	Compared EntryID
	Frames   int // frames read, including those that gave no event or an unwanted one
	Bad      int // frames that could not be parsed and were left out

	// Seq and TimeUS are the place upstream that the batch reaches: the sequence number and the
	// time, Unix µs, of its last event, wanted or not; 0 if there is none. A batch of frames
	// without a wanted event has no Events, and still moves the position. Oversized events count if
	// their place is known.
	Seq, TimeUS int64
	// PresentUS is the latest time, Unix µs, that the host's own clock can have shown when the
	// batch was handed over; 0 if unknown.
	PresentUS int64
	// ReachedUS is a time, Unix µs, that the host's own clock had surely reached by then; 0 if unknown.
	ReachedUS int64
	// ReadAt is when its newest frame was read, by our clock; zero if unknown.
	ReadAt time.Time
	// Point is the place in an archive that the batch reaches (Fill.Point); nil for a batch of a
	// socket.
	Point []byte
	// Waited is how long the connection took to fill the batch. It is long if the upstream has
	// nothing more to send, and short during a replay.
	Waited time.Duration
}

// OversizedEvent is an event that was sent but is larger than max_message_size. Fields that are
// unknown are zero or "". Usually everything of a commit is known except its record.
type OversizedEvent struct {
	After int // how many of the batch's Events came before it
	// Size is the number of bytes of its JSON or, if that is unknown, of its compressed message.
	Size        int64
	TimeUS, Seq int64 // as in Event
	Kind        Kind
	Fingerprint uint64 // as in Event; 0 if its identity is unknown

	DID, Rev, Collection, RKey, Operation string // as the upstream says them, at most 2 KiB each
}

// Bytes returns the JSON of event i. It aliases Buf.
func (b *Batch) Bytes(i int) []byte {
	e := &b.Events[i]
	return b.Buf[e.Off : e.Off+e.Len : e.Off+e.Len]
}

// keepBytes is how much memory an empty batch may keep even if it used little of it.
const keepBytes = 256 << 10

// Reset empties the batch. It keeps the batch's memory unless the batch had used only a small part
// of it: memory that a catch-up needed is freed once the feed is live.
func (b *Batch) Reset() {
	if cap(b.Buf) > keepBytes && len(b.Buf) < cap(b.Buf)/16 {
		b.Buf, b.Events = nil, nil
	}
	b.Oversized, b.Compared, b.Point, b.ReadAt = nil, EntryID{}, nil, time.Time{}
	b.Buf, b.Events = b.Buf[:0], b.Events[:0]
	b.Epoch, b.Number, b.Frames, b.Bad, b.Seq, b.TimeUS, b.PresentUS, b.ReachedUS, b.Waited = 0, 0, 0, 0, 0, 0, 0, 0, 0
}
