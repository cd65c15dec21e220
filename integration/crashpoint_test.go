package integration_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tempestd/internal/client"
	"tempestd/internal/crashpoint"
	"tempestd/internal/jetsim"
	"tempestd/internal/valkeytest"
	"tempestd/messages"
)

// crashes are the points at which processes of one test were killed.
type crashes struct {
	mu  sync.Mutex
	hit []crashpoint.Point
}

// await waits until the process is killed at the point for which it was started.
func (c *crashes) await(p *process, at crashpoint.Point) {
	p.t.Helper()
	if code := p.wait(); code != -1 || !strings.Contains(p.log.String(), "crashpoint "+string(at)) {
		p.t.Fatalf("%v: exit code %d, want a kill at %s\n%s", p.cmd.Args[1:], code, at, p.log.tail())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hit = append(c.hit, at)
}

// armed is the environment of a process that is to be killed at the n-th pass of a point.
func armed(at crashpoint.Point, n int) []string {
	return []string{fmt.Sprintf("%s=%s:%d", crashpointVariable, at, n)}
}

const crashpointVariable = "TEMPESTD_CRASHPOINT"

// startArmed starts the daemon, which will be killed at the n-th pass of a point.
func (d *daemon) startArmed(at crashpoint.Point, n int) {
	d.t.Helper()
	d.binary, d.env = plain, armed(at, n)
	d.start()
	d.env = nil
}

// runArmed runs a command until it is killed at the n-th pass of a point.
func (c *crashes) runArmed(t testing.TB, at crashpoint.Point, n int, args ...string) {
	t.Helper()
	c.await(startBinary(t, plain, armed(at, n), args...), at)
}

// TestI1_I2_KilledAtEveryCrashPoint kills a process at each named point between two steps that must
// hold together, and lets it go on. Nothing is lost or doubled, and a reader that was there all the
// time has seen each entry once, under the ID that it still has. The list of points is the code's:
// a point that no process was killed at is an error.
func TestI1_I2_KilledAtEveryCrashPoint(t *testing.T) {
	t.Parallel()
	c := new(crashes)
	t.Run("points", func(t *testing.T) {
		for name, kill := range map[string]func(*testing.T, *crashes){
			"embedded": killedInAppends, "repair": killedInRepairs, "valkey": killedOnValkey, "reload": killedInReloads,
			"backup": killedInBackups, "mend": killedInMending, "consumer": killedInAcks,
			"pack, written": func(t *testing.T, c *crashes) { killedInPacking(t, c, crashpoint.PackWritten) },
			"pack, renamed": func(t *testing.T, c *crashes) { killedInPacking(t, c, crashpoint.PackRenamed) },
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				kill(t, c)
			})
		}
	})
	for _, p := range crashpoint.All() {
		if !slices.Contains(c.hit, p) && !t.Failed() {
			t.Errorf("no process was killed at %s", p)
		}
	}
	t.Logf("%d crashes at %d points", len(c.hit), len(crashpoint.All()))
}

// listed returns the stream as a reader sees it.
func (d *daemon) listed() (all []sighting) {
	d.t.Helper()
	var last messages.EntryID
	for {
		page, err := d.Tail(d.t.Context(), feed, last.String(), 0, 1000, messages.ConsumerFilter{})
		if err != nil {
			d.t.Fatal(err)
		}
		if len(page.Entries) == 0 {
			return all
		}
		for _, e := range page.Entries {
			all = append(all, sight(e))
		}
		last = page.Cursor
	}
}

// attest waits until a reader has seen the newest entry, and compares.
func (d *daemon) attest(readers ...*witness) {
	d.t.Helper()
	all := d.listed()
	for _, w := range readers {
		eventually(d.t, w.name+" has seen everything", func() bool { return w.last().Compare(all[len(all)-1].id) >= 0 })
		if difference := w.compare(all); difference != "" {
			d.t.Errorf("the reader by %s: %s", w.name, difference)
		}
	}
}

func killedInAppends(t *testing.T, c *crashes) {
	sim := simulate(t, 2000)
	d := newDaemon(t, sim.url(), settings{
		"feeds." + feed + ".retention":           `{ entries = 30_000 }`,
		"feeds." + feed + ".checkpoint_interval": `"1s"`,
	})
	d.binary = plain
	d.startLive()
	d.awaitStored(1)
	reader := summon(t, "tail", d)
	d.kill()
	for _, at := range []struct {
		point crashpoint.Point
		n     int
	}{
		{crashpoint.WriterAppend, 20}, {crashpoint.WriterAppended, 20}, {crashpoint.AppendWrite, 20}, {crashpoint.AppendSynced, 20}, {crashpoint.AppendWritten, 20},
		{crashpoint.RecoverErased, 1}, {crashpoint.SegmentTaken, 2}, {crashpoint.SegmentSealed, 1}, {crashpoint.SegmentFooter, 1}, {crashpoint.RecoverUnsealed, 1},
		{crashpoint.TrimFloor, 1}, {crashpoint.TrimUnlinked, 1}, {crashpoint.CursorSave, 1}, {crashpoint.CursorSaved, 1}, {crashpoint.FileReplace, 1}, {crashpoint.FileReplaced, 1},
	} {
		if at.point == crashpoint.RecoverErased {
			d.tear()
		}
		d.startArmed(at.point, at.n)
		if at.point == crashpoint.FileReplace || at.point == crashpoint.FileReplaced { // the copy of the state
			d.await("feed.live")
			d.signal(syscall.SIGTERM)
		}
		c.await(d.process, at.point)
	}
	d.startLive()
	d.exactOf(sim, jetsim.VerifyOptions{FromFirstStored: true})
	d.attest(reader)
}

