package valkey

import (
	"context"
	"slices"
	"sync"
	"time"

	valkeygo "github.com/valkey-io/valkey-go"

	"tempestd/internal/beside"
	"tempestd/persistence"
	"tempestd/persistence/internal/wake"
)

const (
	// hubBlock is how long one blocking read waits in the server. A connection that does not answer
	// within hubBlock plus hubMargin is dead.
	hubBlock  = 5 * time.Second
	hubMargin = 3 * time.Second
	// hubPage is how many entries one blocking read takes. hubEntries is how many entries the hub
	// keeps; RecentBytes bounds their bytes.
	hubPage    = 512
	hubEntries = 1 << 16
	// hubOpening is how many tails ask the server at a time while no reader runs.
	hubOpening = 8
)

// hub has the new entries of a stream, for all tails of this process. While tails wait, one
// reader with its own connection asks the server. So any number of tails needs only one blocking
// command, and no other command waits behind it.
type hub struct {
	store   *Store
	name    string
	keys    streamKeys
	conn    *link
	foreign sync.Once // reports the first entry of another client
	// opening is held by the tails that ask the server while no reader runs.
	opening chan struct{}

	mu      sync.Mutex
	running bool
	// recent is all entries after base, oldest first. It is only appended to and shortened; its
	// elements never change.
	recent  []persistence.Entry
	bytes   int                 // of recent
	base    persistence.EntryID // the newest entry before recent
	before  int64               // how many entries were ever appended to the stream up to base
	oldest  persistence.EntryID // of the stream, when it was last read; zero if it was empty
	next    *change             // sent at the next change
	waiting int                 // tails
	wanted  time.Time           // when a tail last looked
	closing bool
	stop    context.CancelFunc
	done    sync.WaitGroup
}

// change is the next change of the stream, which the waiting tails wait for.
type change struct {
	wake.Signal
	err error // why the reader ended; read it after the signal was sent
}

func newHub(v *Store, name string) *hub {
	h := &hub{store: v, name: name, keys: newStreamKeys(v.opt.Prefix, name), opening: make(chan struct{}, hubOpening)}
	h.conn = v.newLink(func(o *valkeygo.ClientOption) { o.BlockingPoolSize = 1 })
	return h
}

// look returns the hub's entries after id. covered says that the hub has all entries after id; then
// there are no more yet, and next is sent when there may be. next is nil while no reader runs.
func (h *hub) look(id persistence.EntryID, limit, room int) (page persistence.Page, next *change, covered bool) {
	h.mu.Lock()
	h.wanted = h.store.clock.Now()
	if !h.running {
		h.mu.Unlock()
		return persistence.Page{}, nil, false
	}
	recent, next := h.recent, h.next
	page = persistence.Page{Cursor: id, Oldest: h.oldest, Newest: h.base, Appended: h.before + int64(len(recent))}
	h.mu.Unlock()
	if id.Compare(page.Newest) < 0 {
		return persistence.Page{}, next, false
	}
	if n := len(recent); n > 0 {
		page.Newest = recent[n-1].ID
	}
	if page.Oldest.IsZero() {
		page.Newest = persistence.EntryID{}
	}
	i, _ := slices.BinarySearchFunc(recent, id.Next(), func(f persistence.Entry, id persistence.EntryID) int { return f.ID.Compare(id) })
	all := recent[i:]
	recent = all[:min(len(all), limit)]
	for k := range recent {
		if room -= len(recent[k].Event); room <= 0 {
			recent = recent[:k+1]
			break
		}
	}
	page.Entries, page.Behind = slices.Clip(recent), int64(len(all)-len(recent))
	if n := len(recent); n > 0 {
		page.Cursor = recent[n-1].ID
	}
	return page, next, true
}

// wait adds n to the number of waiting tails.
func (h *hub) wait(n int) (waiting int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waiting += n
	h.wanted = h.store.clock.Now()
	return h.waiting
}

// start starts the reader at the end of the stream, unless it runs.
func (h *hub) start(end *tipState, oldest persistence.EntryID) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closing {
		return persistence.ErrStoreClosed
	}
	if h.running {
		return nil
	}
	ctx, stop := context.WithCancel(context.Background())
	h.running, h.stop, h.next, h.recent, h.bytes = true, stop, new(change), nil, 0
	h.base, h.before, h.oldest = end.last, end.appended, oldest
	id := end.last
	h.done.Go(func() {
		err := h.readGuarded(ctx, id)
		stop()
		h.mu.Lock()
		defer h.mu.Unlock()
		h.running, h.recent, h.bytes = false, nil, 0
		h.next.err = err
		h.next.Send()
	})
	return nil
}

