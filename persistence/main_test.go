package persistence_test

import (
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
	goleak.VerifyTestMain(m)
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
