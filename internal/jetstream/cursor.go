package jetstream

import (
	"strconv"
	"time"

	"tempestd/internal/atproto"
)

type cursorKind uint8

const (
	liveTip cursorKind = iota
	bySequence
	byTime
)

// Cursor is where an upstream is asked to begin, inclusive: at the live tip (the zero Cursor), at a
// sequence number of one host, or at a time. The type prevents that a sequence number is taken for
// a time, or is sent to another host.
type Cursor struct {
	kind cursorKind
	n    int64
	host string
}

// SequenceCursor begins at the event of the host ("host:port") with the sequence number seq, or at
// the first one after it. A value that cannot be a sequence number gives the live tip.
func SequenceCursor(host string, seq int64) Cursor {
	if seq < 1 || atproto.IsTime(seq) || host == "" {
		return Cursor{}
	}
	return Cursor{kind: bySequence, n: seq, host: host}
}

// TimeCursor begins at the Unix microsecond us. Servers begin there or up to hours earlier. A time
// before September 2001 is replaced by the first one that can be a time cursor.
func TimeCursor(us int64) Cursor {
	return Cursor{kind: byTime, n: max(us, atproto.FirstTime)}
}

// IsLive says whether the cursor is the live tip.
func (c Cursor) IsLive() bool { return c.kind == liveTip }

// Sequence returns the host and number of a sequence cursor; ok is false for any other cursor.
func (c Cursor) Sequence() (host string, seq int64, ok bool) {
	return c.host, c.n, c.kind == bySequence
}

// TimeUS returns the Unix microseconds of a time cursor; ok is false for any other cursor.
func (c Cursor) TimeUS() (us int64, ok bool) { return c.n, c.kind == byTime }

// String returns text for people: "live", "seq 4711 of host:443" or "time 2026-08-01T12:00:00.5Z".
func (c Cursor) String() string {
	switch c.kind {
	case bySequence:
		return "seq " + strconv.FormatInt(c.n, 10) + " of " + c.host
	case byTime:
		return "time " + time.UnixMicro(c.n).UTC().Format(time.RFC3339Nano)
	}
	return "live"
}
