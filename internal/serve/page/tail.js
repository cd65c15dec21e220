// The live tail: long polls of one stream with a filter. A list of bounded length shows the newest
// entries.

import { Away, Refused, ask, now, path } from "./api.js";
import { byID, h, redraw, setAttribute, setText } from "./dom.js";
import * as format from "./format.js";
import { parse, row } from "./entry.js";
import { Rows, leftOut } from "./rows.js";

const kinds = ["commit", "identity", "account", "sync", "gap"];
const mostOfAnswer = 200; // of them, shown
const limit = 500; // entries of one answer
const block = 10_000; // ms
const pace = 400; // ms between answers with entries: people do not read faster
// Ms; if the page is further behind the newest entry, it skips the entries between.
const tooFar = 10_000;
const hiddenFor = 30_000; // ms that the page may be hidden before the tail pauses

const idTime = (id) => Number(id.slice(0, id.indexOf("-")));

const wait = (ms, signal) => new Promise((resolve) => {
  const timer = setTimeout(done, ms);
  function done() {
    clearTimeout(timer);
    signal.removeEventListener("abort", done);
    resolve();
  }
  signal.addEventListener("abort", done);
});

const listed = (text) => text.split(/[\s,]+/).filter(Boolean);

export class Tail {
  /** page has waitsFor(stream), which says what a tail of the stream waits for. */
  constructor(page) {
    this.page = page;
    for (const name of ["stream", "collections", "dids", "kinds", "run", "status", "error", "rows", "entry"]) this[name] = byID(`tail-${name}`);
    this.form = byID("tail");
    this.list = new Rows();
    this.kinds.append(...kinds.map((kind) => h("label", {}, h("input", { type: "checkbox", value: kind }), kind)));
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.running) this.stop("Not following.");
      else this.follow();
    });
    this.form.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !event.target.matches("input")) return;
      event.preventDefault(); // the default would press the button, which stops a running tail
      if (!this.run.disabled) this.follow();
    });
    this.form.addEventListener("change", () => { if (this.running && this.wanted() !== this.following) this.follow(); });
    this.rows.addEventListener("click", (event) => this.choose(event.target.closest(".row")));
    this.rows.addEventListener("keydown", (event) => this.key(event));
    document.addEventListener("visibilitychange", () => this.seen());
    this.entries = new WeakMap();
    this.nextID = 0;
  }

  /** offer sets the streams to choose from. */
  offer(names) {
    const chosen = this.stream.value;
    redraw(this.stream, names, () => names.map((name) => h("option", { value: name, selected: name === chosen }, name)));
    this.stream.disabled = names.length === 0;
    this.run.disabled = names.length === 0;
  }

  query() {
    const query = new URLSearchParams();
    for (const [name, values] of [["collections", listed(this.collections.value)], ["dids", listed(this.dids.value)],
      ["kinds", [...this.kinds.querySelectorAll(":checked")].map((box) => box.value)]]) {
      if (values.length) query.set(name, values.join(","));
    }
    return query;
  }

  /** wanted is the form's stream and filter as one string. */
  wanted() { return `${this.stream.value}?${this.query()}`; }

  stop(text) {
    this.running?.abort();
    this.running = null;
    setText(this.run, "Follow");
    if (text) setText(this.status, text);
  }

  refuse(text) {
    this.stop("Not following.");
    this.rows.hidden = this.rows.children.length === 0;
    this.error.hidden = false;
    setText(this.error, text);
  }

  /**
   * seen pauses the tail when the page has been hidden for a while, and starts it again at the tip
   * when the page is visible again.
   */
  seen() {
    clearTimeout(this.unseen);
    if (!this.running) return;
    if (document.hidden) {
      this.unseen = setTimeout(() => {
        this.running?.abort();
        this.asleep = true;
      }, hiddenFor);
    } else if (this.asleep) {
      this.asleep = false;
      this.follow();
    }
  }

  async follow() {
    this.stop();
    const own = new AbortController();
    const { signal } = own;
    this.running = own;
    this.following = this.wanted();
    this.error.hidden = true;
    this.list.clear();
    setText(this.run, "Stop");
    const tail = { stream: this.stream.value, query: this.query(), found: 0, skipped: 0, began: now(), cursor: null };
    setText(this.status, `Following ${tail.stream}… ${this.page.waitsFor(tail.stream)}`);
    while (!signal.aborted) {
      try {
        if (tail.cursor === null) tail.cursor = await this.end(tail, signal);
        const pause = await this.turn(tail, signal);
        if (pause === null) return;
        await wait(pause, signal);
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof Away || (error instanceof Refused && [429, 503].includes(error.status))) {
          setText(this.status, `${error.message}. Trying again.`);
          await wait(Math.max((error.retryAfter ?? 0) * 1000, 3000), signal);
        } else if (error instanceof Refused && error.status === 410) {
          tail.cursor = null;
        } else {
          this.refuse(error.message);
          return;
        }
      }
    }
  }

  /**
   * end returns a cursor shortly before the end of the stream, so that the newest entry is shown at
   * once.
   */
  async end(tail, signal) {
    const info = await ask(path("v1", "streams", tail.stream), { signal });
    return info.newest ? String(Math.max(idTime(info.newest) - 1000, 0)) : "0-0";
  }

  /**
   * turn asks once. It returns the milliseconds until the next turn, null at the end of the stream.
   */
  async turn(tail, signal) {
    const query = new URLSearchParams({ after: tail.cursor, block_ms: block, limit, ...Object.fromEntries(tail.query) });
    const page = await ask(`${path("v1", "streams", tail.stream, "tail")}?${query}`, { signal, patience: block + 10_000 });
    if (signal.aborted) return null;
    this.add(page.frames);
    tail.found += page.frames.length;
    tail.cursor = page.cursor;
    if (page.lag_ms > tooFar) {
      tail.cursor = page.newest;
      tail.skipped += page.lag_entries;
      this.list.add([leftOut(format.plural(page.lag_entries, "entry", "entries"))], page.lag_entries);
    }
    const skipped = tail.skipped ? `; ${format.count(tail.skipped)} were left out, because they came faster than they can be read` : "";
    const waits = this.page.waitsFor(tail.stream);
    setText(this.status, `Following ${tail.stream} since ${format.clock(tail.began)}: ${format.plural(tail.found, "entry", "entries")} found${skipped}.${waits ? ` ${waits}` : ""}`);
    if (page.closed_at && page.up_to_date) {
      this.stop(`The stream was closed ${format.clock(page.closed_at)}: ${page.closed_reason}`);
      return null;
    }
    return page.frames.length ? pace : 0;
  }

  add(frames) {
    const made = frames.slice(-mostOfAnswer).map((frame) => {
      const entry = parse(frame);
      const node = row(entry, `entry-${this.nextID++}`);
      this.entries.set(node, frame);
      return node;
    });
    if (made.length > 0) this.list.add(made, frames.length);
  }

  choose(node) {
    const frame = node && this.entries.get(node);
    if (!frame) return;
    this.rows.querySelector('[aria-selected="true"]')?.setAttribute("aria-selected", "false");
    setAttribute(node, "aria-selected", "true");
    setAttribute(this.rows, "aria-activedescendant", node.id);
    node.scrollIntoView({ block: "nearest" });
    this.entry.hidden = false;
    setText(this.entry, JSON.stringify(frame, null, 2).slice(0, 20_000));
  }

  key(event) {
    const all = [...this.rows.querySelectorAll(".row:not(.break)")];
    const at = all.findIndex((node) => node.getAttribute("aria-selected") === "true");
    const to = { ArrowDown: Math.min(at + 1, all.length - 1), ArrowUp: Math.max(at - 1, 0), Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    this.choose(all[to]);
  }
}
