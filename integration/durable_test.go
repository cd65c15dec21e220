package integration_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"tempestd/internal/valkeytest"
)

// follower is a process that follows the stream with the npm client in one of its modes
// (clients/follow.mjs).
type follower struct {
	*process
	mode string
}

func (d *daemon) follow(offset, mode string) *follower {
	d.t.Helper()
	return &follower{startNode(d.t, "follow.mjs", "http://"+d.addr+"/streams/"+feed, offset, mode), mode}
}

// followed is a batch that the client received.
type followed struct {
	Offset   string
	UpToDate bool
	Closed   bool
	Items    []json.RawMessage
}

// batches returns the batches that the client has received so far. It ignores a line that the end
// of the process has cut.
func (f *follower) batches() []followed {
	f.t.Helper()
	var all []followed
	for _, line := range f.out.all() {
		var b followed
		if err := json.Unmarshal([]byte(line), &b); err == nil {
			all = append(all, b)
		}
	}
	return all
}

// awaitItems waits until the client receives another batch with items.
func (f *follower) awaitItems() {
	f.t.Helper()
	f.next("a batch", func(line string) bool { return strings.Contains(line, `"items":[{`) })
}

// canonical returns JSON parsed and encoded again, as the client prints it.
func canonical(t *testing.T, event []byte) string {
	t.Helper()
	var v any
	if err := json.Unmarshal(event, &v); err != nil {
		t.Fatalf("%v: %.200s", err, event)
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// canonicalFrames returns the stream as /frames serves it.
func (d *daemon) canonicalFrames(t *testing.T) []string {
	t.Helper()
	var all []string
	for from := "start"; ; {
		page, err := d.Frames(t.Context(), feed, from, "end", 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Entries) == 0 {
			return all
		}
		for _, f := range page.Entries {
			all = append(all, canonical(t, f.Event))
		}
		from = page.Entries[len(page.Entries)-1].ID.Next().String()
	}
}

// wantExactly checks that the batches hold every entry of want once and in order, and that only the
// last batch says that the stream is closed.
func wantExactly(t *testing.T, who string, batches []followed, want []string) {
	t.Helper()
	var got []string
	last := ""
	for i, b := range batches {
		for _, item := range b.Items {
			got = append(got, canonical(t, item))
		}
		if b.Offset < last || b.Closed != (i == len(batches)-1) {
			t.Errorf("%s: batch %d of %d ends at %s after %s, closed: %v", who, i, len(batches), b.Offset, last, b.Closed)
		}
		last = b.Offset
	}
	if !slices.Equal(got, want) {
		at := 0
		for at < min(len(got), len(want)) && got[at] == want[at] {
			at++
		}
		t.Errorf("%s: %d entries, want %d; the first difference is at %d", who, len(got), len(want), at)
	}
}

// The unmodified client follows a stream in every mode, over stops and kills of the daemon and a
// restart of the client, up to the end of the stream.
func TestDurableStreamsClient(t *testing.T) {
	t.Parallel()
	if _, err := clients(); err != nil { // this may take some time
		t.Fatal(err)
	}
	sim := simulate(t, 500)
	d := newDaemon(t, sim.url(), nil)
	d.startLive()
	d.awaitStored(100)
	followers := []*follower{d.follow("-1", "long-poll"), d.follow("-1", "sse")}
	resumed := d.follow("-1", "sse")
	for _, f := range append(followers, resumed) {
		f.awaitItems()
	}

	d.kill()
	d.startLive()
	for _, f := range append(followers, resumed) {
		f.awaitItems()
	}
	resumed.kill()
	taken := resumed.batches()
	d.stop()
	d.startLive()
	resumed = d.follow(taken[len(taken)-1].Offset, "long-poll")
	for _, f := range append(followers, resumed) {
		f.awaitItems()
	}

	d.catchUp(sim)
	code, p := run(t, "close", feed, "--reason", "the test is over", "--addr", d.addr)
	if code != 0 {
		t.Fatalf("close: exit code %d\n%v", code, p.log)
	}
	d.await("stream.closed", "stream", feed, "reason", "the test is over")
	d.await("feed.stopped", "feed", feed)
	want := d.canonicalFrames(t)
	for _, f := range append(followers, d.follow("-1", "false"), d.follow("-1", "sse")) {
		if code := f.wait(); code != 0 {
			t.Fatalf("%s: exit code %d\n%v", f.mode, code, f.log)
		}
		wantExactly(t, f.mode, f.batches(), want)
	}
	if code := resumed.wait(); code != 0 {
		t.Fatalf("resumed: exit code %d\n%v", code, resumed.log)
	}
	wantExactly(t, "resumed", append(taken, resumed.batches()...), want)

	// The closed state survives a restart of the daemon, and the feed does not start again.
	d.stop()
	d.start()
	d.await("feed.stopped", "feed", feed)
	after := d.follow("-1", "long-poll")
	if code := after.wait(); code != 0 {
		t.Fatalf("after a restart: exit code %d\n%v", code, after.log)
	}
	wantExactly(t, "after a restart", after.batches(), want)
	if n := len(d.records("feed.live")); n > 0 {
		t.Error("a feed whose stream is closed went live")
	}
	t.Logf("%d entries", len(want))
}

// A client whose position is gone gets an error, and does not continue as if nothing were missing.
func TestDurableStreamsClientIsToldOfALoss(t *testing.T) {
	t.Parallel()
	if _, err := clients(); err != nil {
		t.Fatal(err)
	}
	sim := simulate(t, 0)
	// The Valkey store applies the retention with its appends.
	d := newDaemon(t, sim.url(), onValkey(valkeytest.Start(t, valkeytest.Options{})))
	d.configure(settings{"feeds." + feed + ".retention": `{ entries = 100 }`})
	d.startLive()
	sim.produce(50)
	d.awaitStored(50)
	first := d.follow("-1", "false")
	if code := first.wait(); code != 0 {
		t.Fatalf("exit code %d\n%v", code, first.log)
	}
	batches := first.batches()
	place := batches[len(batches)-1].Offset
	eventually(t, "retention overtakes the client", func() bool {
		sim.produce(100)
		resp, err := http.Get("http://" + d.addr + "/streams/" + feed + "?offset=" + place)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusGone
	})
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	for _, mode := range []string{"false", "long-poll", "sse"} {
		f := d.follow(place, mode)
		if code := f.wait(); code != 1 || !strings.Contains(f.log.String(), "refused with 410") || !strings.Contains(f.log.String(), "offset=-1") {
			t.Errorf("%s: exit code %d\n%v", mode, code, f.log)
		}
	}
}
