package persistence_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"tempestd/persistence"
)

func TestMain(m *testing.M) {
	if os.Getenv(crashDir) != "" {
		fmt.Fprintln(os.Stderr, crashChild())
		os.Exit(1)
	}
	// rapid's default of 100 runs takes a while with stores; the command line may ask for more.
	if err := flag.Set("rapid.checks", "15"); err != nil {
		panic(err)
	}
	// The client of a cluster keeps what it no longer needs for five seconds after a change of the cluster, closed or not.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valkey-io/valkey-go.(*clusterClient)._refresh.func2"))
}

// openFeed opens a store and its stream "feed".
func openFeed(t *testing.T, dir string, opt persistence.EmbeddedOptions) (*persistence.Embedded, persistence.Stream) {
	t.Helper()
	store, err := persistence.OpenEmbedded(t.Context(), dir, opt)
	must(t, err)
	s, err := store.OpenStream(t.Context(), "feed", persistence.StreamOptions{})
	must(t, err)
	return store, s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
