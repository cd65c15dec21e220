package integration_test

import (
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"tempestd/messages"
	"tempestd/persistence/embedded/backup"
)

// document decodes the single JSON document that a command printed. It fails the test if there is
// another number of lines.
func (p *process) document(into any) {
	p.t.Helper()
	lines := p.out.all()
	if len(lines) != 1 {
		p.t.Fatalf("%v printed %q\n%s", p.cmd.Args[1:], lines, p.log.tail())
	}
	if err := json.Unmarshal([]byte(lines[0]), into); err != nil {
		p.t.Fatal(err)
	}
}

// A backup is made twice under load, restored elsewhere, and a daemon continues with it. The stream
// then holds what the simulator sent, before and after the backup.
func TestI2_RestoredBackupRunsOn(t *testing.T) {
	t.Parallel()
	sim := simulate(t, 5000)
	d := newDaemon(t, sim.url(), nil)
	d.startLive()
	d.awaitStored(20_000)
	dir := filepath.Join(t.TempDir(), "backup")

	var first, second backup.Report
	for i, report := range []*backup.Report{&first, &second} {
		code, p := run(t, "backup", dir, "--addr", d.addr, "--json")
		if code != 0 {
			t.Fatalf("backup %d: exit code %d\n%s", i+1, code, p.log.tail())
		}
		p.document(report)
		t.Logf("backup %d: %d bytes: copied %+v, linked %+v, kept %+v", i+1, report.Bytes, report.Copied, report.Linked, report.Kept)
		if code, p := run(t, "streams", "verify", "--addr", d.addr); code != 0 {
			t.Errorf("verify beside the feed: exit code %d\n%s%s", code, p.out, p.log)
		}
	}
	if second.Kept.Bytes < first.Bytes/2 { // some segments may have been packed in between
		t.Errorf("the second backup kept %+v of %d bytes", second.Kept, first.Bytes)
	}
	d.awaitStored(uint64(second.Streams[0].Entries) + 5000)
	d.stop()

	r := newDaemon(t, sim.url(), nil)
	code, p := run(t, "restore", dir, "--data-dir", r.data, "--json")
	if code != 0 {
		t.Fatalf("restore: exit code %d\n%s", code, p.log.tail())
	}
	var restored backup.Restored
	p.document(&restored)
	if code, p := run(t, "streams", "verify", "--data-dir", r.data); code != 0 {
		t.Errorf("verify what was restored: exit code %d\n%s%s", code, p.out, p.log)
	}
	if code, _ := run(t, "restore", dir, "--data-dir", r.data); code != 1 {
		t.Errorf("restoring over it: exit code %d", code)
	}
	r.startLive()
	if info := r.info(); info.Oldest == nil || *info.Oldest != *second.Streams[0].Oldest || info.Entries < second.Streams[0].Entries {
		t.Errorf("restored %+v of %+v", info, second.Streams[0])
	}
	r.exact(sim)
	for _, event := range []string{"store.file_damaged", "store.truncated", "store.state_lost", "store.corrupt", "feed.gapped"} {
		if n := len(r.records(event)); n > 0 {
			t.Errorf("%s: %d times", event, n)
		}
	}
	r.stop()
	sameUpTo(t, d, r, *second.Streams[0].Newest)
}

// A backup, or the daemon that serves it, is killed again and again, always with the same target
// directory. The next backup continues with the files that are there, and a restore of the last
// backup is complete.
func TestI2_ABackupOutlivesKills(t *testing.T) {
	t.Parallel()
	sim := simulate(t, 1000)
	d := newDaemon(t, sim.url(), nil)
	d.startLive()
	d.awaitStored(5000)
	dir := filepath.Join(t.TempDir(), "backup")
	random := seeded(t)
	for i := range 8 {
		stored := d.status().Stored
		p := start(t, nil, "backup", dir, "--addr", d.addr)
		after(between(random, 0, 300*time.Millisecond))
		if i%2 == 0 {
			p.kill()
			d.awaitStored(stored + 500)
			continue
		}
		d.kill()
		p.wait() // any exit code is possible
		d.startLive()
		d.awaitStored(500)
	}
	if code, p := run(t, "backup", dir, "--addr", d.addr, "--json"); code != 0 {
		t.Fatalf("the last backup: exit code %d\n%s", code, p.log.tail())
	}
	d.stop()
	r := newDaemon(t, sim.url(), nil)
	if code, p := run(t, "restore", dir, "--data-dir", r.data); code != 0 {
		t.Fatalf("restore: exit code %d\n%s", code, p.log.tail())
	}
	if code, p := run(t, "streams", "verify", "--data-dir", r.data); code != 0 {
		t.Errorf("verify what was restored: exit code %d\n%s%s", code, p.out, p.log)
	}
	r.startLive()
	r.exact(sim)
}

// sameUpTo compares the streams of two stopped daemons, up to an entry.
func sameUpTo(t *testing.T, a, b *daemon, last messages.EntryID) {
	t.Helper()
	entries := func(d *daemon) (all []string) {
		d.start()
		d.await("http.listening")
		defer d.stop()
		for after := "0-0"; ; {
			page, err := d.Tail(t.Context(), feed, after, 0, 1000, messages.ConsumerFilter{})
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range page.Entries {
				if f.ID.Compare(last) > 0 {
					return all
				}
				after = f.ID.String()
				all = append(all, after+" "+string(f.Event))
			}
			if len(page.Entries) == 0 {
				return all
			}
		}
	}
	one, other := entries(a), entries(b)
	if len(one) != len(other) {
		t.Fatalf("%d and %d entries", len(one), len(other))
	}
	for i := range one {
		if one[i] != other[i] {
			t.Fatalf("entry %d is %.100s and %.100s", i, one[i], other[i])
		}
	}
}
