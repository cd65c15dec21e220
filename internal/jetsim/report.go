package jetsim

import (
	"fmt"
	"net/url"
	"strings"
)

// VerifyOptions say what a stream should hold. The zero value expects everything since the first frame that was sent to anyone.
type VerifyOptions struct {
	// Query is the filter of the subscription that filled the stream, with the parameters of either protocol: collections or
	// wantedCollections, dids or wantedDids, kinds, maxMessageSizeBytes.
	Query url.Values
	// Protocol is the one that the stream was filled by; "" is both, in turns: then the stream may hold what only one of them sends, such
	// as the sync events of v2, and need not.
	Protocol Protocol
	// FromFirstStored expects everything since the stream's first entry instead: for a consumer that joined at the live tip some
	// time after the server's first frame, or that may have been killed before it had stored anything to resume from. A loss
	// before that entry is not noticed.
	FromFirstStored bool
	// AllowTail counts what is missing at the newest end as pending instead of lost: for a stream still being filled.
	AllowTail bool
}

// Report compares a stream with what its upstream sent.
//
// Every event sent is named by its content: a reingested event is the same one, in another version. An entry is taken for the version
// whose exact bytes it has: those of a v1 frame, or of a v2 frame in v1's shape or as it came. A stream is in order when the versions
// it holds stand in the order of the server's ingestion log, across all generations: a generation's order is the one it sent in, and
// whatever a later generation numbered anew it sent after all it had kept. A consumer that resumes with an overlap and drops what it
// holds cannot get an earlier version after a later one, unless it had skipped it. Because accounts keep their order in every
// generation, this includes each account's own order.
//
// A stream that several servers filled in turns is in order when what it holds of each generation of each server is. It should hold
// whatever any of them ingested since.
//
// What a server has dropped, by retention or Forget, a consumer that was away cannot get: it has to say so by a gap entry whose
// [from_us, to_us] includes the time of the event. Then it counts as dropped, otherwise as lost. A server's own idea of the time is meant where
// the gap names the server's host.
type Report struct {
	Sent         int64    `json:"sent"`               // contents the stream should hold, and those sent earlier that it holds too
	Stored       int64    `json:"stored"`             // entries that are events, of any sort
	Lost         int64    `json:"lost"`               // contents of Sent that are not there
	Dropped      int64    `json:"dropped"`            // contents of Sent that are not there because a server dropped them, as a gap entry says
	Duplicated   int64    `json:"duplicated"`         // entries whose content an earlier entry holds
	OutOfOrder   int64    `json:"out_of_order"`       // entries that were ingested before an entry that stands before them
	Altered      int64    `json:"altered"`            // entries with the identity, seq and time of an event sent, but not its bytes
	Foreign      int64    `json:"foreign"`            // entries that are no event sent
	Gaps         int64    `json:"gaps"`               // gap entries
	NeedlessGaps int64    `json:"needless_gaps"`      // gap entries that include nothing a server dropped
	Pending      int64    `json:"pending"`            // contents of Sent that may still come (AllowTail)
	Examples     []string `json:"examples,omitempty"` // of what is wrong, at most maxExamples
}

const maxExamples = 10

// OK says whether the stream holds what was sent and could be had, once and in order. A needless gap is no reason to say no: it is
// suspicion, and nothing is missing.
func (r Report) OK() bool {
	return r.Lost == 0 && r.Duplicated == 0 && r.OutOfOrder == 0 && r.Altered == 0 && r.Foreign == 0
}

// String is the report in one line. What is not always of interest shows only when there is any.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "sent=%d stored=%d lost=%d duplicated=%d out_of_order=%d", r.Sent, r.Stored, r.Lost, r.Duplicated, r.OutOfOrder)
	for _, f := range []struct {
		name string
		n    int64
	}{{"altered", r.Altered}, {"foreign", r.Foreign}, {"dropped", r.Dropped}, {"gaps", r.Gaps}, {"needless_gaps", r.NeedlessGaps}, {"pending", r.Pending}} {
		if f.n > 0 {
			fmt.Fprintf(&b, " %s=%d", f.name, f.n)
		}
	}
	return b.String()
}
