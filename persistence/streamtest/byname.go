package streamtest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"tempestd/persistence"
)

// testByName reads by the stream's name and with cursors as text, like callers of the library.
func testByName(t *testing.T, b Backend) {
	f := open(t, b)
	want := f.append(5)
	ctx, name := t.Context(), f.stream.Name()
	page, err := f.store.TailStream(ctx, name, "0-0", 0, persistence.MaxCount)
	must(t, err)
	expectEntries(t, "from the beginning", page.Entries, want)
	page, err = f.store.TailStream(ctx, name, want[2].ID.String(), persistence.MaxBlock, 1)
	must(t, err)
	expectEntries(t, "after an entry", page.Entries, want[3:4])
	page, err = f.store.TailStream(ctx, name, want[4].ID.String(), time.Millisecond, 1)
	must(t, err)
	if len(page.Entries) != 0 || page.IsClosed() {
		t.Errorf("a time-out gave %d entries, closed %v", len(page.Entries), page.IsClosed())
	}
	page, err = f.store.ReadStream(ctx, name, want[1].ID.String(), "end", 2)
	must(t, err)
	expectEntries(t, "a range", page.Entries, want[1:3])

	_, err = f.store.TailStream(ctx, "unknown", "0-0", 0, 1)
	expectError(t, "a stream that is not there", err, persistence.ErrNoStream)
	fields := func(what string, err error, want ...string) {
		t.Helper()
		if got := configFields(err); !slices.Equal(got, want) {
			t.Errorf("%s: fields %v, want %v: %v", what, got, want, err)
		}
	}
	for _, after := range []string{"", "start", "end", "-", "+", "$", ">", "x", "1-", "-1", "1-2-3", "18446744073709551616-0"} {
		_, err := f.store.TailStream(ctx, name, after, 0, 1)
		fields(fmt.Sprintf("a tail after %q", after), err, "after")
		expectError(t, "it", err, persistence.ErrBadCursor)
	}
	_, err = f.store.TailStream(ctx, "No Name", "$", persistence.MaxBlock+1, persistence.MaxCount+1)
	fields("everything wrong", err, "stream", "after", "block", "limit")
	expectError(t, "a wrong name", err, persistence.ErrBadName)
	expectError(t, "a wrong bound", err, persistence.ErrBadBound)
	_, err = f.store.ReadStream(ctx, name, "$", "", 0)
	fields("everything wrong", err, "from", "to", "limit")
	must(t, f.stream.Close(ctx, "over"))
	page, err = f.store.TailStream(ctx, name, want[4].ID.String(), persistence.MaxBlock, 1)
	must(t, err)
	if page.ClosedReason != "over" || page.ClosedAt.IsZero() {
		t.Errorf("closed at %s because %q", page.ClosedAt, page.ClosedReason)
	}
}

// configFields returns the fields of all *ConfigErrors in err.
func configFields(err error) (fields []string) {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range many.Unwrap() {
			fields = append(fields, configFields(err)...)
		}
		return fields
	}
	if one, ok := errors.AsType[*persistence.ConfigError](err); ok {
		fields = append(fields, one.Field)
	}
	return fields
}
