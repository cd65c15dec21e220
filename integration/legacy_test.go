package integration_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tempestd/messages"
)

// legacy is the real legacy server (integration/legacy), the only upstream in these tests that is
// not our own.
type legacy struct {
	*process
	t      testing.TB
	binary string
	addr   string
	dir    string
	truth  string
}

func newLegacy(t testing.TB) *legacy {
	t.Helper()
	l := &legacy{t: t, binary: filepath.Join(t.TempDir(), "legacy"), addr: freeAddr(t), dir: t.TempDir(), truth: filepath.Join(t.TempDir(), "truth")}
	cmd := exec.Command("go", "build", "-o", l.binary, ".")
	cmd.Dir = "legacy"
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the legacy server: %v\n%s", err, out)
	}
	return l
}

// start starts the server, for the first time or again. It produces count more events.
func (l *legacy) start(count int) {
	l.t.Helper()
	l.process = startBinary(l.t, l.binary, nil, "-listen", l.addr, "-dir", l.dir, "-truth", l.truth, "-rate", "2000", "-count", strconv.Itoa(count))
	awaitLine(l.t, l.out, 0, "the server's address", func(line string) bool { return strings.HasPrefix(line, "127.0.0.1:") })
}

// produced waits until all events are produced.
func (l *legacy) produced() {
	l.t.Helper()
	awaitLine(l.t, l.out, 1, "the end of production", func(string) bool { return true })
}

// dictionary writes the zstd dictionary that v1 clients need, and returns the file's path.
func (l *legacy) dictionary() string {
	l.t.Helper()
	out, err := exec.Command(l.binary, "-dictionary").Output()
	if err != nil {
		l.t.Fatal(err)
	}
	return write(l.t, "v1.zdict", string(out))
}

// account returns the DID of account n, in the form that the server uses.
func account(n int) string {
	return "did:plc:aaaaaaaaaaaaaaaaaaaaa" + string([]byte{'a' + byte(n/676), 'a' + byte(n/26%26), 'a' + byte(n%26)})
}

// TestI2_RealLegacyServer subscribes over zstd to every second of the server's 10 000 accounts, too
// many for a URL. It ends the connection, the daemon and the server repeatedly, and wants every
// event of these accounts once.
func TestI2_RealLegacyServer(t *testing.T) {
	server := newLegacy(t)
	server.start(30_000)
	var dids strings.Builder
	wanted := map[string]bool{}
	for n := 0; n < 10_000; n += 2 {
		wanted[account(n)] = true
		fmt.Fprintln(&dids, account(n))
	}
	d := newDaemon(t, "ws://"+server.addr+"/subscribe", settings{
		"feeds." + feed + ".dids_file":       quoted(write(t, "dids", dids.String())),
		"feeds." + feed + ".compress":        `"zstd"`,
		"feeds." + feed + ".zstd_dictionary": quoted(server.dictionary()),
	})
	d.start()
	if wire := d.await("feed.wire"); wire.text("protocol") != "v1" || wire.text("compression") != "zstd" {
		t.Errorf("it speaks %s with %s: %s", wire.text("protocol"), wire.text("compression"), wire.text("fallback"))
	}
	d.await("feed.live")
	random := seeded(t)
	for range 4 {
		d.awaitStored(d.status().Stored + 500)
		after(between(random, 0, 500*time.Millisecond))
		if err := d.Reconnect(t.Context(), feed); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		after(between(random, 100*time.Millisecond, time.Second))
		d.kill()
		d.startLive()
	}
	server.produced()
	server.signal(syscall.SIGTERM)
	server.wait()
	server.start(10_000)
	d.await("feed.live")
	server.produced()
	// The server loses events when it changes from replay to live. The backfill fetches them a few
	// seconds later.
	d.await("backfill.done")
	eventually(t, "everything is stored once", func() bool { return missing(t, d, server, wanted, false) == 0 })
	missing(t, d, server, wanted, true)
}

// missing compares the stream with what the server produced for the accounts, and returns the
// number of missing events. An entry that does not belong in the stream fails the test.
func missing(t testing.TB, d *daemon, server *legacy, wanted map[string]bool, tell bool) int {
	t.Helper()
	data, err := os.ReadFile(server.truth)
	if err != nil {
		t.Fatal(err)
	}
	left := map[string]bool{}
	var order []string
	for line := range bytes.Lines(data) {
		event := strings.TrimSuffix(string(line), "\n")
		if wanted[event[len(`{"did":"`):len(`{"did":"`)+len(account(0))]] {
			left[event] = true
			order = append(order, event)
		}
	}
	first, stored := "", 0
	seen, before := map[string]int{}, map[string]bool{}
	for event, err := range d.entries() {
		if err != nil {
			t.Fatal(err)
		}
		if first == "" {
			first = string(event)
			// The feed joined at the live tip, so events from before its first entry may be in the
			// stream but need not.
			for _, event := range order {
				if event == first {
					break
				}
				before[event] = true
				delete(left, event)
			}
		}
		if before[string(event)] {
			delete(before, string(event))
			continue
		}
		if !left[string(event)] {
			at, twice := seen[string(event)]
			t.Fatalf("entry %d: twice in the stream (%v, at %d), or never sent to it; the first entry is\n%s\nthis one is\n%s", stored, twice, at, first, event)
		}
		seen[string(event)] = stored
		delete(left, string(event))
		stored++
	}
	if tell {
		s := d.status()
		t.Logf("%d events of %d accounts, %d missing; %d replayed and dropped, %d fetched by a second connection, %d gaps; state %s",
			stored, len(wanted), len(left), s.Duplicates, s.Backfilled, s.Gaps, s.State)
		if s.Gaps > 0 || s.State != messages.StateLive {
			t.Errorf("%d gaps, state %s", s.Gaps, s.State)
		}
	}
	return len(left)
}
