package messages

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"time"
)

// GapState is the state of a gap in the ledger.
type GapState string

// States of a gap.
const (
	GapOpen         GapState = "open"         // its events are missing, and nothing fetches them
	GapWaiting      GapState = "waiting"      // the next attempt is due at RetryAt
	GapRepairing    GapState = "repairing"    // events are being fetched from Source
	GapRepaired     GapState = "repaired"     // everything that Source has is stored
	GapPartly       GapState = "partly"       // a part is stored, and no source has the rest
	GapUnrepairable GapState = "unrepairable" // no source has any of it, or an operator gave it up
)

// GapStates lists every state. It must not be changed.
var GapStates = []GapState{GapOpen, GapWaiting, GapRepairing, GapRepaired, GapPartly, GapUnrepairable}

// Final says whether the state changes only when an operator asks for it.
func (s GapState) Final() bool { return s == GapRepaired || s == GapPartly || s == GapUnrepairable }

// GapSource is a place from which the events of a gap can be fetched.
type GapSource string

// Sources, the cheapest and most exact first.
const (
	// SourceSocket is the replay of a server's websocket. It has every event.
	SourceSocket GapSource = "socket"
	// SourceArchive is the archive of the gap's server. It has every marker and the last version of
	// each record, but not the versions in between.
	SourceArchive GapSource = "archive"
	// SourceAccounts is each account's own server. It has the records as they are now.
	SourceAccounts GapSource = "accounts"
	// SourceTimeline is the timeline of an account. It has the posts and reposts that the app view
	// shows now.
	SourceTimeline GapSource = "timeline"
)

// GapSources lists every source, in the order in which they are tried. It must not be changed.
var GapSources = []GapSource{SourceSocket, SourceArchive, SourceAccounts, SourceTimeline}

// GapRow is the ledger's row about one gap. A row is immutable; a change makes a new row with the
// next version.
//
// A row that changes together with entries travels in the checkpoint of their append
// (Checkpoint.Gaps), so both are durable in one step. The ledger itself takes the row over a moment
// later. Of two rows with the same ID the one with the greater version counts.
type GapRow struct {
	ID      string `json:"id"`      // see GapID
	Version uint64 `json:"version"` // 1 for a new row
	Feed    string `json:"feed"`
	Gap
	// Known says that events are missing for certain. Otherwise some may be.
	Known bool     `json:"known"`
	State GapState `json:"state"`
	// Source is where the events come from, or came from; "" before the first attempt.
	Source    GapSource `json:"source,omitempty"`
	Recovered int64     `json:"recovered"` // entries appended
	Held      int64     `json:"held"`      // events that the stream held already
	Attempts  int       `json:"attempts"`
	Bytes     int64     `json:"bytes"`                   // downloaded
	Planned   int64     `json:"planned_bytes,omitempty"` // to be downloaded in all, 0 if unknown
	// Why is the reason for the state: one line, bounded, without secrets.
	Why string `json:"why,omitempty"`
	// Missing says what the sources could not give, for people.
	Missing   string    `json:"missing,omitempty"`
	OpenedAt  time.Time `json:"opened_at"`
	ChangedAt time.Time `json:"changed_at"`
	RetryAt   time.Time `json:"retry_at,omitzero"` // in the state waiting
	// Tried are the sources that have nothing more to give.
	Tried []GapSource `json:"tried,omitempty"`
	// RestFromUS and RestToUS bound what no source had so far, Unix µs; both 0 for the whole gap.
	RestFromUS int64 `json:"rest_from_us,omitempty"`
	RestToUS   int64 `json:"rest_to_us,omitempty"`
	// Entry is the gap's entry in the stream. FirstID and LastID are the first and the last entry
	// that was recovered; entries of the live feed lie between them.
	Entry   EntryID `json:"entry,omitzero"`
	FirstID EntryID `json:"first_id,omitzero"`
	LastID  EntryID `json:"last_id,omitzero"`
	// Progress is the place up to which everything that Source has is stored. Only the source
	// interprets it.
	Progress json.RawMessage `json:"progress,omitempty"`
}

// GapID derives the ID of a gap. The same feed and gap always give the same ID, so a gap that is
// recorded again after a crash is the same row.
func GapID(feed string, g Gap) string {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s\x00%s\x00%d\x00%d\x00%s", feed, g.Host, g.FromUS, g.ToUS, g.Cause)
	if e := g.Event; e != nil {
		fmt.Fprintf(h, "\x00%d\x00%d\x00%s\x00%s\x00%s\x00%s", e.TimeUS, e.Seq, e.DID, e.Rev, e.Collection, e.RKey)
	}
	return fmt.Sprintf("%016x", h.Sum64())
}

// Repair is the member "repair" of an event that was fetched to close a gap. It is the last member
// of the event's JSON; what is before it is verbatim as its source sent it.
type Repair struct {
	Gap    string    `json:"gap"` // the ID of the row
	Source GapSource `json:"source"`
	// Time is RepairTimeUnknown if the event's time says nothing about when it happened.
	Time string `json:"time,omitempty"`
}

// RepairTimeUnknown marks a delete that was found by comparing: its time is that of the comparison.
const RepairTimeUnknown = "unknown"

// Entry of a gap in the stream:
//
//	{"kind":"gap","time_us":…,"gap":{"id":…,"host":…,"from_us":…,"to_us":…,"cause":…}}
//	{"kind":"gap","time_us":…,"gap":{"id":…,"state":"repaired","source":…,"recovered":…,"host":…,…}}
//
// The first is the opening entry. The second closes the gap.
type gapEntry struct {
	ID        string    `json:"id"`
	State     GapState  `json:"state,omitempty"`
	Source    GapSource `json:"source,omitempty"`
	Recovered *int64    `json:"recovered,omitempty"`
	Missing   string    `json:"missing,omitempty"`
	Why       string    `json:"why,omitempty"`
	Gap
}

// OpeningEntry returns the JSON of the entry that stands for the gap in the stream.
func (r GapRow) OpeningEntry() []byte {
	return entryJSON(r.ToUS, gapEntry{ID: r.ID, Gap: r.Gap})
}

// ClosingEntry returns the JSON of the entry that says what became of the gap.
func (r GapRow) ClosingEntry() []byte {
	return entryJSON(r.ChangedAt.UnixMicro(), gapEntry{ID: r.ID, State: r.State, Source: r.Source, Recovered: &r.Recovered,
		Missing: r.Missing, Why: r.Why, Gap: r.Gap})
}

func entryJSON(timeUS int64, e gapEntry) []byte {
	buf, err := json.Marshal(struct {
		Kind   string   `json:"kind"`
		TimeUS int64    `json:"time_us"`
		Gap    gapEntry `json:"gap"`
	}{KindGap.String(), timeUS, e})
	if err != nil {
		panic(err) // cannot happen: strings and integers always encode
	}
	return buf
}
