// The gaps of one feed, from its stream's ledger: those first that may still be closed.

import { h, redraw, setText } from "./dom.js";
import * as format from "./format.js";

/** shown is how many gaps the page asks for. */
export const shown = 60;

/** unfinished counts the gaps that may still be closed. */
export const unfinished = (states) => (states?.open ?? 0) + (states?.waiting ?? 0) + (states?.repairing ?? 0);

const causes = {
  replay_window: "the feed was away for longer than its replay window",
  server_moved: "the upstream began later than it was asked to",
  handover: "the upstream went over from replay to live and left them out",
  oversized: "the event is larger than the largest message that is taken",
  skipped: "connections ended again and again at the same place",
  operator: "an operator moved the position forward",
  store_lost: "the store lost entries",
  corrupt: "a stored block cannot be read",
};

const sources = { socket: "a server’s socket", archive: "the archive", accounts: "the accounts’ servers", timeline: "the timeline" };

/** words names a state, and kind is the state of a feed whose colour it has. */
const words = {
  open: ["open", "gap"],
  waiting: ["waiting", "reconnecting"],
  repairing: ["being repaired", "reconnecting"],
  repaired: ["repaired", "live"],
  partly: ["partly repaired", "backpressured"],
  unrepairable: ["not repairable", "failed"],
};

const instant = (us) => (us ? format.clock(us / 1000) : "now unknown");

/** lack says what the gap lacked when it was opened. */
function lack(gap) {
  const missing = gap.state === "repaired" ? "were missing" : "missing";
  if (gap.event) return `1 event ${missing}`;
  return gap.to_us && gap.from_us ? `${format.age((gap.to_us - gap.from_us) / 1000)} of events ${missing}` : `events ${missing}`;
}

/** got says what was fetched, of how much and from where. */
function got(gap) {
  const parts = [];
  if (gap.recovered) parts.push(`${format.plural(gap.recovered, "event", "events")} recovered`);
  if (gap.bytes) parts.push(gap.planned_bytes ? `${format.bytes(gap.bytes)} of ${format.bytes(gap.planned_bytes)} fetched` : `${format.bytes(gap.bytes)} fetched`);
  if (gap.attempts > 1) parts.push(`attempt ${format.count(gap.attempts)}`);
  if (parts.length === 0 && gap.state !== "repairing") return "";
  return `from ${sources[gap.source] ?? "no source yet"}${parts.length ? `: ${parts.join(", ")}` : ""}`;
}

/** why says why the gap is in its state, and until when it waits. */
function why(gap, now) {
  const wait = gap.state === "waiting" && gap.retry_at ? Date.parse(gap.retry_at) - now : 0;
  return [gap.why, wait > 0 ? `next attempt in ${format.age(wait + 999)}, at ${format.clock(gap.retry_at)}` : ""].filter(Boolean).join("; ");
}

function item(gap) {
  const [word, kind] = words[gap.state] ?? [gap.state, "gap"];
  const detail = (text) => (text ? h("div", { class: "detail" }, text) : null);
  const reason = h("div", { class: "detail" });
  const range = gap.event && !gap.from_us ? gap.event.did ?? "" : `${instant(gap.from_us)} – ${instant(gap.to_us)}`;
  const progress = gap.state === "repairing" && gap.planned_bytes
    ? h("meter", { min: 0, max: gap.planned_bytes, value: Math.min(gap.bytes, gap.planned_bytes), "aria-label": `fetched of gap ${gap.id}` })
    : null;
  const node = h("li", {}, h("span", { class: `change ${kind}` }, word), h("div", {},
    h("span", { class: "lack" }, lack(gap)), detail(`${[range, causes[gap.cause] ?? gap.cause.replaceAll("_", " ")].filter(Boolean).join(", ")}; ${gap.host}`),
    detail(got(gap)), progress, reason, detail(gap.missing ? `still missing: ${gap.missing}` : ""), h("div", { class: "detail" }, "gap ", h("span", { class: "mono" }, gap.id))));
  return { node, update: (now) => { setText(reason, why(gap, now)); reason.hidden = reason.textContent === ""; } };
}

export class GapPanel {
  constructor() {
    this.total = h("span");
    this.list = h("ul", { class: "list gaps", tabindex: "0", role: "list", "aria-label": "Gaps" });
    this.node = h("section", { class: "panel wide" }, h("h4", {}, "Gaps", this.total), this.list);
    this.items = [];
    redraw(this.list, "", () => h("li", {}, h("span", { class: "empty" }, "Loading…")));
  }

  /** update shows an answer of the daemon; null where it has not answered yet. */
  update(answer, now) {
    if (!answer) return;
    const total = Object.values(answer.states).reduce((sum, n) => sum + n, 0);
    const open = unfinished(answer.states);
    setText(this.total, total ? `${open ? `${format.count(open)} open of ` : ""}${format.count(total)}` : "");
    redraw(this.list, [answer.gaps, new Date().toDateString()], () => {
      this.items = answer.gaps.map(item);
      if (total === 0) return h("li", {}, h("span", { class: "empty" }, "None."));
      const more = total - answer.gaps.length;
      return [...this.items.map(({ node }) => node), more > 0 ? h("li", {}, h("span", { class: "empty" }, `and ${format.count(more)} more`)) : null];
    });
    for (const { update } of this.items) update(now);
  }
}
