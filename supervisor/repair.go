package supervisor

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/jonboulle/clockwork"

	"tempestd/actors"
	"tempestd/internal/backfill"
	"tempestd/internal/config"
	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// newRepairConfig makes the sources of a feed's repairs, and their policy.
func newRepairConfig(o Options, fc config.Feed, dial actors.Dialer, http *http.Client, seed uint64) actors.RepairConfig {
	repair := fc.Repair
	c := actors.RepairConfig{Raw: fc.Raw, Policy: backfill.Policy{
		Automatic: repair.Policy == config.GapsRepair, Budget: repair.Budget, Pace: repair.Pace}}
	if !o.Config.Repair {
		return c
	}
	keys := make(map[string]string, len(repair.ArchiveKeys))
	for host, key := range repair.ArchiveKeys {
		keys[host] = key.Reveal()
	}
	c.Sources = map[messages.GapSource]backfill.Source{
		messages.SourceSocket: &backfill.Socket{Endpoints: upstreams(fc), Protocol: fc.Protocol, Compress: fc.Compress,
			Dial: limitedDialer(dial, o.Clock), Clock: o.Clock},
		messages.SourceArchive: &backfill.Archive{Endpoints: upstreams(fc), Keys: keys, UserAgent: o.UserAgent, HTTP: http,
			Clock: o.Clock, Rand: rand.New(rand.NewPCG(seed, 0))},
	}
	for _, s := range o.Sources[fc.Name] {
		c.Sources[s.Name()] = s
	}
	for _, name := range repair.Sources {
		if c.Sources[name] != nil {
			c.Policy.Sources = append(c.Policy.Sources, name)
		}
	}
	return c
}

// limitedDialer dials for a source within dialTimeout.
func limitedDialer(dial actors.Dialer, clock clockwork.Clock) backfill.Dialer {
	return func(ctx context.Context, req jetstream.Request) (backfill.Upstream, error) {
		limited, cancel := clockwork.WithTimeout(ctx, clock, dialTimeout)
		defer cancel()
		up, err := dial(limited, req)
		if err != nil {
			return nil, err
		}
		return up, nil
	}
}

// startFetches lets the backfill actor fetch gaps, with the feed's present filter.
func (l *life) startFetches(ctx actor.Context) {
	l.fetching = true
	ctx.Send(l.backfill, &actors.StartFetches{Filter: l.feed.status.filter})
}

// gapHold is what keeps a feed from reading with gap_policy = "stop".
type gapHold struct {
	undecided map[string]bool // the IDs of the open gaps that no operator has decided about
	held      bool            // the feed is paused because of them
}

// errHeld refuses to resume a feed that waits for a decision.
var errHeld = fmt.Errorf("%w: a gap is open, and gap_policy is \"stop\": repair or dismiss it", messages.ErrNotNow)

// decide pauses a feed whose policy is to stop at a gap, and lets it go on when an operator has
// decided about each of them.
func (f *feed) decide(ctx actor.Context, rows ...messages.GapRow) {
	if f.cfg.Repair.Policy != config.GapsStop {
		return
	}
	if f.undecided == nil {
		f.undecided = map[string]bool{}
	}
	last := ""
	for _, row := range rows {
		delete(f.undecided, row.ID)
		if row.ID != "" && row.State == messages.GapOpen {
			f.undecided[row.ID] = true
			last = row.ID
		}
	}
	switch {
	case len(f.undecided) > 0 && !f.paused && !f.stopping:
		f.paused, f.held = true, true
		f.life.phase.halt(ctx)
		f.status.enter(messages.StatePaused, fmt.Sprintf("gap %s is open, and gap_policy is \"stop\": repair or dismiss it", last))
	case len(f.undecided) == 0 && f.held:
		f.paused, f.held = false, false
		f.endpoints.Reset()
		f.life.phase.resume(ctx)
	}
}

// commandGap gives an operator's command to the backfill actor, which answers it.
func (f *feed) commandGap(ctx actor.Context) {
	err := f.refusal()
	if b := f.life.backfill; err == nil && (b == nil || f.life.restarts[b.Id] != nil) {
		err = fmt.Errorf("%w: its backfill is being started", messages.ErrNotNow)
	}
	if err != nil {
		ctx.Respond(&messages.GapAnswer{Err: err})
		return
	}
	ctx.Forward(f.life.backfill)
}
