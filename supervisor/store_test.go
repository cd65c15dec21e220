package supervisor_test

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"time"

	"tempestd/messages"
	"tempestd/persistence"
)

// store is a store of one stream in memory. It fails when a test tells it to.
type store struct {
	persistence.Store // nil: the tests use none of its other methods
	mu                sync.Mutex
	blocks            []block
	cp                *messages.Checkpoint
	saved             *messages.Checkpoint
	gaps              []messages.GapRow // of the ledger
	last              messages.EntryID
	entries           int
	fail              func() error     // called before each append
	pace              time.Duration    // the time that an append takes
	frozen            chan struct{}    // appends wait until it is closed; nil lets them through
	refusing          map[string]error // the answers to calls, by name
	closedAt          *time.Time
	closedReason      string
	lost              *persistence.Truncation // until the next append
	slow              chan struct{}           // the next Checkpoint returns when it is closed
	indexes           []chan struct{}         // the next Fingerprints return when they are closed, one each
	orphans           int                     // gap entries whose row was not stored with them
}

type block struct {
	appended persistence.Appended
	events   [][]byte
	ids      []messages.EntryID
	prints   []uint64
}

func (s *store) OpenStream(context.Context, string, persistence.StreamOptions) (persistence.Stream, error) {
	return memStream{s: s}, nil
}
func (s *store) Stream(context.Context, string) (persistence.Stream, error) {
	return memStream{s: s}, nil
}
func (s *store) Health() error { return nil }

func (s *store) SaveCheckpoint(_ context.Context, _ string, cp messages.Checkpoint) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refusing["SaveCheckpoint"]; err != nil {
		return err
	}
	s.saved = &cp
	return nil
}

func (s *store) LoadCheckpoint(context.Context, string) (messages.Checkpoint, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refusing["LoadCheckpoint"]; err != nil {
		return messages.Checkpoint{}, err
	}
	if s.saved == nil {
		return messages.Checkpoint{}, persistence.ErrNoCheckpoint
	}
	return *s.saved, nil
}

// all returns every stored event, in order.
func (s *store) all() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all [][]byte
	for _, b := range s.blocks {
		all = append(all, b.events...)
	}
	return all
}

// set changes the store's behaviour while it is in use.
func (s *store) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// refuse makes every call of a name fail with err; nil lets the calls through again.
func (s *store) refuse(call string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refusing == nil {
		s.refusing = map[string]error{}
	}
	s.refusing[call] = err
}

// freeze makes appends wait until thaw is called.
func (s *store) freeze() (thaw func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	frozen := make(chan struct{})
	s.frozen = frozen
	return func() { close(frozen) }
}

// loseAll removes everything, as when a store's files are gone. known says whether the store still
// knows its oldest entry.
func (s *store) loseAll(known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost = &persistence.Truncation{Stream: feedName, Expected: s.last}
	if known {
		s.lost.Oldest = s.blocks[0].appended.First
	}
	s.blocks, s.cp, s.saved, s.entries, s.last = nil, nil, nil, 0, messages.EntryID{}
}

// lose removes block i, as damage does.
func (s *store) lose(i int) persistence.Appended {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.blocks[i]
	s.blocks = append(s.blocks[:i:i], s.blocks[i+1:]...)
	return b.appended
}

func (s *store) failWith(f func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = f
}

type memStream struct {
	persistence.Stream
	s *store
}

func (m memStream) Name() string { return feedName }

