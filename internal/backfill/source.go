package backfill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// Source fetches the events of gaps from one kind of place. It is used by one goroutine at a time.
type Source interface {
	Name() messages.GapSource
	// Price says what a fetch would download, without downloading it. Errors are those of Fetch.
	Price(ctx context.Context, o Order) (Price, error)
	// Fetch hands over what the source has of the gap's events, from o.Row.Progress on. It returns
	// when everything was handed over, with an error, or when ctx ends; what was handed over by
	// then counts. ErrNothing means that the source has none of it and never will. A *WaitError
	// says when to try again. Any other error is temporary, unless it matches ErrPermanent.
	Fetch(ctx context.Context, o Order, deliver Deliver) (Result, error)
}

// Order is what to fetch.
type Order struct {
	Row    messages.GapRow
	Filter jetstream.Filter // what the feed wants
	Raw    bool             // keep v2 frames as they are
	Budget int64            // the most bytes to download; 0 sets no bound
	// Failures is how many attempts at the gap failed in a row, without a new event.
	Failures int
	// Held is what the stream holds, for sources without revs.
	Held Held
	// Tell is told how a fetch gets on. It must not block. It is never nil.
	Tell func(Progress)
}

// Deliver takes a batch over and returns the next one, which is empty. The fetch waits for it. at is
// the place that the source has reached with the batch, to be stored with it (GapRow.Progress). A
// batch may have no events: then only the place has moved.
type Deliver func(ctx context.Context, b *messages.Batch, at json.RawMessage) (*messages.Batch, error)

// Progress is how far a fetch has come since it began.
type Progress struct {
	Bytes   int64 // downloaded
	Planned int64 // to be downloaded in all, 0 if unknown
	// WaitUntil is when the source goes on by itself, for the reason Why; zero while it does not wait.
	WaitUntil time.Time
	Why       string
}

// Price is what a fetch would cost.
type Price struct {
	Bytes    int64 `json:"bytes"`
	Requests int64 `json:"requests"`
	Events   int64 `json:"events"` // at most; 0 if unknown
}

// Result is what a source could give.
type Result struct {
	// Missing says what the source cannot give of the range, for people; "" if it has every event.
	Missing string
	// LackFromUS and LackToUS bound the part of the range that the source has nothing of, Unix µs;
	// both 0 if there is none. Another source is asked for it.
	LackFromUS, LackToUS int64
	// Unread says that the source has more of the range, which could not be read. Another source is
	// asked for the whole range.
	Unread bool
}

// ErrNothing: the source has nothing of the gap, and never will.
var ErrNothing = errors.New("the source does not have it")

// ErrPermanent: the source refuses, and another try will not help until something is changed.
var ErrPermanent = errors.New("refused for good")

// WaitError says that a source can be asked again at a later time.
type WaitError struct {
	Until time.Time
	Why   string
}

func (e *WaitError) Error() string {
	return fmt.Sprintf("%s until %s", e.Why, e.Until.UTC().Format(time.RFC3339))
}
