package persistence_test

import (
	"errors"
	"strings"
	"testing"

	"tempestd/messages"
	"tempestd/persistence"
)

func TestParseStreamCursor(t *testing.T) {
	max := persistence.EntryID{MS: 7, Seq: 1<<64 - 1}
	for in, want := range map[string]struct{ lower, upper persistence.EntryID }{
		"start":                      {},
		"end":                        {messages.MaxEntryID, messages.MaxEntryID},
		"0-0":                        {},
		"7":                          {persistence.EntryID{MS: 7}, max},
		"007":                        {persistence.EntryID{MS: 7}, max},
		"7-3":                        {persistence.EntryID{MS: 7, Seq: 3}, persistence.EntryID{MS: 7, Seq: 3}},
		"18446744073709551615-0":     {persistence.EntryID{MS: 1<<64 - 1}, persistence.EntryID{MS: 1<<64 - 1}},
		messages.MaxEntryID.String(): {messages.MaxEntryID, messages.MaxEntryID},
	} {
		c, err := persistence.ParseStreamCursor(in)
		if err != nil || c.Lower() != want.lower || c.Upper() != want.upper {
			t.Errorf("%q is %s to %s (%v), want %s to %s", in, c.Lower(), c.Upper(), err, want.lower, want.upper)
		}
		after, err := c.Exclusive()
		if marker := in == "start" || in == "end"; marker != errors.Is(err, persistence.ErrBadCursor) || !marker && after != want.lower {
			t.Errorf("%q as an exclusive cursor is %s (%v)", in, after, err)
		}
	}
	for _, in := range []string{"", "-", "+", "$", "*", "-1", "+1", " 1", "1 ", "1-", "-1-2", "1--2", "1-+2", "1-2-3", "1.5", "0x1", "1e3", "Start", "END",
		"18446744073709551616", "1-18446744073709551616", "١", strings.Repeat("9", 500)} {
		_, err := persistence.ParseStreamCursor(in)
		if !errors.Is(err, persistence.ErrBadCursor) {
			t.Errorf("%q: error %v, want %v", in, err, persistence.ErrBadCursor)
		} else if msg := err.Error(); !strings.Contains(msg, "<ms>-<seq>") || len(msg) > 250 {
			t.Errorf("%q: %q does not say briefly what is accepted", in, msg)
		}
	}
}

func FuzzParseStreamCursor(f *testing.F) {
	for _, seed := range []string{"start", "end", "0-0", "5", "5-1", "-", "+", "", "1-", "-1", "18446744073709551615-18446744073709551615"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := persistence.ParseStreamCursor(s)
		if err != nil {
			if !errors.Is(err, persistence.ErrBadCursor) {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		again, err := persistence.ParseStreamCursor(c.String())
		if err != nil || again != c {
			t.Fatalf("%q reads as %v, which reads as %v (%v)", s, c, again, err)
		}
		if c.Lower().Compare(c.Upper()) > 0 {
			t.Fatalf("%q goes from %s to %s", s, c.Lower(), c.Upper())
		}
	})
}
