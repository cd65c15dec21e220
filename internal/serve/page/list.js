// The list of feeds: in the order of their names, or, if there are many, dense, with trouble first
// and a field to search them.

import { byID, reconcile, setAttribute, setText } from "./dom.js";
import { FeedView } from "./feed.js";
import * as format from "./format.js";
import { rank } from "./verdict.js";

/** many is the number of feeds above which the list is dense. */
export const many = 12;

const openAtFirst = innerWidth < 700 ? 1 : 2; // up to this many feeds are open at first

/** text is what a search looks at. */
const text = ({ feed, state, endpoint, reason }) => [feed, state, endpoint, reason].join(" ").toLowerCase();

export class FeedList {
  constructor(page) {
    this.views = new Map(); // by name
    Object.assign(this, { page, node: byID("feeds"), search: byID("feeds-search"), found: byID("feeds-found") });
    this.search.addEventListener("input", () => this.filter());
  }

  /** show shows the statuses of all feeds, as they are at now. */
  show(feeds, now) {
    const first = this.views.size === 0;
    const names = feeds.map((status) => status.feed);
    this.dense = names.length > many;
    setAttribute(this.node, "class", this.dense ? "dense" : null);
    byID("feeds-find").hidden = !this.dense;
    if (first) this.node.replaceChildren();
    for (const [name, view] of this.views) if (!names.includes(name)) view.close();
    const make = (name) => new FeedView(name, this.page, first && names.length <= openAtFirst);
    for (const status of feeds) {
      if (!this.views.has(status.feed)) this.views.set(status.feed, make(status.feed));
      this.views.get(status.feed).update(status, now);
    }
    reconcile(this.node, this.views, this.order(names), make);
    this.filter();
  }

  /** order returns the names in the order that is shown. It stays while somebody points at the list. */
  order(names) {
    if (!this.dense) return names;
    const same = this.last?.length === names.length && names.every((name) => this.last.includes(name));
    if (same && this.node.matches(":hover, :focus-within")) return this.last;
    const level = (name) => rank[this.views.get(name).level] ?? rank.note;
    this.last = names.toSorted((a, b) => level(a) - level(b)); // stable: names stay in order
    return this.last;
  }

  /** tellGaps shows gaps of any feeds on their lines. */
  tellGaps(gaps) {
    for (const [name, view] of this.views) view.ledger = gaps.filter((gap) => gap.feed === name);
  }

  filter() {
    const words = this.dense ? this.search.value.toLowerCase().split(/\s+/).filter(Boolean) : [];
    let n = 0;
    for (const { node, status } of this.views.values()) {
      node.hidden = !words.every((word) => text(status).includes(word));
      if (!node.hidden) n++;
    }
    setText(this.found, words.length ? `${format.count(n)} of ${format.plural(this.views.size, "feed", "feeds")}` : "");
  }
}
