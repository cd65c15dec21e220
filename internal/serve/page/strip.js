// The timeline of a feed's states: columns of pixels, where equal neighbours form one bar.

import { s } from "./dom.js";
import { known, shape } from "./states.js";

// A column that covers several states shows the one with the greatest severity. The heights
// distinguish the states too, so that colour is not the only sign.
const severity = { live: 1, standby: 2, connecting: 3, filling: 4, stopped: 5, paused: 6, gapped: 7, backpressured: 8, reconnecting: 9, disconnected: 10, failed: 11 };
const heights = { live: 1, gapped: 1, backpressured: 0.75, filling: 0.75, connecting: 0.6, reconnecting: 0.6, standby: 0.6, paused: 0.45, disconnected: 0.3, failed: 0.3, stopped: 0.2 };

const narrowest = 2; // pixels of a state that lasted only a moment
const iconWidth = 20;

/** columns returns the state of each pixel, "" where it is unknown. */
export function columns(segments, from, to, width) {
  const states = new Array(width).fill("");
  const scale = width / (to - from);
  for (const { state, from: begins, to: ends } of segments) {
    if (ends <= from || begins >= to) continue;
    const first = Math.max(Math.floor((begins - from) * scale), 0);
    const last = Math.min(Math.max(Math.ceil((ends - from) * scale), first + narrowest), width);
    for (let x = Math.min(first, width - 1); x < last; x++) {
      if (states[x] === "" || severity[known(state)] > severity[known(states[x])]) states[x] = state;
    }
  }
  return states;
}

/** strip draws the columns from x = left on. */
export function strip(states, left, height) {
  const drawn = [];
  for (let x = 0; x < states.length;) {
    const state = states[x];
    let end = x + 1;
    while (end < states.length && states[end] === state) end++;
    if (state === "") {
      drawn.push(s("rect", { class: "unknown", x: left + x, y: height - 2, width: end - x, height: 2 }));
    } else {
      const name = known(state);
      const h = Math.round(height * heights[name]);
      drawn.push(s("rect", { class: `state ${name}`, x: left + x, y: height - h, width: end - x, height: h }));
      if (end - x >= iconWidth && h < height * 0.7) drawn.push(s("g", { class: name, transform: `translate(${left + (x + end) / 2 - 5} ${height - h - 12}) scale(.83)` }, shape(state)));
    }
    x = end;
  }
  return drawn;
}

/** shares says in words which part of the time each state lasted, of the time that is known. */
export function shares(segments, from, to) {
  const lasted = new Map();
  for (const { state, from: begins, to: ends } of segments) {
    const ms = Math.min(ends, to) - Math.max(begins, from);
    if (ms > 0) lasted.set(state, (lasted.get(state) ?? 0) + ms);
  }
  const all = [...lasted.values()].reduce((sum, ms) => sum + ms, 0);
  if (all === 0) return "nothing is known";
  const percent = (ms) => { const n = Math.round((100 * ms) / all); return n === 0 ? "under 1 %" : n === 100 && ms < all ? "over 99 %" : `${n} %`; };
  return [...lasted].sort(([, a], [, b]) => b - a).map(([state, ms]) => `${state} ${percent(ms)}`).join(", ");
}
