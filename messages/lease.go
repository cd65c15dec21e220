package messages

import "time"

// Lease is the right to append to one stream. One daemon has it at a time. Its epoch is the fencing
// epoch: it increases with every grant, and the store refuses appends with an older one (I6),
// however late they come.
type Lease struct {
	Stream string `json:"stream"`
	Node   string `json:"node"` // ID of the daemon that holds it
	Epoch  uint64 `json:"epoch"`
}

// IsZero says whether l is no lease. A store that belongs to one daemon alone needs none.
func (l Lease) IsZero() bool { return l == Lease{} }

// Node is a daemon that may own streams.
type Node struct {
	// ID is unique and survives a restart. It is kept under data_dir, which only one process can
	// hold.
	ID      string   `json:"id"`
	Name    string   `json:"name"`           // for people
	Addr    string   `json:"addr,omitempty"` // where its HTTP is served, "" if it is not
	Streams []string `json:"streams"`        // the streams that it may own, sorted
}

// Owner says who holds a stream's lease.
type Owner struct {
	Stream string        `json:"stream"`
	Node   string        `json:"node"` // ID, "" while there is no holder
	Name   string        `json:"name"`
	Epoch  uint64        `json:"epoch"`   // the newest epoch that was granted
	Left   time.Duration `json:"left_ns"` // until the lease ends unless it is renewed
}

// The conversation of a feed whose store is shared. A feed's actors run only while the feed holds
// its lease:
//
//	sharing → feed       Share                     "you are to own it", or not
//	feed → lease holder  ClaimLease
//	lease holder → feed  LeaseHeld, LeaseTrouble … not yet, and why
//	lease holder → feed  (actors.LeaseGranted)     "it is yours; here is the stream"
//	lease holder → feed  LeaseLost                 "it is yours no longer"; or
//	feed → lease holder  ReleaseLease              once everything that was read is stored
//	lease holder → feed  LeaseReleased

// Share tells a feed its role among the daemons that share the store.
type Share struct {
	Wanted   bool     // this daemon is to own the stream
	Owner    Owner    // the daemon that holds the lease now
	Standbys []string // names of the daemons that may own it, this one included, without the owner
}

// ClaimLease asks the lease holder to get the lease, however long that takes. A lease that the
// lease holder already holds is granted again, with a new epoch and the stream opened again.
type ClaimLease struct{}

// ReleaseLease asks the lease holder to give the lease up, and to stop asking for it.
type ReleaseLease struct{}

// LeaseReleased answers ReleaseLease.
type LeaseReleased struct{}

// LeaseHeld says that another daemon holds the lease that was asked for.
type LeaseHeld struct{ Owner Owner }

// LeaseTrouble says why the store cannot be asked for the lease now.
type LeaseTrouble struct{ Reason string }

// LeaseLost says that the lease is no longer held.
type LeaseLost struct {
	Lease  Lease
	Reason string
	Owner  string // name of the present holder, "" if unknown
}
