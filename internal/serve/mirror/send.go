package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/coder/websocket"

	"tempestd/internal/atproto"
	"tempestd/internal/jetstream"
	"tempestd/internal/serve/tail"
	"tempestd/internal/subscribe"
	"tempestd/messages"
	"tempestd/persistence"
)

// subscribePage is how many entries one read brings.
const subscribePage = 1000

// send sends the stream from the subscription's start on.
func (c *subscription) send(ctx context.Context, req *subscribe.Request) error {
	select {
	case <-c.hello:
	case <-c.mirror.tails.Drained():
		return c.close(websocket.StatusGoingAway, subscribe.ShutdownReason)
	case <-ctx.Done():
		return ctx.Err()
	}
	if req.Hello && !req.Cursor.Given { // the tip has moved since the request
		var err error
		if c.start, err = seek(ctx, c.stream, req.Cursor, c.mirror.clock.Now()); err != nil {
			return err
		}
	}
	if c.start.below && c.version == subscribe.V2 {
		if err := c.write(subscribe.Outdated(c.start.first)); err != nil {
			return err
		}
	}
	if c.start.ahead && c.version == subscribe.V2 {
		if err := c.write(subscribe.InfoFrame(atproto.FutureCursor, "requested sequence cursor was never given here; starting at the live tip")); err != nil {
			return err
		}
	}
	f, err := c.mirror.tails.Follow(ctx, c.share, c.stream, c.start.after, nil)
	if err != nil {
		return err
	}
	defer f.Close()
	f.Patient = true
	if !c.start.tip {
		f.Behind()
	}
	for {
		page, err := f.Next(persistence.MaxBlock, subscribePage)
		drained, ended, reason := page.Drained, page.Ended(), page.ClosedReason
		if err != nil {
			err = c.skipLost(f, err)
		} else if err = c.sendPage(&page); err == nil && c.detector.tooSlow(c.mirror.clock.Now(), int64(len(page.Entries)), page.Behind) {
			err = c.tooSlow(page.Behind)
		}
		page = tail.Page{} // or it would stay in memory while the next one is waited for
		switch {
		case err != nil:
			return err
		case drained:
			return c.close(websocket.StatusGoingAway, subscribe.ShutdownReason)
		case ended:
			return c.close(websocket.StatusNormalClosure, reason)
		}
	}
}

// skipLost continues after entries that are dropped by retention or cannot be read. A v2 subscriber
// is told with an info frame. v1 has no such frame: its subscriber continues silently, as on a real
// server, which moves a cursor that is too old to its oldest event.
func (c *subscription) skipLost(f *tail.Follower, err error) error {
	var to persistence.EntryID
	var said string
	if expired, ok := errors.AsType[*persistence.CursorExpiredError](err); ok {
		to, said = expired.Oldest, "events were dropped by retention before they were read"
	} else if corrupt, ok := errors.AsType[*persistence.CorruptError](err); ok {
		to, said = corrupt.Block, "events are stored and cannot be read"
	} else {
		return err
	}
	f.MoveTo(to)
	if c.version == subscribe.V1 {
		return nil
	}
	return c.write(subscribe.InfoFrame(infoGap, said))
}

// infoGap is the name of the info frame that reports missing events. It is tempestd's own: clients
// ignore names that they do not know.
const infoGap = "Gap"

// sendPage sends the wanted entries of a page in as few writes as fit the buffer.
func (c *subscription) sendPage(page *tail.Page) error {
	if len(page.Entries) == 0 {
		return nil
	}
	c.wire.gather(page.Size)
	defer c.forget()
	for i := range page.Entries {
		c.number = numberOf(&page.Page, i)
		if err := c.sendEntry(&page.Entries[i]); err != nil {
			_ = c.wire.release() // the connection is over
			return err
		}
	}
	err := c.wire.release()
	c.mirror.observer.Metrics().Served.WithLabelValues(c.stream.Name()).Add(float64(c.served))
	c.served = 0
	return err
}

