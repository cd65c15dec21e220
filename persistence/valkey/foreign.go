package valkey

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"tempestd/persistence"
)

// An entry of another client in a native stream is shown to readers, replaced by a JSON object of
// the store. It is not skipped: it has an ID between the others, and every native reader meets it
// too. So pages, positions and the counts of following entries stay the same, and readers learn of
// it. Its content is not shown.
//
// Entries without a field "json" are recognised while reading. To recognise an entry with a wrong
// field "json", all entries must be parsed, which costs more than fetching them. So this is only
// done if more entries were added to the stream than appends have added (scriptPage).

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

// replaceForeign replaces every entry without valid JSON, and reports the first one that this
// process meets in the stream.
func (h *hub) replaceForeign(entries []persistence.Entry) {
	for i := range entries {
		f := &entries[i]
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
