package messages

import "time"

// ConsumerFilter says which events a named consumer is given; each list that is not empty must hold. The zero value wants all.
type ConsumerFilter struct {
	Collections []string `json:"collections,omitempty"` // NSIDs, or prefixes of some that end in ".*"
	DIDs        []string `json:"dids,omitempty"`
	Kinds       []string `json:"kinds,omitempty"` // "commit", "identity", "account", "sync", "gap"
}

// ConsumerBatch is a batch that is leased.
type ConsumerBatch struct {
	Last       EntryID   `json:"last"`       // where it ends
	Until      time.Time `json:"until"`      // when it goes out again unless it is acknowledged before
	Deliveries int       `json:"deliveries"` // how often it went out
}

// ConsumerStatus is what is told about a named consumer of a stream.
type ConsumerStatus struct {
	Stream    string          `json:"stream"`
	Name      string          `json:"name"`
	After     string          `json:"after"` // where it was made to begin: after this ID, or "now"
	Filter    *ConsumerFilter `json:"filter,omitempty"`
	CreatedAt time.Time       `json:"created_at"`

	Acked   EntryID   `json:"acked"`    // the position: everything up to here was dealt with
	MovedAt time.Time `json:"moved_at"` // when it last changed

	Lease      *ConsumerBatch `json:"lease,omitempty"` // what somebody works on
	Deliveries int            `json:"deliveries"`      // how often the batch that is not acknowledged went out, 0 for none

	LagEntries int64 `json:"lag_entries"` // entries of the stream after the position, filtered out or not
	LagMS      int64 `json:"lag_ms"`      // by their times: from the position to the newest entry
	// Expired is set where retention has dropped entries that the consumer had not dealt with: the position after which nothing is missing yet.
	Expired *EntryID `json:"expired,omitempty"`
}
