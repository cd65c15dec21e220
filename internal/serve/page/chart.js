// Scales and paths. A chart is a curve over time in a box of pixels, of what may have holes.

import { s } from "./dom.js";

/** niceMax is the next of 1, 2, 5, 10 … that is not less. */
export function niceMax(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((m) => m * power).find((m) => m >= value * 0.999999);
}

/**
 * linear is a scale from 0; atLeast keeps a curve of almost nothing from filling the box. What stands far above nearly all else, as the rate of a catch-up does, is
 * cut off at the top, so that the rest can be told apart.
 */
export function linear(values, height, atLeast) {
  const sorted = values.filter((v) => v !== null).sort((a, b) => a - b);
  const most = sorted.at(-1) ?? 0;
  const usual = sorted[Math.floor((sorted.length - 1) * 0.9)] ?? 0;
  const cut = usual > 0 && most > 8 * Math.max(usual, atLeast);
  const top = niceMax(Math.max(atLeast, cut ? 2 * usual : most));
  return { y: (v) => height - (Math.min(v, top) / top) * height, ticks: [0, top], cut };
}

const second = 1000;
const durations = [10, 100, second, 10 * second, 60 * second, 600 * second, 3600 * second, 6 * 3600 * second, 24 * 3600 * second, 7 * 24 * 3600 * second];

/** spans is a logarithmic scale for what may be ten milliseconds or ten hours, from 10 ms to a second at least. */
export function spans(values, height) {
  const most = Math.max(...values.filter((v) => v !== null), second);
  const [low] = durations;
  const last = Math.max(durations.findIndex((d) => d >= most), 0) || durations.length - 1;
  const every = Math.ceil(last / 3);
  const full = Math.log(durations[last] / low);
  const y = (v) => height - Math.min(Math.log(Math.max(v, low) / low) / full, 1) * height;
  return { y, ticks: durations.slice(0, last + 1).filter((_, i) => (last - i) % every === 0) };
}

const round = (n) => Math.round(n * 10) / 10;

/** path draws through [x, y], and not through holes, where y is null. A lone point is a dot. */
export function path(points) {
  let d = "";
  let down = false;
  for (const [x, y] of points) {
    if (y === null) {
      down = false;
      continue;
    }
    d += down ? `L${round(x)} ${round(y)}` : `M${round(x)} ${round(y)}h.01`;
    down = true;
  }
  return d;
}

/** area is what lies between the points and the bottom. */
export function area(points, height) {
  const there = points.filter(([, y]) => y !== null);
  if (there.length < 2) return "";
  return `M${round(there[0][0])} ${height}${there.map(([x, y]) => `L${round(x)} ${round(y)}`).join("")}L${round(there.at(-1)[0])} ${height}Z`;
}

/** level is a line of the grid with its label. */
export const level = (y, left, right, label, kind = "grid") => [
  s("line", { class: kind, x1: left, x2: right, y1: y, y2: y }),
  s("text", { x: left - 6, y: y + 4, "text-anchor": "end" }, label),
];

const minutes = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720];

/** clockTicks are round times of the viewer's clock between two instants, at most n. */
export function clockTicks(from, to, n) {
  const step = (minutes.find((m) => (to - from) / (m * 60_000) <= n) ?? 1440) * 60_000;
  const zone = new Date(to).getTimezoneOffset() * 60_000;
  const ticks = [];
  for (let t = Math.ceil((from - zone) / step) * step + zone; t <= to; t += step) ticks.push(t);
  return ticks;
}
