package valkey_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tempestd/internal/loopdisk"
	"tempestd/internal/valkeytest"
	"tempestd/persistence"
	"tempestd/persistence/valkey"
)

// The outcomes of a fault at a level of durability.
const (
	kept    = "kept"  // everything that was confirmed, or that a reader saw, is there
	lost    = "lost"  // some of it is not
	waits   = "waits" // nothing is confirmed and nothing shown, so nothing can be lost
	depends = "kept or lost"
)

// levelFault is what happens to a server, or to a pair of them, after appends were confirmed.
type levelFault struct {
	name string
	want [3]string // at the levels in the order of valkey.Durabilities
	// begin starts the servers. before happens before the appends. end causes the fault and returns
	// the server that is there afterwards.
	run func(t *testing.T) (at *valkeytest.Server, before func(), end func() *valkeytest.Server)
}

// killed is the fault of a server that is killed, and started again with its files.
func killed(aof string) func(*testing.T) (*valkeytest.Server, func(), func() *valkeytest.Server) {
	return func(t *testing.T) (*valkeytest.Server, func(), func() *valkeytest.Server) {
		s, _ := valkeytest.Replicated(t, valkeytest.Options{AOF: aof, InMemory: true})
		return s, func() {}, func() *valkeytest.Server {
			s.Kill()
			s.Restart()
			return s
		}
	}
}

// unpowered is the fault of a server whose machine loses its power.
func unpowered(aof string) func(*testing.T) (*valkeytest.Server, func(), func() *valkeytest.Server) {
	return func(t *testing.T) (*valkeytest.Server, func(), func() *valkeytest.Server) {
		disk := loopdisk.New(t, 48<<20)
		if disk == nil {
			t.Skipf("%s leaves it out", loopdisk.Without)
		}
		s := valkeytest.Start(t, valkeytest.Options{AOF: aof, Dir: disk.Dir})
		replica := valkeytest.Start(t, valkeytest.Options{InMemory: true})
		replica.Follow(s)
		replica.Await("it follows", func() bool { return strings.Contains(replica.CLI("INFO", "replication"), "master_link_status:up") })
		return s, func() {}, func() *valkeytest.Server {
			disk.ShutDown()
			s.Kill()
			disk.MountAgain()
			s.Restart()
			return s
		}
	}
}

// promoted is the fault of a primary that is killed, and whose replica lacks the newest writes.
func promoted(t *testing.T) (*valkeytest.Server, func(), func() *valkeytest.Server) {
	primary, replica := valkeytest.Replicated(t, valkeytest.Options{AOF: "always", InMemory: true})
	return primary, func() { replica.Promote() }, func() *valkeytest.Server {
		primary.Kill()
		return replica
	}
}

// promotedInTime is promoted, but the replica is cut off after the appends.
func promotedInTime(t *testing.T) (*valkeytest.Server, func(), func() *valkeytest.Server) {
	primary, replica := valkeytest.Replicated(t, valkeytest.Options{AOF: "always", InMemory: true})
	return primary, func() {}, func() *valkeytest.Server {
		primary.Kill()
		replica.Promote()
		return replica
	}
}

// TestI1_LevelsOfDurability proves docs/valkey.md's table: which fault each level survives, against
// real servers. A level that cannot be had confirms nothing and shows nothing.
func TestI1_LevelsOfDurability(t *testing.T) {
	t.Parallel()
	for _, f := range []levelFault{
		{"killed, no file", [3]string{lost, waits, waits}, killed("")},
		{"killed, everysec", [3]string{depends, kept, kept}, killed("everysec")},
		{"killed, always", [3]string{kept, kept, kept}, killed("always")},
		{"no power, the file is never synced", [3]string{lost, waits, waits}, unpowered("no")},
		{"no power, everysec", [3]string{depends, depends, depends}, unpowered("everysec")},
		{"no power, always", [3]string{kept, kept, kept}, unpowered("always")},
		{"a replica is promoted that lacks writes", [3]string{lost, lost, waits}, promoted},
		{"a replica is promoted that may lack some", [3]string{depends, depends, kept}, promotedInTime},
	} {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			for i, level := range valkey.Durabilities {
				got, why := suffer(t, level, f)
				t.Logf("%s at %q: %s (%s)", f.name, level, got, why)
				if got != f.want[i] && (f.want[i] != depends || got == waits) {
					t.Errorf("%s at %q: %s, want %s: %s", f.name, level, got, f.want[i], why)
				}
			}
		})
	}
}

// suffer appends through a store of a level, has the fault happen, and looks at what is left.
func suffer(t *testing.T, level string, f levelFault) (outcome, why string) {
	t.Helper()
	server, before, fault := f.run(t)
	v := openValkey(t, valkey.Options{Addresses: []string{server.Addr}, CommandTimeout: 4 * time.Second, Durability: level, Replicas: 1})
	stream, _ := openOwned(t, v, "a")
	before()
	confirmed, send := 0, newSender()
	for range 6 {
		batch := send.batch(50)
		_, err := stream.Append(t.Context(), batch, seq(1))
		if err != nil && persistence.Temporary(err) { // a busy machine may be late once
			_, err = stream.Append(t.Context(), batch, seq(1))
		}
		if err != nil && !persistence.Temporary(err) {
			t.Fatal(err)
		}
		if err != nil {
			break
		}
		confirmed = len(send.want)
	}
	_, visible := newestOf(t, server.Addr)
	left := 0
	if at := fault(); at.CLI("EXISTS", "tempestd:{feed}") == "1" {
		left = atoi(t, at.CLI("XLEN", "tempestd:{feed}"))
	}
	why = fmt.Sprintf("%d confirmed, %d visible, %d left", confirmed, visible, left)
	switch most := max(confirmed, visible); {
	case most == 0:
		return waits, why
	case left < most:
		return lost, why
	}
	return kept, why
}