// tear takes the end of the newest block away, as a power cut does in the middle of a write.
func (d *daemon) tear() {
	d.t.Helper()
	path, end := d.newestBlock()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, 60), end-60); err != nil {
		d.t.Fatal(err)
	}
}

// newestBlock returns the segment with the newest block, and where that ends.
func (d *daemon) newestBlock() (path string, end int64) {
	d.t.Helper()
	segments := d.segments()
	for _, path := range slices.Backward(segments) {
		log, err := os.ReadFile(path)
		if err != nil {
			d.t.Fatal(err)
		}
		if end := len(bytes.TrimRight(log, "\x00")); end > 512 { // allocated beyond its end
			return path, int64(end)
		}
	}
	d.t.Fatalf("no segment of %q has a block", segments)
	return "", 0
}

// segments returns the files of the stream, the oldest first.
func (d *daemon) segments() []string {
	d.t.Helper()
	segments, err := filepath.Glob(filepath.Join(d.data, "store", "streams", feed, "*.seg"))
	if err != nil || len(segments) == 0 {
		d.t.Fatalf("no segment in the store: %v", err)
	}
	slices.Sort(segments)
	return segments
}

// Segments are packed half a minute after the start.
func killedInPacking(t *testing.T, c *crashes, at crashpoint.Point) {
	sim := simulate(t, 100)
	d := newDaemon(t, sim.url(), nil)
	d.binary = plain
	d.startLive()
	for range 4 { // every start begins a segment
		sim.produce(500)
		d.awaitStored(500)
		d.kill()
		d.startLive()
	}
	reader := summon(t, "tail", d)
	d.kill()
	d.startArmed(at, 1)
	c.await(d.process, at)
	d.startLive()
	d.exact(sim)
	d.attest(reader)
	if code, p := run(t, "streams", "verify", "--addr", d.addr); code != 0 {
		t.Errorf("verify: exit code %d\n%s%s", code, p.out, p.log)
	}
}

func killedInRepairs(t *testing.T, c *crashes) {
	sim := simulate(t, 1000, "--archive", "--segment", "1000", "--lookback", "2s", "--newer", "all")
	d := newDaemon(t, "ws://"+sim.addr, nil)
	d.binary = plain
	d.startLive()
	d.awaitStored(1000)
	d.kill()
	missed := sim.stats().NewestSeq + 6000
	eventually(t, "more is sent than the socket keeps", func() bool { return sim.stats().NewestSeq > missed })
	for _, at := range []crashpoint.Point{crashpoint.GapRecorded, crashpoint.LedgerSave, crashpoint.LedgerSaved, crashpoint.FetchAppended} {
		d.startArmed(at, 1)
		c.await(d.process, at)
	}
	d.startLive()
	// Where a start takes longer than the socket remembers, there is more than one gap.
	eventually(t, "all gaps are repaired", func() bool {
		list, err := d.Gaps(t.Context(), client.GapQuery{Feed: feed})
		return err == nil && len(list.Gaps) > 0 && !slices.ContainsFunc(list.Gaps, func(g messages.GapStatus) bool { return g.State != messages.GapRepaired })
	})
	d.wantUnion(sim)
}

func killedOnValkey(t *testing.T, c *crashes) {
	server := valkeytest.Start(t, valkeytest.Options{AOF: "always", InMemory: true})
	sim := simulate(t, 1000)
	d := newDaemon(t, sim.url(), onValkey(server))
	d.binary = plain
	d.configure(settings{"valkey.durability": `"aof"`, "ha.enabled": "true", "ha.name": `"one"`})
	d.startLive()
	d.awaitStored(1)
	reader := summon(t, "tail", d)
	d.kill()
	for _, at := range []struct {
		point crashpoint.Point
		n     int
	}{
		{crashpoint.LeaseAcquired, 1}, {crashpoint.WriterAppend, 10}, {crashpoint.ValkeyStored, 10}, {crashpoint.ValkeyDurable, 10}, {crashpoint.WriterAppended, 10},
		{crashpoint.LeaseRenewed, 1}, {crashpoint.LeaseRelease, 1}, {crashpoint.LeaseReleased, 1},
	} {
		d.startArmed(at.point, at.n)
		if at.point == crashpoint.LeaseRelease || at.point == crashpoint.LeaseReleased {
			d.await("feed.live")
			d.signal(syscall.SIGTERM)
		}
		c.await(d.process, at.point)
	}
	d.startLive()
	d.exact(sim)
	d.attest(reader)
}

