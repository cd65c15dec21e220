// One feed: its line, which is always visible, and the body that opens below it.

import { ask, path } from "./api.js";
import { h, redraw, setAttribute, setText } from "./dom.js";
import * as format from "./format.js";
import { shown } from "./gaps.js";
import { Panels, chevron } from "./panels.js";
import { Plot } from "./plot.js";
import { Record } from "./record.js";
import { badge, connected } from "./states.js";
import { inWords, lag } from "./verdict.js";

const fineStep = 10; // seconds of a sample, the finest that the daemon keeps
const coarseStep = 60;
const fineRange = 90 * 60_000; // ms for which the daemon keeps such samples

export class FeedView {
  /** page has range() in milliseconds and wake(), which asks the daemon at once. */
  constructor(name, page, open) {
    this.name = name;
    this.page = page;
    this.open = open;
    this.record = new Record(fineStep);
    this.gaps = null;
    const id = `feed-${encodeURIComponent(name)}`;
    this.badge = h("span", { class: "badge-place" });
    this.what = h("span");
    this.why = h("span", { class: "reason" });
    this.since = h("p", { class: "since" }, this.what, this.why);
    this.rate = h("dd", {}, format.none);
    this.lagName = h("dt", {}, "lag");
    this.lag = h("dd", {}, format.none);
    this.reconnect = h("button", { type: "button", on: { click: () => this.command("reconnect") } }, "Reconnect");
    this.pause = h("button", { type: "button", on: { click: () => this.command(this.status.state === "paused" ? "resume" : "pause") } }, "Pause");
    this.note = h("p", { class: "note", role: "status" });
    this.disclose = h("button", { class: "disclose", type: "button", "aria-controls": `${id}-body`, on: { click: () => this.toggle() } }, chevron(), name);
    this.plot = new Plot();
    this.panels = new Panels();
    this.body = h("div", { class: "body", id: `${id}-body` }, this.note, this.panels.node);
    this.node = h("article", { class: "card feed", id, "aria-label": `Feed ${name}` },
      h("div", { class: "feed-head" },
        h("h3", {}, this.disclose), this.badge, this.since,
        h("dl", { class: "figures" }, h("div", {}, this.rate, h("dt", {}, "events/s")), h("div", {}, this.lagName, this.lag)),
        h("div", { class: "actions" }, this.reconnect, this.pause)),
      this.plot.node, this.body);
    this.show();
  }

  close() { this.plot.close(); }

  show() {
    setAttribute(this.disclose, "aria-expanded", String(this.open));
    setAttribute(this.node, "class", this.open ? "card feed open" : "card feed");
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
    this.plot.update(this.record, this.status, now, this.page.range(), this.open);
    if (this.open) this.panels.update(this.status, this.record, this.gaps, now);
  }

  /** tick updates the values that change as time passes. */
  tick(now) {
    const { status } = this;
    if (!status) return;
    const words = inWords(status, this.record.transitions, now);
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
}
