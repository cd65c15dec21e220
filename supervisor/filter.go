package supervisor

import (
	"fmt"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/cespare/xxhash/v2"

	"tempestd/internal/config"
	"tempestd/internal/jetstream"
	"tempestd/internal/observe"
	"tempestd/messages"
)

// filterUpdate asks a feed to use another filter. The feed answers with a messages.CommandDone.
type filterUpdate struct{ filter jetstream.Filter }

// followUpdate tells a feed how its follows stand. The feed answers with a messages.CommandDone.
type followUpdate struct{ status messages.FollowStatus }

// retentionUpdate tells a feed what its stream keeps from now on. The feed answers with a
// messages.CommandDone.
type retentionUpdate struct{ retention config.Retention }

// hash tells filters apart. It is stored with the position, so that a restart notices a changed
// filter.
func hash(f jetstream.Filter) uint64 {
	// The hash is never 0, which stands for a position from before there was a hash.
	return xxhash.Sum64String(fmt.Sprintf("%q %q %q", f.Collections, f.DIDs, f.Kinds)) | 1
}

// filters are the present and the former filters of a feed. A filter holds from the moment it is
// set, on every wire: an older event is stored only if the filter of its time wanted it too. An
// event that both filters want is never missed.
//
// Former filters are kept after the position has passed them, because a replay may begin long
// before the requested place.
type filters struct {
	loaded  bool
	log     messages.FilterLog
	passed  int  // how many of the former filters the position is past
	unknown bool // the filter with which the position was reached is not known any more
	dirty   bool // the log is not saved
}

const (
	// mostFormer bounds the former filters, and mostWords the DIDs and collections that they name
	// in all. Beyond that the oldest are forgotten.
	mostFormer = 64
	mostWords  = 1 << 17
	// formerReach is how long before the position a replay may begin: older servers replay a whole
	// segment, and another host's clock may be behind.
	formerReach = 6 * time.Hour
)

// load takes over the saved filters when the life begins, and notices a filter that has changed
// since. The checkpoint tells with which filter the position was reached and since when that filter
// held. That is needed because another daemon may have read the feed after this save, or this
// daemon was killed before it could save its filters.
func (s *filters) load(now jetstream.Filter, point *messages.ResumePoint) {
	if s.loaded {
		return
	}
	s.loaded = true
	wanted, current := messages.Filter(now), hash(now)
	reached := point.Checkpoint.Filter
	switch {
	case !point.Found && point.Lost == nil:
		s.log = messages.FilterLog{Filter: wanted}
	case point.Filters == nil:
		s.log = messages.FilterLog{Filter: wanted}
		s.unknown = reached != 0 && reached != current
	default:
		s.log = *point.Filters
		saved := hash(jetstream.Filter(s.log.Filter))
		s.unknown = reached != 0 && reached != saved && reached != current && !s.knows(reached)
		if saved == current {
			return
		}
		since := int64(0)
		if reached == current {
			since = point.Checkpoint.FilterUS
		}
		s.change(now, since)
	}
	s.dirty = true
}

// knows says whether one of the former filters has the hash.
func (s *filters) knows(h uint64) bool {
	return slices.ContainsFunc(s.log.Former, func(f messages.FilterBefore) bool { return hash(jetstream.Filter(f.Filter)) == h })
}

// change sets another filter from a moment on, in Unix µs of the host's clock. 0 stands for the
// opening of the next connection.
func (s *filters) change(to jetstream.Filter, fromUS int64) {
	former := slices.Clone(s.log.Former)
	// Otherwise the filter that is replaced never held on any connection.
	if n := len(former); n == 0 || former[n-1].UntilUS != 0 {
		former = append(former, messages.FilterBefore{Filter: s.log.Filter, UntilUS: fromUS})
	}
	s.log = messages.FilterLog{Filter: messages.Filter(to), Former: former}
	s.bound()
	s.dirty = true
}

