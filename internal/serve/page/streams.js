// The streams: what is stored, the bounds of that, and the readers.

import { h, redraw } from "./dom.js";
import * as format from "./format.js";

const columns = ["Stream", "Entries", "Size", "Oldest", "Newest", "Readers"];

const idTime = (id) => (id ? Number(id.slice(0, id.indexOf("-"))) : null);

/** measured shows a number and, if it has a bound, how much of the bound is used. */
function measured(name, text, used, bound, boundText) {
  if (!bound) return [text];
  return [text, h("span", { class: "quiet" }, ` of ${boundText}`), h("meter", { min: 0, max: bound, value: Math.min(used, bound), "aria-label": `${name}: ${text} of ${boundText}` })];
}

const mostConsumers = 20; // of one stream: those that are furthest behind

function consumerLines(all) {
  const shown = all.toSorted((a, b) => b.lag_entries - a.lag_entries).slice(0, mostConsumers);
  return [...shown.map(consumerLine), all.length > shown.length ? h("li", { class: "consumer quiet" }, `and ${format.plural(all.length - shown.length, "other", "others")}, less far behind`) : null];
}

function consumerLine(c) {
  const times = c.deliveries > 1 ? `, handed out ${c.deliveries} times` : "";
  const work = c.lease ? `a batch is leased until ${format.clock(c.lease.until)}${times}` : c.deliveries > 0 ? `a batch is to be handed out again${times}` : "no batch is out";
  return h("li", { class: "consumer" }, h("strong", {}, c.name),
    h("span", {}, c.lag_entries ? `${format.plural(c.lag_entries, "entry", "entries")}, ${format.duration(c.lag_ms)} behind` : "up to date"),
    h("span", { class: "quiet" }, work), h("span", { class: "quiet" }, `last moved ${format.clock(c.moved_at)}`),
    c.expired ? h("span", { class: "refusal" }, "retention has dropped entries that it had not dealt with") : null);
}

/** showStreams draws the table. bounds and consumers are maps by stream name. */
export function showStreams(node, streams, bounds, consumers, now) {
  const rows = streams.map((stream) => {
    const bound = bounds.get(stream.name) ?? stream.retention ?? {};
    const age = (id) => (id ? `${format.age(Math.max(now - idTime(id), 0))} ago` : format.none);
    return { stream, bound, oldest: age(stream.oldest), newest: age(stream.newest), consumers: consumers.get(stream.name) ?? [] };
  });
  redraw(node, rows, () => (rows.length === 0 ? h("p", { class: "quiet" }, "Nothing is stored yet.") : table(rows)));
}

function table(rows) {
  return h("table", { class: "streams", role: "table", "aria-label": "Streams" },
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, columns.map((name) => h("th", { scope: "col", role: "columnheader" }, name)))),
    rows.map((row) => h("tbody", { role: "rowgroup" }, ...lines(row))));
}

function lines({ stream, bound, oldest, newest, consumers }) {
  const cell = (i, ...content) => h("td", { role: "cell", "data-label": columns[i] }, ...content);
  const closed = stream.closed_at ? h("span", { class: "under" }, `closed ${format.clock(stream.closed_at)}: ${stream.closed_reason}`) : null;
  const feedless = stream.feed === false ? h("span", { class: "under" }, "no feed fills it any more") : null;
  const id = (given) => (given ? h("span", { class: "under mono" }, given) : null);
  const line = h("tr", { role: "row", class: consumers.length ? "has-consumers" : null },
    h("td", { role: "rowheader", class: "name" }, stream.name, feedless, closed),
    cell(1, ...measured("Entries", format.count(stream.entries), stream.entries, bound.entries, `${format.count(bound.entries)}`)),
    cell(2, ...measured("Size", format.bytes(stream.bytes), stream.bytes, bound.bytes, format.bytes(bound.bytes ?? 0))),
    cell(3, oldest, bound.age_s && stream.oldest ? h("span", { class: "quiet" }, ` · kept for ${format.age(bound.age_s * 1000)}`) : null, id(stream.oldest)),
    cell(4, newest, id(stream.newest)),
    cell(5, stream.readers === undefined ? format.none : format.count(stream.readers)));
  if (consumers.length === 0) return [line];
  return [line, h("tr", { role: "row", class: "consumers" }, h("td", { role: "cell", colspan: columns.length }, h("ul", { "aria-label": `Consumers of ${stream.name}` }, consumerLines(consumers))))];
}
