package beside

import (
	"errors"
	"fmt"
	"runtime/debug"
)

// Panic is a failure by a fault of ours, with the stack of where it was.
type Panic struct {
	Value any
	Stack []byte
	Told  bool // by an event already
}

func (p *Panic) Error() string { return fmt.Sprintf("panic: %v", p.Value) }

// Traced is the panic as an error that says where it was, for those who have no other place to tell that.
func (p *Panic) Traced() error { return fmt.Errorf("%w\n%s", p, p.Stack) }

// errExited is the panic of a goroutine that ended without a word.
var errExited = errors.New("the goroutine was exited")

// Do calls do. When that panics, or exits its goroutine, it calls failed: before the goroutine ends, for nothing runs after that. The fault's point is the
// task's name.
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
