package daemon_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/atsim"
	"tempestd/internal/config"
	"tempestd/internal/daemon"
)

// A feed follows an account: its follows are the feed's dids, a new follow is there soon, and a
// restart needs no network.
func TestFeedFollowsAnAccount(t *testing.T) {
	const seed = 5
	net, err := atsim.New(atsim.Options{Seed: seed, Clock: clockwork.NewRealClock()})
	if err != nil {
		t.Fatal(err)
	}
	me := atsim.DID(seed, 100)
	follow := func(n int) {
		t.Helper()
		err := net.Apply(atsim.Event{DID: me, Operation: "create", Collection: "app.bsky.graph.follow", RKey: atsim.TID(time.Now(), uint64(n)),
			Record: fmt.Appendf(nil, `{"$type":"app.bsky.graph.follow","subject":%q}`, atsim.DID(seed, n))})
		if err != nil {
			t.Fatal(err)
		}
	}
	follow(1)
	follow(2)
	sim, dir := newSim(t), t.TempDir()
	cfg := configure(dir, sim.URL())
	cfg.Network = config.Network{PLC: net.PLC(), Local: true}
	cfg.Feeds[0].Account = config.Account{Identifier: me, Password: config.NewSecret("app-pass"), Follows: true, Refresh: 500 * time.Millisecond}
	d := startWith(t, cfg, daemon.Options{})
	d.log.await(t, "follows.read", 1)
	follows := func(d *running) (n int, trouble string) {
		t.Helper()
		feeds, err := d.Feeds(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if feeds[0].Follows == nil {
			return 0, ""
		}
		return feeds[0].Follows.Follows, feeds[0].Follows.Trouble
	}
	await := func(d *running, want int) {
		t.Helper()
		for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
			n, trouble := follows(d)
			if n == want && trouble == "" {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d follows, want %d; %s", n, want, trouble)
			}
		}
	}
	await(d, 2)
	follow(3)
	await(d, 3)
	if err := net.Close(); err != nil {
		t.Fatal(err)
	}
	d.log.await(t, "follows.failed", 1)
	d.finish(t)

	d = startWith(t, cfg, daemon.Options{})
	defer d.finish(t)
	d.log.await(t, "feed.live", 1)
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		n, trouble := follows(d)
		if n == 3 && trouble != "" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d follows after a restart; %s", n, trouble)
		}
	}
	if got := len(d.log.of("follows.read")); got != 0 {
		t.Errorf("%d reads without a network", got)
	}
	info, err := os.Stat(filepath.Join(dir, "data", "accounts"))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Error(info, err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "data", "accounts", "sky.follows.json"))
	if err != nil || strings.Count(string(text), "did:plc:") < 3 || strings.Contains(string(text), "app-pass") {
		t.Errorf("%s, %v", text, err)
	}
}
