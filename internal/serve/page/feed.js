// One feed: its line, which is always visible, and the body that opens below it.

import { ask, path } from "./api.js";
import { h, redraw, setAttribute, setText } from "./dom.js";
import * as format from "./format.js";
import { shown, unfinished } from "./gaps.js";
import { Panels, chevron } from "./panels.js";
import { Plot } from "./plot.js";
import { Record } from "./record.js";
import { badge, connected, mark } from "./states.js";
import { inWords, lag } from "./verdict.js";

const fineStep = 10; // seconds of a sample, the finest that the daemon keeps
const coarseStep = 60;
const fineRange = 90 * 60_000; // ms for which the daemon keeps such samples
const happenings = ["transitions", "restarts", "gaps"]; // all that a closed feed shows of its history

export class FeedView {
  /** page has range() in milliseconds and wake(), which asks the daemon at once. */
  constructor(name, page, open) {
    this.name = name;
    this.page = page;
    this.open = open;
    this.record = new Record(fineStep);
    this.gaps = null;
    this.ledger = []; // the gaps of the feed that the daemon told of last, of all feeds
    this.asked = null; // what the last command waits for
    this.knownFrom = Infinity; // while closed: from when on the record has what happened
    this.knownTo = null;
    const id = `feed-${encodeURIComponent(name)}`;
    this.badge = h("span", { class: "badge-place" });
    this.what = h("span");
    this.why = h("span", { class: "reason" });
    this.since = h("p", { class: "since" }, this.what, this.why);
    this.past = h("p", { class: "past" });
    this.rate = h("dd", {}, format.none);
    this.lagName = h("dt", {}, "lag");
    this.lag = h("dd", {}, format.none);
    this.reconnect = h("button", { type: "button", on: { click: () => this.command("reconnect") } }, "Reconnect");
    this.pause = h("button", { type: "button", on: { click: () => this.command(this.status.state === "paused" ? "resume" : "pause") } }, "Pause");
    this.note = h("p", { class: "note", role: "status" });
    this.note.hidden = true;
    this.disclose = h("button", { class: "disclose", type: "button", "aria-controls": `${id}-body`, on: { click: () => this.toggle() } }, chevron(), name);
    this.plot = new Plot();
    this.panels = new Panels();
    this.body = h("div", { class: "body", id: `${id}-body` }, this.panels.node);
    this.node = h("article", { class: "card feed", id, "aria-label": `Feed ${name}` },
      h("div", { class: "feed-head" },
        h("h3", {}, this.disclose), this.badge, this.since, this.past,
        h("dl", { class: "figures" }, h("div", {}, this.rate, h("dt", {}, "events/s")), h("div", {}, this.lagName, this.lag)),
        h("div", { class: "actions" }, this.reconnect, this.pause), this.note),
      this.plot.node, this.body);
    this.show();
  }

  close() { this.plot.close(); }

  show() {
    setAttribute(this.disclose, "aria-expanded", String(this.open));
    setAttribute(this.node, "class", `card feed ${this.level ?? "note"}${this.open ? " open" : ""}`);
    this.body.hidden = !this.open;
  }

  toggle() {
    this.open = !this.open;
    this.show();
    this.draw();
    if (this.open) this.page.wake();
  }

  /** update shows a new status. */
  update(status, now) {
    this.status = status;
    this.record.observe(status, now);
    if (this.asked && status.epoch > this.asked.epoch) this.tell(`${this.asked.done}: epoch ${status.epoch}, asked for at ${format.clock(this.asked.at)}.`);
    this.draw();
  }

  draw() {
    if (!this.status) return;
    const now = this.page.now();
    this.tick(now);
    this.drawPast(now);
    this.plot.update(this.record, this.status, now, this.page.range(), this.open);
    if (this.open) this.panels.update(this.status, this.record, this.gaps, now);
  }

  /** waitsFor says what a reader at the end of the feed's stream waits for, "" where it comes by itself. */
  waitsFor() {
    if (!this.status || ["live", "filling"].includes(this.status.state)) return "";
    const { what, why } = inWords(this.status, this.record.transitions, this.page.now());
    return `Its feed is ${what}${why ? `: ${why}` : ""}.`;
  }

