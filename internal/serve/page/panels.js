// The body below a feed's charts: endpoints, numbers, and lists of events.

import { h, reconcile, redraw, s, setAttribute, setText, time } from "./dom.js";
import * as format from "./format.js";
import { GapPanel } from "./gaps.js";
import { connected, icon, known } from "./states.js";

const shown = 60; // newest items of a list

function panel(title) {
  const heading = h("h4", {}, title, h("span", {}));
  const list = h("ul", { class: "list", tabindex: "0", role: "list", "aria-label": title });
  return { node: h("section", { class: "panel" }, heading, list), list, total: heading.lastChild };
}

const when = (at) => time(at, format.clock(at));

/** events fills a panel with items, newest first. text returns the content of an item. */
function events(p, items, none, text) {
  p.total.textContent = items.length ? format.count(items.length) : "";
  redraw(p.list, [items.at(-1), items.length, none, new Date().toDateString()], () => items.length === 0
    ? h("li", {}, h("span", { class: "empty" }, none))
    : [...items.slice(-shown).reverse().map((item) => h("li", {}, when(item.at), h("div", {}, text(item)))),
      items.length > shown ? h("li", {}, h("span", { class: "empty" }, `and ${format.count(items.length - shown)} earlier`)) : null]);
}

function endpointWord(e, state, now) {
  const waits = e.ready_at ? Date.parse(e.ready_at) - now : 0;
  if (e.current && connected(state)) return ["live", "in use"];
  if (waits > 0) return [e.failures > 2 ? "failed" : "disconnected", `left alone for ${format.age(waits + 999)}`];
  if (e.current && ["connecting", "reconnecting"].includes(state)) return [state, "being asked"];
  if (e.failures > 0) return ["disconnected", "not well"];
  return ["standby", e.current ? "chosen" : "ready"];
}

/** account is the figures of a feed's account. */
function account(f, now) {
  const since = (t) => format.age(now - Date.parse(t));
  const all = [["Account", f.account, "long"]];
  if (f.refreshed_at) all.push(["Follows", `${format.count(f.follows)}, read ${since(f.refreshed_at)} ago`]);
  if (f.trouble) all.push(["Follows not readable", `since ${since(f.trouble_since)}: ${f.trouble}`, "long raised"]);
  if (f.session_trouble) all.push(["No session", `since ${since(f.session_trouble_since)}: ${f.session_trouble}`, "long raised"]);
  return all;
}

export class Panels {
  constructor() {
    this.endpoints = panel("Endpoints, by preference");
    this.endpoints.list.classList.add("endpoints");
    this.figures = h("dl", { class: "counters" });
    this.known = new Map(); // numbers by name
    this.transitions = panel("Transitions");
    this.gaps = new GapPanel();
    this.restarts = panel("Restarts after faults of ours");
    const figures = h("section", { class: "panel" }, h("h4", {}, "Figures since the daemon started"), this.figures);
    this.transitions.node.classList.add("tall");
    this.node = h("div", { class: "panels" }, this.gaps.node, h("div", { class: "stack" }, this.endpoints.node, this.restarts.node), this.transitions.node, figures);
  }

  /** update shows a feed. gaps is the daemon's answer about its gaps, null before the first. */
  update(status, record, gaps, now) {
    const began = record.started ? ` since ${format.clock(record.started)}` : "";
    events(this.transitions, record.transitions, "None yet.", (t) => [h("span", { class: `change ${known(t.to)}` }, icon(t.to), t.to), t.reason ? h("div", { class: "detail" }, t.reason) : null]);
    this.gaps.update(gaps, now);
    events(this.restarts, record.restarts, `None${began}.`, (r) => [h("span", { class: "change restart" }, r.actor), h("div", { class: "detail" }, r.reason)]);
    this.showEndpoints(status, now);
    this.showFigures(status, now);
  }

  showEndpoints(status, now) {
    const all = (status.endpoints ?? []).map((e) => [e.endpoint, e.failures, e.reason, ...endpointWord(e, status.state, now)]);
    redraw(this.endpoints.list, all, () => all.map(([endpoint, failures, reason, state, word]) => h("li", {}, icon(state),
      h("div", {}, h("span", { class: "mono" }, endpoint), " ", h("span", { class: `change ${state}` }, word),
        failures ? h("span", { class: "detail" }, ` · failed ${failures === 1 ? "once" : `${failures} times in a row`}`) : null,
        reason ? h("div", { class: "detail" }, reason) : null))));
    for (const [i, item] of [...this.endpoints.list.children].entries()) item.querySelector("svg")?.setAttribute("class", `icon ${all[i][3]}`);
  }

  showFigures(status, now) {
    const figure = (name, value, kind) => [name, value, kind];
    const ago = (t) => (t ? `${format.age(now - t)} ago` : "none yet");
    const raised = (n) => [format.count(n), n > 0 ? "raised" : ""];
    const wire = [status.protocol, status.compression].filter(Boolean).join(", ");
    const all = [
      figure("Epoch", format.count(status.epoch)),
      figure("Wire", wire || format.none),
      figure("Last frame", ago(status.last_frame_at ? Date.parse(status.last_frame_at) : 0)),
      figure("Stored", format.count(status.stored)),
      figure("Duplicates dropped", format.count(status.duplicates)),
      figure("Reconnects", format.count(status.reconnects)),
      figure("Stalls found", ...raised(status.stalls)),
      figure("Bad frames", ...raised(status.bad_frames)),
      figure("Gaps", ...raised(status.gaps)),
      figure("Restarts", ...raised(status.restarts)),
      figure("Backfilled", format.count(status.backfilled)),
      figure("Upstream position", status.position?.time_us ? format.clock(status.position.time_us / 1000) : format.none),
      ...(status.position?.seq ? [figure("Upstream sequence", format.count(status.position.seq))] : []),
      ...(status.owner ? [figure("Owner", status.owner)] : []),
      ...(status.fence_epoch ? [figure("Fence epoch", format.count(status.fence_epoch))] : []),
      ...(status.standbys?.length ? [figure("Standbys", status.standbys.join(", "), "long")] : []),
      ...(status.follows ? account(status.follows, now) : []),
      figure("Newest entry", status.last_id ?? format.none, "long"),
    ];
    reconcile(this.figures, this.known, all.map(([name]) => name), (name) => {
      const value = h("dd");
      return { node: h("div", {}, h("dt", {}, name), value), value };
    });
    for (const [name, text, kind] of all) {
      const { node, value } = this.known.get(name);
      setText(value, text);
      setAttribute(node, "class", kind || null);
    }
  }
}

export const chevron = () => s("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" }, s("path", { d: "M3 1l4 4-4 4" }));
