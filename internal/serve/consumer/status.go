package consumer

import (
	"context"
	"errors"

	"tempestd/internal/serve/tail"
	"tempestd/messages"
	"tempestd/persistence"
)

// describe returns a consumer's status.
func (c *Consumers) describe(ctx context.Context, stream persistence.Stream, state State) (messages.ConsumerStatus, error) {
	d, err := definitionOf(state)
	if err != nil {
		return messages.ConsumerStatus{}, err
	}
	told := messages.ConsumerStatus{
		Stream: stream.Name(), Name: state.Name, After: d.After, CreatedAt: state.CreatedAt.UTC(),
		Acked: state.Acked, MovedAt: state.MovedAt.UTC(), Deliveries: state.Lease.Deliveries,
	}
	if d.matcher() != nil {
		told.Filter = &d.Filter
	}
	if state.IsLeased(c.clock.Now()) {
		told.Lease = &messages.ConsumerBatch{Last: state.Lease.Last, Until: state.Lease.Until.UTC(), Deliveries: state.Lease.Deliveries}
	}
	page, expired, err := lag(ctx, stream, state.Acked)
	told.Expired, told.LagEntries, told.LagMS = expired, page.Behind, page.Lag().Milliseconds()
	return told, err
}

// lag is like behind, but the position may be overtaken by retention. Then the page is that of the
// oldest position that is left, and expired is that position.
func lag(ctx context.Context, stream persistence.Stream, position persistence.EntryID) (p tail.Page, expired *persistence.EntryID, err error) {
	p, err = behind(ctx, stream, position)
	if overtaken, ok := errors.AsType[*persistence.CursorExpiredError](err); ok {
		expired = &overtaken.Oldest
		p, err = behind(ctx, stream, overtaken.Oldest)
	}
	return p, expired, err
}

// behind returns an empty page at a position. It says how much follows the position.
func behind(ctx context.Context, stream persistence.Stream, position persistence.EntryID) (tail.Page, error) {
	read, err := stream.Tail(ctx, persistence.CursorAt(position), 0, 1)
	if err == nil {
		err = checkBeginning(ctx, stream, position)
	}
	if _, corrupt := errors.AsType[*persistence.CorruptError](err); corrupt {
		// The next request returns this error. The lag is unknown until the consumer is moved.
		return tail.Page{}, nil
	}
	read.Behind += int64(len(read.Entries))
	read.Cursor, read.Entries = position, nil
	return tail.Page{Page: read}, err
}

// checkBeginning makes the check that Tail leaves out for 0-0: to Tail, 0-0 means the oldest entry
// there is. But retention can also overtake a consumer that has seen no entry yet.
func checkBeginning(ctx context.Context, stream persistence.Stream, position persistence.EntryID) error {
	if !position.IsZero() {
		return nil
	}
	info, err := stream.Info(ctx)
	if err != nil || info.Trimmed == nil {
		return err
	}
	return &persistence.CursorExpiredError{Stream: stream.Name(), Cursor: position, Oldest: *info.Trimmed}
}

// describeAll returns the status of every consumer of a stream, by name.
func (c *Consumers) describeAll(ctx context.Context, stream persistence.Stream) ([]messages.ConsumerStatus, error) {
	states, err := c.store.Consumers(ctx, stream.Name())
	if err != nil {
		return nil, err
	}
	all := make([]messages.ConsumerStatus, len(states))
	for i := range states {
		if all[i], err = c.describe(ctx, stream, State(states[i])); err != nil {
			return nil, err
		}
	}
	return all, nil
}
