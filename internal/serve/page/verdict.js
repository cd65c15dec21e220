// What is wrong, and since when.

import { h, reconcile, redraw, setAttribute, setText } from "./dom.js";
import * as format from "./format.js";
import { unfinished } from "./gaps.js";
import { away, badge, connected } from "./states.js";

const patience = 10_000; // ms for which a missing connection or backpressure is normal
const lagLimit = 10_000; // ms
const flapsWorth = 3; // connections lost in flapsWithin
const flapsWithin = 5 * 60_000; // ms
const phiWorth = 4; // of 8, where the watchdog reconnects

const most = 6; // lines

/**
 * whyAway is the reason of the last failure while the feed is away: an attempt in progress has no
 * reason of its own.
 */
function whyAway(status, transitions, now) {
  let reason = status.reason;
  for (let i = transitions.length - 1; i >= 0 && !reason && away(transitions[i].to); i--) reason = transitions[i].reason;
  const wait = status.next_attempt_at ? Date.parse(status.next_attempt_at) - now : 0;
  return [reason, wait > 0 ? `next attempt in ${format.age(wait + 999)}` : "trying now"].filter(Boolean).join("; ");
}

/**
 * lag is how far the feed is behind the network, in milliseconds. While the feed is connected, it
 * is the lag of the newest entry; else it is the time since the position. It is null if unknown, or
 * if another daemon owns the feed.
 */
export function lag(status, now) {
  if (connected(status.state)) return status.last_id ? status.lag_ms : null;
  if (status.state === "standby") return null;
  return status.position.time_us ? Math.max(now - status.position.time_us / 1000, 0) : null;
}

/** flaps returns the connections that were lost lately. */
const flaps = (transitions, now) => transitions.filter((t) => t.ms > now - flapsWithin && connected(t.from) && away(t.to));

/** inWords describes the state of a feed: { level: good, note, warn or bad; what; why } */
export function inWords(status, transitions, now) {
  const { state, reason } = status;
  const began = Date.parse(status.since);
  const lasts = format.age(now - began);
  const lost = flaps(transitions, now);
  if (away(state)) {
    const since = Date.parse(status.away_since ?? status.since);
    const why = whyAway(status, transitions, now);
    const what = state === "failed" ? "refused" : state === "connecting" && transitions.length < 2 ? "connecting" : "not connected";
    return { level: state === "failed" || now - since > patience ? "bad" : "warn", what: `${what} for ${format.age(now - since)}`, since, why };
  }
  switch (state) {
    case "backpressured":
      return { level: now - began > patience ? "bad" : "warn", what: `held back for ${lasts}`, since: began, why: reason || "the store does not keep up" };
    case "filling":
      return { level: reason ? "warn" : "note", what: `reading history for ${lasts}`, since: began, why: reason || fillInWords(status.fill) };
    case "gapped":
      return { level: "warn", what: `recording a loss for ${lasts}`, since: began, why: reason };
    case "live":
      if (status.lag_ms > lagLimit && status.last_id) return { level: "warn", what: `live, but ${format.duration(status.lag_ms)} behind`, since: began, why: `catching up at ${format.rate(status.events_per_sec)} events/s` };
      if (status.suspicion >= phiWorth) return { level: "warn", what: "live, but silent", since: began, why: `suspicion ${format.phi(status.suspicion)}; at 8 the watchdog reconnects` };
      if (lost.length >= flapsWorth) return { level: "warn", what: `live for ${lasts}`, since: began, why: `lost ${lost.length} times in ${format.age(flapsWithin)}, the last time: ${lost.at(-1).reason || "no reason given"}` };
      return { level: "good", what: `live for ${lasts}`, since: began, why: "" };
    case "standby":
      return { level: "good", what: `standing by for ${lasts}`, since: began, why: status.owner ? `${status.owner} owns the stream` : reason };
    default:
      return { level: "note", what: `${state} for ${lasts}`, since: began, why: reason };
  }
}

/** fillInWords describes how far a feed has come with the history that it begins with. */
function fillInWords(fill) {
  if (!fill) return "";
  const parts = [`${format.plural(fill.events, "event", "events")} at ${format.rate(fill.events_per_sec)}/s`];
  if (fill.planned_bytes) parts.push(`${format.bytes(fill.bytes)} of ${format.bytes(fill.planned_bytes)}`);
  if (fill.eta_s) parts.push(`${format.age(fill.eta_s * 1000)} left`);
  return parts.join("; ");
}

/** rank orders levels, the worst first. */
export const rank = { bad: 0, warn: 1, note: 2, good: 3 };

/**
 * verdict summarizes the feeds and their gaps: { level, headline, facts, lines }. The headline contains no ticking
 * value, because screen readers read it aloud at each change.
 */
