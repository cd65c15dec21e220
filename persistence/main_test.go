package persistence_test

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// rapid's default of 100 runs takes a while with stores; the command line may ask for more.
	if err := flag.Set("rapid.checks", "15"); err != nil {
		panic(err)
	}
	// The client of a cluster keeps what it no longer needs for five seconds after a change of the cluster, and looks at the cluster a second after the end of a
	// connection, closed or not.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valkey-io/valkey-go.(*clusterClient)._refresh.func2"),
		goleak.IgnoreAnyFunction("github.com/valkey-io/valkey-go.(*call).DelayDo.func1"))
}

// benchStart is the time at which the events of tests begin, Unix µs.
const benchStart = 1_795_000_000_000_000
