// An entry of a stream as one line.

import { h } from "./dom.js";
import * as format from "./format.js";

const longest = 200; // characters of a text that an account wrote

const short = (value) => (typeof value === "string" ? (value.length > longest ? `${value.slice(0, longest)}…` : value) : "");

/** parse takes the values of a line from an entry. Upstreams may send any values. */
export function parse({ id, event }) {
  const e = event && typeof event === "object" ? event : {};
  const at = Number(e.time_us) / 1000 || Number(id.slice(0, id.indexOf("-")));
  const line = { at, kind: short(e.kind) || "unknown", who: short(e.did), what: "", text: "" };
  if (e.kind === "commit" && e.commit) {
    const { operation, collection, rkey, record } = e.commit;
    line.what = `${short(operation)} ${short(collection)}`;
    line.text = short(record?.text) || short(record?.subject?.uri ?? record?.subject) || short(record?.displayName) || short(rkey);
  } else if (e.kind === "identity") {
    line.what = "identity";
    line.text = short(e.identity?.handle);
  } else if (e.kind === "account") {
    line.what = "account";
    line.text = e.account?.active === true ? "active" : short(e.account?.status) || "not active";
  } else if (e.kind === "gap") {
    line.what = "gap";
    line.text = [short(e.gap?.state), `${short(e.gap?.cause)} at ${short(e.gap?.host)}`].filter(Boolean).join(": ");
  } else {
    line.what = line.kind;
  }
  return line;
}

/**
 * row returns the line as an element. Its label has all values, because the browser does not lay
 * out lines that are out of sight.
 */
export function row(entry, id) {
  const parts = { when: format.exactClock(entry.at), what: entry.what, "who mono": entry.who, text: entry.text };
  return h("li", { class: entry.kind === "gap" ? "row gap" : "row", role: "option", "aria-selected": "false", "aria-label": Object.values(parts).filter(Boolean).join(" "), id },
    Object.entries(parts).map(([kind, text]) => h("span", { class: kind }, text)));
}
