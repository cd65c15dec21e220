package api

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

// ReadTimeout is the time for a client to send its headers, and the same for a body.
const ReadTimeout = 5 * time.Second

// Bounds of a request's body. Most routes do not use a body. It is read all the same, because
// net/http would otherwise wait for it without a bound.
const (
	maxIgnoredBody = 4 << 10
	maxJSONBody    = 16 << 10
)

// TakeBody reads a request's body within a bound of size; the time is already bounded by the read
// deadline. Afterwards r.Body holds the body in memory if wanted is true; otherwise the body is
// discarded.
func TakeBody(w http.ResponseWriter, r *http.Request, wanted bool) error {
	if r.ContentLength == 0 {
		return nil
	}
	limit, accepted, into := int64(maxIgnoredBody), "none", io.Discard
	var body bytes.Buffer
	if wanted {
		limit, accepted, into = maxJSONBody, fmt.Sprintf("JSON of up to %d bytes", maxJSONBody), &body
	}
	if _, err := io.Copy(into, http.MaxBytesReader(w, r.Body, limit)); err != nil {
		refused := &Error{Status: http.StatusBadRequest, Name: NameInvalidRequest, Message: "body: got fewer bytes than announced, or bad chunks",
			Header: map[string]string{"Connection": "close"}}
		if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
			refused.Status, refused.Name, refused.Message = http.StatusRequestEntityTooLarge, NameBodyTooLarge, fmt.Sprintf("body: got more than %d bytes", limit)
		} else if errors.Is(err, os.ErrDeadlineExceeded) {
			refused.Status, refused.Name, refused.Message = http.StatusRequestTimeout, NameBodyTooSlow, fmt.Sprintf("body: it was not there after %v", ReadTimeout)
		}
		refused.Message += "; accepted: " + accepted
		return refused
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	r.Body = io.NopCloser(&body)
	return nil
}

// Field is a field that a JSON body may have.
type Field struct {
	Name     string
	Into     any    // pointer to the decoded value
	Accepted string // accepted values, for the error
}

// DecodeBody reads a JSON object that may have only these fields. An absent body is an object
// without fields. A caller that must know whether a field was given decodes it into a pointer,
// which stays nil otherwise.
func DecodeBody(r *http.Request, fields ...Field) error {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return fmt.Errorf("read a body that was taken: %w", err)
	}
	if len(raw) == 0 {
		return nil
	}
	return DecodeObject("body", raw, fields...)
}

// DecodeObject reads a JSON object that may have only these fields, each at most once and with
// exactly this spelling.
func DecodeObject(what string, raw []byte, fields ...Field) error {
	bad := Invalid(what, string(raw), "a JSON object with the fields "+fieldNames(fields))
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
		i := slices.IndexFunc(fields, func(f Field) bool { return f.Name == name })
		switch {
		case i < 0:
			return Invalid("unknown field", name, fieldNames(fields))
		case slices.Contains(seen, name):
			return Invalid(name, "it twice", "one value")
		}
		seen = append(seen, name)
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return bad
		}
		if err := json.Unmarshal(value, fields[i].Into); err != nil || string(value) == "null" {
			return Invalid(name, string(value), fields[i].Accepted)
		}
	}
	return nil
}

func fieldNames(fields []Field) string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.Name
	}
	return strings.Join(names, ", ")
}

// Millis is a field of whole milliseconds in a JSON body, within bounds.
type Millis struct {
	Low, High, Value time.Duration
}

var errMillis = errors.New("not whole milliseconds within the bounds")

// UnmarshalJSON implements json.Unmarshaler.
func (m *Millis) UnmarshalJSON(text []byte) error {
	n, err := strconv.ParseUint(string(text), 10, 31)
	given := time.Duration(n) * time.Millisecond
	if err != nil || given < m.Low || given > m.High {
		return errMillis
	}
	m.Value = given
	return nil
}

// Accepted describes the bounds.
func (m *Millis) Accepted() string {
	return fmt.Sprintf("whole milliseconds %d…%d", m.Low.Milliseconds(), m.High.Milliseconds())
}
