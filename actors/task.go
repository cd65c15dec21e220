package actors

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/jonboulle/clockwork"

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
// Guarded also ends the actor's [Tasks]: before the supervisor learns of a failure, and when
// the actor restarts or stops. At each turn it calls fault with the actor's role and the message's
// type, "writer *messages.Quiesce".
func Guarded(feed string, o *observe.Observer, fault Fault, produce func() actor.Actor) *actor.Props {
	return actor.PropsFromProducer(produce, actor.WithReceiverMiddleware(func(next actor.ReceiverFunc) actor.ReceiverFunc {
		return func(ctx actor.ReceiverContext, env *actor.MessageEnvelope) {
			actorTasks, _ := ctx.Actor().(hasTasks)
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
				if actorTasks != nil {
					actorTasks.endAll() // otherwise its tasks would run until the restart
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
				if actorTasks != nil {
					actorTasks.prepare(feed, o, fault)
				}
			case *taskMessage:
				if m.of.over {
					return
				}
				if p, failed := m.message.(*Panic); failed {
					panic(p)
				}
				env = &actor.MessageEnvelope{Message: m.message}
			case *actor.Restarting, *actor.Stopping:
				if actorTasks != nil {
					defer actorTasks.endAll()
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

// Fault is a test's hook at every point of a feed's work. A nil Fault does nothing.
type Fault = beside.Fault

// Tasks is embedded by an actor that has work done beside it. [Guarded] prepares it when an
// incarnation starts. When the incarnation fails, restarts or stops, Guarded cancels and awaits all
// its tasks: no goroutine lives longer than the incarnation that started it.
type Tasks struct {
	feed     string
	observer *observe.Observer
	fault    Fault
	open     []*Task
}

// hasTasks is an actor that embeds Tasks.
type hasTasks interface {
	prepare(feed string, o *observe.Observer, fault Fault)
	endAll()
}

func (t *Tasks) prepare(feed string, o *observe.Observer, fault Fault) {
	t.feed, t.observer, t.fault = feed, o, fault
}

func (t *Tasks) endAll() {
	for len(t.open) > 0 {
		t.open[0].End(errActorStops)
	}
}

// errActorStops is the cause with which a task ends when its actor ends.
var errActorStops = errors.New("the actor stops")

// NewTask makes a task of the actor whose turn it is.
func (t *Tasks) NewTask(ctx actor.Context) *Task {
	task := &Task{owner: t, actor: ctx.Self()}
	task.run, task.cancel = context.WithCancelCause(context.Background())
	root, self := ctx.ActorSystem().Root, ctx.Self()
	task.send = func(m any) { root.Send(self, &taskMessage{task, m}) }
	t.open = append(t.open, task)
	return task
}

// Task is work beside an actor: goroutines under one context, cancelled and awaited together.
// Nothing else starts goroutines in actors and supervisors.
//
// A goroutine that panics cancels its task. Its actor then fails with the *Panic in a turn of its
// own, so that supervision handles it like any other failure.
type Task struct {
	owner   *Tasks
	actor   *actor.PID
	run     context.Context
	cancel  context.CancelCauseFunc
	send    func(any)
	running sync.WaitGroup
	over    bool // used only by the actor in its turn

	mu      sync.Mutex
	closers []func()
}

// taskMessage is a message of a task to its actor. Guarded unwraps it, or drops it when the task is
// over.
type taskMessage struct {
	of      *Task
	message any
}

// Start starts a goroutine of the task. The result of do, unless it is nil, is sent to the actor as
// a message. The point names the goroutine in log events and to a [Fault]. Only the actor and the
// task's own goroutines may call Start.
func (t *Task) Start(point string, do func(ctx context.Context) any) {
	t.running.Go(func() {
		beside.Do(point, t.owner.fault, func() {
			if message := do(t.run); message != nil {
				t.send(message)
			}
		}, func(p *Panic) { t.failed(point, p) })
	})
}

// failed reports a panic. It does so here and not in the actor's turn, because an actor that ends
// meanwhile has no further turn. It sends the panic before it cancels the task, so that the actor
// learns of the panic before any consequence of the cancellation.
func (t *Task) failed(point string, p *Panic) {
	p.Told = true
	t.owner.observer.Emit(observe.ActorFailed, t.owner.feed, "actor", t.actor.Id, "task", point, "error", p.Error(), "stack", string(p.Stack))
	t.send(p)
	t.cancel(p)
}

// Context is the task's context. It ends with the task.
func (t *Task) Context() context.Context { return t.run }

// Cancel ends the task's context and does not wait for its goroutines.
func (t *Task) Cancel(cause error) { t.cancel(cause) }

// EndsWith registers a function for End to call, in addition to cancelling the context, so that the
// task's goroutines return: for example one that closes what a goroutine reads. The function must
// be harmless when that is already done.
func (t *Task) EndsWith(do func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closers = append(t.closers, do)
}

// End cancels the task and waits for its goroutines. None of their messages is delivered after it.
// Only the actor may call it.
func (t *Task) End(cause error) {
	t.cancel(cause)
	t.mu.Lock()
	for _, do := range t.closers {
		do()
	}
	t.mu.Unlock()
	t.running.Wait()
	t.over = true
	t.owner.open = slices.DeleteFunc(t.owner.open, func(o *Task) bool { return o == t })
}

// Later sends a message after d to the actor whose turn it is. Stop cannot recall the message of a
// timer that has fired. So the message itself must say what it belongs to.
func Later(ctx actor.Context, clock clockwork.Clock, d time.Duration, message any) clockwork.Timer {
	root, self := ctx.ActorSystem().Root, ctx.Self()
	return clock.AfterFunc(d, func() { root.Send(self, message) })
}

// every calls do once in each period until ctx ends.
func every(ctx context.Context, clock clockwork.Clock, period time.Duration, do func()) {
	tick := clock.NewTicker(period)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.Chan():
			do()
		}
	}
}
