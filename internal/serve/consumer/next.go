package consumer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"tempestd/internal/serve/api"
	"tempestd/internal/serve/budget"
	"tempestd/internal/serve/tail"
	"tempestd/persistence"
)

// lookAgain is how often a request that waits reads the state from the store: an ack may arrive at
// another daemon, which wakes no request here.
const lookAgain = time.Second

// errUnchanged ends an update that changes nothing, for example a read of the state.
var errUnchanged = errors.New("nothing is to be changed")

// nextRequest is one request for the next batch.
type nextRequest struct {
	*Consumers
	stream  persistence.Stream
	name    string
	share   *budget.Share
	kept    int64 // of share, for a batch that is collected
	limit   int
	lease   time.Duration
	until   time.Time       // the end of the block budget
	request context.Context // the client's
	waiting context.Context // ends with the request, and when the server stops
}

// next hands out a batch. While another batch is out, it waits.
func (c *Consumers) next(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		// A HEAD would lease a batch that the client does not see.
		return api.MethodNotAllowed(r.Method, http.MethodGet)
	}
	// A GET that leases a batch is as unsafe as a POST.
	if err := c.guard.CheckCrossSite(r, http.MethodPost); err != nil {
		return err
	}
	p := api.ParseParams(r, "limit", "block_ms", "lease_ms")
	limit, block, lease := p.Limit(), p.Block(), p.Millis("lease_ms", defaultLease, minLease, maxLease)
	if p.Err != nil {
		return p.Err
	}
	stream, err := c.store.Stream(r.Context(), r.PathValue("stream"))
	if err != nil {
		return err
	}
	release, err := c.tails.Admit(r, stream.Name(), block)
	if err != nil {
		return err
	}
	defer release()
	waiting, cancel := c.tails.UntilDrained(r.Context())
	defer cancel()

	share, err := c.tails.Share(r)
	if err != nil {
		return err
	}
	defer share.Close()
	tail.Allow(w, block)
	n := &nextRequest{Consumers: c, stream: stream, name: r.PathValue("consumer"), share: share, limit: limit, lease: lease,
		until: c.clock.Now().Add(block), request: r.Context(), waiting: waiting}
	for {
		a, again, err := n.attempt()
		if err != nil {
			return err
		}
		if !again {
			if c.tails.Draining() {
				w.Header().Set("Connection", "close")
			}
			if a.retry > 0 {
				w.Header().Set("Retry-After", strconv.Itoa(a.retry))
			}
			c.tails.WritePage(w, stream.Name(), a.head, &a.page)
			return nil
		}
	}
}

// answer is the response to a request for the next batch.
type answer struct {
	page  tail.Page
	head  string // members of the JSON before the frames
	retry int    // seconds until a new request makes sense, 0 for at once
}

// attempt looks at the consumer and does the next step: it waits for the batch that is out, or
// hands one out. again says that the state has changed since the look, so that the caller must try
// again.
func (n *nextRequest) attempt() (a answer, again bool, err error) {
	// Join before the look, so that no change is missed.
	waiter := n.queues.join(key{n.stream.Name(), n.name})
	defer waiter.leave()
	seen, now, err := n.look()
	if err != nil {
		return a, false, err
	}
	step := seen.Next(now)
	if step.Do == Wait {
		return n.wait(waiter, step, now)
	}
	select {
	case waiter.reading <- struct{}{}:
		defer func() { <-waiter.reading }()
	default:
		return n.waitForReader(waiter, step)
	}

	ctx, cancel := context.WithCancel(n.request)
	defer cancel()
	defer context.AfterFunc(waiter.changed, cancel)()
	if step.Do == Redeliver {
		a.page, err = n.readAgain(ctx, seen, step)
	} else {
		a.page, err = n.readOn(ctx, seen, step)
	}
	switch {
	case err != nil && ctx.Err() != nil && n.request.Err() == nil:
		return a, true, nil // another request leased, returned or moved something during the read
	case err != nil:
		return a, false, err
	case len(a.page.Entries) == 0:
		return a, false, n.skip(seen, &a.page)
	}
	a.head, again, err = n.grant(seen, &a.page)
	return a, again, err
}

// look returns the consumer's state and the store's time.
func (n *nextRequest) look() (seen State, now time.Time, err error) {
	_, err = n.store.UpdateConsumer(n.request, n.stream.Name(), n.name,
		func(at time.Time, state *persistence.ConsumerState) (*persistence.ConsumerState, error) {
			if state == nil {
				return nil, persistence.NoConsumerError(n.stream.Name(), n.name)
			}
			seen, now = State(*state), at
			return nil, errUnchanged
		})
	if errors.Is(err, errUnchanged) {
		err = nil
	}
	return seen, now, err
}

// wait waits until the batch that is out is acknowledged or returned, until its lease ends, or
// until the block budget is used up.
func (n *nextRequest) wait(p *waiter, step Step, now time.Time) (a answer, again bool, err error) {
	left := n.until.Sub(n.clock.Now())
	if left <= 0 {
		a = answer{retry: 1, head: until(step.Until, now)}
		if a.page, _, err = lag(n.request, n.stream, step.After); err != nil {
			return a, false, err
		}
		if step.Held {
			a.retry = int((step.Until.Sub(now) + time.Second - 1) / time.Second)
		}
		return a, false, nil
	}
	timer := n.clock.NewTimer(min(left, lookAgain, step.Until.Sub(now)))
	defer timer.Stop()
	select {
	case <-p.changed.Done():
	case <-timer.Chan():
	case <-n.waiting.Done():
		if n.request.Err() != nil {
			return a, false, n.request.Err()
		}
		n.until = n.clock.Now() // the server is stopping
	}
	return a, true, nil
}

