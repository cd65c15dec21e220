package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tempestd/internal/plain"
	"tempestd/messages"
)

// tellWait says on standard error what a following tail waits for, when the stream's feed is not
// live. It says it once until the feed is live again.
func (t *tail) tellWait(ctx context.Context) {
	f, err := t.client.Feed(ctx, t.stream)
	words := ""
	switch now := time.Now(); {
	case errors.Is(err, messages.ErrNoFeed):
		words = "no feed fills the stream"
	case err != nil: // the tail meets it too
	case f.State != messages.StateLive && f.State != messages.StateFilling:
		words = fmt.Sprintf("its feed is %s, away for %s", f.State, showAge(now.Sub(since(f))))
		if note := feedNote(f, now); note != "" {
			words += ": " + note
		}
	}
	if words != "" && !t.toldWait {
		fmt.Fprintf(t.app.err, "stream %s: %s\nwaiting for it …\n", t.stream, plain.Line(words))
	}
	t.toldWait = words != ""
}
