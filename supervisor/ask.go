package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// askTimeout is how long an actor may take to answer. Actors never block, so an actor that does not
// answer in this time is broken.
const askTimeout = 5 * time.Second

// inbox is a process that takes one answer. It is like the library's future, but a context ends it
// instead of a timer of its own.
type inbox chan any

// SendUserMessage takes the first answer and ignores the others.
func (in inbox) SendUserMessage(_ *actor.PID, message any) {
	_, answer, _ := actor.UnwrapEnvelope(message)
	select {
	case in <- answer:
	default:
	}
}

// SendSystemMessage ignores system messages. An answer is a user message.
func (inbox) SendSystemMessage(*actor.PID, any) {}

// Stop does nothing, because an inbox runs nothing.
func (inbox) Stop(*actor.PID) {}

// ask sends a question and waits for the answer until ctx ends, or for askTimeout if ctx has no
// deadline.
func ask(ctx context.Context, system *actor.ActorSystem, pid *actor.PID, question any) (any, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, askTimeout)
		defer cancel()
	}
	in := make(inbox, 1)
	asker, ok := system.ProcessRegistry.Add(in, system.ProcessRegistry.NextId())
	if !ok {
		return nil, errors.New("supervisor: process ID is taken")
	}
	defer system.ProcessRegistry.Remove(asker)
	system.Root.RequestWithCustomSender(pid, question, asker)
	select {
	case answer := <-in:
		if dead, ok := answer.(*actor.DeadLetterResponse); ok {
			return nil, fmt.Errorf("%s %w", dead.Target.GetId(), errNotRunning)
		}
		return answer, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%s does not answer: %w", pid.Id, ctx.Err())
	}
}

// errorsOnly passes on the actor library's errors. The rest of the library's log repeats our own
// events.
type errorsOnly struct{ slog.Handler }

// Enabled implements slog.Handler.
func (h errorsOnly) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelError && h.Handler.Enabled(ctx, l)
}

// WithAttrs implements slog.Handler.
func (h errorsOnly) WithAttrs(attrs []slog.Attr) slog.Handler {
	return errorsOnly{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h errorsOnly) WithGroup(name string) slog.Handler { return errorsOnly{h.Handler.WithGroup(name)} }
