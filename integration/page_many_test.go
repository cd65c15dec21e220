package integration_test

// pretendMany makes the page believe that the daemon has 60 feeds more. One of them is refused.
const pretendMany = `(() => {
	const real = window.fetch;
	const answer = (body) => new Response(JSON.stringify(body), { headers: { "Date": new Date().toUTCString() } });
	window.fetch = async (url, options) => {
		if (/^\/v1\/feeds\/east-\d+\/history/.test(url)) return answer({ started: new Date(Date.now() - 6e5).toISOString(), now: new Date().toISOString(),
			transitions: [], gaps: [], samples: [], restarts: [{ at: new Date(Date.now() - 5000).toISOString(), actor: "writer", reason: "it panicked" }] });
		const response = await real(url, options);
		if (url !== "/v1/feeds") return response;
		const { feeds } = await response.json();
		const like = feeds.find((status) => status.feed === "well");
		for (let i = 0; i < 60; i++) feeds.push({ ...like, feed: "east-" + i, ...(i === 37 ? { state: "failed", reason: "401, as the token is wrong", away_since: new Date(Date.now() - 66e4).toISOString() } : {}) });
		return answer({ feeds });
	};
})()`

// checkMany tests the list of more feeds than fit a page. The page has the feeds sky and well.
func (tab *tab) checkMany() {
	tab.t.Helper()
	const visible = `[...document.querySelectorAll("#feeds .feed")].filter((node) => node.checkVisibility())`
	tab.eval(pretendMany, nil)
	tab.eval(`document.querySelector("#range").dispatchEvent(new Event("change"))`, nil) // asks at once
	tab.await("all feeds are there", `document.querySelectorAll("#feeds.dense .feed").length === 62`)
	tab.await("the one in trouble is first", visible+`[0].id === "feed-east-37"`)
	tab.await("it tells since when, not since its last attempt", `/^refused for 11 min/.test(document.querySelector("#feed-east-37 .since").textContent)`)
	tab.await("and what happened, without being opened", `document.querySelector("#feed-east-37 .past").innerText.includes("1 restart")`)
	for _, width := range []int{390, 1440} {
		tab.size(width)
		tab.fits("many")
	}
	tab.eval(`(() => { const tall = [...document.querySelectorAll("#feeds .feed:not(.open)")].filter((node) => node.getBoundingClientRect().height > 40); if (tall.length) throw new Error(tall.map((node) => node.innerText).join()); })()`, nil)
	tab.write("#feeds-search", "failed token")
	tab.await("a search finds it", visible+`.length === 1 && document.querySelector("#feeds-found").textContent === "1 of 62 feeds"`)
	tab.write("#feeds-search", "")
	tab.press("Backspace", 8)
	tab.await("an empty search finds all", visible+`.length === 62`)
	tab.call("Page.reload", nil, nil)
}

// checkFigures tests what the page says of time: of clocks, of shares and of outages.
func (tab *tab) checkFigures() {
	t := tab.t
	t.Helper()
	var got []string
	tab.eval(`Promise.all(["clocks", "strip", "record", "format"].map((name) => import("/page/" + name + ".js"))).then(([{ difference }, { shares }, { Record }, format]) => {
		const now = 1.8e12;
		const record = new Record(10);
		record.merge({ started: new Date(now - 9e5), samples: [], gaps: [{ at: new Date(now - 5e5) }, { at: new Date(now - 1e3) }], restarts: [{ at: new Date(now - 1e3) }], transitions: [
			[9e5, "", "connecting"], [899e3, "connecting", "live"], [4e5, "live", "disconnected"], [399e3, "disconnected", "reconnecting"], [3e5, "reconnecting", "live"],
			[25e4, "live", "paused"], [24e4, "paused", "reconnecting"], [23e4, "reconnecting", "live"], [2e4, "live", "reconnecting"], [1e4, "reconnecting", "failed"]].map(([ago, from, to]) => ({ at: new Date(now - ago), from, to })) }, null);
		const segments = [{ state: "live", from: 0, to: 9990 }, { state: "disconnected", from: 9990, to: 10_000 }];
		const { gaps, restarts, outages, away } = record.past(now - 35e4, now);
		return [
			["as fast as this one", difference(0, now - 999, now - 5, now)],
			["a round trip of 9 s", difference(0, now - 8000, now - 9000, now)],
			["5 s ahead", difference(0, now + 5000, now - 10, now)],
			["still, by a long poll", difference(5000, now + 1000, now - 9000, now)],
			["a minute behind", difference(0, now - 61_000, now - 1000, now)],
			["shares", shares(segments, 0, 10_000)],
			["half", shares(segments, 9980, 10_000)],
			["past", [gaps, restarts, outages, away].join()],
			["another day", /^\w+ \w+, \d\d:\d\d:\d\d$/.test(format.exactClock(Date.now() - 864e5))],
		].map((pair) => pair.join(": "));
	})`, &got)
	want := []string{"as fast as this one: 0", "a round trip of 9 s: 0", "5 s ahead: 6000", "still, by a long poll: 5000", "a minute behind: -60000",
		"shares: live over 99 %, disconnected under 1 %", "half: live 50 %, disconnected 50 %", "past: 1,1,2,70000", "another day: true"}
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("the page says\n%q, want\n%q", got, want)
		}
	}
}

// checkHolding tests that the running tail holds still while it is pointed at, and goes on after.
func (tab *tab) checkHolding() {
	tab.t.Helper()
	var at struct{ X, Y float64 }
	tab.eval(`(() => {
		const rows = document.querySelector("#tail-rows");
		rows.scrollIntoView({ block: "center" });
		const box = rows.getBoundingClientRect();
		return { x: box.x + 50, y: box.y + 50 };
	})()`, &at)
	tab.point(at.X, at.Y)
	tab.eval(`window.heldAt = document.querySelector("#tail-rows").firstChild.id`, nil)
	tab.await("what comes waits", `/^Show [\d,]+ newer entries$/.test(document.querySelector("#tail-newer").textContent)`)
	tab.eval(`if (document.querySelector("#tail-rows").firstChild.id !== window.heldAt) throw new Error("the rows moved while they were pointed at")`, nil)
	tab.eval(`document.querySelector("#tail-run").focus({ preventScroll: true })`, nil)
	tab.press("Tab", 9)
	tab.eval(`if (document.activeElement.id !== "tail-newer") throw new Error("Tab does not reach what waits, but " + document.activeElement.id)`, nil)
	tab.point(1, 1)
	tab.await("it goes on", `document.querySelector("#tail-rows").firstChild.id !== window.heldAt && document.querySelector("#tail-newer").textContent === ""`)
}
