package archive

import (
	"errors"

	"tempestd/internal/archive/dagcbor"
)

// Watcher is told how a sweep gets on. Its methods are called by several goroutines, and must not
// block. What requests wait for is told to Options.Waiting.
type Watcher interface {
	// Planned: a page of the plan came.
	Planned(p Planned)
	// Downloaded: so many bytes of segments and blocks came.
	Downloaded(bytes int)
	// Delivered: so many events were handed over, and everything wanted up to a number.
	Delivered(events int, through uint64)
	// Skipped: an archived event cannot be delivered.
	Skipped(seq uint64, why Reason, err error)
	// Widened: the server does not filter by these lists ("dids", "collections"). The sweep filters by
	// itself, and downloads more.
	Widened(lists []string)
	// Replanned: a segment changed or went away, and the rest is planned anew.
	Replanned(why error)
}

// Planned is a page of a plan.
type Planned struct {
	Through  uint64 // the page answers everything up to here
	Sealed   uint64 // the end of the sweep
	Segments int    // that are fetched as a whole
	Blocks   int    // of other segments
}

// Reason says why an archived event cannot be delivered. The sockets of newer servers leave such
// events out; archives hold them from the time before.
type Reason string

// The reasons.
const (
	ReasonFloat     Reason = "float"        // a record with a float, or an integer beyond 64 bits
	ReasonNotMap    Reason = "not_map"      // a record that is no map
	ReasonLink      Reason = "foreign_link" // a record with a link outside the data model
	ReasonMalformed Reason = "malformed"    // a record that is not DAG-CBOR, or an event without its parts
)

// reason returns the reason for an error of the Renderer or of jetstream.Unwrap.
func reason(err error) Reason {
	switch {
	case errors.Is(err, errNotMap):
		return ReasonNotMap
	case errors.Is(err, dagcbor.ErrForeignLink):
		return ReasonLink
	case errors.Is(err, dagcbor.ErrOutsideModel):
		return ReasonFloat
	}
	return ReasonMalformed
}

// unwatched is told and does nothing.
type unwatched struct{}

func (unwatched) Planned(Planned)               {}
func (unwatched) Downloaded(int)                {}
func (unwatched) Delivered(int, uint64)         {}
func (unwatched) Skipped(uint64, Reason, error) {}
func (unwatched) Widened([]string)              {}
func (unwatched) Replanned(error)               {}
