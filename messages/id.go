package messages

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// EntryID orders the entries of one stream. It is written "<ms>-<seq>", which is Valkey's grammar,
// and is the same for every backend. The zero ID, "0-0", is before every entry; no entry has it.
type EntryID struct {
	MS  uint64 // milliseconds since the Unix epoch
	Seq uint64 // position within that millisecond
}

// seqPerMicrosecond is how many IDs fit into one microsecond of upstream time before an ID uses the
// next microsecond. The operations of a commit have the same time_us; up to 9 in a row were
// observed.
const seqPerMicrosecond = 1000

// MaxEntryID is the greatest ID.
var MaxEntryID = EntryID{MS: math.MaxUint64, Seq: math.MaxUint64}

// ErrBadEntryID: the ID is malformed. The errors for all malformed IDs match it.
var ErrBadEntryID = errors.New("malformed entry ID")

// DeriveID returns the ID of an event with the upstream time timeUS (Unix microseconds; a negative
// time counts as 0) that follows last. It is the ID that the time gives, or last's successor if
// that ID is not greater than last. The same events in the same order get the same IDs again, so it
// is harmless to ingest them again after a crash.
func DeriveID(timeUS int64, last EntryID) EntryID {
	us := uint64(max(timeUS, 0))
	id := EntryID{MS: us / 1000, Seq: us % 1000 * seqPerMicrosecond}
	if id.Compare(last) > 0 {
		return id
	}
	return last.Next()
}

// TimeUS returns the upstream time, Unix microseconds, that the ID was derived from, or a somewhat
// later one if the ID had to be increased.
func (id EntryID) TimeUS() int64 { return int64(id.MS*1000 + min(id.Seq/seqPerMicrosecond, 999)) }

// Next returns the smallest ID greater than id. MaxEntryID has none and is returned unchanged.
func (id EntryID) Next() EntryID {
	switch {
	case id.Seq < math.MaxUint64:
		return EntryID{MS: id.MS, Seq: id.Seq + 1}
	case id.MS < math.MaxUint64:
		return EntryID{MS: id.MS + 1}
	}
	return id
}

// Prev returns the greatest ID smaller than id. 0-0 has none and is returned unchanged.
func (id EntryID) Prev() EntryID {
	switch {
	case id.Seq > 0:
		return EntryID{MS: id.MS, Seq: id.Seq - 1}
	case id.MS > 0:
		return EntryID{MS: id.MS - 1, Seq: math.MaxUint64}
	}
	return id
}

// Compare returns -1, 0 or 1 if id is before, equal to or after other.
func (id EntryID) Compare(other EntryID) int {
	switch {
	case id.MS < other.MS, id.MS == other.MS && id.Seq < other.Seq:
		return -1
	case id == other:
		return 0
	}
	return 1
}

// IsZero says whether id is "0-0".
func (id EntryID) IsZero() bool { return id == EntryID{} }

// AppendText appends "<ms>-<seq>" to b. The error is always nil.
func (id EntryID) AppendText(b []byte) ([]byte, error) {
	b = strconv.AppendUint(b, id.MS, 10)
	b = append(b, '-')
	return strconv.AppendUint(b, id.Seq, 10), nil
}

// MarshalText returns "<ms>-<seq>". The error is always nil.
func (id EntryID) MarshalText() ([]byte, error) { return id.AppendText(make([]byte, 0, 24)) }

// UnmarshalText reads what ParseEntryID accepts. After an error id is unchanged.
func (id *EntryID) UnmarshalText(text []byte) error {
	parsed, err := ParseEntryID(string(text))
	if err == nil {
		*id = parsed
	}
	return err
}

// String returns "<ms>-<seq>".
func (id EntryID) String() string {
	b, _ := id.MarshalText()
	return string(b)
}

// ParseEntryID reads "<ms>-<seq>": two unsigned decimal numbers and nothing else. Its errors match
// ErrBadEntryID.
func ParseEntryID(s string) (EntryID, error) {
	ms, seq, found := strings.Cut(s, "-")
	if !found {
		return EntryID{}, fmt.Errorf("%w: %.40q is not <ms>-<seq>", ErrBadEntryID, s)
	}
	var id EntryID
	var err error
	if id.MS, err = parseDecimal(ms); err != nil {
		return EntryID{}, fmt.Errorf("%w: %.40q: milliseconds are not an unsigned 64-bit decimal", ErrBadEntryID, s)
	}
	if id.Seq, err = parseDecimal(seq); err != nil {
		return EntryID{}, fmt.Errorf("%w: %.40q: sequence is not an unsigned 64-bit decimal", ErrBadEntryID, s)
	}
	return id, nil
}

// parseDecimal is ParseUint without a sign: it refuses "+1".
func parseDecimal(s string) (uint64, error) {
	if s == "" || s[0] < '0' || s[0] > '9' {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseUint(s, 10, 64)
}
