//go:build pictures

package integration_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tempestd/messages"
)

// TestPicturesOfThePage takes pictures of the page of a daemon in trouble: with 5 feeds and with 60,
// in both themes, narrow and wide. make pictures runs it.
func TestPicturesOfThePage(t *testing.T) {
	dir := os.Getenv("PICTURES")
	if dir == "" {
		t.Fatal("PICTURES names no directory: run make pictures")
	}
	b := browse(t)
	for _, n := range []int{5, 60} {
		t.Run(fmt.Sprint(n, "_feeds"), func(t *testing.T) {
			d, flapping := troubled(t, n)
			tab := b.open(t, "http://"+d.addr+"/")
			tab.allow("503")
			tab.size(1440)
			tab.await("the feeds are shown", fmt.Sprintf(`document.querySelectorAll(".feed").length === %d`, n))
			after(30 * time.Second) // history to look at
			for _, theme := range []string{"light", "dark"} {
				tab.system(theme)
				for _, width := range []int{390, 1440} {
					tab.size(width)
					name := fmt.Sprintf("%d-feeds-%s-%d.png", n, theme, width)
					if err := os.WriteFile(filepath.Join(dir, name), tab.picture(), 0o644); err != nil {
						t.Fatal(err)
					}
					tab.fits(name)
				}
			}
			cuts := flapping.stats().Faults["eof"]
			tab.await("the outages are those that the simulator made, but for the newest", fmt.Sprintf(`Math.abs(parseInt(document.querySelector("#feed-flapping .past .disconnected").textContent) - %d) <= 1`, cuts))
			tab.await("the open gaps are those of the ledger", `document.querySelector("#feed-sky .past").innerText.includes("2 gaps open")`)
			tab.clean()
		})
	}
}

// troubled starts a daemon with n feeds. One is refused for good, one flaps, one has gaps, the
// others are well.
func troubled(t *testing.T, n int) (d *daemon, flapping *simulator) {
	t.Helper()
	well := simulate(t, 20)
	flapping = simulate(t, 20, "--fault", "eof@5s/5s")
	forbidding := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "this client may not", http.StatusForbidden)
	}))
	t.Cleanup(forbidding.Close)
	more := settings{
		"feeds.refused.endpoints":  `[` + quoted("ws"+forbidding.URL[len("http"):]+"/subscribe") + `]`,
		"feeds.flapping.endpoints": `[` + quoted(flapping.url()) + `]`,
		"feeds.flapping.backoff":   `["1s"]`,
	}
	for i := 3; i < n; i++ {
		more[fmt.Sprintf("feeds.well-%02d.endpoints", i)] = `[` + quoted(well.url()) + `]`
	}
	d = newDaemon(t, well.url(), more)
	now := time.Now()
	gap := func(id string, hours int, state messages.GapState) messages.GapRow {
		at := now.Add(time.Duration(-hours) * time.Hour)
		return messages.GapRow{ID: id, Version: 1, Feed: feed, State: state, OpenedAt: at,
			Gap: messages.Gap{Host: "jetstream.example:443", FromUS: at.Add(-time.Hour).UnixMicro(), ToUS: at.UnixMicro(), Cause: messages.GapReplayWindow}}
	}
	waiting := func(row messages.GapRow) messages.GapRow {
		row.RetryAt = now.Add(time.Hour)
		return row
	}
	d.keepGaps(waiting(gap("aaaa", 1, messages.GapWaiting)), waiting(gap("bbbb", 30, messages.GapWaiting)), gap("cccc", 50, messages.GapUnrepairable))
	d.startLive()
	return d, flapping
}
