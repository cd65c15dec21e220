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

// lookAgain is how often a request that waits for its turn asks the store: another daemon may have been told of the ack.
const lookAgain = time.Second

// errUnchanged ends an update that was a look.
var errUnchanged = errors.New("nothing is to be changed")

// turnRequest is one next.
type turnRequest struct {
	server  *Server
	stream  persistence.Stream
	name    string
	limit   int
	lease   time.Duration
	until   time.Time       // the end of the block budget
	request context.Context // the client's
	waiting context.Context // ends when the server stops, too
}

// next hands out a batch. While another one is out it waits for its turn.
func (s *Server) next(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return errMethod(r.Method, http.MethodGet) // a HEAD would lease a batch that nobody sees
	}
	if err := s.checkCrossSite(r, http.MethodPost); err != nil { // which a GET that leases something is as good as
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

// answer is what a next is answered with.
type answer struct {
	page  tailPage
	head  string // members of the JSON before the frames
	retry int    // seconds until asking again makes sense, 0 for at once
}

// attempt looks at the consumer and does what it finds: waits for the batch that is out, or hands one out. again says that the consumer was not, or is no
// longer, as it was seen.
func (t *turnRequest) attempt() (a answer, again bool, err error) {
	turn := t.server.turns.join(turnOf(t.stream.Name(), t.name)) // what happens from here on is not missed
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
		return a, true, nil // somebody got, gave back or moved something meanwhile
	case err != nil:
		return a, false, err
	case len(a.page.Frames) == 0:
		return a, false, t.skip(seen, &a.page)
	}
	a.head, again, err = t.claim(seen, &a.page)
	return a, again, err
}

// look gives the consumer's state and the store's time.
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

// wait waits for the turn: until the batch that is out was acknowledged or given back, until its lease ends, or until the block budget is used up.
func (t *turnRequest) wait(turn *turn, seen *persistence.ConsumerState, now time.Time) (a answer, again bool, err error) {
	left := t.until.Sub(t.server.clock.Now())
	if left <= 0 {
		a = answer{retry: 1, head: until(seen.Lease.Until, now)}
		if a.page, _, err = t.server.lag(t.request, t.stream, seen.Acked); err != nil {
			return a, false, err
		}
		if seen.Lease.Token == "" { // nobody can end a delay early
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

// queue waits while somebody else reads for the consumer, up to the end of the block budget.
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

// claim leases what was read, provided that the consumer is still as it was seen.
func (t *turnRequest) claim(seen *persistence.ConsumerState, p *tailPage) (head string, again bool, err error) {
	token := newToken(p.Cursor)
	var granted time.Time
	state, err := t.server.store.UpdateConsumer(t.request, t.stream.Name(), t.name,
		func(now time.Time, state *persistence.ConsumerState) (*persistence.ConsumerState, error) {
			switch {
			case state == nil:
				return nil, errNoConsumer(t.stream.Name(), t.name)
			case holds(state, token): // it was done, and the store's answer got lost
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

// skip moves the position past what the filter left out, where that is worth a write. Somebody who was quicker has moved it already.
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

// readOn reads what an idle consumer is given next, and waits for it.
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

// readAgain reads the batch that was returned: from the position to where it ended, whatever the stream has got since.
func (t *turnRequest) readAgain(ctx context.Context, seen *persistence.ConsumerState) (tailPage, error) {
	f, err := t.follow(ctx, seen)
	if err != nil {
		return tailPage{}, err
	}
	defer f.close()
	var frames []persistence.Frame
	size := 0
	for end := seen.Lease.Last; ; {
		p, err := f.next(0, maxLimit)
		if err == nil {
			err = checkBeginning(ctx, t.stream, seen.Acked)
		}
		if err != nil {
			return tailPage{}, err
		}
		beyond := slices.IndexFunc(p.Frames, func(f persistence.Frame) bool { return f.ID.Compare(end) > 0 })
		if beyond < 0 {
			beyond = len(p.Frames)
		}
		frames, size = append(frames, p.Frames[:beyond]...), size+p.size
		if p.Cursor.Compare(end) > 0 {
			if p, err = t.server.behind(ctx, t.stream, end); err != nil {
				return tailPage{}, err
			}
		}
		// An end that is not there any more, as after a server came back with older data, is not waited for: what comes in its place is the next batch's.
		if p.Cursor == end || p.Behind == 0 {
			p.Frames, p.size = frames, size
			return p, nil
		}
	}
}

// follow gives a follower of the stream from the consumer's position, with its filter.
func (t *turnRequest) follow(ctx context.Context, seen *persistence.ConsumerState) (*follower, error) {
	d, err := definitionOf(seen)
	if err != nil {
		return nil, err
	}
	return t.server.follow(ctx, t.stream, seen.Acked, jetstream.NewMatcher(jetstream.Filter(d.Filter))), nil
}
