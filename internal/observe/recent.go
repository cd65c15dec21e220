package observe

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
)

// Recent keeps the newest lines of the log in memory. It is safe for concurrent use.
type Recent struct {
	mu    sync.Mutex
	lines [][]byte // oldest first
	bytes int
}

// The bounds of what is kept.
const (
	recentLines = 1000
	recentBytes = 1 << 20
)

// Remember returns a logger that logs as log does and also keeps the newest records as lines of text.
func Remember(log *slog.Logger) (*slog.Logger, *Recent) {
	r := &Recent{}
	text := slog.NewTextHandler(escaping{r}, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: durationsAsText})
	return slog.New(remembering{log.Handler(), text}), r
}

// Write implements io.Writer. A record is one call.
func (r *Recent) Write(line []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, bytes.Clone(line))
	r.bytes += len(line)
	for len(r.lines) > recentLines || r.bytes > recentBytes {
		r.bytes -= len(r.lines[0])
		r.lines[0] = nil
		r.lines = r.lines[1:]
	}
	return len(line), nil
}

// Text returns the lines, oldest first.
func (r *Recent) Text() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Join(r.lines, nil)
}

// remembering gives each record to two handlers. The first decides about levels.
type remembering struct {
	slog.Handler
	recent slog.Handler
}

// Handle implements slog.Handler.
func (h remembering) Handle(ctx context.Context, r slog.Record) error {
	_ = h.recent.Handle(ctx, r.Clone()) // memory does not fail
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h remembering) WithAttrs(attrs []slog.Attr) slog.Handler {
	return remembering{h.Handler.WithAttrs(attrs), h.recent.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h remembering) WithGroup(name string) slog.Handler {
	return remembering{h.Handler.WithGroup(name), h.recent.WithGroup(name)}
}
