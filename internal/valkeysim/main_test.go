package valkeysim_test

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// rapid's default of 100 runs takes long with stores. The command line may ask for more.
	if err := flag.Set("rapid.checks", "5"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}
