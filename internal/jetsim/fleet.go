package jetsim

import (
	"errors"
	"fmt"
	"iter"
	"time"
)

// seqSpacing separates the default sequence numbers of a fleet's servers.
const seqSpacing = 1_000_000_000

// Fleet is several servers of one network. They ingest the same contents, but each has its own
// order, times and sequence numbers. Each can fail on its own. A Fleet's methods are safe for
// concurrent use.
type Fleet struct {
	members []*Sim
}

// NewFleet makes one server for each Options. Seed, Accounts, Syncs, Rate, Count, Backlog and Began
// belong to the network and must be equal for all members. Flood is refused, because it has no rate. A
// FirstSeq of 0 is replaced by a number far from those of the other members.
func NewFleet(members ...Options) (*Fleet, error) {
	if len(members) == 0 {
		return nil, errors.New("jetsim: a fleet has a member at least")
	}
	type network struct {
		seed           uint64
		accounts       int
		syncs          bool
		rate           float64
		count, backlog int64
		began          time.Time
	}
	of := func(o Options) network {
		return network{o.Seed, o.Accounts, o.Syncs, o.Rate, o.Count, o.Backlog, o.Began}
	}
	f := &Fleet{}
	line := newMade()
	for i, opt := range members {
		if of(opt) != of(members[0]) || opt.Flood {
			return nil, errors.Join(fmt.Errorf("jetsim: member %d of the fleet is of another network, or floods", i), f.Close())
		}
		setDefault(&opt.FirstSeq, 1+int64(i)*seqSpacing)
		if opt.Began.IsZero() {
			opt.made = line
		}
		s, err := New(opt)
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		f.members = append(f.members, s)
	}
	return f, nil
}

// Members returns the servers, in the order of their options. The caller must not change the slice.
func (f *Fleet) Members() []*Sim { return f.members }

// Listen serves every member on its own loopback port.
func (f *Fleet) Listen() error {
	for _, s := range f.members {
		if err := s.Listen("127.0.0.1:0"); err != nil {
			return err
		}
	}
	return nil
}

// Produce makes the network produce n more events now, and the events that complete the last
// commit. Every member ingests them after its own lag, or when it is up again.
func (f *Fleet) Produce(n int64) (events int64) {
	reached := f.reached()
	target := reached + n
	for f.members[0].net.continues(target) {
		target++
	}
	for _, s := range f.members {
		s.reach(target, true)
	}
	return target - reached
}

// StopProducing ends production for good. Every member that is up ingests at once what the network
// has produced, without its lag; a member that is down does so when it is up again. Afterwards a
// subscriber of any member can get everything.
func (f *Fleet) StopProducing() {
	for _, s := range f.members {
		s.StopProducing()
	}
	target := f.reached()
	for _, s := range f.members {
		s.reach(target, false)
	}
}

// reached is the number of contents that the network has produced.
func (f *Fleet) reached() (target int64) {
	for _, s := range f.members {
		s.mu.Lock()
		target = max(target, s.next+s.owed, s.upTo)
		s.mu.Unlock()
	}
	return target
}

// Verify compares entries with everything that the members have ingested so far. Entries are the
// JSON of the events of a stream that the members filled in turns.
func (f *Fleet) Verify(entries iter.Seq2[[]byte, error], opt VerifyOptions) (Report, error) {
	var histories []*History
	for _, s := range f.members {
		histories = append(histories, s.History())
	}
	return VerifyFleet(histories, entries, opt)
}

// VerifyFleet compares entries with the histories of several servers of one network. Entries are
// the JSON of the events of a stream that the servers filled in turns. It returns an error when the
// histories belong to different networks.
func VerifyFleet(servers []*History, entries iter.Seq2[[]byte, error], opt VerifyOptions) (Report, error) {
	if len(servers) == 0 {
		return Report{}, errors.New("jetsim: a fleet has a member at least")
	}
	for _, h := range servers[1:] {
		if a, b := h.net, servers[0].net; a.seed != b.seed || a.accounts != b.accounts || a.shapes != b.shapes {
			return Report{}, errors.New("jetsim: the histories are of different networks")
		}
	}
	return verify(servers, entries, opt)
}

// Close ends every member abruptly, as SIGKILL does.
func (f *Fleet) Close() error {
	var errs []error
	for _, s := range f.members {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}
