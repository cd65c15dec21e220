// What the page knows about a feed's past: the history that the daemon keeps, fetched piece by
// piece, and the newest moments, as they were polled.

import { away, connected } from "./states.js";

const most = { transitions: 4096, restarts: 256, gaps: 256, samples: 1440 };
const mostMoments = 60;

/** stamped adds the time in Unix milliseconds to each item, because it is needed often. */
const stamped = (items) => items.map((item) => ({ ...item, ms: Date.parse(item.at) }));

/** before returns the part of a list, oldest first, that is older than ms. */
function before(items, ms) {
  let end = items.length;
  while (end > 0 && items[end - 1].ms >= ms) end--;
  return items.slice(0, end);
}

export class Record {
  constructor(step) {
    this.step = step; // seconds of a sample
    this.clear();
  }

  clear() {
    Object.assign(this, { started: null, transitions: [], restarts: [], gaps: [], samples: [], moments: [] });
  }

  /**
   * since is the time from which to ask the daemon for history: what is older cannot change. null
   * asks for everything.
   */
  since() {
    const last = this.samples.at(-1);
    return last ? last.ms : null;
  }

  /**
   * merge adds an answer, or only the lists of it that are named. It returns false if the daemon has
   * restarted: the old history is dropped, and the caller must ask for everything.
   */
  merge(answer, since, lists = Object.keys(most)) {
    const begunAnew = this.started !== null && this.started !== answer.started;
    if (begunAnew) this.clear();
    this.started = answer.started;
    if (begunAnew && since !== null) return false;
    for (const list of lists) {
      const kept = since === null ? [] : before(this[list], since);
      this[list] = kept.concat(stamped(answer[list])).slice(-most[list]);
    }
    return true;
  }

  /** observe adds a status: the latest transitions, and the values of this moment. */
  observe(status, now) {
    const newest = stamped(status.history);
    if (newest.length > 0) this.transitions = before(this.transitions, newest[0].ms).concat(newest).slice(-most.transitions);
    this.moments.push({ at: now, rate: status.events_per_sec, lag: connected(status.state) ? status.lag_ms : null, phi: status.suspicion });
    const covered = this.covered();
    this.moments = this.moments.filter((m) => m.at > covered).slice(-mostMoments);
  }

  /** covered is the end of the last sample. */
  covered() {
    const last = this.samples.at(-1);
    return last ? last.ms + this.step * 1000 : 0;
  }

  /**
   * curve returns [time, value] of the samples and of the moments after them. value is null where
   * there is none.
   */
  curve(ofSample, ofMoment) {
    const half = this.step * 500;
    const covered = this.covered();
    return this.samples.map((sample) => [sample.ms + half, ofSample(sample, this.step)])
      .concat(this.moments.filter((m) => m.at > covered).map((m) => [m.at, ofMoment(m)]));
  }

  /**
   * past counts what happened from a time on: { gaps, restarts, outages, away }, with the milliseconds
   * in outages. An outage is a time without a connection that was there, or that failed: the first
   * connection of all is none, nor is the one after a pause.
   */
  past(from, now) {
    const count = (items) => items.filter((item) => item.ms >= from).length;
    const outages = [];
    let last = null;
    let before = "";
    for (const { state, from: begins, to } of this.segments(now)) {
      if (!away(state)) last = null;
      else if (!last) outages.push(last = { from: begins, to, lost: connected(before) });
      if (last) Object.assign(last, { to, lost: last.lost || ["disconnected", "failed"].includes(state) });
      before = state;
    }
    const seen = outages.filter((outage) => outage.lost && outage.to > from);
    return { gaps: count(this.gaps), restarts: count(this.restarts), outages: seen.length,
      away: seen.reduce((sum, outage) => sum + outage.to - Math.max(outage.from, from), 0) };
  }

  /** segments returns the states in order: { state, from, to }. */
  segments(now) {
    const parts = [];
    const [first] = this.transitions;
    if (first?.from && this.started && Date.parse(this.started) < first.ms) parts.push({ state: first.from, from: Date.parse(this.started), to: first.ms });
    this.transitions.forEach((t, i) => parts.push({ state: t.to, from: t.ms, to: this.transitions[i + 1]?.ms ?? Math.max(now, t.ms) }));
    return parts;
  }
}
