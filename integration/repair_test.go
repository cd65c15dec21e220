package integration_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tempestd/messages"
	"tempestd/persistence/embedded"
)

// damage flips some bytes in the middle of the stream's oldest segment.
func (d *daemon) damage() {
	d.t.Helper()
	segments, err := filepath.Glob(filepath.Join(d.data, "store", "streams", feed, "*.seg"))
	if err != nil || len(segments) < 2 {
		d.t.Fatalf("%v, %v", segments, err)
	}
	slices.Sort(segments)
	b, err := os.ReadFile(segments[0])
	if err != nil {
		d.t.Fatal(err)
	}
	for i := range 8 {
		b[len(b)/2+i] ^= 0xff
	}
	overwrite(d.t, segments[0], b)
}

// A repair is killed again and again. The last repair runs to its end and completes the work, and
// one gap entry reports the loss.
func TestI4_ARepairOutlivesKills(t *testing.T) {
	t.Parallel()
	random := seeded(t)
	sim := simulate(t, 2000)
	d := newDaemon(t, sim.url(), nil)
	d.startLive()
	d.awaitStored(20_000)
	last := *d.info().Newest // the gap entry gets a later ID
	d.kill()
	d.damage()
	for range 10 {
		p := start(t, nil, "streams", "repair", "-c", d.config)
		after(between(random, 0, 250*time.Millisecond))
		p.kill()
	}
	if code, p := run(t, "streams", "repair", "-c", d.config); code != 0 {
		t.Fatalf("repair: exit code %d\n%s%s", code, p.out, p.log)
	}
	if code, p := run(t, "streams", "verify", "--offline", "-c", d.config); code != 0 {
		t.Errorf("verify after the repair: exit code %d\n%s%s", code, p.out, p.log)
	}
	d.startLive()
	d.catchUp(sim)
	if gaps := d.gapsAfter(last, messages.GapCorrupt); len(gaps) != 1 {
		t.Errorf("%d gaps: %+v", len(gaps), gaps)
	}
	d.stop()
}

// A block of a killed daemon is damaged. verify finds the damage and repair repairs the store. The
// daemon then continues, and a gap entry reports the loss.
func TestI4_RepairedStoreRunsOn(t *testing.T) {
	t.Parallel()
	sim := simulate(t, 2000)
	d := newDaemon(t, sim.url(), nil)
	d.startLive()
	d.awaitStored(10_000)
	if code, p := run(t, "streams", "repair", "--data-dir", d.data); code != 1 || !strings.Contains(p.log.tail(), "stop it first") {
		t.Errorf("beside the daemon: exit code %d\n%s", code, p.log)
	}
	d.kill()
	d.damage()
	if code, p := run(t, "streams", "verify", "--offline", "-c", d.config); code != 1 || !strings.Contains(strings.Join(p.out.all(), "\n"), "lost: ") {
		t.Errorf("verify: exit code %d\n%s%s", code, p.out, p.log)
	}
	code, p := run(t, "streams", "repair", "-c", d.config, "--json")
	var done embedded.Repaired
	p.document(&done)
	if code != 0 || len(done.Lost) != 1 || done.Lost[0].Gap == nil || done.Lost[0].Entries == 0 {
		t.Fatalf("repair: exit code %d: %+v", code, done)
	}
	if code, p := run(t, "streams", "verify", "--offline", "-c", d.config); code != 0 {
		t.Errorf("verify after the repair: exit code %d\n%s%s", code, p.out, p.log)
	}
	d.startLive()
	gap := done.Lost[0].Gap.String()
	page, err := d.Frames(t.Context(), feed, gap, gap, 1)
	if err != nil || len(page.Entries) != 1 {
		t.Fatalf("the gap entry: %+v, %v", page, err)
	}
	var told struct {
		Kind string
		Gap  messages.Gap
	}
	if err := json.Unmarshal(page.Entries[0].Event, &told); err != nil || told.Kind != "gap" || told.Gap.Cause != messages.GapCorrupt {
		t.Errorf("the gap entry is %s", page.Entries[0].Event)
	}
	d.catchUp(sim)
	if code, p := run(t, "streams", "verify", "--addr", d.addr, "--stream", feed); code != 0 {
		t.Errorf("verify beside the daemon: exit code %d\n%s%s", code, p.out, p.log)
	}
	d.stop()
}