// The filters that come into force want the same events as those before, so the stream is the same.
func killedInReloads(t *testing.T, c *crashes) {
	kinds := func(list string) settings {
		return settings{"feeds." + feed + ".kinds": list, "feeds.also.kinds": list}
	}
	sim := simulate(t, 500)
	d := newDaemon(t, sim.url(), settings{"feeds.also.endpoints": `[` + quoted(sim.url()) + `]`})
	d.binary = plain
	d.startLive()
	d.awaitStored(1)
	reader := summon(t, "sse", d)
	d.kill()
	d.startArmed(crashpoint.Reloaded, 1)
	d.await("feed.live")
	d.configure(kinds(`["commit", "identity", "account"]`))
	d.signal(syscall.SIGHUP)
	c.await(d.process, crashpoint.Reloaded)
	d.configure(kinds(`["commit", "identity", "account", "sync"]`))
	d.startArmed(crashpoint.FiltersSaved, 1) // a start with another filter saves it
	c.await(d.process, crashpoint.FiltersSaved)
	d.startLive()
	// The other feed's connection may have had events before the one of this stream.
	d.exactOf(sim, jetsim.VerifyOptions{FromFirstStored: true})
	d.attest(reader)
}

func killedInBackups(t *testing.T, c *crashes) {
	sim := simulate(t, 1000)
	d := newDaemon(t, sim.url(), nil)
	d.startLive()
	d.awaitStored(2000)
	dir := filepath.Join(t.TempDir(), "backup")
	for _, at := range []crashpoint.Point{crashpoint.BackupFile, crashpoint.BackupManifest} {
		c.runArmed(t, at, 1, "backup", dir, "--addr", d.addr)
		d.awaitStored(d.status().Stored + 500)
	}
	if code, p := run(t, "backup", dir, "--addr", d.addr); code != 0 {
		t.Fatalf("the last backup: exit code %d\n%s", code, p.log.tail())
	}
	d.stop()
	r := newDaemon(t, sim.url(), nil)
	c.runArmed(t, crashpoint.RestoreFile, 1, "restore", dir, "--data-dir", r.data)
	c.runArmed(t, crashpoint.RestoreMoved, 1, "restore", dir, "--data-dir", r.data)
	code, p := run(t, "restore", dir, "--data-dir", r.data)
	if code != 0 {
		t.Fatalf("restore: exit code %d\n%s", code, p.log.tail())
	}
	r.startLive()
	r.exact(sim)
}

func killedInMending(t *testing.T, c *crashes) {
	sim := simulate(t, 500)
	d := newDaemon(t, sim.url(), nil)
	for range 3 { // every start begins a segment
		d.startLive()
		d.awaitStored(500)
		d.kill()
	}
	flipAt(t, d.segments()[0], 0.5)
	c.runArmed(t, crashpoint.MendAside, 1, "streams", "repair", "--data-dir", d.data)
	if code, p := run(t, "streams", "repair", "--data-dir", d.data); code != 0 {
		t.Errorf("repair: exit code %d\n%s%s", code, p.out, p.log)
	}
	if code, p := run(t, "streams", "verify", "--data-dir", d.data, "--offline"); code != 0 {
		t.Errorf("verify: exit code %d\n%s%s", code, p.out, p.log)
	}
	d.startLive()
	gaps := 0
	for event, err := range d.readable() {
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(event, []byte(`"cause":"corrupt"`)) {
			gaps++
		}
	}
	if gaps != 1 {
		t.Errorf("%d gap entries tell of the damage", gaps)
	}
}

func killedInAcks(t *testing.T, c *crashes) {
	sim := simulate(t, 500)
	d := newDaemon(t, sim.url(), nil)
	d.startLive()
	d.awaitStored(200)
	x := newIndexer(t, d)
	x.ack(d, x.next(d, time.Minute))
	d.kill()
	d.startArmed(crashpoint.ConsumerSaved, 1)
	d.await("feed.live")
	held := x.next(d, time.Minute)
	if err := d.Ack(t.Context(), feed, indexerName, held.Token); err == nil {
		t.Error("an acknowledgement was answered by a daemon that was killed")
	}
	c.await(d.process, crashpoint.ConsumerSaved)
	d.startLive()
	if acked := x.status(d).Acked; acked == held.Frames[len(held.Frames)-1].ID {
		x.dealt = append(x.dealt, held.Frames...)
	} else {
		t.Errorf("acknowledged is %v, stored was the acknowledgement of %d more", acked, len(held.Frames))
	}
	x.ack(d, x.next(d, time.Minute))
	if more := x.check(d); more < 0 {
		t.Errorf("%d entries came that the stream does not have", -more)
	}
}
