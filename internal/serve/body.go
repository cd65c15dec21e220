package serve

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of a request's body. Most routes do not use a body. It is read all the same, because
// net/http would otherwise wait for it without a bound.
const (
	maxIgnoredBody = 4 << 10
	maxJSONBody    = 16 << 10
)

// takeBody reads a request's body within a bound of size; the time is already bounded by the read
// deadline. Afterwards r.Body holds the body in memory if wanted is true; otherwise the body is
// discarded.
func takeBody(w http.ResponseWriter, r *http.Request, wanted bool) error {
	if r.ContentLength == 0 {
		return nil
	}
	limit, accepted, into := int64(maxIgnoredBody), "none", io.Discard
	var body bytes.Buffer
	if wanted {
		limit, accepted, into = maxJSONBody, fmt.Sprintf("JSON of up to %d bytes", maxJSONBody), &body
	}
	if _, err := io.Copy(into, http.MaxBytesReader(w, r.Body, limit)); err != nil {
		refused := &apiError{status: http.StatusBadRequest, name: nameInvalidRequest, message: "body: got fewer bytes than announced, or bad chunks",
			header: map[string]string{"Connection": "close"}}
		if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
			refused.status, refused.name, refused.message = http.StatusRequestEntityTooLarge, nameBodyTooLarge, fmt.Sprintf("body: got more than %d bytes", limit)
		} else if errors.Is(err, os.ErrDeadlineExceeded) {
			refused.status, refused.name, refused.message = http.StatusRequestTimeout, nameBodyTooSlow, fmt.Sprintf("body: it was not there after %v", readTimeout)
		}
		refused.message += "; accepted: " + accepted
		return refused
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	r.Body = io.NopCloser(&body)
	return nil
}

// field is a field that a JSON body may have.
type field struct {
	name     string
	into     any    // pointer to the decoded value
	accepted string // accepted values, for the error
}

// decodeBody reads a JSON object that may have only these fields. An absent body is an object
// without fields. A caller that must know whether a field was given decodes it into a pointer,
// which stays nil otherwise.
func decodeBody(r *http.Request, fields ...field) error {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return fmt.Errorf("read a body that was taken: %w", err)
	}
	if len(raw) == 0 {
		return nil
	}
	return decodeObject("body", raw, fields...)
}

// decodeObject reads a JSON object that may have only these fields, each at most once and with
// exactly this spelling.
func decodeObject(what string, raw []byte, fields ...field) error {
	bad := invalid(what, string(raw), "a JSON object with the fields "+fieldNames(fields))
	if !utf8.Valid(raw) || !json.Valid(raw) {
		return bad
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if open, _ := dec.Token(); open != json.Delim('{') {
		return bad
	}
	seen := make([]string, 0, len(fields))
	for dec.More() {
		key, _ := dec.Token() // a string: the JSON is valid
		name, _ := key.(string)
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
		switch {
		case i < 0:
			return invalid("unknown field", name, fieldNames(fields))
		case slices.Contains(seen, name):
			return invalid(name, "it twice", "one value")
		}
		seen = append(seen, name)
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return bad
		}
		if err := json.Unmarshal(value, fields[i].into); err != nil || string(value) == "null" {
			return invalid(name, string(value), fields[i].accepted)
		}
	}
	return nil
}

func fieldNames(fields []field) string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	return strings.Join(names, ", ")
}

// millis is a field of whole milliseconds in a JSON body, within bounds.
type millis struct {
	low, high, value time.Duration
}

var errMillis = errors.New("not whole milliseconds within the bounds")

// UnmarshalJSON implements json.Unmarshaler.
func (m *millis) UnmarshalJSON(text []byte) error {
	n, err := strconv.ParseUint(string(text), 10, 31)
	given := time.Duration(n) * time.Millisecond
	if err != nil || given < m.low || given > m.high {
		return errMillis
	}
	m.value = given
	return nil
}

// accepted describes the bounds.
func (m *millis) accepted() string {
	return fmt.Sprintf("whole milliseconds %d…%d", m.low.Milliseconds(), m.high.Milliseconds())
}
