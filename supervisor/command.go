package supervisor

import (
	"fmt"

	"github.com/asynkron/protoactor-go/actor"

	"tempestd/messages"
)

// errPaused refuses a reconnect of a paused feed.
var errPaused = fmt.Errorf("%w: the feed is paused: resume it instead", messages.ErrNotNow)

// errClosed refuses a command about a feed whose stream is closed for good.
var errClosed = fmt.Errorf("%w: the feed's stream is closed for good", messages.ErrNotNow)

// command carries out an operator's command. A command that changes nothing succeeds.
func (f *feed) command(ctx actor.Context, c messages.Command) error {
	switch {
	case f.ending:
		return fmt.Errorf("%w: the daemon is stopping", messages.ErrNotNow)
	case f.phase == absent || f.clearing || f.leaving:
		return f.notOurs()
	case f.closed:
		return errClosed
	}
	switch c {
	case messages.CommandReconnect:
		if f.paused {
			return errPaused
		}
		f.endpoints.Reset()
		if f.phase == waiting {
			f.retryNow(ctx)
			return nil
		}
		ctx.Send(f.connection, &messages.ForceReconnect{Epoch: f.epoch, Cause: messages.CauseOperator})
	case messages.CommandPause:
		f.paused = true
		f.haltReading(ctx)
		f.book.enter(messages.StatePaused, "operator")
	case messages.CommandResume:
		if !f.paused {
			return nil
		}
		f.paused = false
		f.endpoints.Reset()
		switch f.phase {
		case idle:
			f.begin(ctx)
		case waiting:
			f.retryNow(ctx)
		}
	}
	return nil
}

// haltReading ends the connection, if there is one, or the wait for the next one.
func (f *feed) haltReading(ctx actor.Context) {
	ctx.Send(f.watchdog, &messages.Unwatch{})
	f.haltRepair(ctx)
	switch f.phase {
	case preparing, connecting, connected:
		f.phase = stopping
		ctx.Send(f.connection, &messages.StopReading{})
	case waiting:
		f.cancelRetry()
	}
}

func (f *feed) readingStopped(ctx actor.Context) {
	if f.phase != stopping {
		return
	}
	f.ready(ctx)
	if f.paused {
		ctx.Send(f.cursor, &messages.SaveCheckpoint{Cause: "pause"})
	}
}
