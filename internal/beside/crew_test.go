package beside_test

import (
	"context"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/beside"
)

// told collects the reports of a crew. Tests read it after the crew has ended.
type told []string

func (l *told) tell(task string, p *beside.Panic) {
	if len(p.Stack) == 0 {
		panic("a panic without a stack")
	}
	*l = append(*l, task+": "+p.Error())
}

func TestAPanicEndsOneGoroutineAndIsTold(t *testing.T) {
	for name, do := range map[string]func(){"panic: oh": func() { panic("oh") }, "panic: the goroutine was exited": runtime.Goexit} {
		synctest.Test(t, func(t *testing.T) {
			var log told
			var failure error
			crew := beside.Crew{Tell: log.tell}
			other := false
			crew.Start("one", do, func(err error) { failure = err })
			crew.Start("two", func() { time.Sleep(time.Minute); other = true }, nil)
			crew.Wait()
			if !slices.Equal(log, told{"one: " + name}) || failure == nil || failure.Error() != name || !other {
				t.Errorf("told %q, failed with %v, the other went on: %v", log, failure, other)
			}
		})
	}
}

func TestWhatIsKeptIsBegunAnewAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log told
		crew := beside.Crew{Tell: log.tell, Clock: clockwork.NewRealClock()}
		began := time.Now()
		var at []time.Duration
		ctx, cancel := context.WithCancel(t.Context())
		crew.Keep(ctx, "loop", func(context.Context) {
			at = append(at, time.Since(began))
			panic("again")
		})
		time.Sleep(4*time.Minute + time.Second)
		cancel()
		crew.Wait()
		want := []time.Duration{0, 1, 3, 7, 15, 31, 63, 123, 183}
		for i := range want {
			want[i] *= time.Second
		}
		if !slices.Equal(at[:min(len(at), len(want))], want) || len(log) != len(at) {
			t.Errorf("begun at %v, told %d times; want %v", at, len(log), want)
		}
	})
}

func TestWhatEndsByItselfIsNotBegunAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log told
		crew := beside.Crew{Tell: log.tell, Clock: clockwork.NewRealClock()}
		times := 0
		crew.Keep(t.Context(), "loop", func(context.Context) { times++ })
		crew.Wait()
		if times != 1 || len(log) > 0 {
			t.Errorf("called %d times, told %q", times, log)
		}
	})
}

func TestAfterIsCalledWhenAContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log told
		var called atomic.Bool
		crew := beside.Crew{Tell: log.tell, Fault: beside.Fault(func(point string) {
			if point == "feed/bad" {
				panic("injected")
			}
		}).Of("feed")}
		ctx, cancel := context.WithCancel(t.Context())
		crew.After(ctx, "good", func() { called.Store(true) })
		crew.After(ctx, "bad", func() { t.Error("called after its fault") })
		cancel()
		synctest.Wait()
		if !called.Load() || !slices.Equal(log, told{"bad: panic: injected"}) {
			t.Errorf("called %v, told %q", called.Load(), log)
		}
	})
}
