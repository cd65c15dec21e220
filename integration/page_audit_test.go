package integration_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// audit takes a picture of the page as an artifact of the test (go test -artifacts), and checks
// that the page is readable: nothing extends beyond the window, text has enough contrast with its
// background, and every element whose role needs a name has one.
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

// fits checks that nothing extends beyond the window.
func (tab *tab) fits(name string) {
	tab.t.Helper()
	var found []string
	tab.eval(findOverflow, &found)
	for _, f := range found {
		tab.t.Errorf("%s: runs out of the window: %s", name, f)
	}
}

// findOverflow finds elements that are wider than the window.
const findOverflow = `(() => {
	const width = document.documentElement.clientWidth;
	if (document.documentElement.scrollWidth <= width) return [];
	const wide = [...document.querySelectorAll("body *")].filter((node) => node.checkVisibility() && node.getBoundingClientRect().right > width + 1);
	return ["the page is " + document.documentElement.scrollWidth + " wide in " + width, ...wide.map((node) => node.tagName + "." + node.getAttribute("class") + "#" + node.id)].slice(0, 12);
})()`

// findFaint finds text whose contrast is below 4.5:1 (WCAG 2.2, 1.4.3), computed from the colours
// of the text and the layers behind it.
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

// nameless returns the elements of the accessibility tree that have no name although their role
// needs one.
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

// checkKeyboard moves through the page with Tab. Every control gets the focus and shows it.
func (tab *tab) checkKeyboard() {
	t := tab.t
	t.Helper()
	// A group of radio buttons is one stop, at the selected button.
	const controls = `[...document.querySelectorAll('a[href], button, input, select, [tabindex]:not([tabindex="-1"])')].filter((node) => node.checkVisibility() && !node.disabled &&
		(node.type !== "radio" || node.checked))`
	var n int
	tab.eval(controls+`.length`, &n)
	if n < 20 {
		t.Errorf("only %d controls were found", n)
	}
	tab.eval(`document.activeElement.blur(); window.reached = new Set()`, nil)
	var hidden, missed []string
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
		// One look decides: the next one may find a control that entries have brought meanwhile.
		tab.eval(controls+`.filter((node) => !window.reached.has(node)).map((node) => node.outerHTML.slice(0, 120))`, &missed)
		if len(missed) == 0 {
			break
		}
	}
	for _, h := range hidden {
		t.Errorf("does not show its focus: %s", h)
	}
	for _, m := range missed {
		t.Errorf("Tab does not reach %s", m)
	}
}
