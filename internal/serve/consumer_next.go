package serve

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"tempestd/internal/jetstream"
	"tempestd/persistence"
)

// lookAgain is how often a request that waits for its turn reads the state from the store: an ack
// may arrive at another daemon, which wakes no request here.
const lookAgain = time.Second

// errUnchanged ends an update that changes nothing, for example a read of the state.
var errUnchanged = errors.New("nothing is to be changed")

// turnRequest is one request for the next batch.
type turnRequest struct {
	server  *Server
	stream  persistence.Stream
	name    string
	limit   int
	lease   time.Duration
	until   time.Time       // the end of the block budget
	request context.Context // the client's
	waiting context.Context // ends with the request, and when the server stops
}

// next hands out a batch. While another batch is out, it waits for its turn.
func (s *Server) next(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		// A HEAD would lease a batch that the client does not see.
		return errMethod(r.Method, http.MethodGet)
	}
	// A GET that leases a batch is as unsafe as a POST.
	if err := s.checkCrossSite(r, http.MethodPost); err != nil {
		return err
	}
	p := parseParams(r, "limit", "block_ms", "lease_ms")
	limit, block, lease := p.limit(), p.block(), p.millis("lease_ms", defaultLease, minLease, maxLease)
	if p.err != nil {
		return p.err
	}
	stream, err := s.store.Stream(r.Context(), r.PathValue("stream"))
	if err != nil {
		return err
	}
	release, err := s.admit(r, stream.Name(), block)
	if err != nil {
		return err
	}
	defer release()
	waiting, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.drained, cancel)()

	s.allow(w, block)
	t := &turnRequest{server: s, stream: stream, name: r.PathValue("consumer"), limit: limit, lease: lease,
		until: s.clock.Now().Add(block), request: r.Context(), waiting: waiting}
	for {
		a, again, err := t.attempt()
		if err != nil {
			return err
		}
		if !again {
			if s.draining() {
				w.Header().Set("Connection", "close")
			}
			if a.retry > 0 {
				w.Header().Set("Retry-After", strconv.Itoa(a.retry))
			}
			s.writeHeaded(w, stream.Name(), a.head, &a.page)
			return nil
		}
	}
}

// answer is the response to a request for the next batch.
type answer struct {
	page  tailPage
	head  string // members of the JSON before the frames
	retry int    // seconds until a new request makes sense, 0 for at once
}

// attempt looks at the consumer and acts on its phase: it waits for the batch that is out, or hands
// one out. again says that the state has changed since the look, so that the caller must try again.
func (t *turnRequest) attempt() (a answer, again bool, err error) {
	// Join before the look, so that no change is missed.
	turn := t.server.turns.join(turnOf(t.stream.Name(), t.name))
	defer turn.leave()
	seen, now, err := t.look()
	if err != nil {
		return a, false, err
	}
	p := phaseOf(seen, now)
	if p == leased {
		return t.wait(turn, seen, now)
	}
	select {
	case turn.reading <- struct{}{}:
		defer func() { <-turn.reading }()
	default:
		return t.queue(turn, seen)
	}

	ctx, cancel := context.WithCancel(t.request)
	defer cancel()
	defer context.AfterFunc(turn.next, cancel)()
	if p == returned {
		a.page, err = t.readAgain(ctx, seen)
	} else {
		a.page, err = t.readOn(ctx, seen)
	}
	switch {
	case err != nil && ctx.Err() != nil && t.request.Err() == nil:
		return a, true, nil // another request leased, returned or moved something during the read
	case err != nil:
		return a, false, err
	case len(a.page.Entries) == 0:
		return a, false, t.skip(seen, &a.page)
	}
	a.head, again, err = t.claim(seen, &a.page)
	return a, again, err
}

// look returns the consumer's state and the store's time.
func (t *turnRequest) look() (seen *persistence.ConsumerState, now time.Time, err error) {
	_, err = t.server.store.UpdateConsumer(t.request, t.stream.Name(), t.name,
		func(at time.Time, state *persistence.ConsumerState) (*persistence.ConsumerState, error) {
			if seen, now = state, at; state == nil {
				return nil, errNoConsumer(t.stream.Name(), t.name)
			}
			return nil, errUnchanged
		})
	if errors.Is(err, errUnchanged) {
		err = nil
	}
	return seen, now, err
}

// wait waits for the turn: until the batch that is out is acknowledged or returned, until its lease
// ends, or until the block budget is used up.
func (t *turnRequest) wait(turn *turn, seen *persistence.ConsumerState, now time.Time) (a answer, again bool, err error) {
	left := t.until.Sub(t.server.clock.Now())
	if left <= 0 {
		a = answer{retry: 1, head: until(seen.Lease.Until, now)}
		if a.page, _, err = t.server.lag(t.request, t.stream, seen.Acked); err != nil {
			return a, false, err
		}
		if seen.Lease.Token == "" { // after a nack only time ends the delay
			a.retry = int((seen.Lease.Until.Sub(now) + time.Second - 1) / time.Second)
		}
		return a, false, nil
	}
	timer := t.server.clock.NewTimer(min(left, lookAgain, seen.Lease.Until.Sub(now)))
	defer timer.Stop()
	select {
	case <-turn.next.Done():
	case <-timer.Chan():
	case <-t.waiting.Done():
		if t.request.Err() != nil {
			return a, false, t.request.Err()
		}
		t.until = t.server.clock.Now() // the server is stopping
	}
	return a, true, nil
}

