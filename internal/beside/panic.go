package beside

import (
	"errors"
	"fmt"
	"runtime/debug"
)

// Panic is a failure that a bug of ours caused, with the stack of its place.
type Panic struct {
	Value any
	Stack []byte
	Told  bool // an event has already reported it
}

func (p *Panic) Error() string { return fmt.Sprintf("panic: %v", p.Value) }

// Traced returns the panic as an error whose text includes the stack, for callers that have no
// other place to report the stack.
func (p *Panic) Traced() error { return fmt.Errorf("%w\n%s", p, p.Stack) }

// errExited is the value of the Panic when a goroutine exited without a panic.
var errExited = errors.New("the goroutine was exited")

// Do calls do. When do panics, or exits its goroutine, Do calls failed in that goroutine, because
// after an exit no other code of the goroutine runs. The task's name is also the point of the fault
// hook.
func Do(task string, fault Fault, do func(), failed func(*Panic)) {
	finished := false
	defer func() {
		if finished {
			return
		}
		r := recover()
		if r == nil {
			r = errExited
		}
		failed(&Panic{Value: r, Stack: debug.Stack()})
	}()
	fault.At(task)
	do()
	finished = true
}
