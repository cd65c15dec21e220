package integration_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestI2_AChainOfMirrors has a daemon that mirrors a daemon that mirrors a simulator, over v1 and
// over v2, while each of them is killed. Every stream holds the same events in order, byte for byte
// except for their numbers.
func TestI2_AChainOfMirrors(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/subscribe", "/xrpc/network.bsky.jetstream.subscribeEvents"} {
		t.Run(path[1:5], func(t *testing.T) {
			t.Parallel()
			sim := simulate(t, 500)
			first := newDaemon(t, sim.url(), nil)
			first.startLive()
			first.awaitStored(200)
			second := newDaemon(t, "ws://"+first.addr+path, nil)
			second.startLive()
			second.awaitStored(300)
			first.kill()
			first.startLive()
			second.await("feed.live")
			second.kill()
			second.startLive()
			second.awaitStored(300)
			first.stop()
			first.startLive()
			second.await("feed.live")
			second.awaitStored(600)
			first.exact(sim)
			all := entriesOf(t, first)
			eventually(t, "the second daemon has the newest event", func() bool {
				mirror := entriesOf(t, second)
				return len(mirror) > 0 && withoutNumber(mirror[len(mirror)-1]) == withoutNumber(all[len(all)-1])
			})
			sameTail(t, all, entriesOf(t, second))
		})
	}
}

func entriesOf(t *testing.T, d *daemon) (all []string) {
	t.Helper()
	for event, err := range d.entries() {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(event))
	}
	return all
}

// sameTail checks that the mirror, from its first event on, holds the events of the original under
// other numbers.
func sameTail(t *testing.T, original, mirror []string) {
	t.Helper()
	for i := range original {
		original[i] = withoutNumber(original[i])
	}
	for i := range mirror {
		mirror[i] = withoutNumber(mirror[i])
	}
	if len(mirror) < 900 { // the test has waited for that many
		t.Fatalf("the mirror holds %d events", len(mirror))
	}
	from := slices.Index(original, mirror[0])
	if from < 0 {
		t.Fatalf("the original does not hold %s", mirror[0])
	}
	if original = original[from:]; !slices.Equal(original, mirror) {
		for i := range min(len(original), len(mirror)) {
			if original[i] != mirror[i] {
				t.Fatalf("event %d is\n%s, want\n%s", i, mirror[i], original[i])
			}
		}
		t.Fatalf("the mirror holds %d events, the original %d", len(mirror), len(original))
	}
}

// TestI2_OtherPeoplesClients follows a daemon with published clients, over a kill and a stop of the
// daemon. Each client gets every event that it wants at least once, and in order except for
// repeated events.
func TestI2_OtherPeoplesClients(t *testing.T) {
	t.Parallel()
	sim := simulate(t, 300)
	d := newDaemon(t, sim.url(), nil)
	d.startLive()
	d.awaitStored(100)
	likes := "app.bsky.feed.like"
	goClient := newGoClient(t)
	readers := map[string]*process{
		"skyware":       startNode(t, "jetstream.mjs", "skyware", "ws://"+d.addr, "1"),
		"skyware likes": startNode(t, "jetstream.mjs", "skyware", "ws://"+d.addr, "1", likes),
		"atcute":        startNode(t, "jetstream.mjs", "atcute", "ws://"+d.addr, "0"),
		"atcute likes":  startNode(t, "jetstream.mjs", "atcute", "ws://"+d.addr, "0", likes),
		"go":            startBinary(t, goClient, nil, "-url", "ws://"+d.addr+"/subscribe"),
		"go packed":     startBinary(t, goClient, nil, "-url", "ws://"+d.addr+"/subscribe", "-compress"),
		"go likes":      startBinary(t, goClient, nil, "-url", "ws://"+d.addr+"/subscribe", "-collections", likes),
	}
	some := func() {
		t.Helper()
		for name, r := range readers {
			n := len(r.out.all()) + 50
			eventually(t, name+" reads on", func() bool { return len(r.out.all()) >= n })
		}
	}
	some()
	d.kill()
	d.startLive()
	some()
	d.stop()
	d.startLive()
	some()
	d.exact(sim)
	var all, liked []string
	for _, text := range entriesOf(t, d) {
		var e struct {
			DID, Kind string
			Commit    struct{ Rev, Operation, Collection, Rkey string }
		}
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			t.Fatal(err)
		}
		if e.Kind == "commit" {
			c := e.Commit
			line := strings.Join([]string{e.DID, c.Rev, c.Operation, c.Collection, c.Rkey}, " ")
			all = append(all, line)
			if c.Collection == likes {
				liked = append(liked, line)
			}
		}
	}
	for name, r := range readers {
		want := all
		if strings.HasSuffix(name, "likes") {
			want = liked
		}
		last := want[len(want)-1]
		eventually(t, name+" reads the last event", func() bool {
			lines := r.out.all()
			return len(lines) > 0 && lines[len(lines)-1] == last
		})
		wereGiven(t, name, r.out.all(), want)
	}
}

// wereGiven checks that the lines hold exactly the wanted events, in the order of their first
// occurrence.
func wereGiven(t *testing.T, name string, lines, want []string) {
	t.Helper()
	seen := map[string]bool{}
	var got []string
	for _, line := range lines {
		if !seen[line] {
			seen[line] = true
			got = append(got, line)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s was given %d events, want %d", name, len(got), len(want))
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] {
				t.Errorf("%s: event %d is %s, want %s", name, i, got[i], want[i])
				break
			}
		}
	}
	t.Logf("%s: %d events, %d lines", name, len(got), len(lines))
}

// newGoClient builds the program that uses the Go client.
func newGoClient(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "follow")
	cmd := exec.Command("go", "build", "-o", path, "./follow")
	cmd.Dir = "legacy"
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the Go client: %v\n%s", err, out)
	}
	return path
}