// sendEntry sends one entry if it passes the cursor's time and the filter.
func (c *subscription) sendEntry(f *persistence.Entry) error {
	if c.unrepaired && jetstream.Repaired(f.Event) || !c.entry.Read(f.Event) {
		return nil
	}
	if c.start.fromUS > 0 {
		if c.entry.TimeUS() < c.start.fromUS && f.ID.Compare(c.start.until) <= 0 {
			return nil
		}
		c.start.fromUS = 0
	}
	if c.entry.Kind() == messages.KindGap {
		return c.sendGap(f.Event)
	}
	filter := c.filter.Load()
	if !filter.Wants(kindOf(c.entry.Kind()), c.entry.DID(), c.entry.Collection()) {
		return nil
	}
	var text []byte
	c.entry.Renumber(c.number)
	if c.version == subscribe.V1 {
		text, c.buf = c.entry.V1(c.buf[:0])
	} else if text, c.buf = c.entry.V2(c.buf[:0]); text == nil {
		return nil
	}
	if !filter.Fits(len(text)) {
		return nil
	}
	c.served++
	return c.write(text)
}

// kindOf converts a kind to the type of package subscribe.
func kindOf(k messages.Kind) subscribe.Kinds {
	switch k {
	case messages.KindCommit:
		return subscribe.Commit
	case messages.KindIdentity:
		return subscribe.Identity
	case messages.KindAccount:
		return subscribe.Account
	case messages.KindSync:
		return subscribe.Sync
	}
	return subscribe.Other
}

// sendGap sends a gap entry to a v2 subscriber as an info frame. v1 has no frame for it.
func (c *subscription) sendGap(entry []byte) error {
	var said struct {
		Gap struct {
			From  int64  `json:"from_us"`
			To    int64  `json:"to_us"`
			Cause string `json:"cause"`
			State messages.GapState
		} `json:"gap"`
	}
	if c.version == subscribe.V1 || json.Unmarshal(entry, &said) != nil {
		return nil
	}
	text := "events are missing from %d to %d (%s)"
	switch said.Gap.State {
	case messages.GapRepaired:
		text = "the events from %d to %d (%s) were missing and were sent since"
	case messages.GapPartly:
		text = "some of the events from %d to %d (%s) were missing and were sent since, the others are not to be had"
	case messages.GapUnrepairable:
		text = "the events from %d to %d (%s) are missing and not to be had"
	}
	return c.write(subscribe.InfoFrame(infoGap, fmt.Sprintf(text, said.Gap.From, said.Gap.To, said.Gap.Cause)))
}

// keepBuffer is the capacity in bytes up to which a subscription keeps its message buffers between
// messages. parkedBuffer is the same while it waits: thousands do.
const (
	keepBuffer   = 256 << 10
	parkedBuffer = 4 << 10
)

// forget drops what a subscription that waits does not need: large buffers, and the last entry.
func (c *subscription) forget() {
	if cap(c.compressed) > parkedBuffer {
		c.compressed = nil
	}
	if cap(c.buf) > parkedBuffer {
		c.buf = nil
	}
	c.entry = jetstream.Entry{}
}

// write sends one message.
func (c *subscription) write(text []byte) error {
	kind := websocket.MessageText
	if c.compressor != nil {
		kind = websocket.MessageBinary
		c.compressed = c.compressor.compress(c.compressed[:0], text)
		text = c.compressed
	}
	// No deadline in the context: the connection has its own write timeout (see gatherer).
	err := c.conn.Write(context.Background(), kind, text)
	if cap(c.compressed) > keepBuffer {
		c.compressed = nil
	}
	if cap(c.buf) > keepBuffer {
		c.buf = nil
	}
	return err
}

// tooSlow ends the subscription of a client that does not keep up. v2 gets an error frame with the
// reason; no version gets a close frame.
func (c *subscription) tooSlow(behind int64) error {
	if c.version == subscribe.V2 {
		_ = c.write(subscribe.TooSlow(behind, c.number+1))
	}
	return errTooSlow
}
