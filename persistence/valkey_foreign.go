package persistence

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"
	"unsafe"

	"github.com/valkey-io/valkey-go"
)

// An entry of somebody else's in a native stream is shown, in JSON of ours, and not passed over: it
// stands between the others under an ID that every native reader meets too, so pages, positions and
// the counts of what follows stay what they are, and whoever reads learns of it. What it holds is
// left out.
//
// Entries without a field json are recognised as they are read. For one that has it all entries
// would have to be parsed, which costs more than to fetch them; so that is only done while the
// stream has been given more entries than appends have (scriptPlace).

// foreignEvent is what stands for such an entry.
func foreignEvent(id EntryID, reason string) []byte {
	return fmt.Appendf(nil, `{"kind":"foreign","id":"%s","reason":"%s"}`, id, reason)
}

var foreignPrefix = []byte(`{"kind":"foreign",`)

const (
	noJSON   = "it has no field json"
	badJSON  = "its field json is no JSON object"
	noFields = "it has no fields"
)

// frameOf is an entry as readers get it. The bytes are the reply's own.
func frameOf(m *valkey.ValkeyMessage) (Frame, error) {
	id, fields, err := streamEntry(m)
	if err != nil {
		return Frame{}, err
	}
	for i := 0; i+1 < len(fields); i += 2 {
		name, err := fields[i].ToString()
		if err != nil {
			return Frame{}, err
		}
		if name == "json" {
			event, err := fields[i+1].ToString()
			return Frame{ID: id, Event: unsafe.Slice(unsafe.StringData(event), len(event))}, err
		}
	}
	if len(fields) == 0 {
		return Frame{ID: id, Event: foreignEvent(id, noFields)}, nil
	}
	return Frame{ID: id, Event: foreignEvent(id, noJSON)}, nil
}

// framesOfReply are the entries of an XRANGE's answer.
func framesOfReply(m *valkey.ValkeyMessage) ([]Frame, error) {
	array, err := m.ToArray()
	if err != nil {
		return nil, err
	}
	frames := make([]Frame, len(array))
	for i := range array {
		if frames[i], err = frameOf(&array[i]); err != nil {
			return nil, err
		}
	}
	return frames, nil
}

// shown puts JSON in the place of every entry that has none, and tells of the first one that this
// process meets in the stream.
func (h *valkeyHub) shown(frames []Frame) {
	for i := range frames {
		f := &frames[i]
		switch {
		case bytes.HasPrefix(f.Event, foreignPrefix):
		case bytes.HasPrefix(bytes.TrimLeft(f.Event, " \t\r\n"), []byte("{")) && utf8.Valid(f.Event) && json.Valid(f.Event):
			continue
		default:
			f.Event = foreignEvent(f.ID, badJSON)
		}
		h.foreign.Do(func() { h.store.emit(ForeignEntry{Stream: h.name, ID: f.ID}) })
	}
}