func (m memStream) Append(ctx context.Context, b *messages.Batch, cp messages.Checkpoint) (persistence.Appended, error) {
	s := m.s
	s.mu.Lock()
	frozen, pace := s.frozen, s.pace
	s.mu.Unlock()
	time.Sleep(pace)
	if frozen != nil {
		select {
		case <-frozen:
		case <-ctx.Done():
			return persistence.Appended{}, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		if err := s.fail(); err != nil {
			return persistence.Appended{}, err
		}
	}
	if err := s.refusing["Append of events"]; err != nil && len(b.Events) > 0 {
		return persistence.Appended{}, err
	}
	if err := s.refusing["Append"]; err != nil {
		return persistence.Appended{}, err
	}
	if s.closedAt != nil {
		return persistence.Appended{}, persistence.ErrStreamClosed
	}
	var blk block
	for i, e := range b.Events {
		if e.Drop {
			continue
		}
		s.last = messages.DeriveID(e.TimeUS, s.last)
		if len(blk.events) == 0 {
			blk.appended.First = s.last
		}
		blk.appended.Last = s.last
		blk.ids = append(blk.ids, s.last)
		blk.events = append(blk.events, bytes.Clone(b.Bytes(i)))
		blk.prints = append(blk.prints, e.Fingerprint)
	}
	for i, e := range b.Events {
		if !e.Drop && e.Kind == messages.KindGap && !slices.ContainsFunc(slices.Concat(cp.Gaps, s.gaps), func(row messages.GapRow) bool {
			return bytes.Contains(b.Bytes(i), []byte(row.ID))
		}) {
			s.orphans++
		}
	}
	blk.appended.Entries = len(blk.events)
	if len(blk.events) > 0 {
		s.blocks = append(s.blocks, blk)
		s.entries += len(blk.events)
	}
	cp.LastID = s.last
	s.cp, s.lost = &cp, nil
	// An append that is stored may still answer with an error.
	return blk.appended, s.refusing["Appended"]
}

func (m memStream) Checkpoint(context.Context) (messages.Checkpoint, error) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	if err := m.s.refusing["Checkpoint"]; err != nil {
		return messages.Checkpoint{}, err
	}
	if m.s.cp == nil {
		return messages.Checkpoint{}, persistence.ErrNoCheckpoint
	}
	cp := *m.s.cp
	if slow := m.s.slow; slow != nil {
		m.s.slow = nil
		m.s.mu.Unlock()
		<-slow
		m.s.mu.Lock()
	}
	return cp, nil
}

func (m memStream) Info(context.Context) (persistence.StreamInfo, error) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	if err := m.s.refusing["Info"]; err != nil {
		return persistence.StreamInfo{}, err
	}
	info := persistence.StreamInfo{Name: feedName, Entries: int64(m.s.entries), ClosedAt: m.s.closedAt, ClosedReason: m.s.closedReason, Lost: m.s.lost}
	if len(m.s.blocks) > 0 {
		oldest, newest := m.s.blocks[0].appended.First, m.s.last
		info.Oldest, info.Newest = &oldest, &newest
	}
	return info, nil
}

func (m memStream) Close(_ context.Context, reason string) error {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	if m.s.closedAt == nil {
		now := time.Now()
		m.s.closedAt, m.s.closedReason = &now, reason
	}
	return nil
}

func (m memStream) Read(_ context.Context, from, to persistence.StreamCursor, limit int) (page persistence.Page, err error) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	for _, b := range m.s.blocks {
		for i, e := range b.events {
			if id := b.ids[i]; id.Compare(from.Lower()) >= 0 && id.Compare(to.Upper()) <= 0 && len(page.Entries) < limit {
				page.Entries = append(page.Entries, persistence.Entry{ID: b.ids[i], Event: e})
			}
		}
	}
	return page, nil
}

func (m memStream) Fingerprints(ctx context.Context, h persistence.Horizon, yield func(persistence.FingerprintBlock) bool) error {
	m.s.mu.Lock()
	blocks, err := m.s.blocks, m.s.refusing["Fingerprints"]
	var slow chan struct{}
	if len(m.s.indexes) > 0 {
		slow, m.s.indexes = m.s.indexes[0], m.s.indexes[1:]
	}
	m.s.mu.Unlock()
	if err != nil {
		return err
	}
	if slow != nil {
		select {
		case <-slow:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for i, n := len(blocks)-1, 0; i >= 0 && (h.Entries == 0 || n < h.Entries); i-- {
		b := blocks[i]
		n += len(b.prints)
		if !yield(persistence.FingerprintBlock{First: b.appended.First, Last: b.appended.Last, Fingerprints: b.prints}) {
			return nil
		}
	}
	return nil
}

func (m memStream) Gaps(context.Context) ([]messages.GapRow, error) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	var carried []messages.GapRow
	if m.s.cp != nil {
		carried = m.s.cp.Gaps
	}
	return persistence.MergeGaps(m.s.gaps, carried), nil
}

func (m memStream) SaveGaps(_ context.Context, rows []messages.GapRow) error {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	m.s.gaps = persistence.MergeGaps(m.s.gaps, rows)
	return nil
}

func (m memStream) Entry(_ context.Context, last messages.EntryID, i int) ([]byte, error) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	n, found := slices.BinarySearchFunc(m.s.blocks, last, func(b block, id messages.EntryID) int { return b.appended.Last.Compare(id) })
	if !found {
		return nil, persistence.ErrNotFound
	}
	return m.s.blocks[n].events[i], nil
}
