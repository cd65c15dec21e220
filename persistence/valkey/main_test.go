package valkey_test

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// rapid's default of 100 runs takes long with stores. The command line may ask for more.
	if err := flag.Set("rapid.checks", "15"); err != nil {
		panic(err)
	}
	// The client of a cluster keeps unneeded parts for five seconds after a change of the cluster.
	// It also looks at the cluster one second after a connection has ended, even when the client is
	// closed.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valkey-io/valkey-go.(*clusterClient)._refresh.func2"),
		goleak.IgnoreAnyFunction("github.com/valkey-io/valkey-go.(*call).DelayDo.func1"))
}

// benchStart is the time of the first events in tests, in Unix microseconds.
const benchStart = 1_795_000_000_000_000
