package jetsim

import (
	"fmt"
	"net/url"
	"strings"
)

// VerifyOptions say what a stream should hold. The zero value expects everything since the first
// frame that the servers sent to any subscriber.
type VerifyOptions struct {
	// Query is the filter of the subscription that filled the stream, with the parameters of either
	// protocol: collections or wantedCollections, dids or wantedDids, kinds, maxMessageSizeBytes.
	Query url.Values
	// Protocol is the protocol that filled the stream. With "" both did, in turns: then events that
	// only one of them sends, such as the sync events of v2, may be in the stream but need not.
	Protocol Protocol
	// FromFirstStored expects everything since the stream's first entry instead. It is for a
	// consumer that joined at the live tip some time after the server's first frame, or that may
	// have been killed before it stored anything to resume from. A loss before that entry is not
	// noticed.
	FromFirstStored bool
	// AllowTail counts events that are missing at the newest end as pending instead of lost. It is
	// for a stream that is still being filled.
	AllowTail bool
}

// Report compares a stream with what its upstream sent.
//
// An event is identified by its content: an event that is ingested again is the same event, in
// another version. An entry is matched with the version that has exactly its bytes: those of a v1
// frame, or of a v2 frame in v1's shape or as it was sent.
//
// A stream is in order when its versions are in the order of the server's ingestion log, across all
// generations. That is the order in which the server sent them: within a generation it sends in log
// order, and it sends the new versions of a later generation after everything that it had kept. A
// consumer that resumes with an overlap and drops what it already holds cannot get an earlier
// version after a later one, unless it skipped the earlier one before. Accounts keep their order in
// every generation, so this includes the order within each account.
//
// A stream that several servers filled in turns is in order when, for each generation of each
// server, its entries are in order. It should hold everything that any of the servers has ingested
// since it began.
//
// A consumer that was away cannot get what a server dropped meanwhile, by retention or Forget. It
// must report that by a gap entry whose [from_us, to_us] includes the time of the event. Then the
// event counts as dropped, otherwise as lost. If the gap entry names the host of a server, only the
// times of that server count.
type Report struct {
	// Sent counts the contents that the stream should hold, and the earlier ones that it holds too.
	Sent int64 `json:"sent"`
	// Stored counts the entries that are events of any kind.
	Stored int64 `json:"stored"`
	// Lost counts the contents of Sent that are missing without a reason.
	Lost int64 `json:"lost"`
	// Dropped counts the contents of Sent that are missing because a server dropped them, as a gap
	// entry says.
	Dropped int64 `json:"dropped"`
	// Duplicated counts the entries whose content an earlier entry holds.
	Duplicated int64 `json:"duplicated"`
	// OutOfOrder counts the entries that were ingested before an entry that stands before them.
	OutOfOrder int64 `json:"out_of_order"`
	// Altered counts the entries with the identity, seq and time of an event sent, but other bytes.
	Altered int64 `json:"altered"`
	// Foreign counts the entries that are no event sent, or that the subscription does not want.
	Foreign int64 `json:"foreign"`
	// Repaired counts the entries that were fetched to close a gap. They stand behind newer ones.
	Repaired int64 `json:"repaired"`
	// Gaps counts the gap entries, without those that close one.
	Gaps int64 `json:"gaps"`
	// NeedlessGaps counts the gap entries that include nothing that a server dropped.
	NeedlessGaps int64 `json:"needless_gaps"`
	// Pending counts the contents of Sent that may still arrive (AllowTail).
	Pending int64 `json:"pending"`
	// Examples describes what is wrong, with at most maxExamples entries.
	Examples []string `json:"examples,omitempty"`
}

const maxExamples = 10

// OK reports whether the stream holds everything that was sent and could be had, once and in order.
// A needless gap entry does not make it false: nothing is missing.
func (r Report) OK() bool {
	return r.Lost == 0 && r.Duplicated == 0 && r.OutOfOrder == 0 && r.Altered == 0 && r.Foreign == 0
}

// String returns the report in one line. It leaves out the less usual counters when they are 0.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "sent=%d stored=%d lost=%d duplicated=%d out_of_order=%d", r.Sent, r.Stored, r.Lost, r.Duplicated, r.OutOfOrder)
	for _, f := range []struct {
		name string
		n    int64
	}{{"altered", r.Altered}, {"foreign", r.Foreign}, {"dropped", r.Dropped}, {"repaired", r.Repaired}, {"gaps", r.Gaps}, {"needless_gaps", r.NeedlessGaps}, {"pending", r.Pending}} {
		if f.n > 0 {
			fmt.Fprintf(&b, " %s=%d", f.name, f.n)
		}
	}
	return b.String()
}
