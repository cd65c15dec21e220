package actors_test

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/jonboulle/clockwork"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"tempestd/actors"
	"tempestd/internal/observe"
)

// troupe is an actor with tasks, under a supervisor that restarts it after a second.
type troupe struct {
	t        *testing.T
	system   *actor.ActorSystem
	parent   *actor.PID
	pid      *actor.PID
	observer *observe.Observer
	failures []any // as the supervisor sees them
	running  int32 // how many goroutines had ended at the last failure
	heard    []any // what the actor's incarnations received
	started  int
	stopped  atomic.Int32 // goroutines that have ended
}

// start is a message that starts the goroutines of one task. One runs do, and the others wait for
// the end of the task.
type start struct {
	do     func(context.Context) any
	beside int
}

type performer struct {
	actors.Tasks
	troupe *troupe
}

func (p *performer) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *start:
		task := p.NewTask(ctx)
		for range m.beside {
			task.Start("performer.beside", func(ctx context.Context) any {
				<-ctx.Done()
				p.troupe.stopped.Add(1)
				return "an answer of the end"
			})
		}
		task.Start("performer.work", m.do)
	case *actor.Started:
		p.troupe.started++
	case string:
		p.troupe.heard = append(p.troupe.heard, m)
	case error:
		panic(m)
	}
}

type strategy struct{ troupe *troupe }

func (s strategy) HandleFailure(_ *actor.ActorSystem, sup actor.Supervisor, child *actor.PID, _ *actor.RestartStatistics, reason, _ any) {
	s.troupe.failures = append(s.troupe.failures, reason)
	s.troupe.running = s.troupe.stopped.Load()
	time.AfterFunc(time.Second, func() { sup.RestartChildren(child) })
}

func newTroupe(t *testing.T, fault actors.Fault) *troupe {
	tr := &troupe{t: t, system: actor.NewActorSystem(), observer: observe.Discard()}
	props := actors.Guarded("bluesky", tr.observer, fault, func() actor.Actor { return &performer{troupe: tr} })
	tr.parent = tr.system.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
		if _, ok := ctx.Message().(*actor.Started); ok {
			tr.pid, _ = ctx.SpawnNamed(props, "performer")
		}
	}, actor.WithSupervisor(strategy{tr})))
	synctest.Wait()
	t.Cleanup(func() {
		_ = tr.system.Root.StopFuture(tr.parent).Wait()
		tr.system.Shutdown()
		time.Sleep(2 * time.Second) // the system counts dead letters for a second after the first
		synctest.Wait()
	})
	return tr
}

func (tr *troupe) tell(m any) {
	tr.system.Root.Send(tr.pid, m)
	synctest.Wait()
}

func (tr *troupe) told() int {
	return int(testutil.ToFloat64(tr.observer.Metrics().Events.WithLabelValues(string(observe.ActorFailed), "bluesky")))
}

// wantOneFailure fails unless the supervisor saw one *Panic of those words, and it was reported
// once.
func (tr *troupe) wantOneFailure(words string) {
	tr.t.Helper()
	if len(tr.failures) != 1 || tr.told() != 1 {
		tr.t.Fatalf("the supervisor saw %v, and %d were told; want one of each", tr.failures, tr.told())
	}
	p, ok := tr.failures[0].(*actors.Panic)
	if !ok || !strings.Contains(p.Error(), words) || len(p.Stack) == 0 {
		tr.t.Fatalf("the failure is %#v, want a *Panic of %q with its stack", tr.failures[0], words)
	}
}

func TestAnAnswerIsDeliveredInTheActorsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTroupe(t, nil)
		tr.tell(&start{do: func(context.Context) any { return "done" }})
		if !slices.Equal(tr.heard, []any{"done"}) {
			t.Errorf("heard %v", tr.heard)
		}
	})
}

func TestAPanicBesideAnActorIsTheActorsFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTroupe(t, nil)
		tr.tell(&start{beside: 3, do: func(context.Context) any { panic("out of the blue") }})
		tr.wantOneFailure("out of the blue")
		if tr.running != 3 {
			t.Errorf("%d of 3 goroutines had ended when the supervisor learned of the failure", tr.running)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if tr.started != 2 || len(tr.heard) > 0 {
			t.Errorf("%d incarnations, and the last one heard %v of the one before", tr.started, tr.heard)
		}
	})
}

func TestAGoroutineThatIsExitedIsAFailureToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTroupe(t, nil)
		tr.tell(&start{do: func(context.Context) any { runtime.Goexit(); return nil }})
		tr.wantOneFailure("exited")
	})
}

