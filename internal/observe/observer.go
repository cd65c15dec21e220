package observe

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"tempestd/internal/beside"
)

// Bounds of one field in a log record, in bytes (I7: what an upstream sends ends up in some of them).
const (
	maxField = 1 << 10
	maxStack = 16 << 10
)

// Observer emits events. It is safe for concurrent use.
type Observer struct {
	log     *slog.Logger
	metrics *Metrics
	known   map[Event]Definition
	strict  bool
	seen    sync.Map // name -> struct{}: the feeds, and so their streams, whose series exist
}

// Option changes what New gives.
type Option func(*Observer)

// Strict makes Emit panic when it is given an event or a field that the catalogue does not have. Tests want that; a daemon rather says
// something undocumented than stops.
func Strict() Option { return func(o *Observer) { o.strict = true } }

// New gives an observer that logs to log and counts in metrics. Neither may be nil; NewMetrics and slog.DiscardHandler serve tests.
func New(log *slog.Logger, metrics *Metrics, opts ...Option) *Observer {
	o := &Observer{log: log, metrics: metrics, known: make(map[Event]Definition, len(Catalogue))}
	for _, d := range Catalogue {
		o.known[d.Event] = d
		if d.subject() == "" {
			metrics.Events.WithLabelValues(string(d.Event), "")
		}
	}
	for _, opt := range opts {
		opt(o)
	}
	return o
}

// Discard is a strict observer that nobody listens to, for tests.
func Discard() *Observer { return New(slog.New(slog.DiscardHandler), NewMetrics(), Strict()) }

// Metrics are the collectors the observer counts in.
func (o *Observer) Metrics() *Metrics { return o.metrics }

// Logger is where the events go, for the libraries that want a logger of their own.
func (o *Observer) Logger() *slog.Logger { return o.log }

// Emit logs and counts one event. Feed is the feed (or stream) concerned, "" for none; args are the fields the catalogue names, as
// slog.Logger.Log takes them, without the feed. Strings and errors longer than 1 KiB (a stack: 16 KiB) are cut.
func (o *Observer) Emit(e Event, feed string, args ...any) {
	d, ok := o.known[e]
	if !ok {
		d = Definition{Event: e, Level: slog.LevelError, Help: "an event that the catalogue does not have", Fields: []string{"feed"}}
	}
	subject := d.subject()
	if o.strict {
		o.check(d, ok, feed, args)
	}
	o.announce(feed)
	o.metrics.Events.WithLabelValues(string(e), feed).Inc()

	ctx := context.Background()
	if !o.log.Enabled(ctx, d.Level) {
		return
	}
	attrs := make([]slog.Attr, 0, 2+len(args)/2)
	attrs = append(attrs, slog.String("event", string(e)))
	if feed != "" {
		attrs = append(attrs, slog.String(subject, feed))
	}
	for a := range fields(args) {
		attrs = append(attrs, bounded(a))
	}
	o.log.LogAttrs(ctx, d.Level, d.Help, attrs...)
}

// TaskPanicked emits TaskFailed: what a beside.Crew tells.
func (o *Observer) TaskPanicked(task string, p *beside.Panic) {
	o.Emit(TaskFailed, "", "task", task, "error", p.Error(), "stack", string(p.Stack))
}

// announce makes the series of every event that a feed or its stream can have when the first one comes, at zero: a rate over a counter
// that springs into being at 1 misses that first one.
func (o *Observer) announce(feed string) {
	if feed == "" {
		return
	}
	if _, done := o.seen.LoadOrStore(feed, struct{}{}); done {
		return
	}
	for _, d := range Catalogue {
		if d.subject() != "" {
			o.metrics.Events.WithLabelValues(string(d.Event), feed)
		}
	}
}

// check panics when the arguments are not what the catalogue promises.
func (o *Observer) check(d Definition, known bool, feed string, args []any) {
	if !known {
		panic(fmt.Sprintf("observe: event %q is not in the catalogue", d.Event))
	}
	if feed != "" && d.subject() == "" {
		panic(fmt.Sprintf("observe: event %q concerns no feed and no stream, but was emitted for %q", d.Event, feed))
	}
	for a := range fields(args) {
		if !slices.Contains(d.Fields, a.Key) || a.Key == d.subject() {
			panic(fmt.Sprintf("observe: event %q has no field %q to be given; it has %q", d.Event, a.Key, d.Fields))
		}
	}
}

// fields iterates over args as slog reads them: attributes, or a key and its value in turn.
func fields(args []any) func(yield func(slog.Attr) bool) {
	var r slog.Record
	r.Add(args...)
	return r.Attrs
}

// bounded is a with its text cut to the bound.
func bounded(a slog.Attr) slog.Attr {
	limit := maxField
	if a.Key == "stack" {
		limit = maxStack
	}
	v := a.Value.Resolve()
	var text string
	switch v.Kind() {
	case slog.KindString:
		text = v.String()
	case slog.KindAny:
		switch x := v.Any().(type) {
		case error:
			text = x.Error()
		case []byte:
			text = string(x[:min(len(x), limit+1)])
		case fmt.Stringer:
			text = x.String()
		default:
			text = fmt.Sprint(x)
		}
	default:
		return slog.Attr{Key: a.Key, Value: v}
	}
	if len(text) > limit {
		text = text[:limit] + "…"
	}
	return slog.String(a.Key, text)
}
