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

// The conversation of a feed whose store is shared. A feed's actors run while its lease is held, and only then:
//
//	sharing → feed   Share           "you are to own it", or not
//	feed → keeper    ClaimLease
//	keeper → feed    LeaseHeld, LeaseAway …    not yet: why
//	keeper → feed    (actors.LeaseGranted)     "it is yours; here is the stream"
//	keeper → feed    LeaseLost                 "it is yours no longer"; or
//	feed → keeper    ReleaseLease              once everything that was read is stored
//	keeper → feed    LeaseReleased

// Share tells a feed what becomes of it among the daemons that share the store.
type Share struct {
	Wanted   bool     // this daemon is to own it
	Owner    Owner    // who does now
	Standbys []string // names of the others that may, this daemon included
}

// ClaimLease asks the keeper for the lease, as long as it takes. One that it holds is granted anew, with a new epoch and the stream opened again.
type ClaimLease struct{}

// ReleaseLease asks the keeper to give the lease up, and to want it no more.
type ReleaseLease struct{}

// LeaseReleased answers ReleaseLease.
type LeaseReleased struct{}

// LeaseHeld says that another daemon holds the lease that was asked for.
type LeaseHeld struct{ Owner Owner }

// LeaseAway says that the store cannot be asked for the lease now.
type LeaseAway struct{ Reason string }

// LeaseLost says that the lease is held no longer.
type LeaseLost struct {
	Lease  Lease
	Reason string
	Owner  string // name of who has it now, "" where that is not known
}
