package api

import (
	"context"
	"net/http"
	"runtime"
)

// Turns let few requests at a time read a long query. A filter of 10 000 accounts takes a processor
// for milliseconds, and a thousand of those that come together would keep the feeds off it for
// seconds (I8). Turns are safe for concurrent use.
type Turns chan struct{}

// longQuery is the length from which a query takes its turn, in bytes: more than 100 accounts.
const longQuery = 4 << 10

// NewTurns returns turns that leave half of the processors to others.
func NewTurns() Turns { return make(Turns, max(1, runtime.GOMAXPROCS(0)/2)) }

type turnsKey struct{}

// On returns the context of requests that take turns.
func (t Turns) On(ctx context.Context) context.Context { return context.WithValue(ctx, turnsKey{}, t) }

// TakeTurn waits until the request may read its query. The caller calls leave when that is done. The
// error is that of the request's context.
func TakeTurn(r *http.Request) (leave func(), err error) {
	t, _ := r.Context().Value(turnsKey{}).(Turns)
	if t == nil || len(r.URL.RawQuery) < longQuery {
		return func() {}, nil
	}
	select {
	case t <- struct{}{}:
		return func() { <-t }, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}
