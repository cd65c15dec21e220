package actors

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/jonboulle/clockwork"

	"tempestd/internal/beside"
	"tempestd/internal/observe"
)

// Fault is a test's hook at every point of a feed's work. A nil Fault does nothing.
type Fault = beside.Fault

// Beside is embedded by an actor that needs work done beside it. [Guarded] prepares it when an
// incarnation starts. When the incarnation fails, restarts or stops, Guarded cancels and awaits all
// its tasks: no goroutine lives longer than the incarnation that started it.
type Beside struct {
	feed     string
	observer *observe.Observer
	fault    Fault
	open     []*Task
}

// worker is an actor that embeds Beside.
type worker interface {
	prepare(feed string, o *observe.Observer, fault Fault)
	halt()
}

func (b *Beside) prepare(feed string, o *observe.Observer, fault Fault) {
	b.feed, b.observer, b.fault = feed, o, fault
}

func (b *Beside) halt() {
	for len(b.open) > 0 {
		b.open[0].End(errActorStops)
	}
}

// errActorStops is the cause with which a task ends when its actor ends.
var errActorStops = errors.New("the actor stops")

// Begin makes a task of the actor whose turn it is.
func (b *Beside) Begin(ctx actor.Context) *Task {
	t := &Task{owner: b, actor: ctx.Self()}
	t.run, t.cancel = context.WithCancelCause(context.Background())
	root, self := ctx.ActorSystem().Root, ctx.Self()
	t.send = func(m any) { root.Send(self, &answer{t, m}) }
	b.open = append(b.open, t)
	return t
}

// Task is work beside an actor: goroutines under one context, cancelled and awaited together.
// Nothing else starts goroutines in actors and supervisors.
//
// A goroutine that panics cancels its task. Its actor then fails with the *Panic in a turn of its
// own, so that supervision handles it like any other failure.
type Task struct {
	owner   *Beside
	actor   *actor.PID
	run     context.Context
	cancel  context.CancelCauseFunc
	send    func(any)
	running sync.WaitGroup
	over    bool // used only by the actor in its turn

	mu      sync.Mutex
	closers []func()
}

// answer is a message of a task to its actor. Guarded unwraps it, or drops it when the task is
// over.
type answer struct {
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
