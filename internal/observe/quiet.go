package observe

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
)

// The noise budget. An event about the same feed or stream is logged atOnce times in a row; after
// that once a minute, and then more and more rarely, down to once in mostSpacing. All events
// together may fill a burst, and then log one record a second.
const (
	atOnce       = 3
	firstSpacing = time.Minute
	mostSpacing  = 10 * time.Minute
	burst        = 60
	perSecond    = 1
)

// tellEvery is how often the records that are held back are looked at.
const tellEvery = time.Second

// quiet holds back the records that would repeat what the log says already. It keeps the newest one
// of them, and their number. It is safe for concurrent use.
type quiet struct {
	clock clockwork.Clock

	mu      sync.Mutex
	said    map[subject]*repeated
	room    float64 // records that may be logged now
	refresh time.Time
}

// subject is what a record repeats: an event, about a feed or a stream, or "".
type subject struct {
	event Event
	name  string
}

// repeated is what is known of a subject.
type repeated struct {
	last    time.Time // when the event last happened
	atOnce  int       // records that may still be logged without a wait
	next    time.Time // after that: when the next one may be logged
	spacing time.Duration

	held  *slog.Record // the newest record that is held back, nil if none is
	count int          // the number of records that held stands for
	since time.Time    // the time of the first of them
}

// Quiet makes an observer hold back records that repeat. The next record about the same has the
// field repeats, the number of records that were held back, and since, the time of the first one.
// TellHeld logs those that no other record follows. Metrics count every event. Nothing is held back
// of the life of the daemon itself, and nothing at all while debug records are logged.
func Quiet(clock clockwork.Clock) Option {
	return func(o *Observer) {
		o.quiet = &quiet{clock: clock, said: make(map[subject]*repeated), room: burst, refresh: clock.Now()}
	}
}

// always lists the events that are never held back. They are rare.
var always = map[Event]bool{
	DaemonStarted: true, DaemonReady: true, DaemonStopping: true, DaemonStopped: true, DaemonFailed: true,
	ConfigReloaded: true, ConfigRejected: true, ActorGaveUp: true,
}

// take returns the record to log now, or false if it is held back.
func (q *quiet) take(s subject, r slog.Record) (slog.Record, bool) {
	if always[s.event] {
		return r, true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	k := q.said[s]
	// A subject that was calm for as long as the longest wait is new.
	if k == nil || k.held == nil && r.Time.Sub(k.last) >= mostSpacing {
		k = &repeated{atOnce: atOnce, spacing: firstSpacing}
		q.said[s] = k
	}
	k.last = r.Time
	if k.count == 0 {
		k.since = r.Time
	}
	k.held = &r
	k.count++
	return q.due(k, r.Time)
}

// due returns the held record of a subject if it may be logged at now.
func (q *quiet) due(k *repeated, now time.Time) (slog.Record, bool) {
	q.room = min(q.room+perSecond*max(now.Sub(q.refresh).Seconds(), 0), burst)
	q.refresh = now
	if k.held == nil || k.atOnce == 0 && now.Before(k.next) || q.room < 1 {
		return slog.Record{}, false
	}
	q.room--
	return k.say(now), true
}

// say returns the record that stands for all that are held back.
func (k *repeated) say(now time.Time) slog.Record {
	r := *k.held
	if k.count > 1 {
		r = r.Clone()
		r.AddAttrs(slog.Int("repeats", k.count-1), slog.String("since", k.since.UTC().Format(time.RFC3339)))
	}
	k.held, k.count = nil, 0
	if k.atOnce > 0 {
		k.atOnce--
	}
	if k.atOnce == 0 {
		k.next = now.Add(k.spacing)
		k.spacing = min(2*k.spacing, mostSpacing)
	}
	return r
}

// held returns the records that may be logged now, or all that are held back, oldest first.
func (q *quiet) held(all bool) (due []slog.Record) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.clock.Now()
	var waiting []*repeated
	for s, k := range q.said {
		switch {
		case k.held != nil:
			waiting = append(waiting, k)
		case now.Sub(k.last) >= mostSpacing:
			delete(q.said, s)
		}
	}
	slices.SortFunc(waiting, func(a, b *repeated) int { return a.held.Time.Compare(b.held.Time) })
	for _, k := range waiting {
		if all {
			due = append(due, k.say(now))
		} else if r, ok := q.due(k, now); ok {
			due = append(due, r)
		}
	}
	return due
}

// TellRepeats logs the records that a quiet observer has held back, when their time has come, until
// ctx ends.
func (o *Observer) TellRepeats(ctx context.Context) {
	if o.quiet == nil {
		return
	}
	ticker := o.quiet.clock.NewTicker(tellEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.Chan():
			o.write(o.quiet.held(false))
		}
	}
}

// TellHeld logs everything that a quiet observer has held back.
func (o *Observer) TellHeld() {
	if o.quiet != nil {
		o.write(o.quiet.held(true))
	}
}

func (o *Observer) write(records []slog.Record) {
	for _, r := range records {
		_ = o.log.Handler().Handle(context.Background(), r) // as slog.Logger does
	}
}
