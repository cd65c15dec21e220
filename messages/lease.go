package messages

import "time"

// Lease is the right to append to one stream, granted to one daemon at a time. Its epoch is the fencing token: it increases with
// every grant, and the store refuses appends under an older one (I6), however late they come.
type Lease struct {
	Stream string `json:"stream"`
	Node   string `json:"node"` // ID of the daemon that holds it
	Epoch  uint64 `json:"epoch"`
}

// IsZero says whether this is no lease: a store that is one daemon's alone needs none.
func (l Lease) IsZero() bool { return l == Lease{} }

// Node is a daemon that may own streams.
type Node struct {
	ID      string   `json:"id"`             // unique, the same after a restart; kept under data_dir, which one process can hold
	Name    string   `json:"name"`           // for people
	Addr    string   `json:"addr,omitempty"` // where its HTTP is served, "" when it is not
	Streams []string `json:"streams"`        // what it may own, sorted
}

// Owner says who holds a stream's lease.
type Owner struct {
	Stream string        `json:"stream"`
	Node   string        `json:"node"` // ID, "" while nobody does
	Name   string        `json:"name"`
	Epoch  uint64        `json:"epoch"`   // the newest that was granted
	Left   time.Duration `json:"left_ns"` // until the lease ends unless it is renewed
}
