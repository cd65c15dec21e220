package actors

import (
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/asynkron/protoactor-go/actor"

	"tempestd/internal/beside"
	"tempestd/internal/observe"
)

// Panic is the failure of an actor by a fault of ours, with the stack, which the actor library
// loses.
type Panic = beside.Panic

// Guarded makes props that report a failure before supervision handles it. An *Ended, the end of a
// connection, is an expected failure and is not reported here. Every other failure is a fault of
// ours: it becomes one log event with its stack, and a *Panic for the supervisor.
//
// Guarded also ends the actor's tasks (Beside): before the supervisor learns of a failure, and when
// the actor restarts or stops. At each turn it calls fault with the actor's role and the message's
// type, "writer *messages.Quiesce".
func Guarded(feed string, o *observe.Observer, fault Fault, produce func() actor.Actor) *actor.Props {
	return actor.PropsFromProducer(produce, actor.WithReceiverMiddleware(func(next actor.ReceiverFunc) actor.ReceiverFunc {
		return func(ctx actor.ReceiverContext, env *actor.MessageEnvelope) {
			worker, _ := ctx.Actor().(worker)
			defer func() {
				r := recover()
				if r == nil {
					return
				}
				failure, expected := r, false
				if _, expected = r.(*Ended); !expected {
					p, ok := r.(*Panic)
					if !ok {
						p = &Panic{Value: r, Stack: debug.Stack()}
					}
					failure = p
					if !p.Told {
						p.Told = true
						o.Emit(observe.ActorFailed, feed, "actor", ctx.Self().Id, "error", p.Error(), "stack", string(p.Stack))
					}
				}
				if worker != nil {
					worker.halt() // otherwise its tasks would run until the restart
				}
				switch env.Message.(type) {
				case *actor.Stopping, *actor.Stopped, *actor.Restarting:
					// The actor ends all the same. If it failed here, the library would restart an
					// actor that should stop.
					return
				}
				panic(failure)
			}()
			switch m := env.Message.(type) {
			case *actor.Started:
				if worker != nil {
					worker.prepare(feed, o, fault)
				}
			case *answer:
				if m.of.over {
					return
				}
				if p, failed := m.message.(*Panic); failed {
					panic(p)
				}
				env = &actor.MessageEnvelope{Message: m.message}
			case *actor.Restarting, *actor.Stopping:
				if worker != nil {
					defer worker.halt()
				}
			}
			if fault != nil {
				fault(fmt.Sprintf("%s %T", Role(ctx.Self()), env.Message))
			}
			next(ctx, env)
		}
	}))
}

// Role is an actor's name below its supervisor.
func Role(pid *actor.PID) string { return pid.Id[strings.LastIndexByte(pid.Id, '/')+1:] }
