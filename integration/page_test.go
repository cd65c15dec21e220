package integration_test

import (
	"fmt"
	"strings"
	"testing"

	"tempestd/internal/client"
	"tempestd/messages"
)

// pageToken is the token that the status page must ask its user for.
const pageToken = "open-sesame-open-sesame"

// TestStatusPage tests the status page in Chromium. The console must stay empty.
func TestStatusPage(t *testing.T) {
	b := browse(t)
	t.Run("operator", func(t *testing.T) { statusPageServesItsOperator(t, b) })
	t.Run("trouble", func(t *testing.T) { statusPageTellsOfTrouble(t, b) })
	t.Run("gaps", func(t *testing.T) { statusPageShowsGaps(t, b) })
}

// statusPageServesItsOperator opens the page of a daemon with a token and does the work of an
// operator: log in, look, reconnect a feed, follow a stream.
func statusPageServesItsOperator(t *testing.T, b *browser) {
	s := simulate(t, 150, "--fault", "garbage/2s")
	d := newDaemon(t, s.url(), settings{"http.token": quoted(pageToken), "feeds.other.endpoints": `[` + quoted(s.url()) + `]`})
	c, err := client.New(d.addr, pageToken)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	d.Client = c
	d.startLive()
	d.awaitStored(200)

	if _, _, err := d.CreateConsumer(t.Context(), feed, "indexer", "0-0", messages.ConsumerFilter{}); err != nil {
		t.Fatal(err)
	}

	tab := b.open(t, "http://"+d.addr+"/")
	tab.allow("401 (Unauthorized)", "400 (Bad Request)")
	tab.size(1440)
	tab.system("light")

	tab.await("the page asks for the token", `document.querySelector("#login").checkVisibility()`)
	tab.audit("login")
	tab.logIn("a wrong one")
	tab.await("it says that the token is wrong", `document.querySelector("#login-error").textContent.includes("does not accept")`)
	tab.logIn(pageToken)
	tab.await("the feed is shown live", `document.querySelector("#feed-sky .badge")?.textContent === "live"`)
	tab.await("how long it has been", `/^live for \d+ (ms|s|min)/.test(document.querySelector("#feed-sky .since").textContent)`)
	tab.await("and what all of them do", `document.querySelector("#headline").textContent === "All 2 feeds are live"`)
	tab.await("its charts are drawn", `document.querySelector("#feed-sky .curve").getAttribute("d").includes("L")`)
	tab.await("the stream is in the table", `document.querySelector(".streams .name").textContent === "other"`)

	tab.await("and its consumer below it, with its lag", `/^indexer\s*[\d,]+ entries, .* behind\s*no batch is out/.test(document.querySelector(".consumer")?.innerText)`)

	// A reconnect makes a new epoch and shows on the timeline.
	before := d.status().Epoch
	tab.eval(`window.transitionsBefore = Number(document.querySelector("#feed-sky .strip svg").dataset.transitions)`, nil)
	tab.click(`[aria-label="Reconnect sky"]`)
	eventually(t, "the button makes a new epoch", func() bool { return d.status().Epoch > before })
	tab.await("the page says so", `document.querySelector("#feed-sky .note").textContent.startsWith("Reconnected: epoch ")`)
	tab.await("the timeline has it", `Number(document.querySelector("#feed-sky .strip svg").dataset.transitions) >= window.transitionsBefore + 3`)
	tab.await("the list has it", `document.querySelector("#feed-sky [aria-label=Transitions]").textContent.includes("operator")`)

	// So does a pause.
	tab.click("#feed-other .disclose")
	tab.await("it is closed", `!document.querySelector("#feed-other .body").checkVisibility()`)
	tab.click(`[aria-label="Pause other"]`)
	tab.await("the answer stands at the button", `document.querySelector("#feed-other .note").checkVisibility() && document.querySelector("#feed-other .note").textContent.startsWith("Paused at ")`)
	tab.await("the other feed pauses", `document.querySelector("#feed-other .badge").textContent === "paused"`)
	tab.click(`[aria-label="Resume other"]`)
	tab.await("it goes on", `document.querySelector("#feed-other .badge").textContent === "live"`)

	// The page is readable at every width and in both themes.
	tab.click("#tail-run")
	tab.await("the tail is full of all sorts, and goes on within its bound", `((rows) => rows.length === 200 && new Set(rows.map((row) => row.children[1].textContent)).size > 3 && rows[0].id !== "entry-199")([...document.querySelectorAll("#tail-rows .row:not(.break)")])`)
	tab.checkHolding()
	// A filter by collection alone keeps accounts and identities.
	tab.click("#tail-kinds [value=commit]")
	tab.write("#tail-collections", "app.bsky.feed.post, app.bsky.graph.*")
	tab.press("Enter", 13)
	tab.await("it shows what is wanted alone", `((words) => words.includes("create app.bsky.feed.post") && words.some((word) => word.includes("app.bsky.graph.")) &&
		words.every((word) => /^(create|update|delete) app\.bsky\.(feed\.post|graph\.\w+)$/.test(word)))([...document.querySelectorAll("#tail-rows .what")].map((node) => node.textContent))`)
	tab.write("#tail-collections", "not a collection")
	tab.press("Enter", 13)
	tab.await("a filter that is wrong is refused in the daemon's words", `document.querySelector("#tail-error").checkVisibility() && document.querySelector("#tail-error").textContent.includes("accepted: ")`)
	tab.write("#tail-collections", "app.bsky.*")
	tab.press("Enter", 13)
	tab.await("the tail runs again", `document.querySelectorAll("#tail-rows .row").length > 20`)
	tab.eval(`document.querySelector("#tail-rows").focus()`, nil)
	tab.press("ArrowDown", 40)
	tab.await("an entry is shown as it is", `document.querySelector("#tail-entry").textContent.includes('"did":')`)
	for _, theme := range []string{"dark", "light"} {
		tab.system(theme)
		for _, width := range []int{320, 360, 1440, 1600} {
			tab.size(width)
			if name := fmt.Sprintf("healthy-%s-%d", theme, width); width == 360 || width == 1440 {
				tab.audit(name)
			} else {
				tab.fits(name)
			}
		}
	}
	tab.checkKeyboard()
	tab.checkThemes()
	tab.clean()
}

