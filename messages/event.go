package messages

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
	TimeUS      int64  // upstream time, Unix microseconds; not unique and not always increasing
	Seq         int64  // the upstream's sequence number, 0 where it has none; belongs to one host
	Fingerprint uint64 // 64-bit hash of the event's identity (DESIGN.md, Resume)
}

// Batch is a run of upstream events in arrival order. Its buffers are reused: ownership moves with the batch, and it goes back
// to the connection that filled it once it is committed.
type Batch struct {
	Epoch  Epoch
	Number uint64  // 1, 2, 3 … within the epoch; a writer accepts only the next one
	Buf    []byte  // the events' JSON, back to back in order
	Events []Event // in arrival order
	Frames int     // frames read, those that gave no event, or one that is not wanted, included
	Bad    int     // frames that could not be parsed and were left out

	// How far the batch reaches upstream: the sequence number of its last event and the greatest time of all, Unix microseconds, wanted or not; 0 where
	// there is none. A batch of frames without a wanted event has no Events, and still moves the position.
	Seq, TimeUS int64
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
	b.Buf, b.Events = b.Buf[:0], b.Events[:0]
	b.Epoch, b.Number, b.Frames, b.Bad, b.Seq, b.TimeUS = 0, 0, 0, 0, 0, 0
}
