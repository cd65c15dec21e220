package integration_test

import (
	"testing"

	"tempestd/internal/valkeytest"
)

// onValkey are the settings of a daemon whose streams are in the server.
func onValkey(server *valkeytest.Server) settings {
	return settings{
		"stream.backend":         `"valkey"`,
		"valkey.addresses":       `[` + quoted(server.Addr) + `]`,
		"valkey.connect_timeout": `"1s"`,
		"valkey.command_timeout": `"1s"`,
		"ha.lease_ttl":           `"2s"`,
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
