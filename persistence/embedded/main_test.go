package embedded_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"tempestd/persistence"
	"tempestd/persistence/embedded"
)

func TestMain(m *testing.M) {
	if os.Getenv(crashDir) != "" {
		fmt.Fprintln(os.Stderr, crashChild())
		os.Exit(1)
	}
	// rapid's default of 100 runs takes long with stores. The command line may ask for more.
	if err := flag.Set("rapid.checks", "15"); err != nil {
		panic(err)
	}
	// Badger leaves these goroutines behind when it cannot be opened.
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/dgraph-io/badger/v4.(*DB).monitorCache"),
		goleak.IgnoreAnyFunction("github.com/dgraph-io/ristretto/v2/z.(*AllocatorPool).freeupAllocators"))
}

// start is the time of the first events in the tests, in Unix microseconds.
const start = 1_795_000_000_000_000

// openFeed opens a store and its stream "feed".
func openFeed(t testing.TB, dir string, opt embedded.Options) (*embedded.Store, persistence.Stream) {
	t.Helper()
	store, err := embedded.Open(t.Context(), dir, opt)
	must(t, err)
	s, err := store.OpenStream(t.Context(), "feed", persistence.StreamOptions{})
	must(t, err)
	return store, s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// told collects the events of a store, from any goroutine.
type told struct {
	mu     sync.Mutex
	events []persistence.Notice
}

func (t *told) add(e persistence.Notice) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.events = append(t.events, e)
}

func (t *told) all() []persistence.Notice {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.events)
}

// lines returns the events as text.
func (t *told) lines() (lines []string) {
	for _, e := range t.all() {
		lines = append(lines, fmt.Sprintf("%T %+v", e, e))
	}
	return lines
}
