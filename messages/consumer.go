package messages

import "time"

// ConsumerFilter says which events a named consumer gets. An event must satisfy each list that is
// not empty. The zero value wants all events.
type ConsumerFilter struct {
	// Collections are NSIDs, or prefixes of NSIDs that end in ".*".
	Collections []string `json:"collections,omitempty"`
	DIDs        []string `json:"dids,omitempty"`
	Kinds       []string `json:"kinds,omitempty"` // "commit", "identity", "account", "sync", "gap"
	// Repaired is "exclude" to leave out the events that were fetched to close gaps, else "".
	Repaired string `json:"repaired,omitempty"`
}

// ConsumerBatch is a batch that a consumer has leased.
type ConsumerBatch struct {
	Last EntryID `json:"last"` // the ID of its last entry
	// Until is when the batch is delivered again, unless it is acknowledged before.
	Until      time.Time `json:"until"`
	Deliveries int       `json:"deliveries"` // how often it was delivered
}

// ConsumerStatus describes a named consumer of a stream.
type ConsumerStatus struct {
	Stream    string          `json:"stream"`
	Name      string          `json:"name"`
	After     string          `json:"after"` // where it began when created: after this ID, or "now"
	Filter    *ConsumerFilter `json:"filter,omitempty"`
	CreatedAt time.Time       `json:"created_at"`

	Acked   EntryID   `json:"acked"`    // the position: all entries up to here are done
	MovedAt time.Time `json:"moved_at"` // when Acked last changed

	Lease *ConsumerBatch `json:"lease,omitempty"` // the batch that is being worked on
	// Deliveries is how often the unacknowledged batch was delivered, 0 if there is none.
	Deliveries int `json:"deliveries"`

	// LagEntries is the number of entries after the position, whether the filter wants them or not.
	LagEntries int64 `json:"lag_entries"`
	LagMS      int64 `json:"lag_ms"` // by their times, from the position to the newest entry
	// Expired is set if retention has dropped entries that the consumer had not done. It is the
	// position after which no entry is missing yet.
	Expired *EntryID `json:"expired,omitempty"`
}
