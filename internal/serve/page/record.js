// What the page knows of a feed's past: the daemon's own memory, asked for piece by piece, and the newest moments as they were polled.

const most = { transitions: 4096, restarts: 256, gaps: 256, samples: 1440 };
const mostMoments = 60;

const at = (item) => Date.parse(item.at);

export class Record {
  constructor(step) {
    this.step = step; // seconds of a sample
    this.clear();
  }

  clear() {
    Object.assign(this, { started: null, transitions: [], restarts: [], gaps: [], samples: [], moments: [] });
  }

  /** since is what to ask the daemon for: what may have changed. null is everything. */
  since() {
    const last = this.samples.at(-1);
    return last ? at(last) : null;
  }

  /** merge takes an answer in. It gives false when the daemon has begun anew: what was known is gone, and all of it is to be asked for. */
  merge(answer, since) {
    const begunAnew = this.started !== null && this.started !== answer.started;
    if (begunAnew) this.clear();
    this.started = answer.started;
    if (begunAnew && since !== null) return false;
    for (const list of Object.keys(most)) {
      const kept = since === null ? [] : this[list].filter((item) => at(item) < since);
      this[list] = kept.concat(answer[list]).slice(-most[list]);
    }
    return true;
  }

  /** observe takes in a status: transitions since the last answer, and how it is right now. */
  observe(status, now) {
    const [first] = status.history;
    if (first) {
      const known = this.transitions.filter((t) => at(t) < at(first));
      this.transitions = known.concat(status.history).slice(-most.transitions);
    }
    const connected = ["live", "backpressured", "gapped"].includes(status.state);
    this.moments.push({ at: now, rate: status.events_per_sec, lag: connected ? status.lag_ms : null, phi: status.suspicion });
    const covered = this.covered();
    this.moments = this.moments.filter((m) => m.at > covered).slice(-mostMoments);
  }

  /** covered is the end of the last sample. */
  covered() {
    const last = this.samples.at(-1);
    return last ? at(last) + this.step * 1000 : 0;
  }

  /** curve gives [time, value] of the samples and the moments after them; value is null where there is none. */
  curve(ofSample, ofMoment) {
    const half = this.step * 500;
    const covered = this.covered();
    return this.samples.map((sample) => [at(sample) + half, ofSample(sample, this.step)])
      .concat(this.moments.filter((m) => m.at > covered).map((m) => [m.at, ofMoment(m)]));
  }

  /** segments gives the states in turn: { state, from, to }. */
  segments(now) {
    const parts = [];
    const [first] = this.transitions;
    if (first?.from && this.started && Date.parse(this.started) < at(first)) parts.push({ state: first.from, from: Date.parse(this.started), to: at(first) });
    this.transitions.forEach((t, i) => {
      const next = this.transitions[i + 1];
      parts.push({ state: t.to, from: at(t), to: next ? at(next) : Math.max(now, at(t)) });
    });
    return parts;
  }
}
