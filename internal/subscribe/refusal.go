package subscribe

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// Refusal is the answer to a request that is not upgraded.
type Refusal struct {
	Status  int
	Name    string // of the error, for v2
	Message string
}

func (f *Refusal) Error() string { return f.Name + ": " + f.Message }

// Answer writes the refusal as the protocol does: a line of text, or JSON.
func (f *Refusal) Answer(w http.ResponseWriter, v Version) {
	if v == V1 {
		http.Error(w, f.Message, f.Status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(f.Status)
	_, _ = w.Write(errorJSON("", f.Name, f.Message)) // the client may have gone
}

// errorJSON is an error of v2; kind is the $type of an error frame.
func errorJSON(kind, name, message string) []byte {
	b, _ := json.Marshal(struct { // strings always marshal
		Type    string `json:"$type,omitempty"`
		Error   string `json:"error"`
		Message string `json:"message"`
	}{kind, name, message})
	return b
}

// Invalid is a request that asks for something it cannot have.
func Invalid(format string, args ...any) *Refusal {
	return &Refusal{http.StatusBadRequest, "InvalidRequest", fmt.Sprintf(format, args...)}
}

// Unavailable is a server that cannot serve now.
func Unavailable(message string) *Refusal {
	return &Refusal{http.StatusServiceUnavailable, "ServiceUnavailable", message}
}

// CursorTooOld is a sequence below the first one that v2 still serves. v1 moves it silently.
func CursorTooOld(cursor, floor int64) *Refusal {
	return &Refusal{http.StatusBadRequest, "CursorTooOld",
		fmt.Sprintf("subscribe: cursor too old: cursor %d below lookback floor %d; re-backfill from your last seq", cursor, floor)}
}

// UnknownDictionary is a dictionary that the server does not pack with.
func UnknownDictionary(id, current uint32) *Refusal {
	return &Refusal{http.StatusBadRequest, "UnknownZstdDictionary",
		fmt.Sprintf("unknown zstd dictionary id %d; current dictionary id is %d (fetch it via getZstdDictionary and reconnect)", id, current)}
}

// DictionaryNotFound is a dictionary that the server does not give out.
func DictionaryNotFound(id int64, current uint32) *Refusal {
	return &Refusal{http.StatusNotFound, "DictionaryNotFound", fmt.Sprintf("no dictionary with id %d; current dictionary id is %d", id, current)}
}
