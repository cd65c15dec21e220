package observe

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"tempestd/internal/beside"
)

// Bounds of one field in a log record, in bytes. Some fields contain data from an upstream (I7).
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
	quiet   *quiet   // nil: nothing is held back
	seen    sync.Map // name -> struct{}: the feeds and streams whose series exist
}

// Option changes an Observer that New returns.
type Option func(*Observer)

// Strict makes Emit panic when it gets an event or a field that is not in the catalogue. It is for
// tests: a daemon reports something undocumented rather than stop.
func Strict() Option { return func(o *Observer) { o.strict = true } }

// New returns an observer that logs to log and counts in metrics. Neither may be nil; tests can use
// NewMetrics and slog.DiscardHandler.
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

// Discard returns a strict observer without a log, for tests.
func Discard() *Observer { return New(slog.New(slog.DiscardHandler), NewMetrics(), Strict()) }

// Metrics returns the collectors in which the observer counts.
func (o *Observer) Metrics() *Metrics { return o.metrics }

// Emit logs and counts one event. feed is the feed or stream that it concerns, "" for none. args
// are the fields that the catalogue names, as slog.Logger.Log takes them, without the feed or
// stream. Strings and errors longer than 1 KiB (a stack: 16 KiB) are cut.
func (o *Observer) Emit(e Event, feed string, args ...any) {
	d, ok := o.known[e]
	if !ok {
		d = Definition{Event: e, Level: slog.LevelError, Help: "an event that the catalogue does not have", Fields: []string{"feed"}}
	}
	about := d.subject()
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
		attrs = append(attrs, slog.String(about, feed))
	}
	for a := range fields(args) {
		attrs = append(attrs, bounded(a))
	}
	if o.quiet == nil || o.log.Enabled(ctx, slog.LevelDebug) {
		o.log.LogAttrs(ctx, d.Level, d.Help, attrs...)
		return
	}
	r := slog.NewRecord(o.quiet.clock.Now(), d.Level, d.Help, 0)
	r.AddAttrs(attrs...)
	if r, now := o.quiet.take(subject{e, feed}, r); now {
		o.write([]slog.Record{r})
	}
}

// TaskPanicked emits TaskFailed. It is the Tell function of a beside.Crew.
func (o *Observer) TaskPanicked(task string, p *beside.Panic) {
	o.Emit(TaskFailed, "", "task", task, "error", p.Error(), "stack", string(p.Stack))
}

// announce creates the series of every event that a feed or its stream can have, at zero, when the
// first of these events occurs. Otherwise a series would begin at 1, and a rate over it would miss
// the first event.
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

// Forget deletes the series of a feed that is gone. Its stream's series stay.
func (o *Observer) Forget(feed string) {
	o.seen.Delete(feed)
	o.metrics.forget(feed)
}

// check panics when the arguments do not match the catalogue.
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

// fields iterates over args as slog reads them: attributes, or keys and values in turn.
func fields(args []any) func(yield func(slog.Attr) bool) {
	var r slog.Record
	r.Add(args...)
	return r.Attrs
}

// bounded returns a with its text cut to the bound.
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
