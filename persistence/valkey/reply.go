package valkey

import (
	"fmt"
	"strconv"
	"time"

	valkeygo "github.com/valkey-io/valkey-go"

	"tempestd/messages"
	"tempestd/persistence"
)

// reading parses a reply value by value, in the order in which the script or command returns them.
// The first value with a wrong type becomes the error of end. The caller must call end before it
// uses any value, so a reply that cannot be parsed is never taken as empty.
type reading struct {
	what string
	rest []valkeygo.ValkeyMessage
	at   int
	err  error
}

// read begins to parse a reply, which must be an array.
func read(what string, m valkeygo.ValkeyMessage) *reading {
	array, err := m.ToArray()
	r := &reading{what: what, rest: array}
	if err != nil {
		r.err = fmt.Errorf("%s is no array: %w", what, err)
	}
	return r
}

// next returns the next value. A missing value is an error.
func (r *reading) next() (m valkeygo.ValkeyMessage, ok bool) {
	if r.err != nil {
		return m, false
	}
	if len(r.rest) == 0 {
		r.err = fmt.Errorf("%s ends after %d values", r.what, r.at)
		return m, false
	}
	m, r.rest = r.rest[0], r.rest[1:]
	r.at++
	return m, true
}

// fail records that the last value is wrong.
func (r *reading) fail(want, got string) {
	r.err = fmt.Errorf("%s: value %d is %s and no %s", r.what, r.at, printable(strconv.Quote(got[:min(len(got), 80)])), want)
}

// text returns the next value as text; nil is "".
func (r *reading) text() string {
	m, ok := r.next()
	if !ok || m.IsNil() {
		return ""
	}
	s, err := m.ToString()
	if err != nil {
		r.err = fmt.Errorf("%s: value %d: %w", r.what, r.at, err)
	}
	return s
}

// number returns the next value as a whole number, also from decimal text; nil is 0.
func (r *reading) number() int64 {
	m, ok := r.next()
	if !ok || m.IsNil() {
		return 0
	}
	if n, err := m.ToInt64(); err == nil {
		return n
	}
	s, err := m.ToString()
	if err != nil {
		r.err = fmt.Errorf("%s: value %d: %w", r.what, r.at, err)
		return 0
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		r.fail("whole number", s)
	}
	return n
}

// count returns the next value as a number that must not be negative.
func (r *reading) count() uint64 {
	n := r.number()
	if n < 0 {
		r.fail("count", strconv.FormatInt(n, 10))
	}
	return uint64(max(n, 0))
}

// millis returns the next value as a duration in milliseconds; a negative value is 0.
func (r *reading) millis() time.Duration { return time.Duration(max(r.number(), 0)) * time.Millisecond }

// id returns the next value as an entry ID; nil and "" are the zero ID.
func (r *reading) id() persistence.EntryID {
	s := r.text()
	if s == "" {
		return persistence.EntryID{}
	}
	id, err := messages.ParseEntryID(s)
	if err != nil && r.err == nil {
		r.fail("entry ID", s)
	}
	return id
}

// more reports whether another value follows.
func (r *reading) more() bool { return r.err == nil && len(r.rest) > 0 }

// end returns the first error of the values that were read, or an error if a value is left.
func (r *reading) end() error {
	if r.err == nil && len(r.rest) > 0 {
		r.err = fmt.Errorf("%s has %d values more than this version knows", r.what, len(r.rest))
	}
	return r.err
}

// known returns a pointer to id, nil for the zero ID.
func known(id persistence.EntryID) *persistence.EntryID {
	if id.IsZero() {
		return nil
	}
	return &id
}