// bound forgets the oldest filters when there are too many. If the position is not past a forgotten
// filter, the next former one then wants everything, so that all events of that age count as
// wanted.
func (s *filters) bound() {
	words := 0
	for _, f := range s.log.Former {
		words += len(f.Filter.DIDs) + len(f.Filter.Collections)
	}
	for n := len(s.log.Former); n > mostFormer || words > mostWords && n > 1; n-- {
		oldest := s.log.Former[0].Filter
		words -= len(oldest.DIDs) + len(oldest.Collections)
		s.log.Former = s.log.Former[1:]
		if s.passed > 0 {
			s.passed--
			continue
		}
		next := &s.log.Former[0].Filter
		words -= len(next.DIDs) + len(next.Collections)
		*next = messages.Filter{}
	}
}

// opened sets the moment of a change that was made while no connection was open.
func (s *filters) opened(presentUS int64) {
	for i := range s.log.Former {
		if s.log.Former[i].UntilUS == 0 {
			former := slices.Clone(s.log.Former)
			former[i].UntilUS = presentUS
			s.log.Former, s.dirty = former, true
		}
	}
}

// reached notes the position, and forgets the filters that no replay can reach any more.
func (s *filters) reached(cp messages.Checkpoint) {
	if cp.Host == "" || !cp.Replay.IsZero() || cp.Filter != hash(jetstream.Filter(s.log.Filter)) {
		return
	}
	s.unknown = false
	old := 0
	for s.passed = 0; s.passed < len(s.log.Former); s.passed++ {
		until := s.log.Former[s.passed].UntilUS
		if until == 0 || until > cp.TimeUS {
			break
		}
		if until <= cp.TimeUS-formerReach.Microseconds() {
			old = s.passed + 1
		}
	}
	if old > 0 {
		s.log.Former, s.dirty = s.log.Former[old:], true
		s.passed -= old
	}
}

// unsettled says whether the position was reached with another filter. The filter may then not want
// the event at the position any more.
func (s *filters) unsettled() bool { return len(s.log.Former) > s.passed || s.unknown }

// sinceUS is the moment from which the filter holds, 0 if that is the opening of the next
// connection.
func (s *filters) sinceUS(known int64) int64 {
	if n := len(s.log.Former); n > 0 {
		return s.log.Former[n-1].UntilUS
	}
	return known
}

// before returns the former filters for the events of the next connection, with times on the clock
// of its host, which is ahead of the last host's clock by ahead.
func (s *filters) before(ahead time.Duration) []messages.FormerFilter {
	var all []messages.FormerFilter
	for _, f := range s.log.Former {
		until := f.UntilUS
		if until > 0 {
			until += ahead.Microseconds()
		}
		all = append(all, messages.FormerFilter{UntilUS: until, Wants: jetstream.NewMatcher(jetstream.Filter(f.Filter))})
	}
	return all
}

// saveFilters makes the cursor save the filters if they changed.
func (l *life) saveFilters(ctx actor.Context) {
	if l.filters.dirty {
		l.filters.dirty = false
		ctx.Send(l.cursor, &messages.SaveFilters{Log: l.filters.log})
	}
}

// updateFilter makes the feed use another filter. No event is lost: a v1 server changes the filter
// on the open connection; with any other server the connection ends, and the next one begins at its
// position.
func (f *feed) updateFilter(ctx actor.Context, filter jetstream.Filter) {
	if hash(filter) == hash(f.status.filter) {
		return
	}
	f.status.filter = filter
	f.life.request.Filter = filter
	f.cfg.Observer.Emit(observe.FeedFilter, f.cfg.Name, "collections", len(filter.Collections), "dids", len(filter.DIDs), "kinds", len(filter.Kinds))
	if f.life.filters.loaded { // otherwise the position is not known yet, and load notices the change
		f.life.phase.useFilter(ctx, filter)
	}
	if p, waits := f.life.phase.(*unfollowed); waits && !f.paused {
		p.resume(ctx)
	}
}

// wantsNobody says that the feed follows an account, and knows nobody whom that follows.
func (f *feed) wantsNobody() bool {
	dids := f.status.filter.DIDs
	return len(dids) == 1 && dids[0] == jetstream.Nobody
}
