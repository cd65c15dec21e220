package observe

import (
	"context"
	"fmt"
	"log/slog"
)

// Observer emits events. It is safe for concurrent use.
type Observer struct {
	log     *slog.Logger
	metrics *Metrics
	known   map[Event]Definition
}

// New gives an observer that logs to log and counts in metrics. Neither may be nil; NewMetrics and slog.DiscardHandler serve tests.
func New(log *slog.Logger, metrics *Metrics) *Observer {
	known := make(map[Event]Definition, len(Catalogue))
	for _, d := range Catalogue {
		known[d.Event] = d
	}
	return &Observer{log: log, metrics: metrics, known: known}
}

// Discard is an observer that nobody listens to.
func Discard() *Observer { return New(slog.New(slog.DiscardHandler), NewMetrics()) }

// Metrics are the collectors the observer counts in.
func (o *Observer) Metrics() *Metrics { return o.metrics }

// Logger is where the events go, for the libraries that want a logger of their own.
func (o *Observer) Logger() *slog.Logger { return o.log }

// Emit logs and counts one event. Feed is the feed (or stream) concerned, "" for none; args are the fields the catalogue names, as
// slog.Logger.Log takes them. An event the catalogue does not have is a bug and panics.
func (o *Observer) Emit(e Event, feed string, args ...any) {
	d, ok := o.known[e]
	if !ok {
		panic(fmt.Sprintf("observe: event %q is not in the catalogue", e))
	}
	o.metrics.Events.WithLabelValues(string(e), feed).Inc()
	ctx := context.Background()
	if !o.log.Enabled(ctx, d.Level) {
		return
	}
	head := []any{"event", string(e)}
	if feed != "" {
		name := "feed"
		if len(d.Fields) > 0 && d.Fields[0] == "stream" {
			name = "stream"
		}
		head = append(head, name, feed)
	}
	o.log.Log(ctx, d.Level, d.Help, append(head, args...)...)
}
