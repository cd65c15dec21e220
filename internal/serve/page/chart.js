// Scales and paths. A chart is a curve over time in a box of pixels. The curve may have holes.

import { s } from "./dom.js";

/** niceMax returns the smallest of 1, 2, 5, 10 … that is not less than value. */
export function niceMax(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((m) => m * power).find((m) => m >= value * 0.999999);
}

/**
 * linear returns a scale that begins at 0. Its top is at least atLeast, so that a curve of tiny
 * values does not fill the box. Values far above nearly all others, such as the rate of a catch-up,
 * are cut off at the top, so that the other values stay readable.
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

/**
 * spans returns a logarithmic scale for durations from ten milliseconds to many hours. It covers 10
 * ms to 1 s at least.
 */
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

/**
 * path returns a line through the points [x, y]. Where y is null, the line has a hole. A single
 * point becomes a dot.
 */
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

/** area returns the area between the points and the bottom. */
export function area(points, height) {
  const there = points.filter(([, y]) => y !== null);
  if (there.length < 2) return "";
  return `M${round(there[0][0])} ${height}${there.map(([x, y]) => `L${round(x)} ${round(y)}`).join("")}L${round(there.at(-1)[0])} ${height}Z`;
}

/** level returns a grid line with its label. */
export const level = (y, left, right, label, kind = "grid") => [
  s("line", { class: kind, x1: left, x2: right, y1: y, y2: y }),
  s("text", { x: left - 6, y: y + 4, "text-anchor": "end" }, label),
];

const minutes = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720];

/** clockTicks returns at most n round clock times of the viewer between two instants. */
export function clockTicks(from, to, n) {
  const step = (minutes.find((m) => (to - from) / (m * 60_000) <= n) ?? 1440) * 60_000;
  const zone = new Date(to).getTimezoneOffset() * 60_000;
  const ticks = [];
  for (let t = Math.ceil((from - zone) / step) * step + zone; t <= to; t += step) ticks.push(t);
  return ticks;
}