export function verdict(feeds, ready, gapStates, now) {
  const lines = feeds.map((feed) => ({ feed: feed.status.feed, state: feed.status.state, ...inWords(feed.status, feed.transitions, now) }))
    .filter((line) => line.level !== "good");
  for (const reason of ready?.ready === false ? ready.reasons ?? [] : []) lines.push({ feed: "", level: "bad", what: "The daemon is not ready", why: reason });
  lines.sort((a, b) => rank[a.level] - rank[b.level]);
  const n = feeds.length;
  const level = lines[0]?.level ?? "good";
  const troubled = lines.filter((line) => line.level !== "note");
  const named = feeds[0]?.status.feed;
  if (n === 0) return { level: "note", headline: `No feed is configured${openGaps(gapStates)}`, facts: ["the configuration's feeds.<name> make them"], lines };
  if (troubled.length > 0) {
    const inFeeds = troubled.filter((line) => line.feed).length;
    const headline = inFeeds === 0 ? "The daemon is not ready" : n === 1 ? `${named} is in trouble` : `${inFeeds} of ${n} feeds ${inFeeds === 1 ? "is" : "are"} in trouble`;
    return { level, headline: headline + openGaps(gapStates), facts: totals(feeds, now, gapStates), lines };
  }
  const standing = feeds.filter((feed) => feed.status.state === "standby").length;
  const live = n - standing - lines.length;
  const parts = [[live, "live"], [standing, "standing by"], [lines.length, lines.every((l) => l.state === "paused") ? "paused" : "not running"]].filter(([k]) => k > 0);
  const headline = n === 1 ? `${named} is ${parts[0][1]}` : parts.length === 1 ? `All ${n} feeds are ${parts[0][1]}` : parts.map(([k, word], i) => `${i === 0 ? format.plural(k, "feed", "feeds") : k} ${word}`).join(", ");
  return { level: lines.length ? "note" : "good", headline: headline + openGaps(gapStates), facts: totals(feeds, now, gapStates), lines };
}

/** openGaps tells of the gaps of all streams that may still be closed. */
function openGaps(states) {
  const n = unfinished(states);
  return n ? `; ${format.plural(n, "gap", "gaps")} open` : "";
}

function totals(feeds, now, states) {
  const sum = (of) => feeds.reduce((total, feed) => total + of(feed.status), 0);
  const lags = feeds.filter((feed) => connected(feed.status.state)).map((feed) => lag(feed.status, now)).filter((v) => v !== null);
  const gaps = sum((status) => status.gaps);
  const lost = (states?.partly ?? 0) + (states?.unrepairable ?? 0);
  return [
    `${format.rate(sum((status) => status.events_per_sec))} events/s`,
    ...(lags.length ? [`${feeds.length > 1 ? "greatest lag" : "lag"} ${format.duration(Math.max(...lags))}`] : []),
    ...(gaps ? [`${format.plural(gaps, "gap", "gaps")} since the daemon started`] : []),
    ...(states?.repairing ? [`${format.plural(states.repairing, "gap", "gaps")} being repaired`] : []),
    ...(lost ? [`${format.plural(lost, "gap", "gaps")} that cannot be closed`] : []),
  ];
}

/**
 * Board shows a verdict. Lines that stay keep their nodes, so that focus and selection stay too.
 */
export class Board {
  constructor(node, headline, facts) {
    Object.assign(this, { node, headline, facts });
    this.lines = new Map();
  }

  show({ level, headline, facts, lines }) {
    setAttribute(this.node, "class", `card verdict ${level}`);
    setText(this.headline, headline);
    const all = new Map();
    if (facts.length > 0) all.set("facts", { text: facts.join(" · ") });
    for (const line of lines.slice(0, most)) all.set(`line ${line.feed || line.why}`, line);
    if (lines.length > most) all.set("more", { text: `and ${lines.length - most} more` });
    reconcile(this.facts, this.lines, [...all.keys()], (key) => (all.get(key).text === undefined ? troubleLine(all.get(key).feed) : textLine()));
    for (const [key, line] of all) this.lines.get(key).update(line);
  }
}

function textLine() {
  const node = h("li", { class: "quiet" });
  return { node, update: ({ text }) => setText(node, text) };
}

function troubleLine(feed) {
  const [state, what, since, why] = ["", "", "reason", "reason"].map((kind) => h("span", { class: kind || null }));
  const node = h("li", {}, state, feed ? h("a", { href: `#feed-${encodeURIComponent(feed)}` }, feed) : null, what, since, why);
  return {
    node,
    update(line) {
      redraw(state, line.state ?? "", () => (line.state ? badge(line.state) : null));
      setText(what, line.what);
      setText(since, line.since ? `since ${format.clock(line.since)}` : "");
      setText(why, line.why);
    },
  };
}