func TestAFailureInATurnEndsWhatRunsBeside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTroupe(t, nil)
		tr.tell(&start{beside: 2, do: func(ctx context.Context) any { return nil }})
		tr.tell(errors.New("a turn fails"))
		tr.wantOneFailure("a turn fails")
		if tr.running != 2 {
			t.Errorf("%d of 2 goroutines had ended when the supervisor learned of the failure", tr.running)
		}
	})
}

func TestAnAnswerOfAnEarlierIncarnationIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTroupe(t, nil)
		// Failures and answers cross in any order. No incarnation receives an answer of another
		// incarnation's task.
		for i := range 50 {
			answered := make(chan struct{})
			tr.system.Root.Send(tr.pid, &start{do: func(context.Context) any { <-answered; return fmt.Sprint(i) }})
			tr.system.Root.Send(tr.pid, errors.New("a turn fails"))
			close(answered)
			time.Sleep(2 * time.Second)
			synctest.Wait()
		}
		if len(tr.failures) != 50 || tr.started != 51 {
			t.Fatalf("%d failures, %d incarnations", len(tr.failures), tr.started)
		}
		tr.tell(&start{do: func(context.Context) any { return "of the last" }})
		if !slices.Equal(tr.heard, []any{"of the last"}) {
			t.Errorf("heard %v", tr.heard)
		}
	})
}

func TestAStopAwaitsWhatRunsBeside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTroupe(t, nil)
		tr.tell(&start{beside: 5, do: func(ctx context.Context) any {
			<-ctx.Done()
			time.Sleep(3 * time.Second) // it ends late
			tr.stopped.Add(1)
			return nil
		}})
		if err := tr.system.Root.StopFuture(tr.pid).Wait(); err != nil {
			t.Fatal(err)
		}
		if tr.stopped.Load() != 6 {
			t.Errorf("%d of 6 goroutines had ended when the actor had", tr.stopped.Load())
		}
	})
}

func TestAFaultIsInjectedByItsPoint(t *testing.T) {
	for _, point := range []string{"performer.work", "performer *actors_test.start"} {
		synctest.Test(t, func(t *testing.T) {
			tr := newTroupe(t, func(at string) {
				if at == point {
					panic("injected at " + at)
				}
			})
			tr.tell(&start{do: func(context.Context) any { return nil }})
			tr.wantOneFailure("injected at " + point)
		})
	}
}

func TestLaterSendsAMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system := actor.NewActorSystem()
		heard := 0
		pid := system.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
			switch ctx.Message().(type) {
			case *actor.Started:
				actors.Later(ctx, clockwork.NewRealClock(), time.Minute, "it is time")
			case string:
				heard++
			}
		}))
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if heard != 1 {
			t.Errorf("heard it %d times", heard)
		}
		_ = system.Root.StopFuture(pid).Wait()
		system.Shutdown()
	})
}

// A goroutine that is started in another way ends the process when it panics, and nothing awaits
// it.
func TestNothingElseStartsAGoroutine(t *testing.T) {
	for _, dir := range []string{".", "../supervisor"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatal(dir, err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") || dir == "." && name == "task.go" {
				continue
			}
			source, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, found := range goroutines(t, name, source) {
				t.Error(found)
			}
		}
	}
	// The check itself finds all the ways to start a goroutine.
	const all = `package p
import "golang.org/x/sync/errgroup"
func f() { go g(); wg.Go(g); clock.AfterFunc(1, g); context.AfterFunc(ctx, g) }`
	if found := goroutines(t, "all.go", []byte(all)); len(found) != 5 {
		t.Errorf("found %q in a file that starts five", found)
	}
}

// goroutines lists the places where a file starts a goroutine by itself, or could.
func goroutines(t *testing.T, name string, source []byte) (found []string) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	note := func(n ast.Node, what string) {
		found = append(found, fmt.Sprintf("%s: %s; work beside an actor is a Task's, a message at a time is Later's", set.Position(n.Pos()), what))
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			note(n, "a go statement")
		case *ast.ImportSpec:
			if path, _ := strconv.Unquote(n.Path.Value); path == "golang.org/x/sync/errgroup" {
				note(n, "an error group")
			}
		case *ast.SelectorExpr:
			if n.Sel.Name == "Go" || n.Sel.Name == "AfterFunc" {
				note(n, "a call of "+n.Sel.Name)
			}
		}
		return true
	})
	return found
}
