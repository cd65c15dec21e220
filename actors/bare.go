package actors

import (
	"context"
	"fmt"

	"tempestd/internal/dedupe"
	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// withoutRevs says whether a source gives records without the revs of their commits. The stream is
// then compared by what stands at each place (dedupe.Bare), and not by identity: a record may be put
// back that was there before.
func withoutRevs(s messages.GapSource) bool {
	return s == messages.SourceAccounts || s == messages.SourceTimeline
}

// loadBare reads the bare entries that are within reach of a stored checkpoint.
func (c *committer) loadBare(ctx context.Context, stored messages.Checkpoint) error {
	c.bare = dedupe.NewBare(c.cfg.Stream, c.cfg.Dedupe.Horizon)
	err := c.retry(ctx, func() error { return c.bare.Load(ctx, stored.Bare, stored.LastID) })
	if err != nil {
		return fmt.Errorf("read the records without revs: %w", err)
	}
	return nil
}

// markBare marks the events of a batch without revs that the stream holds.
func (c *committer) markBare(ctx context.Context, b *messages.Batch) (marked dedupe.Marked, err error) {
	err = c.retry(ctx, func() error {
		n, err := c.bare.MarkFetched(ctx, b)
		marked.Duplicates += n
		return err
	})
	return marked, err
}

// timeUnknown says whether the time of a fetched event says nothing about when it happened.
func timeUnknown(event []byte) bool {
	c, ok := jetstream.ReadContent(event)
	return ok && c.TimeUnknown()
}
