package actors

import (
	"fmt"
	"runtime/debug"

	"github.com/asynkron/protoactor-go/actor"

	"tempestd/internal/observe"
)

// Panic is the failure of an actor by a fault of ours, with the stack the actor library loses.
type Panic struct {
	Value any
	Stack []byte
}

func (p *Panic) Error() string { return fmt.Sprintf("panic: %v", p.Value) }

// Guarded makes props whose failures are told before supervision handles them. The end of a connection is
// an expected failure and not told here; everything else is a fault of ours: one event, with its stack, and an *Panic for the supervisor.
func Guarded(feed string, o *observe.Observer, produce func() actor.Actor) *actor.Props {
	return actor.PropsFromProducer(produce, actor.WithReceiverMiddleware(func(next actor.ReceiverFunc) actor.ReceiverFunc {
		return func(ctx actor.ReceiverContext, env *actor.MessageEnvelope) {
			defer func() {
				r := recover()
				if r == nil {
					return
				}
				if _, expected := r.(*Ended); expected {
					panic(r)
				}
				fault, ok := r.(*Panic)
				if !ok {
					fault = &Panic{Value: r, Stack: debug.Stack()}
				}
				o.Emit(observe.ActorFailed, feed, "actor", ctx.Self().Id, "error", fault.Error(), "stack", string(fault.Stack))
				panic(fault)
			}()
			next(ctx, env)
		}
	}))
}
