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

// verifyAll compares everything.
var verifyAll = jetsim.VerifyOptions{}

// onValkey are the settings of a daemon whose streams are in the server.
func onValkey(server *valkeytest.Server) settings {
	return settings{
		"feeds." + feed + ".ping_interval": `"5s"`, // a machine that is busy with two daemons and the server answers late
		"stream.backend":                   `"valkey"`,
		"valkey.addresses":                 `[` + quoted(server.Addr) + `]`,
		"valkey.connect_timeout":           `"1s"`,
		"valkey.command_timeout":           `"1s"`,
		"ha.lease_ttl":                     quoted(leaseTTL.String()),
	}
}

// A daemon on Valkey is killed, its server restarted under it, and what is stored at the end is what was sent.
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

// TestI2_TheServerCameBackWithLess gives a server back as it was some thousand events ago, or with nothing, under a running daemon and under one that is down: the local
// checkpoint is ahead of the stream then, and counts for nothing. What the upstream can still replay is stored again.
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
			server.Kill() // what came since is gone
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

// TestI1_TheLocalCheckpointIsOlder gives a daemon the directory that it had some thousand events ago, and then none: the stream's own checkpoint is the one that
// counts.
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

// A daemon whose server is not there yet says so and begins when it is.
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

// A second daemon that does not share its feeds says that another has them, and reads them when it has gone.
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
