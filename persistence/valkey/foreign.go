package valkey

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"
	"unsafe"

	valkeygo "github.com/valkey-io/valkey-go"

	"tempestd/persistence"
)

// An entry of another client in a native stream is shown to readers, replaced by a JSON object of
// the store. It is not skipped: it has an ID between the others, and every native reader meets it
// too. So pages, positions and the counts of following entries stay the same, and readers learn of
// it. Its content is not shown.
//
// Entries without a field "json" are recognised while reading. To recognise an entry with a wrong
// field "json", all entries must be parsed, which costs more than fetching them. So this is only
// done if more entries were added to the stream than appends have added (scriptPlace).

// foreignEvent is the JSON that stands for such an entry.
func foreignEvent(id persistence.EntryID, reason string) []byte {
	return fmt.Appendf(nil, `{"kind":"foreign","id":"%s","reason":"%s"}`, id, reason)
}

var foreignPrefix = []byte(`{"kind":"foreign",`)

const (
	noJSON   = "it has no field json"
	badJSON  = "its field json is no JSON object"
	noFields = "it has no fields"
)

// frameOf returns an entry as readers get it. The bytes alias the reply.
func frameOf(m *valkeygo.ValkeyMessage) (persistence.Frame, error) {
	id, fields, err := streamEntry(m)
	if err != nil {
		return persistence.Frame{}, err
	}
	for i := 0; i+1 < len(fields); i += 2 {
		name, err := fields[i].ToString()
		if err != nil {
			return persistence.Frame{}, err
		}
		if name == "json" {
			event, err := fields[i+1].ToString()
			return persistence.Frame{ID: id, Event: unsafe.Slice(unsafe.StringData(event), len(event))}, err
		}
	}
	if len(fields) == 0 {
		return persistence.Frame{ID: id, Event: foreignEvent(id, noFields)}, nil
	}
	return persistence.Frame{ID: id, Event: foreignEvent(id, noJSON)}, nil
}

// framesOfReply returns the entries in the answer of XRANGE.
func framesOfReply(m *valkeygo.ValkeyMessage) ([]persistence.Frame, error) {
	array, err := m.ToArray()
	if err != nil {
		return nil, err
	}
	frames := make([]persistence.Frame, len(array))
	for i := range array {
		if frames[i], err = frameOf(&array[i]); err != nil {
			return nil, err
		}
	}
	return frames, nil
}

// shown replaces every entry without valid JSON, and reports the first one that this process meets
// in the stream.
func (h *hub) shown(frames []persistence.Frame) {
	for i := range frames {
		f := &frames[i]
		switch {
		case bytes.HasPrefix(f.Event, foreignPrefix):
		case bytes.HasPrefix(bytes.TrimLeft(f.Event, " \t\r\n"), []byte("{")) && utf8.Valid(f.Event) && json.Valid(f.Event):
			continue
		default:
			f.Event = foreignEvent(f.ID, badJSON)
		}
		h.foreign.Do(func() { h.store.emit(persistence.ForeignEntry{Stream: h.name, ID: f.ID}) })
	}
}
