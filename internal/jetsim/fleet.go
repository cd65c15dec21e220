package jetsim

import (
	"errors"
	"fmt"
	"iter"
)

// seqSpacing keeps the sequence spaces of a fleet's servers apart unless they are told otherwise.
const seqSpacing = 1_000_000_000

// Fleet is several servers of one network: the same contents, ingested by each in an order, at times and under sequence numbers of its
// own. Each can be made to fail by itself. A Fleet's methods are safe for concurrent use.
type Fleet struct {
	members []*Sim
}

// NewFleet makes a server for each of the options. Seed, Accounts, Syncs, Rate, Count and Backlog are the network's and must be the same
// for all; Flood, which has no rate, is refused. A FirstSeq of 0 is far from the others'.
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
	}
	of := func(o Options) network { return network{o.Seed, o.Accounts, o.Syncs, o.Rate, o.Count, o.Backlog} }
	f := &Fleet{}
	for i, opt := range members {
		if of(opt) != of(members[0]) || opt.Flood {
			return nil, errors.Join(fmt.Errorf("jetsim: member %d of the fleet is of another network, or floods", i), f.Close())
		}
		setDefault(&opt.FirstSeq, 1+int64(i)*seqSpacing)
		s, err := New(opt)
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		f.members = append(f.members, s)
	}
	return f, nil
}

// Members are the servers, in the order of their options. The slice must not be changed.
func (f *Fleet) Members() []*Sim { return f.members }

// Listen serves every member on a loopback port of its own.
func (f *Fleet) Listen() error {
	for _, s := range f.members {
		if err := s.Listen("127.0.0.1:0"); err != nil {
			return err
		}
	}
	return nil
}

// Produce lets the network produce n more events now, and those that complete the last commit. Every member ingests them after its own
// lag, or once it is up.
func (f *Fleet) Produce(n int64) {
	target := f.reached() + n
	for f.members[0].net.continues(target) {
		target++
	}
	for _, s := range f.members {
		s.reach(target, true)
	}
}

// StopProducing ends production for good. What the network has produced every member ingests at once, whatever its lag, or once it is up:
// afterwards a subscriber of any of them can catch up with everything.
func (f *Fleet) StopProducing() {
	for _, s := range f.members {
		s.StopProducing()
	}
	target := f.reached()
	for _, s := range f.members {
		s.reach(target, false)
	}
}

// reached is how many contents the network has produced.
func (f *Fleet) reached() (target int64) {
	for _, s := range f.members {
		s.mu.Lock()
		target = max(target, s.next+s.owed, s.upTo)
		s.mu.Unlock()
	}
	return target
}

// Verify compares entries, the JSON of the events of a stream that any of the members filled in turns, with everything they have ingested
// by now.
func (f *Fleet) Verify(entries iter.Seq2[[]byte, error], opt VerifyOptions) (Report, error) {
	var histories []*History
	for _, s := range f.members {
		histories = append(histories, s.History())
	}
	return VerifyFleet(histories, entries, opt)
}

// VerifyFleet compares entries, the JSON of the events of a stream that several servers of one network filled in turns, with the servers'
// histories.
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

// Close ends every member as SIGKILL does.
func (f *Fleet) Close() error {
	var errs []error
	for _, s := range f.members {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}
