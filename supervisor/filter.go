package supervisor

import (
	"fmt"

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

// updateFilter goes on with another filter. No event is lost by that: a v1 server changes it on the open connection; with any other the connection ends and
// the next one resumes at the very position, without the rewind that would bring what the new filter wants from before.
func (f *feed) updateFilter(ctx actor.Context, filter jetstream.Filter) error {
	if hash(filter) == hash(f.book.filter) {
		return nil
	}
	f.book.filter = filter
	f.request.Filter = filter
	f.cfg.Observer.Emit(observe.FeedFilter, f.cfg.Name, "collections", len(filter.Collections), "dids", len(filter.DIDs), "kinds", len(filter.Kinds))
	switch f.phase {
	case connected:
		ctx.Send(f.connection, &actors.UpdateFilter{Epoch: f.epoch, Filter: filter})
		ctx.Send(f.writer, &messages.FilterChanged{Hash: hash(filter)})
	case connecting:
		ctx.Send(f.connection, &messages.ForceReconnect{Epoch: f.epoch, Cause: messages.CauseFilter})
	}
	return nil // otherwise the next connection asks for it
}