// statusPageTellsOfTrouble removes the upstream of a feed and the daemon of the page, and starts
// them again.
func statusPageTellsOfTrouble(t *testing.T, b *browser) {
	dying, healthy := simulate(t, 50), simulate(t, 50)
	d := newDaemon(t, dying.url(), settings{"feeds.well.endpoints": `[` + quoted(healthy.url()) + `]`})
	d.startLive()
	d.awaitStored(50)
	tab := b.open(t, "http://"+d.addr+"/")
	tab.size(1440)
	tab.system("dark")
	tab.await("the feeds are live", `document.querySelector("#headline").textContent === "All 2 feeds are live"`)
	tab.clean()

	tab.checkWords()
	tab.checkFigures()
	tab.checkMany()
	tab.await("the page has its own feeds again", `document.querySelectorAll("#feeds .feed").length === 2`)
	tab.size(1440)

	dying.kill()
	tab.await("the feed is shown to be in trouble", `["disconnected", "reconnecting"].includes(document.querySelector("#feed-sky .badge").textContent)`)
	tab.await("it stands at the top", `document.querySelector("#headline").textContent === "1 of 2 feeds is in trouble"`)
	tab.await("with since when and why", `/sky not connected for \d.*(refused|EOF|reset|closed)/.test(document.querySelector("#facts").innerText.replaceAll("\n", " "))`)
	tab.await("the other one is not", `document.querySelector("#feed-well .badge").textContent === "live"`)
	tab.await("the timeline has it", `document.querySelector("#feed-sky .strip .state.disconnected, #feed-sky .strip .state.reconnecting")`)
	tab.audit("trouble-dark-1440")
	tab.size(360)
	tab.system("light")
	tab.audit("trouble-light-360")
	dying.restart()
	tab.await("it is over", `document.querySelector("#headline").textContent === "All 2 feeds are live"`)
	tab.clean()

	tab.allow("ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE", "503 (Service Unavailable)")
	d.stop()
	tab.await("the daemon is missed", `document.querySelector("#headline").textContent === "The daemon does not answer"`)
	tab.await("with since when", `/since \d.* What is shown below is from \d/.test(document.querySelector("#facts").textContent)`)
	tab.audit("away-light-360")
	d.start()
	tab.click("#retry")
	tab.await("it is back", `document.querySelector("#headline").textContent === "All 2 feeds are live"`)
	tab.clean()
}

