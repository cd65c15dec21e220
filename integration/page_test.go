package integration_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tempestd/internal/client"
	"tempestd/messages"
)

// pageToken is what the status page has to ask its user for.
const pageToken = "open-sesame-open-sesame"

// TestStatusPage looks at the status page as Chromium has it, whose console has to stay clean.
func TestStatusPage(t *testing.T) {
	b := browse(t)
	t.Run("operator", func(t *testing.T) { statusPageServesItsOperator(t, b) })
	t.Run("trouble", func(t *testing.T) { statusPageTellsOfTrouble(t, b) })
}

// statusPageServesItsOperator opens the page of a daemon with a token and does what an operator does: logs in, looks, tells a feed to reconnect, follows a stream.
func statusPageServesItsOperator(t *testing.T, b *browser) {
	s := simulate(t, 300, "--fault", "garbage/2s")
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

	// A reconnect is a new epoch and stands on the timeline.
	before := d.status().Epoch
	tab.eval(`window.transitionsBefore = Number(document.querySelector("#feed-sky .strip svg").dataset.transitions)`, nil)
	tab.click(`[aria-label="Reconnect sky"]`)
	eventually(t, "the button makes a new epoch", func() bool { return d.status().Epoch > before })
	tab.await("the page says so", `document.querySelector("#feed-sky .note").textContent.startsWith("Reconnected: epoch ")`)
	tab.await("the timeline has it", `Number(document.querySelector("#feed-sky .strip svg").dataset.transitions) >= window.transitionsBefore + 3`)
	tab.await("the list has it", `document.querySelector("#feed-sky [aria-label=Transitions]").textContent.includes("operator")`)

	// So is a pause.
	tab.click(`[aria-label="Pause other"]`)
	tab.await("the other feed pauses", `document.querySelector("#feed-other .badge").textContent === "paused"`)
	tab.click(`[aria-label="Resume other"]`)
	tab.await("it goes on", `document.querySelector("#feed-other .badge").textContent === "live"`)

	// Every width and both themes can be read.
	tab.click("#tail-run")
	tab.await("the tail is full of all sorts, and goes on within its bound", `((rows) => rows.length === 200 && new Set(rows.map((row) => row.children[1].textContent)).size > 3 && rows[0].id !== "entry-199")([...document.querySelectorAll("#tail-rows .row:not(.break)")])`)
	tab.click("#tail-kinds [value=commit]") // a filter by collection alone leaves accounts and identities in
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

// statusPageTellsOfTrouble takes a feed its upstream and the page its daemon, and gives them back.
func statusPageTellsOfTrouble(t *testing.T, b *browser) {
	dying, healthy := simulate(t, 100), simulate(t, 100)
	d := newDaemon(t, dying.url(), settings{"feeds.well.endpoints": `[` + quoted(healthy.url()) + `]`})
	d.startLive()
	d.awaitStored(50)
	tab := b.open(t, "http://"+d.addr+"/")
	tab.size(1440)
	tab.system("dark")
	tab.await("the feeds are live", `document.querySelector("#headline").textContent === "All 2 feeds are live"`)
	tab.clean()

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

func (tab *tab) logIn(token string) {
	tab.t.Helper()
	tab.write("#token", token)
	tab.press("Enter", 13)
}

// audit takes a picture of the page, which is among the test's artifacts (go test -artifacts), and checks that it can be read as it stands: nothing runs out of
// the window, text stands out from what is behind it, and what has a role that needs a name has one.
func (tab *tab) audit(name string) {
	t := tab.t
	t.Helper()
	if err := os.WriteFile(filepath.Join(t.ArtifactDir(), name+".png"), tab.picture(), 0o644); err != nil {
		t.Fatal(err)
	}
	tab.fits(name)
	var found []string
	tab.eval(findFaint, &found)
	for _, f := range found {
		t.Errorf("%s: text is too faint: %s", name, f)
	}
	for _, f := range tab.nameless() {
		t.Errorf("%s: has no name for who cannot see it: %s", name, f)
	}
}

// fits checks that nothing runs out of the window.
func (tab *tab) fits(name string) {
	tab.t.Helper()
	var found []string
	tab.eval(findOverflow, &found)
	for _, f := range found {
		tab.t.Errorf("%s: runs out of the window: %s", name, f)
	}
}

// findOverflow finds what is wider than the window.
const findOverflow = `(() => {
	const width = document.documentElement.clientWidth;
	if (document.documentElement.scrollWidth <= width) return [];
	const wide = [...document.querySelectorAll("body *")].filter((node) => node.checkVisibility() && node.getBoundingClientRect().right > width + 1);
	return ["the page is " + document.documentElement.scrollWidth + " wide in " + width, ...wide.map((node) => node.tagName + "." + node.getAttribute("class") + "#" + node.id)].slice(0, 12);
})()`

// findFaint finds text whose contrast is below 4.5:1 (WCAG 2.2, 1.4.3), computed from the colours that stand behind each other.
const findFaint = `(() => {
	const canvas = document.createElement("canvas");
	canvas.width = canvas.height = 1;
	const context = canvas.getContext("2d", { willReadFrequently: true });
	const known = new Map();
	const rgba = (colour) => {
		if (!known.has(colour)) {
			context.clearRect(0, 0, 1, 1);
			context.fillStyle = colour;
			context.fillRect(0, 0, 1, 1);
			const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
			known.set(colour, [r, g, b, a / 255]);
		}
		return known.get(colour);
	};
	const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
	const behind = (node) => {
		const layers = [];
		for (let n = node; n; n = n.parentElement) layers.push(rgba(getComputedStyle(n).backgroundColor));
		return layers.reduceRight((below, top) => over(top, below), [255, 255, 255, 1]);
	};
	const luminance = (c) => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => {
		const v = c[i] / 255;
		return sum + weight * (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
	}, 0);
	const contrast = (node, colour) => {
		const back = behind(node);
		const [a, b] = [luminance(over(rgba(colour), back)), luminance(back)];
		return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
	};
	const faint = new Set();
	let looked = 0;
	const look = (node, colour, text) => {
		looked++;
		const c = contrast(node, colour);
		if (c < 4.5) faint.add(c.toFixed(2) + " " + node.tagName + "." + node.getAttribute("class") + " " + text.trim().slice(0, 40));
	};
	const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	while (walker.nextNode()) {
		const node = walker.currentNode.parentElement;
		if (!walker.currentNode.data.trim() || ["SCRIPT", "NOSCRIPT"].includes(node.tagName) || !node.checkVisibility({ visibilityProperty: true })) continue;
		const style = getComputedStyle(node);
		look(node, node instanceof SVGElement ? style.fill : style.color, walker.currentNode.data);
	}
	for (const field of document.querySelectorAll("input[placeholder]")) if (field.checkVisibility()) look(field, getComputedStyle(field, "::placeholder").color, field.placeholder);
	if (looked < 5) faint.add("only " + looked + " texts were found");
	return [...faint];
})()`

// nameless finds what the accessibility tree has without a name though its role needs one.
func (tab *tab) nameless() (found []string) {
	tab.t.Helper()
	var tree struct {
		Nodes []struct {
			Ignored          bool
			Role, Name       struct{ Value json.RawMessage }
			BackendDOMNodeID int
		}
	}
	tab.call("Accessibility.getFullAXTree", nil, &tree)
	needed := []string{"button", "link", "textbox", "combobox", "checkbox", "radio", "listbox", "option", "meter", "image", "img", "region", "table", "group", "radiogroup", "article", "columnheader", "rowheader", "heading"}
	seen := map[string]int{}
	for _, n := range tree.Nodes {
		var role, name string
		_, _ = json.Unmarshal(n.Role.Value, &role), json.Unmarshal(n.Name.Value, &name)
		if n.Ignored {
			continue
		}
		seen[role]++
		if strings.TrimSpace(name) == "" && slices.Contains(needed, role) {
			var described struct {
				Node struct {
					LocalName  string
					Attributes []string
				}
			}
			tab.call("DOM.describeNode", map[string]any{"backendNodeId": n.BackendDOMNodeID}, &described)
			found = append(found, fmt.Sprintf("%s: %s %v", role, described.Node.LocalName, described.Node.Attributes))
		}
	}
	for _, role := range []string{"main", "banner", "button", "heading"} {
		if seen[role] == 0 {
			found = append(found, "the page as a whole: it has no "+role)
		}
	}
	return found
}

// checkKeyboard goes through the page with Tab: every control is reached, and shows that it is.
func (tab *tab) checkKeyboard() {
	t := tab.t
	t.Helper()
	// Radio buttons are one stop, at the one that is chosen.
	const controls = `[...document.querySelectorAll('a[href], button, input, select, [tabindex]:not([tabindex="-1"])')].filter((node) => node.checkVisibility() && !node.disabled &&
		(node.type !== "radio" || node.checked))`
	var n int
	tab.eval(controls+`.length`, &n)
	if n < 20 {
		t.Errorf("only %d controls were found", n)
	}
	tab.eval(`document.activeElement.blur(); window.reached = new Set()`, nil)
	var hidden []string
	for range 2 * n {
		tab.press("Tab", 9)
		var bare string
		tab.eval(`(() => {
			const node = document.activeElement;
			if (node === document.body) return "";
			window.reached.add(node);
			const shown = [node, node.nextElementSibling].filter(Boolean).some((n) => getComputedStyle(n).outlineStyle !== "none" && parseFloat(getComputedStyle(n).outlineWidth) >= 2);
			const box = node.getBoundingClientRect();
			return shown && box.bottom > 0 && box.top < innerHeight ? "" : node.outerHTML.slice(0, 120);
		})()`, &bare)
		if bare != "" {
			hidden = append(hidden, bare)
		}
		var done bool
		if tab.eval(controls+`.every((node) => window.reached.has(node))`, &done); done {
			break
		}
	}
	for _, h := range hidden {
		t.Errorf("does not show its focus: %s", h)
	}
	var missed []string
	tab.eval(controls+`.filter((node) => !window.reached.has(node)).map((node) => node.outerHTML.slice(0, 120))`, &missed)
	for _, m := range missed {
		t.Errorf("Tab does not reach %s", m)
	}
}

// checkThemes goes around the button's choices, which hold whatever the system prefers, and after the page is loaded again.
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
