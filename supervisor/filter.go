package supervisor

import (
	"fmt"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/cespare/xxhash/v2"

	"tempestd/actors"
	"tempestd/internal/jetstream"
	"tempestd/internal/observe"
	"tempestd/messages"
)

// filterUpdate asks a feed to go on with another filter. The feed answers with a messages.CommandDone.
type filterUpdate struct{ filter jetstream.Filter }

// hash tells filters apart. It is stored with the position, so that a restart notices a change.
func hash(f jetstream.Filter) uint64 {
	return xxhash.Sum64String(fmt.Sprintf("%q %q %q", f.Collections, f.DIDs, f.Kinds)) | 1 // 0 is a position from before there was one
}

// filters is what a feed wants and wanted. A filter holds from the moment it is set, whatever the wire: what is older is stored only where the filter of its time wanted
// it too, and nothing that both want is missed.
//
// Filters are remembered beyond the position: a replay may begin long before what was asked for.
type filters struct {
	loaded  bool
	log     messages.FilterLog
	passed  int  // of the former ones, those that the position is past
	unknown bool // the position was reached with a filter that is not known any more
	dirty   bool // the log is not saved
}

const (
	// mostFormer and mostWords bound the filters that are remembered, and what they name in all. Beyond that the oldest are forgotten.
	mostFormer = 64
	mostWords  = 1 << 17
	// formerReach is how long before the position a replay may begin: older servers replay a whole segment, and another host's clock may be behind.
	formerReach = 6 * time.Hour
)

// load takes over what was saved when the tenure began, and notices a filter that was changed since. The position tells of the filter that it was reached with, and since
// when that held: another daemon may have read the feed since the filters were saved here, or this one was killed before it could save them.
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

// change sets another filter from the moment on, Unix µs of the host's clock; 0 is the next connection.
func (s *filters) change(to jetstream.Filter, fromUS int64) {
	former := slices.Clone(s.log.Former)
	if n := len(former); n == 0 || former[n-1].UntilUS != 0 { // else the one that is replaced never held on any connection
		former = append(former, messages.FilterBefore{Filter: s.log.Filter, UntilUS: fromUS})
	}
	s.log = messages.FilterLog{Filter: messages.Filter(to), Former: former}
	s.bound()
	s.dirty = true
}

// bound forgets the oldest filters where there are too many. Where the position is not past one that is forgotten, whatever is as old counts as wanted then.
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

// opened sets the moment of a change that was made while nobody was connected.
func (s *filters) opened(presentUS int64) {
	for i := range s.log.Former {
		if s.log.Former[i].UntilUS == 0 {
			former := slices.Clone(s.log.Former)
			former[i].UntilUS = presentUS
			s.log.Former, s.dirty = former, true
		}
	}
}

// reached notes how far the position is, and forgets the filters that no replay will come back to.
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

// unsettled says whether the position was reached with another filter: the event at it may not be wanted any more.
func (s *filters) unsettled() bool { return len(s.log.Former) > s.passed || s.unknown }

// sinceUS is the moment from which the filter holds, 0 where that is the next connection's.
func (s *filters) sinceUS(known int64) int64 {
	if n := len(s.log.Former); n > 0 {
		return s.log.Former[n-1].UntilUS
	}
	return known
}

// before are the filters that what the next connection brings is judged by, on the clock of its host, which is ahead of the last one's.
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

// saveFilters has the filters persisted where they changed.
func (f *feed) saveFilters(ctx actor.Context) {
	if f.filters.dirty {
		f.filters.dirty = false
		ctx.Send(f.cursor, &messages.SaveFilters{Log: f.filters.log})
	}
}

// updateFilter goes on with another filter. No event is lost by that: a v1 server changes it on the open connection; with any other the connection ends and
// the next one begins where this one stood.
func (f *feed) updateFilter(ctx actor.Context, filter jetstream.Filter) error {
	if hash(filter) == hash(f.book.filter) {
		return nil
	}
	f.book.filter = filter
	f.request.Filter = filter
	f.cfg.Observer.Emit(observe.FeedFilter, f.cfg.Name, "collections", len(filter.Collections), "dids", len(filter.DIDs), "kinds", len(filter.Kinds))
	if !f.filters.loaded {
		return nil // the position is not known yet, and what is loaded with it tells of the change
	}
	if f.phase != connected {
		f.filters.change(filter, 0)
		f.saveFilters(ctx)
		if f.phase == connecting {
			ctx.Send(f.connection, &messages.ForceReconnect{Epoch: f.epoch, Cause: messages.CauseFilter})
		}
		return nil // the next connection asks for it
	}
	since := f.resuming.present(f.cfg.Clock.Now())
	f.filters.change(filter, since)
	f.saveFilters(ctx)
	ctx.Send(f.writer, &messages.FilterChanged{Hash: hash(filter), SinceUS: since})
	ctx.Send(f.connection, &actors.UpdateFilter{Epoch: f.epoch, Filter: filter})
	return nil
}