// checkWords tests the page's words for states of feeds that are hard to cause.
func (tab *tab) checkWords() {
	t := tab.t
	t.Helper()
	for _, c := range []struct{ status, transitions, level, words string }{
		{`state: "live"`, ``, "good", "live for 3 h 12 min"},
		{`state: "live", lag_ms: 125_000`, ``, "warn", "live, but 2 min 5 s behind: catching up at 7 events/s"},
		{`state: "live", suspicion: 5.25`, ``, "warn", "live, but silent: suspicion 5.3; at 8 the watchdog reconnects"},
		{`state: "live", away_since: null`, `{ ms: now - 6e5, from: "live", to: "disconnected" }, ` + strings.Repeat(`{ ms: now - 6e4, from: "live", to: "disconnected", reason: "EOF" }, `, 3), "warn", "live for 3 h 12 min: lost 3 times in 5 min, the last time: EOF"},
		{`state: "backpressured", reason: "the disk is full"`, ``, "bad", "held back for 3 h 12 min: the disk is full"},
		{`state: "failed", reason: "no such filter"`, ``, "bad", "refused for 3 h 12 min: no such filter; trying now"},
		{`state: "reconnecting", away_since: at(-36e3), next_attempt_at: at(4)`, `{ to: "live", ms: now - 3e3 }, { to: "disconnected", ms: now - 2e3, reason: "EOF" }, { to: "reconnecting", ms: now - 1e3 }`, "bad", "not connected for 10 h: EOF; next attempt in 4 s"},
		{`state: "connecting", since: at(-1)`, `{ to: "connecting", ms: now - 1e3 }`, "warn", "connecting for 1 s: trying now"},
		{`state: "paused", reason: "operator"`, ``, "note", "paused for 3 h 12 min: operator"},
		{`state: "standby", owner: "east-1"`, ``, "good", "standing by for 3 h 12 min: east-1 owns the stream"},
		{`state: "filling", fill: { source: "archive", events: 1000, events_per_sec: 250, bytes: 1024, planned_bytes: 4096, eta_s: 12 }`, ``, "note", "reading history for 3 h 12 min: 1,000 events at 250/s; 1.0 KiB of 4.0 KiB; 12 s left"},
		{`state: "filling", reason: "waiting until 2026-11-29T12:00:00Z: over the archive's quota"`, ``, "warn", "reading history for 3 h 12 min: waiting until 2026-11-29T12:00:00Z: over the archive's quota"},
		{`state: "gapped", reason: "replay_window"`, ``, "warn", "recording a loss for 3 h 12 min: replay_window"},
	} {
		var got struct{ Level, What, Why string }
		tab.eval(fmt.Sprintf(`import("/page/verdict.js").then(({ inWords }) => {
			const now = 1.8e12;
			const at = (seconds) => new Date(now + seconds * 1000).toISOString();
			return inWords({ since: at(-192 * 60), reason: "", last_id: "1-1", lag_ms: 20, suspicion: 0, events_per_sec: 7, position: {}, %s }, [%s], now);
		})`, c.status, c.transitions), &got)
		words := got.What
		if got.Why != "" {
			words += ": " + got.Why
		}
		if got.Level != c.level || words != c.words {
			t.Errorf("{ %s }: %s %q, want %s %q", c.status, got.Level, words, c.level, c.words)
		}
	}
}

func (tab *tab) logIn(token string) {
	tab.t.Helper()
	tab.write("#token", token)
	tab.press("Enter", 13)
}

// checkThemes tests the choices of the theme button. They hold for every theme of the system, and
// after a reload of the page.
func (tab *tab) checkThemes() {
	t := tab.t
	t.Helper()
	background := func() (colour string) {
		tab.eval(`getComputedStyle(document.documentElement).backgroundColor`, &colour)
		return colour
	}
	tab.system("dark")
	dark := background()
	tab.system("light")
	light := background()
	if dark == light {
		t.Errorf("the page is %s whatever the system prefers", dark)
	}
	for _, want := range []struct{ name, colour string }{{"light", light}, {"dark", dark}} {
		tab.click("#theme")
		tab.await("the button says "+want.name, fmt.Sprintf(`document.querySelector("#theme").textContent === "Theme: %s"`, want.name))
		for _, system := range []string{"dark", "light"} {
			if tab.system(system); background() != want.colour {
				t.Errorf("with %s chosen and a %s system the page is %s, want %s", want.name, system, background(), want.colour)
			}
		}
	}
	tab.call("Page.reload", nil, nil)
	tab.await("the page is there again, without another login", `document.querySelector("#feed-sky .badge")?.textContent === "live"`)
	if background() != dark {
		t.Errorf("after a reload the page is %s, want the chosen %s", background(), dark)
	}
	tab.click("#theme")
	tab.await("the system's theme again", `document.querySelector("#theme").textContent === "Theme: system"`)
	if background() != light {
		t.Errorf("with the system's theme the page is %s, want %s", background(), light)
	}
}
