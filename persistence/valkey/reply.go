package valkey

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	valkeygo "github.com/valkey-io/valkey-go"

	"tempestd/messages"
	"tempestd/persistence"
)

// decoder decodes a reply value by value, in the order in which the script or command returns them.
// The first value that is missing or has a wrong type becomes the error of end. The caller must
// call end before it uses any value, so a reply that cannot be decoded is never taken as empty.
type decoder struct {
	what string
	rest []valkeygo.ValkeyMessage
	at   int
	err  error
}

// decode begins to decode a reply, which must be an array.
func decode(what string, m valkeygo.ValkeyMessage) *decoder {
	array, err := m.ToArray()
	d := &decoder{what: what, rest: array}
	if err != nil {
		d.err = fmt.Errorf("%s is no array: %w", what, err)
	}
	return d
}

// decodeOne begins to decode a reply that is one value.
func decodeOne(what string, m valkeygo.ValkeyMessage) *decoder {
	return &decoder{what: what, rest: []valkeygo.ValkeyMessage{m}}
}

// next returns the next value. A missing value is an error.
func (d *decoder) next() (m valkeygo.ValkeyMessage, ok bool) {
	if d.err != nil {
		return m, false
	}
	if len(d.rest) == 0 {
		d.err = fmt.Errorf("%s ends after %d values", d.what, d.at)
		return m, false
	}
	m, d.rest = d.rest[0], d.rest[1:]
	d.at++
	return m, true
}

// fail records that the last value is wrong.
func (d *decoder) fail(want, got string) {
	d.err = fmt.Errorf("%s: value %d is %s and no %s", d.what, d.at, printable(strconv.Quote(got[:min(len(got), 80)])), want)
}

// text returns the next value as text; nil is "".
func (d *decoder) text() string {
	m, ok := d.next()
	if !ok || m.IsNil() {
		return ""
	}
	return d.textOf(&m)
}

func (d *decoder) textOf(m *valkeygo.ValkeyMessage) string {
	s, err := textOf(m)
	if err != nil {
		d.err = fmt.Errorf("%s: value %d: %w", d.what, d.at, err)
	}
	return s
}

var errNoText = errors.New("a value is no text")

// textOf returns a value as text. Unlike the library it takes no other type for an empty text.
func textOf(m *valkeygo.ValkeyMessage) (string, error) {
	s, err := m.ToString()
	if err == nil && (m.IsBool() || m.IsFloat64() || m.IsArray() || m.IsMap()) {
		err = errNoText
	}
	return s, err
}

// number returns the next value as a whole number, also from decimal text; nil is 0.
func (d *decoder) number() int64 {
	m, ok := d.next()
	if !ok || m.IsNil() {
		return 0
	}
	if n, err := m.ToInt64(); err == nil {
		return n
	}
	s := d.textOf(&m)
	if d.err != nil {
		return 0
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		d.fail("whole number", s)
	}
	return n
}

// count returns the next value as a number that must not be negative.
func (d *decoder) count() uint64 {
	n := d.number()
	if n < 0 {
		d.fail("count", strconv.FormatInt(n, 10))
	}
	return uint64(max(n, 0))
}

// yes returns the next value, 0 or 1, as a truth value.
func (d *decoder) yes() bool { return d.number() == 1 }

// millis returns the next value as a duration in milliseconds; a negative value is 0.
func (d *decoder) millis() time.Duration { return time.Duration(max(d.number(), 0)) * time.Millisecond }

// id returns the next value as an entry ID; nil and "" are the zero ID.
func (d *decoder) id() persistence.EntryID {
	s := d.text()
	if s == "" {
		return persistence.EntryID{}
	}
	id, err := messages.ParseEntryID(s)
	if err != nil && d.err == nil {
		d.fail("entry ID", s)
	}
	return id
}

// limit returns the next value as an entry ID that bounds what readers see; nil is no bound.
func (d *decoder) limit() (id persistence.EntryID, limited bool) {
	limited = d.more() && !d.rest[0].IsNil()
	return d.id(), limited
}

// more reports whether another value follows.
func (d *decoder) more() bool { return d.err == nil && len(d.rest) > 0 }

// end returns the first error of the values that were decoded, or an error if a value is left. It is a
// *misfitError.
func (d *decoder) end() error {
	if d.err == nil && len(d.rest) > 0 {
		d.err = fmt.Errorf("%s has %d values more than this version knows", d.what, len(d.rest))
	}
	if d.err != nil {
		return &misfitError{d.err}
	}
	return nil
}

// misfitError is the error of a reply that its command cannot have. It may be the reply to another
// command: answers come in the order of the commands, and one that is lost on the way leaves every
// later one at the wrong command.
type misfitError struct{ error }

func (e *misfitError) Unwrap() error { return e.error }

// isMisfit says whether the error may come from a reply to another command.
func isMisfit(err error) bool {
	_, misfit := errors.AsType[*misfitError](err)
	return misfit || valkeygo.IsParseErr(err)
}
