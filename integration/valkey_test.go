package integration_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tempestd/internal/jetsim"
	"tempestd/internal/valkeytest"
)

// verifyAll compares all events.
var verifyAll = jetsim.VerifyOptions{}

// onValkey returns the settings of a daemon whose streams are in the server.
func onValkey(server *valkeytest.Server) settings {
	return settings{
		// A machine that is busy with two daemons and the server answers late.
		"feeds." + feed + ".ping_interval": `"5s"`,
		"stream.backend":                   `"valkey"`,
		"valkey.addresses":                 `[` + quoted(server.Addr) + `]`,
		"valkey.connect_timeout":           `"1s"`,
		"valkey.command_timeout":           `"1s"`,
		"ha.lease_ttl":                     quoted(leaseTTL.String()),
	}
}

// A daemon on Valkey is killed and its server is restarted. At the end the stream holds what was
// sent.
func TestI2_OnValkey(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t, valkeytest.Options{AOF: "everysec"})
	sim := simulate(t, 2000)
	d := newDaemon(t, sim.url(), onValkey(server))
	d.startLive()
	d.awaitStored(1)
	for range 3 {
		d.awaitStored(d.status().Stored + 1000)
		d.kill()
		d.startLive()
	}
	d.awaitStored(1000)
	server.Kill()
	d.await("feed.backpressured")
	server.Restart()
	d.await("feed.live")
	d.awaitStored(2000)
	d.exact(sim)
	d.stop()
}

// TestI2_TheServerCameBackWithLess restarts the server with an older state, some thousand events
// ago, or empty, under a running daemon and under a stopped one. The local checkpoint is then ahead
// of the stream and does not count. The daemon stores again what the upstream can still replay.
func TestI2_TheServerCameBackWithLess(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ saved, down bool }{
		"older, under a running daemon": {saved: true},
		"older, while it was down":      {saved: true, down: true},
		"empty":                         {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := valkeytest.Start(t, valkeytest.Options{})
			sim := simulate(t, 1000)
			d := newDaemon(t, sim.url(), onValkey(server))
			d.configure(settings{"feeds." + feed + ".checkpoint_interval": `"1s"`})
			d.startLive()
			d.awaitStored(1000)
			if c.saved {
				server.CLI("SAVE")
				d.awaitStored(3000)
			}
			d.await("cursor.saved")
			if c.down {
				d.stop()
			}
			server.Kill() // the server loses everything since the save
			server.Restart()
			if c.down {
				d.start()
			}
			d.await("store.truncated", "stream", feed)
			d.await("feed.live")
			d.exact(sim)
			d.stop()
		})
	}
}

// TestI1_TheLocalCheckpointIsOlder replaces the daemon's directory by an older copy, and then
// removes it. The checkpoint in the stream counts.
func TestI1_TheLocalCheckpointIsOlder(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t, valkeytest.Options{})
	sim := simulate(t, 1000)
	d := newDaemon(t, sim.url(), onValkey(server))
	live := func() {
		d.startLive()
		d.awaitStored(500)
	}
	live()
	d.stop()
	aside := filepath.Join(t.TempDir(), "older")
	if err := os.CopyFS(aside, os.DirFS(d.data)); err != nil {
		t.Fatal(err)
	}
	live()
	d.stop()
	if err := os.RemoveAll(d.data); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(aside, d.data); err != nil {
		t.Fatal(err)
	}
	live()
	d.stop()
	if err := os.RemoveAll(d.data); err != nil {
		t.Fatal(err)
	}
	live()
	d.exact(sim)
}

// A daemon whose server is not available yet reports that, and begins when the server is available.
func TestServerThatComesLater(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t, valkeytest.Options{})
	server.Kill()
	sim := simulate(t, 500)
	d := newDaemon(t, sim.url(), onValkey(server))
	d.start()
	d.await("daemon.ready")
	eventually(t, "it says that the server is away", func() bool { return len(d.records("store.unavailable")) == 1 })
	eventually(t, "it says why it is not ready", func() bool {
		ready, err := d.Ready(t.Context())
		return err == nil && !ready.Ready && strings.Contains(strings.Join(ready.Reasons, " "), "unavailable")
	})
	if s := d.status(); s.State != "standby" || !strings.Contains(s.Reason, "unavailable") {
		t.Errorf("the feed is %s: %s", s.State, s.Reason)
	}
	server.Restart()
	d.await("feed.live")
	d.awaitStored(500)
	d.exact(sim)
	eventually(t, "it says that the server is there", func() bool { return len(d.records("store.available")) == 1 })
}

// A second daemon that does not share its feeds reports that another daemon owns them. It reads
// them when the other daemon has stopped.
func TestI6_SecondDaemonWithoutSharing(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t, valkeytest.Options{})
	sim := simulate(t, 500)
	first, second := newDaemon(t, sim.url(), onValkey(server)), newDaemon(t, sim.url(), onValkey(server))
	first.configure(settings{"ha.name": `"first"`})
	first.startLive()
	first.awaitStored(1)
	second.start()
	second.await("lease.held", "owner", "first")
	first.awaitStored(1000)
	began := time.Now()
	first.kill()
	second.await("feed.live")
	t.Logf("it took over %v after the first was killed", time.Since(began).Round(time.Millisecond))
	second.awaitStored(500)
	second.exact(sim)
}
