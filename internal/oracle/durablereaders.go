package oracle

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"

	"tempestd/internal/serve/api"
	"tempestd/persistence"
)

// The readers of the Durable Streams protocol. Its messages have no IDs; its offsets are the IDs of
// entries.

const durablePath = "/streams/" + feedName

// offset is where the reader stands, as the protocol writes it.
func (r *reader) offset() string {
	if r.after.IsZero() {
		return "-1"
	}
	return fmt.Sprintf("%020d-%020d", r.after.MS, r.after.Seq)
}

// readOffset reads an offset.
func (r *reader) readOffset(text string) (id persistence.EntryID) {
	if n, err := fmt.Sscanf(text, "%d-%d", &id.MS, &id.Seq); n != 2 || err != nil || len(text) != 41 {
		r.fail("there is the offset %q", text)
	}
	return id
}

// messages keeps what came in a page that ends at an offset.
func (r *reader) messages(page []byte, offset string) error {
	var events []json.RawMessage
	if err := json.Unmarshal(page, &events); err != nil {
		return err
	}
	for _, e := range events {
		r.seen = append(r.seen, sight{event: bytes.Clone(e)})
	}
	end := r.readOffset(offset)
	if len(events) > 0 {
		r.seen[len(r.seen)-1].id = end
	}
	r.moved(end)
	return nil
}

// goneAt finds the offset in the message of a 410.
var goneAt = regexp.MustCompile(`goes on, with a loss, at offset=(\d{20}-\d{20})`)

// heedOffset is heed, for answers that name an offset.
func (r *reader) heedOffset(err error) error {
	refused, ok := errors.AsType[*refusal](err)
	if !ok || refused.body.Error != api.NameCursorExpired {
		return r.heed(err)
	}
	found := goneAt.FindStringSubmatch(refused.body.Message)
	if found == nil {
		r.fail("it is not told where reading goes on: %v", refused)
		return err
	}
	r.expire(r.readOffset(found[1]))
	return nil
}

// durablePages follows by requests that wait.
func durablePages(ctx context.Context, r *reader, at *place) error {
	resp, err := r.get(ctx, at, durablePath+"?live=long-poll&offset="+r.offset())
	if err != nil {
		return r.heedOffset(err)
	}
	defer resp.Body.Close()
	next := resp.Header.Get("Stream-Next-Offset")
	if resp.StatusCode == http.StatusNoContent {
		r.moved(r.readOffset(next))
		return nil
	}
	var page json.RawMessage
	if err := json.NewDecoder(resp.Body).Decode(&page); err != nil {
		return err
	}
	return r.messages(page, next)
}

// durableEvents follows by server-sent events: the messages count when the control event after them
// has come.
func durableEvents(ctx context.Context, r *reader, at *place) error {
	resp, err := r.get(ctx, at, durablePath+"?live=sse&offset="+r.offset())
	if err != nil {
		return r.heedOffset(err)
	}
	page := []byte("[]")
	err = eachEvent(ctx, at, resp.Body, 0, func(e serverEvent) error {
		if e.event == "data" {
			page = e.data
			return nil
		}
		var control struct{ StreamNextOffset string }
		if err := json.Unmarshal(e.data, &control); err != nil || e.event != "control" {
			r.fail("there is an event %q with the data %q", e.event, e.data)
			return err
		}
		err := r.messages(page, control.StreamNextOffset)
		page = []byte("[]")
		return err
	})
	return err
}