  /** drawPast tells of the gaps, restarts and outages of the time that is shown. */
  drawPast(now) {
    const range = this.page.range();
    const { gaps: noted, restarts, outages, away } = this.record.past(now - range, now);
    const gaps = Math.max(noted, this.ledger.filter((gap) => Date.parse(gap.opened_at) >= now - range).length);
    const open = this.ledger.filter((gap) => unfinished({ [gap.state]: 1 })).length;
    redraw(this.past, [range, gaps, open, restarts, outages, Math.floor(away / 1000)], () => {
      const still = open ? [h("span", { class: "gap" }, mark("gap"), `${format.plural(open, "gap", "gaps")} open`)] : [];
      const parts = [
        gaps ? h("span", { class: "gap" }, mark("gap"), format.plural(gaps, "gap", "gaps")) : null,
        restarts ? h("span", { class: "restart" }, mark("restart"), format.plural(restarts, "restart", "restarts")) : null,
        outages ? h("span", { class: "disconnected" }, format.plural(outages, "outage", "outages"), h("span", { class: "reason" }, ` ${format.duration(away)}`)) : null,
      ].filter(Boolean);
      return parts.length === 0 ? still : [...still, h("span", { class: "reason" }, `Last ${format.age(range)}:`), ...parts];
    });
    this.past.hidden = this.past.children.length === 0;
  }

  /** tick updates the values that change as time passes. */
  tick(now) {
    const { status } = this;
    if (!status) return;
    const words = inWords(status, this.record.transitions, now);
    if (this.level !== words.level) {
      this.level = words.level;
      this.show();
    }
    redraw(this.badge, status.state, () => badge(status.state));
    setText(this.what, words.what);
    setText(this.why, words.why ? ` – ${words.why}` : "");
    setAttribute(this.since, "title", words.why || null);
    setText(this.rate, format.rate(status.events_per_sec));
    const behind = lag(status, now);
    setText(this.lagName, connected(status.state) ? "lag" : "behind");
    setText(this.lag, behind === null ? format.none : format.duration(behind));
    setText(this.pause, status.state === "paused" ? "Resume" : "Pause");
    const fixed = ["stopped", "standby"].includes(status.state);
    this.reconnect.disabled = this.busy || fixed || status.state === "paused";
    this.pause.disabled = this.busy || fixed;
    setAttribute(this.reconnect, "aria-label", `Reconnect ${this.name}`);
    setAttribute(this.pause, "aria-label", `${this.pause.textContent} ${this.name}`);
    if (this.open) this.panels.gaps.update(this.gaps, now);
  }

  tell(text, refused = false) {
    this.asked = null;
    this.note.hidden = false;
    setText(this.note, text);
    setAttribute(this.note, "class", refused ? "note refusal" : "note");
  }

  async command(verb) {
    const done = { reconnect: "Reconnected", pause: "Paused", resume: "Resumed" }[verb];
    const { epoch } = this.status;
    this.busy = true;
    this.tick(this.page.now());
    try {
      await ask(path("v1", "feeds", this.name, verb), { method: "POST" });
      this.tell(verb === "pause" ? `Paused at ${format.clock(this.page.now())}. Resume goes on from where it was.` : `Asked to ${verb} at ${format.clock(this.page.now())}.`);
      if (verb !== "pause") this.asked = { epoch, done, at: this.page.now() };
    } catch (error) {
      this.tell(`Not done: ${error.message}.`, true);
    } finally {
      this.busy = false;
    }
    this.page.wake();
  }

  /** askGaps asks the daemon for the feed's gaps. */
  async askGaps() {
    this.gaps = await ask(`${path("v1", "feeds", this.name, "gaps")}?limit=${shown}`);
    this.draw();
  }

  /**
   * remember asks the daemon for the part of the feed's history that the page does not have yet.
   */
  async remember() {
    if (!this.open) return this.rememberHappenings();
    const step = this.page.range() > fineRange ? coarseStep : fineStep;
    if (this.record.step !== step) {
      const before = this.record;
      this.record = new Record(step);
      Object.assign(this.record, { transitions: before.transitions, gaps: before.gaps, restarts: before.restarts });
    }
    const { record } = this;
    const since = record.since();
    const answer = await ask(`${path("v1", "feeds", this.name, "history")}?step_s=${step}${since === null ? "" : `&since=${since}`}`);
    if (record === this.record && !record.merge(answer, since)) return this.remember();
    this.draw();
  }

  /** rememberHappenings is remember for a closed feed, which shows no charts. */
  async rememberHappenings() {
    const from = this.page.now() - this.page.range();
    const since = Math.floor(this.knownFrom <= from ? this.knownTo : from);
    const { record } = this;
    const answer = await ask(`${path("v1", "feeds", this.name, "history")}?step_s=${coarseStep}&since=${since}`);
    if (record !== this.record) return; // it was opened meanwhile
    if (!record.merge(answer, since, happenings)) this.knownFrom = Infinity; // ask again the next time
    else Object.assign(this, { knownFrom: Math.min(this.knownFrom, from), knownTo: Date.parse(answer.now) });
    this.draw();
  }
}