// waitForReader waits while another request reads for this consumer, until the block budget ends.
func (n *nextRequest) waitForReader(p *waiter, step Step) (a answer, again bool, err error) {
	left := n.until.Sub(n.clock.Now())
	if left <= 0 {
		a.page, _, err = lag(n.request, n.stream, step.After)
		return a, false, err
	}
	timer := n.clock.NewTimer(left)
	defer timer.Stop()
	select {
	case p.reading <- struct{}{}:
		<-p.reading
	case <-timer.Chan():
	case <-n.waiting.Done():
		if n.request.Err() != nil {
			return a, false, n.request.Err()
		}
		n.until = n.clock.Now() // the server is stopping
	}
	return a, true, nil
}

// grant leases the page that was read, provided that the consumer has not changed since the look.
func (n *nextRequest) grant(seen State, p *tail.Page) (head string, again bool, err error) {
	token := Token(p.Cursor, rand.Text())
	var granted time.Time
	state, err := n.store.UpdateConsumer(n.request, n.stream.Name(), n.name,
		func(now time.Time, state *persistence.ConsumerState) (*persistence.ConsumerState, error) {
			switch {
			case state == nil:
				return nil, persistence.NoConsumerError(n.stream.Name(), n.name)
			case State(*state).Holds(token): // the update was stored, but the store's answer was lost
				return state, nil
			case !State(*state).Same(seen):
				return nil, errUnchanged
			}
			granted = now
			next, err := State(*state).Grant(now, token, p.Cursor, n.lease)
			return (*persistence.ConsumerState)(&next), err
		})
	if errors.Is(err, errUnchanged) || errors.Is(err, ErrNotDue) {
		return "", true, nil
	}
	if err != nil {
		return "", false, err
	}
	if state.Lease.Deliveries > 1 {
		n.observer.Metrics().Redeliveries.WithLabelValues(n.stream.Name(), n.name).Inc()
	}
	return fmt.Sprintf(`"token":"%s",%s"deliveries":%d,`, token, until(state.Lease.Until, granted), state.Lease.Deliveries), false, nil
}

// skip moves the position past entries that the filter left out, if that is worth a write. If
// another request has moved the position already, skip does nothing.
func (n *nextRequest) skip(seen State, p *tail.Page) error {
	if p.Cursor.Compare(seen.Acked) <= 0 {
		return nil
	}
	_, err := n.store.UpdateConsumer(n.request, n.stream.Name(), n.name,
		func(now time.Time, state *persistence.ConsumerState) (*persistence.ConsumerState, error) {
			if state == nil || !State(*state).Same(seen) {
				return nil, errUnchanged
			}
			next, skipped := State(*state).Skip(now, p.Cursor, p.Behind > 0 || p.IsClosed())
			if !skipped {
				return nil, errUnchanged
			}
			return (*persistence.ConsumerState)(&next), nil
		})
	if errors.Is(err, errUnchanged) {
		return nil
	}
	return err
}

// readOn reads the next batch of an idle consumer, and waits for it.
func (n *nextRequest) readOn(ctx context.Context, seen State, step Step) (tail.Page, error) {
	f, err := n.follow(ctx, seen, step)
	if err != nil {
		return tail.Page{}, err
	}
	defer f.Close()
	p, err := f.Next(max(n.until.Sub(n.clock.Now()), 0), n.limit)
	if err == nil {
		err = checkBeginning(ctx, n.stream, step.After)
	}
	return p, err
}

// readAgain reads the returned batch once more: from the position to the batch's end, without
// entries that were appended later.
func (n *nextRequest) readAgain(ctx context.Context, seen State, step Step) (tail.Page, error) {
	f, err := n.follow(ctx, seen, step)
	if err != nil {
		return tail.Page{}, err
	}
	defer f.Close()
	var entries []persistence.Entry
	size := 0
	n.share.Keep(-n.kept)
	n.kept = 0
	for end := step.Last; ; {
		p, err := f.Next(0, api.MaxLimit)
		if err == nil {
			err = checkBeginning(ctx, n.stream, step.After)
		}
		if err != nil {
			return tail.Page{}, err
		}
		beyond := slices.IndexFunc(p.Entries, func(f persistence.Entry) bool { return f.ID.Compare(end) > 0 })
		if beyond < 0 {
			beyond = len(p.Entries)
		}
		// The next page has room of its own beside what is collected.
		if !n.share.Keep(int64(p.Size)) {
			return tail.Page{}, api.Overloaded()
		}
		n.kept += int64(p.Size)
		entries, size = append(entries, p.Entries[:beyond]...), size+p.Size
		if p.Cursor.Compare(end) > 0 {
			if p, err = behind(ctx, n.stream, end); err != nil {
				return tail.Page{}, err
			}
		}
		// The batch's last entry may be gone, for example after a server came back with older data.
		// readAgain does not wait for it: the entries that come in its place belong to the next
		// batch.
		if p.Cursor == end || p.Behind == 0 {
			p.Entries, p.Size = entries, size
			return p, nil
		}
	}
}

// follow returns a follower of the stream from the consumer's position, with the consumer's filter.
func (n *nextRequest) follow(ctx context.Context, seen State, step Step) (*tail.Follower, error) {
	d, err := definitionOf(seen)
	if err != nil {
		return nil, err
	}
	return n.tails.Follow(ctx, n.share, n.stream, step.After, d.matcher())
}
