package persistence

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// What every store checks in the same way.

// maxNameLen is the longest name of a stream, a feed or a consumer.
const maxNameLen = 64

// CheckName returns a *ConfigError that matches ErrBadName for a name that is not usable as a
// stream's key, as a file name and as a URL segment alike.
func CheckName(name string) error {
	ok := len(name) >= 1 && len(name) <= maxNameLen
	for i := range len(name) {
		c := name[i]
		alnum := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		ok = ok && (alnum || i > 0 && (c == '.' || c == '_' || c == '-'))
	}
	if !ok {
		return &ConfigError{Field: "stream", Err: ErrBadName,
			Message: fmt.Sprintf("is %.80q; accepted: 1 to %d of a-z 0-9 . _ -, starting with a letter or digit", name, maxNameLen)}
	}
	return nil
}

// CheckLimit checks how many entries a Read or a Tail may return.
func CheckLimit(limit int) error {
	if limit < 1 || limit > MaxCount {
		return &ConfigError{Field: "limit", Message: fmt.Sprintf("is %d; accepted: 1 to %d", limit, MaxCount), Err: ErrBadBound}
	}
	return nil
}

// CheckBlock checks how long a Tail may wait.
func CheckBlock(block time.Duration) error {
	if block < 0 || block > MaxBlock {
		return &ConfigError{Field: "block", Message: fmt.Sprintf("is %s; accepted: 0s to %s", block, MaxBlock), Err: ErrBadBound}
	}
	return nil
}

// CheckAfter returns a *CursorExpiredError for an exclusive cursor after which retention has
// dropped entries. Cursor 0-0 means "from the oldest entry there is" and never expires.
func CheckAfter(stream string, after, trimmed EntryID) error {
	if after.IsZero() || after.Compare(trimmed) >= 0 {
		return nil
	}
	return &CursorExpiredError{Stream: stream, Cursor: after, Oldest: trimmed}
}

// CheckFrom is CheckAfter for the beginning of a range, which belongs to the range.
func CheckFrom(stream string, from, trimmed EntryID) error {
	if from.IsZero() {
		return nil
	}
	return CheckAfter(stream, from.Prev(), trimmed)
}

// TailByName is the TailStream of a Store: it checks all arguments, then tails the stream.
func TailByName(ctx context.Context, store Store, stream, after string, block time.Duration, limit int) (Page, error) {
	cursor, err := parseCursor("after", after, tailGrammar)
	if err == nil {
		_, err = cursor.Exclusive()
	}
	if err := errors.Join(CheckName(stream), err, CheckBlock(block), CheckLimit(limit)); err != nil {
		return Page{}, err
	}
	s, err := store.Stream(ctx, stream)
	if err != nil {
		return Page{}, err
	}
	return s.Tail(ctx, cursor, block, limit)
}

// ReadByName is the ReadStream of a Store: it checks all arguments, then reads the stream.
func ReadByName(ctx context.Context, store Store, stream, from, to string, limit int) (Page, error) {
	lower, errFrom := parseCursor("from", from, cursorGrammar)
	upper, errTo := parseCursor("to", to, cursorGrammar)
	if err := errors.Join(CheckName(stream), errFrom, errTo, CheckLimit(limit)); err != nil {
		return Page{}, err
	}
	s, err := store.Stream(ctx, stream)
	if err != nil {
		return Page{}, err
	}
	return s.Read(ctx, lower, upper, limit)
}
