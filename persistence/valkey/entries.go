package valkey

import (
	"fmt"
	"iter"
	"unsafe"

	valkeygo "github.com/valkey-io/valkey-go"

	"tempestd/persistence"
)

// The decoders of entries of native streams: events, and the blocks that record what was appended
// together.

// nativeEntry is an entry of a native stream: names and values take turns in fields.
type nativeEntry struct {
	id     persistence.EntryID
	fields []valkeygo.ValkeyMessage
}

// decodeNative decodes an entry of a native stream.
func decodeNative(m *valkeygo.ValkeyMessage) (e nativeEntry, err error) {
	pair, err := m.ToArray()
	if err != nil {
		return e, err
	}
	if len(pair) != 2 {
		return e, fmt.Errorf("an entry of a stream has %d parts", len(pair))
	}
	text, err := textOf(&pair[0])
	if err != nil {
		return e, err
	}
	if err := e.id.UnmarshalText([]byte(text)); err != nil {
		return e, err
	}
	if e.fields, err = pair[1].ToArray(); err != nil {
		return e, err
	}
	if len(e.fields)%2 != 0 {
		return e, fmt.Errorf("the entry %s has a field without a value", e.id)
	}
	return e, nil
}

// decodeEntry decodes an entry as readers get it. The bytes alias the reply.
func decodeEntry(m *valkeygo.ValkeyMessage) (persistence.Entry, error) {
	e, err := decodeNative(m)
	if err != nil {
		return persistence.Entry{}, err
	}
	for i := 0; i < len(e.fields); i += 2 {
		name, err := textOf(&e.fields[i])
		if err != nil {
			return persistence.Entry{}, err
		}
		if name == "json" {
			event, err := textOf(&e.fields[i+1])
			return persistence.Entry{ID: e.id, Event: unsafe.Slice(unsafe.StringData(event), len(event))}, err
		}
	}
	if len(e.fields) == 0 {
		return persistence.Entry{ID: e.id, Event: foreignEvent(e.id, noFields)}, nil
	}
	return persistence.Entry{ID: e.id, Event: foreignEvent(e.id, noJSON)}, nil
}

// decodeEntries decodes the reply of XRANGE on a stream of events.
func decodeEntries(m valkeygo.ValkeyMessage) ([]persistence.Entry, error) {
	array, err := m.ToArray()
	if err != nil {
		return nil, err
	}
	entries := make([]persistence.Entry, len(array))
	for i := range array {
		if entries[i], err = decodeEntry(&array[i]); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// tailReply is the reply of XREAD on a stream and its closed marker. It is zero if the time is
// over.
type tailReply struct {
	entries []persistence.Entry
	closed  bool
}

func decodeTail(stream, closed string, m valkeygo.ValkeyMessage) (r tailReply, err error) {
	if m.IsNil() {
		return r, nil
	}
	byKey, err := m.AsMap()
	if err != nil {
		return r, err
	}
	if added, ok := byKey[stream]; ok {
		r.entries, err = decodeEntries(added)
	}
	_, r.closed = byKey[closed]
	return r, err
}

// block is an entry of the stream of blocks: entries that were appended together.
type block struct {
	first, last  persistence.EntryID
	entries      int64
	bytes        int64  // of the entries
	fingerprints []byte // 8 bytes an entry; they alias the reply
}

// decodeBlock decodes an entry of the stream of blocks.
func decodeBlock(m *valkeygo.ValkeyMessage) (block, error) {
	e, err := decodeNative(m)
	if err != nil {
		return block{}, err
	}
	b := block{last: e.id, entries: -1}
	d := &decoder{what: "block " + e.id.String(), rest: e.fields}
	for d.more() {
		switch name := d.text(); name {
		case "f":
			b.first = d.id()
		case "p":
			raw := d.text()
			b.fingerprints = unsafe.Slice(unsafe.StringData(raw), len(raw))
		case "b":
			b.bytes = d.number()
		case "n":
			b.entries = d.number()
		default:
			d.text()
		}
	}
	if err := d.end(); err != nil {
		return block{}, err
	}
	if b.first.IsZero() || int64(len(b.fingerprints)) != 8*b.entries {
		return block{}, fmt.Errorf("block %s tells of %d entries from %s on, and has %d bytes of fingerprints", b.last, b.entries, b.first, len(b.fingerprints))
	}
	return b, nil
}

// decodeBlocks decodes the reply of XRANGE or XREVRANGE on the stream of blocks, one block after
// the other. It ends with the first error.
func decodeBlocks(m valkeygo.ValkeyMessage) iter.Seq2[block, error] {
	return func(yield func(block, error) bool) {
		array, err := m.ToArray()
		if err != nil {
			yield(block{}, err)
			return
		}
		for i := range array {
			if b, err := decodeBlock(&array[i]); !yield(b, err) || err != nil {
				return
			}
		}
	}
}
