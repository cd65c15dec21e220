package subscribe

import (
	"encoding/json"
	"fmt"
	"net/http"

	"tempestd/internal/atproto"
)

// Refusal is the answer to a request that is not upgraded.
type Refusal struct {
	Status  int
	Name    string // of the error, for v2
	Message string
}

func (f *Refusal) Error() string { return f.Name + ": " + f.Message }

// Answer writes the refusal in the form of the protocol: a line of text for v1, JSON for v2.
func (f *Refusal) Answer(w http.ResponseWriter, v Version) {
	if v == V1 {
		http.Error(w, f.Message, f.Status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(f.Status)
	_, _ = w.Write(errorJSON("", f.Name, f.Message)) // the client may be gone
}

// errorJSON returns a v2 error; kind is the $type of an error frame, "" for an HTTP answer.
func errorJSON(kind, name, message string) []byte {
	b, _ := json.Marshal(struct { // strings always encode
		Type    string `json:"$type,omitempty"`
		Error   string `json:"error"`
		Message string `json:"message"`
	}{kind, name, message})
	return b
}

// Invalid returns the refusal of a request that asks for something it cannot have.
func Invalid(format string, args ...any) *Refusal {
	return &Refusal{http.StatusBadRequest, atproto.InvalidRequest, fmt.Sprintf(format, args...)}
}

// Unavailable returns the refusal of a server that cannot serve now.
func Unavailable(message string) *Refusal {
	return &Refusal{http.StatusServiceUnavailable, atproto.ServiceUnavailable, message}
}

// CursorTooOld returns v2's refusal of a sequence number below the first one that it still serves.
// v1 silently moves such a cursor forward.
func CursorTooOld(cursor, floor int64) *Refusal {
	return &Refusal{http.StatusBadRequest, atproto.CursorTooOld,
		fmt.Sprintf("subscribe: cursor too old: cursor %d below lookback floor %d; re-backfill from your last seq", cursor, floor)}
}

// UnknownDictionary returns the refusal of a dictionary that the server does not compress with.
func UnknownDictionary(id, current uint32) *Refusal {
	return &Refusal{http.StatusBadRequest, atproto.UnknownDictionary,
		fmt.Sprintf("unknown zstd dictionary id %d; current dictionary id is %d (fetch it via getZstdDictionary and reconnect)", id, current)}
}

// DictionaryNotFound returns the refusal of a dictionary that the server does not give out.
func DictionaryNotFound(id int64, current uint32) *Refusal {
	return &Refusal{http.StatusNotFound, atproto.DictionaryNotFound, fmt.Sprintf("no dictionary with id %d; current dictionary id is %d", id, current)}
}