// readGuarded is read with a guard against panics. A panic becomes the error of the waiting tails.
// The next tail that waits starts the reader again.
func (h *hub) readGuarded(ctx context.Context, id persistence.EntryID) (err error) {
	beside.Do("store.hub", nil, func() { err = h.read(ctx, id) }, func(p *beside.Panic) { err = p.Traced() })
	return err
}

// read reads the stream from id on, until no tail has asked for a while, the stream is closed, or
// the server does not answer.
func (h *hub) read(ctx context.Context, id persistence.EntryID) error {
	// While readers see only what is durable, the blocking read waits for its end.
	limited := false
	for h.isWanted() {
		added, err := h.ask(ctx, id, limited)
		if err != nil {
			h.conn.reset()
			if ctx.Err() != nil {
				return persistence.ErrStoreClosed
			}
			return h.store.failure(ctx, err)
		}
		page, state, err := h.pageOf(ctx, added.entries, id)
		if ctx.Err() != nil {
			return persistence.ErrStoreClosed
		} else if err != nil {
			return err
		}
		if id.Compare(state.trimmed) < 0 {
			// Entries before these are missing, also in the count. Waiting tails ask the server.
			return nil
		}
		if limited = state.limited; limited {
			added.entries = upTo(added.entries, state.last)
		}
		h.retain(page.Oldest, state.trimmed)
		if len(added.entries) > 0 {
			id = added.entries[len(added.entries)-1].ID
			h.publish(added.entries)
		}
		if added.closed && len(added.entries) < hubPage {
			return nil // waiting tails find it closed
		}
	}
	return nil
}

func (h *hub) isWanted() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.waiting > 0 || h.store.clock.Since(h.wanted) < wake.RecentIdle
}

// ask is one blocking read of the stream and of its closed marker together. With limited it waits
// for the end of what is durable, and then reads the entries.
func (h *hub) ask(ctx context.Context, id persistence.EntryID, limited bool) (tailReply, error) {
	bounded, cancel := context.WithTimeout(ctx, hubBlock+hubMargin)
	defer cancel()
	client, err := h.conn.get()
	if err != nil {
		return tailReply{}, err
	}
	waitFor := h.keys.stream
	if limited {
		waitFor = h.keys.shown
	}
	m, err := answer(client.Do(bounded, client.B().Xread().Count(hubPage).Block(hubBlock.Milliseconds()).
		Streams().Key(waitFor, h.keys.closed).Id(id.String(), "0-0").Build()))
	if err != nil {
		return tailReply{}, err
	}
	r, err := decodeTail(waitFor, h.keys.closed, m)
	if err != nil {
		return tailReply{}, h.store.refuse("stream %s: %v", h.name, err)
	}
	if limited && len(r.entries) > 0 {
		if m, err = answer(client.Do(bounded, client.B().Xrange().Key(h.keys.stream).Start("("+id.String()).End("+").Count(hubPage).Build())); err != nil {
			return tailReply{}, err
		}
		if r.entries, err = decodeEntries(m); err != nil {
			return tailReply{}, h.store.refuse("stream %s: %v", h.name, err)
		}
	}
	return r, nil
}

// retain drops the entries that retention has dropped.
func (h *hub) retain(oldest, trimmed persistence.EntryID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.oldest = oldest
	if trimmed.Compare(h.base) <= 0 {
		return
	}
	i, _ := slices.BinarySearchFunc(h.recent, trimmed.Next(), func(f persistence.Entry, id persistence.EntryID) int { return f.ID.Compare(id) })
	for k := range h.recent[:i] {
		h.bytes -= len(h.recent[k].Event)
	}
	h.base, h.before, h.recent = trimmed, h.before+int64(i), slices.Clone(h.recent[i:])
}

// publish adds new entries and wakes all tails.
func (h *hub) publish(entries []persistence.Entry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.recent = append(h.recent, entries...)
	for i := range entries {
		h.bytes += len(entries[i].Event)
	}
	if h.bytes > wake.RecentBytes || len(h.recent) > hubEntries {
		drop := 0 // a quarter at a time, so that the rest is not copied for every page
		for ; h.bytes > wake.RecentBytes*3/4 || len(h.recent)-drop > hubEntries*3/4; drop++ {
			h.bytes -= len(h.recent[drop].Event)
		}
		h.base = h.recent[drop-1].ID
		h.before += int64(drop)
		h.recent = slices.Clone(h.recent[drop:]) // readers may still use the old slice
	}
	h.next.Send()
	h.next = new(change)
}

// close ends the reader.
func (h *hub) close() {
	h.mu.Lock()
	h.closing = true
	if h.running {
		h.stop()
	}
	h.mu.Unlock()
	h.conn.close()
	h.done.Wait()
}
