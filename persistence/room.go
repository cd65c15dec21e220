package persistence

import "context"

// roomKey is the key of a page's bound in a context.
type roomKey struct{}

// WithPageBytes returns a context whose Read and Tail calls return pages that end after the entry
// that brings their events to n bytes. It is for callers that have less memory for a page than
// MaxPageBytes. It bounds what a call returns and not what it means, and so it is no parameter that
// every store and every caller would have to name.
func WithPageBytes(ctx context.Context, n int) context.Context {
	return context.WithValue(ctx, roomKey{}, n)
}

// PageBytes returns the bound in bytes of a call with ctx: 1…MaxPageBytes.
func PageBytes(ctx context.Context) int {
	if n, ok := ctx.Value(roomKey{}).(int); ok {
		return max(1, min(n, MaxPageBytes))
	}
	return MaxPageBytes
}
