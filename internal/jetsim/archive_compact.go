package jetsim

import (
	"errors"

	"github.com/zeebo/xxh3"

	"tempestd/internal/subscribe"
)

// Compact removes from the sealed segments the creations and updates that are overtaken: by a later
// update or deletion of the same record, by the deletion of the account, or by a sync of its
// repository. Deletions and markers stay, as do sequence numbers and the numbers of blocks. The old
// bytes are gone at once.
func (s *Sim) Compact() error {
	if s.store == nil {
		return errors.New("jetsim: a compaction needs an archive")
	}
	s.mu.Lock()
	log, sealed := s.log.snapshot(), s.archive().sealed()
	s.mu.Unlock()
	s.store.compact(&log, sealed)
	return nil
}

func (t *segmentStore) compact(log *ingestLog, sealed int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w, segment := t.sim.net, t.sim.opt.Segment
	for len(t.overtaken) <= sealed/64 {
		t.overtaken = append(t.overtaken, 0)
	}
	gone := newBitset(int64(w.accounts)) // accounts whose earlier records are overtaken
	paths := map[uint64]struct{}{}       // of records that are
	for rank := log.served() - 1; rank >= 0; rank-- {
		e := w.event(log.ranked(rank).num)
		switch bits := e.bits; {
		case e.shape.kind() == subscribe.Sync, e.shape.kind() == subscribe.Account && e.status(&bits) == statusDeleted:
			gone.set(int64(e.account))
			continue
		case e.shape.kind() != subscribe.Commit:
			continue
		}
		path := w.path(&e)
		operation := w.specs[e.shape].operation
		if _, over := paths[path]; operation != "delete" && (over || gone.has(int64(e.account))) && rank < sealed {
			if k := rank / segment; !t.overtaken.set(int64(rank)) && k < len(t.segments) && t.segments[k] != nil {
				t.segments[k].stale = true
			}
		}
		if operation != "create" {
			paths[path] = struct{}{}
		}
	}
}

// path identifies a record by its account, collection and key.
func (w *network) path(e *event) uint64 {
	var space [256]byte
	c := w.commitOf(e)
	b := append(append(space[:0], w.did(e.account)...), w.specs[e.shape].collection...)
	return xxh3.Hash(w.appendKey(append(b, '/'), e, &c))
}