// queue waits while another request reads for this consumer, until the block budget ends.
func (t *turnRequest) queue(turn *turn, seen *persistence.ConsumerState) (a answer, again bool, err error) {
	left := t.until.Sub(t.server.clock.Now())
	if left <= 0 {
		a.page, _, err = t.server.lag(t.request, t.stream, seen.Acked)
		return a, false, err
	}
	timer := t.server.clock.NewTimer(left)
	defer timer.Stop()
	select {
	case turn.reading <- struct{}{}:
		<-turn.reading
	case <-timer.Chan():
	case <-t.waiting.Done():
		if t.request.Err() != nil {
			return a, false, t.request.Err()
		}
		t.until = t.server.clock.Now() // the server is stopping
	}
	return a, true, nil
}

// claim leases the page that was read, provided that the consumer's state is unchanged since the
// look.
func (t *turnRequest) claim(seen *persistence.ConsumerState, p *tailPage) (head string, again bool, err error) {
	token := newToken(p.Cursor)
	var granted time.Time
	state, err := t.server.store.UpdateConsumer(t.request, t.stream.Name(), t.name,
		func(now time.Time, state *persistence.ConsumerState) (*persistence.ConsumerState, error) {
			switch {
			case state == nil:
				return nil, errNoConsumer(t.stream.Name(), t.name)
			case holds(state, token): // the update was stored, but the store's answer was lost
				return state, nil
			case !unchanged(state, seen):
				return nil, errUnchanged
			}
			granted = now
			lend(state, now, token, p.Cursor, t.lease)
			return state, nil
		})
	if errors.Is(err, errUnchanged) {
		return "", true, nil
	}
	if err != nil {
		return "", false, err
	}
	if state.Lease.Deliveries > 1 {
		t.server.observer.Metrics().Redeliveries.WithLabelValues(t.stream.Name(), t.name).Inc()
	}
	return fmt.Sprintf(`"token":"%s",%s"deliveries":%d,`, token, until(state.Lease.Until, granted), state.Lease.Deliveries), false, nil
}

// skip moves the position past entries that the filter left out, if that is worth a write. If
// another request has moved the position already, skip does nothing.
func (t *turnRequest) skip(seen *persistence.ConsumerState, p *tailPage) error {
	if p.Cursor.Compare(seen.Acked) <= 0 {
		return nil
	}
	_, err := t.server.store.UpdateConsumer(t.request, t.stream.Name(), t.name,
		func(now time.Time, state *persistence.ConsumerState) (*persistence.ConsumerState, error) {
			if state == nil || !unchanged(state, seen) || !worthSkipping(state, now, p.Behind > 0 || p.IsClosed()) {
				return nil, errUnchanged
			}
			move(state, now, p.Cursor)
			return state, nil
		})
	if errors.Is(err, errUnchanged) {
		return nil
	}
	return err
}

// readOn reads the next batch of an idle consumer, and waits for it.
func (t *turnRequest) readOn(ctx context.Context, seen *persistence.ConsumerState) (tailPage, error) {
	f, err := t.follow(ctx, seen)
	if err != nil {
		return tailPage{}, err
	}
	defer f.close()
	p, err := f.next(max(t.until.Sub(t.server.clock.Now()), 0), t.limit)
	if err == nil {
		err = checkBeginning(ctx, t.stream, seen.Acked)
	}
	return p, err
}

// readAgain reads the returned batch once more: from the position to the batch's end, without
// entries that were appended later.
func (t *turnRequest) readAgain(ctx context.Context, seen *persistence.ConsumerState) (tailPage, error) {
	f, err := t.follow(ctx, seen)
	if err != nil {
		return tailPage{}, err
	}
	defer f.close()
	var frames []persistence.Entry
	size := 0
	for end := seen.Lease.Last; ; {
		p, err := f.next(0, maxLimit)
		if err == nil {
			err = checkBeginning(ctx, t.stream, seen.Acked)
		}
		if err != nil {
			return tailPage{}, err
		}
		beyond := slices.IndexFunc(p.Entries, func(f persistence.Entry) bool { return f.ID.Compare(end) > 0 })
		if beyond < 0 {
			beyond = len(p.Entries)
		}
		frames, size = append(frames, p.Entries[:beyond]...), size+p.size
		if p.Cursor.Compare(end) > 0 {
			if p, err = t.server.behind(ctx, t.stream, end); err != nil {
				return tailPage{}, err
			}
		}
		// The batch's last entry may be gone, for example after a server came back with older data.
		// readAgain does not wait for it: the entries that come in its place belong to the next
		// batch.
		if p.Cursor == end || p.Behind == 0 {
			p.Entries, p.size = frames, size
			return p, nil
		}
	}
}

// follow returns a follower of the stream from the consumer's position, with the consumer's filter.
func (t *turnRequest) follow(ctx context.Context, seen *persistence.ConsumerState) (*follower, error) {
	d, err := definitionOf(seen)
	if err != nil {
		return nil, err
	}
	return t.server.follow(ctx, t.stream, seen.Acked, jetstream.NewMatcher(jetstream.Filter(d.Filter))), nil
}
