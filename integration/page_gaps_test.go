package integration_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/embedded"
)

// statusPageShowsGaps opens the page of a daemon whose stream has gaps of every kind that stays as
// it is.
func statusPageShowsGaps(t *testing.T, b *browser) {
	s := simulate(t, 50)
	d := newDaemon(t, s.url(), nil)
	now := time.Now()
	at := func(hours int) int64 { return now.Add(time.Duration(hours) * time.Hour).UnixMicro() }
	row := func(id string, hours int, state messages.GapState) messages.GapRow {
		return messages.GapRow{ID: id, Version: 1, Feed: feed, State: state, OpenedAt: now.Add(time.Duration(hours) * time.Hour),
			Gap: messages.Gap{Host: "jetstream.example:443", FromUS: at(hours - 2), ToUS: at(hours), Cause: messages.GapReplayWindow}}
	}
	waiting, partly, given, done := row("aaaa", -1, messages.GapWaiting), row("bbbb", -9, messages.GapPartly), row("cccc", -5, messages.GapUnrepairable), row("dddd", -30, messages.GapRepaired)
	waiting.Source, waiting.Attempts, waiting.Recovered, waiting.Bytes, waiting.Planned = messages.SourceArchive, 3, 81_234, 300<<20, 1200<<20
	waiting.Why, waiting.RetryAt = "the archive’s quota is used up", now.Add(10*time.Hour)
	partly.Source, partly.Attempts, partly.Recovered, partly.Bytes, partly.Missing = messages.SourceSocket, 1, 1204, 5<<20, "the first 43 minutes, which the server no longer has"
	given.Event, given.Cause, given.Why = &messages.MissingEvent{DID: "did:plc:abc", Bytes: 9 << 20}, messages.GapOversized, "dismissed by an operator"
	done.Source, done.Attempts, done.Recovered, done.Bytes = messages.SourceSocket, 1, 5_000_123, 3<<30
	d.keepGaps(waiting, partly, given, done)
	d.startLive()
	d.awaitStored(50)

	tab := b.open(t, "http://"+d.addr+"/")
	tab.size(1440)
	tab.system("light")
	tab.await("the gaps are counted at the top", `document.querySelector("#headline").textContent === "sky is live; 1 gap open"`)
	const list = `document.querySelector("#feed-sky [aria-label=Gaps]")`
	tab.await("and shown, the open one first", `((items) => items.length === 4 && items[0].includes("waiting") && items[0].includes("from the archive: 81,234 events recovered, 300 MiB of 1.2 GiB fetched, attempt 3") &&
		/the archive’s quota is used up; next attempt in 9 h 5\d min/.test(items[0]))([...`+list+`.children].map((item) => item.innerText))`)
	tab.await("the others with what became of them", `((text) => ["not repairable", "1 event missing", "dismissed by an operator", "partly repaired", "2 h of events missing",
		"still missing: the first 43 minutes", "repaired", "of events were missing", "5,000,123 events recovered"].every((part) => text.includes(part)))(`+list+`.innerText)`)
	for _, theme := range []string{"dark", "light"} {
		tab.system(theme)
		for _, width := range []int{360, 1440} {
			tab.size(width)
			tab.eval(list+`.scrollIntoView({ block: "center" })`, nil)
			tab.audit(fmt.Sprintf("gaps-%s-%d", theme, width))
		}
	}
	tab.checkGapWords()
	tab.clean()
}

// keepGaps stores the rows before the daemon's first start.
func (d *daemon) keepGaps(rows ...messages.GapRow) {
	d.t.Helper()
	store, err := embedded.Open(d.t.Context(), filepath.Join(d.data, "store"), embedded.Options{MinFree: 1})
	if err != nil {
		d.t.Fatal(err)
	}
	stream, err := store.OpenStream(d.t.Context(), feed, persistence.StreamOptions{})
	if err == nil {
		err = stream.SaveGaps(d.t.Context(), rows)
	}
	if closed := store.Close(); err == nil {
		err = closed
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// checkGapWords tests the page's words for a gap that is being repaired, and that its progress has a
// name for who cannot see it.
func (tab *tab) checkGapWords() {
	tab.t.Helper()
	var got struct{ Heading, Text, Meter string }
	tab.eval(`import("/page/gaps.js").then(({ GapPanel }) => {
		const panel = new GapPanel();
		const gap = { id: "f00d", host: "h:443", from_us: 1.7e15, to_us: 0, cause: "a_new_one", state: "repairing", source: "accounts", recovered: 0, attempts: 1, bytes: 1024, planned_bytes: 4096 };
		panel.update({ gaps: [gap], states: { repairing: 1, repaired: 70 } }, 1.8e12);
		const meter = panel.node.querySelector("meter");
		return { heading: panel.node.querySelector("h4").textContent, text: panel.list.textContent, meter: meter.getAttribute("aria-label") + " " + meter.value + " of " + meter.max };
	})`, &got)
	if got.Heading != "Gaps1 open of 71" || got.Meter != "fetched of gap f00d 1024 of 4096" {
		tab.t.Errorf("heading %q, progress %q", got.Heading, got.Meter)
	}
	for _, want := range []string{"being repaired", "now unknown, a new one; h:443", "from the accounts’ servers: 1.0 KiB of 4.0 KiB fetched", "and 70 more"} {
		if !strings.Contains(got.Text, want) {
			tab.t.Errorf("the page lacks %q: %s", want, got.Text)
		}
	}
}
