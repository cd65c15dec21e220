// A feed's timeline and charts: lanes that share one time axis, so that simultaneous changes are in
// line.

import { area, clockTicks, level, linear, path, spans } from "./chart.js";
import { h, s, setAttribute, setText } from "./dom.js";
import * as format from "./format.js";
import { columns, shares, strip } from "./strip.js";

const labels = 52; // pixels for the labels of the scales
const stripHeight = 24;
const lowStrip = 14; // of a feed that is not open
const marksHeight = 11;
const axisHeight = 16;
// From this phi on the watchdog considers a connection dead (actors/detector.go).
const phiLimit = 8;

const count = (v) => format.rate(v);

// The charts. of returns the curve of a record, scale returns its scale, text formats a value.
const charts = [
  {
    name: "Events/s", spoken: "Events per second", height: 56, filled: true, text: count, tick: count,
    of: (record) => record.curve((p, step) => p.events / step, (m) => m.rate), scale: (values, height) => linear(values, height, 1),
  },
  {
    name: "Lag", spoken: "Lag", height: 56, text: format.duration, tick: format.round,
    of: (record) => record.curve((p) => p.lag_ms, (m) => m.lag), scale: spans,
  },
  {
    name: "Suspicion (φ)", spoken: "Watchdog's suspicion, phi", height: 40, text: format.phi, tick: count, limit: phiLimit,
    of: (record) => record.curve((p) => p.phi, (m) => m.phi), scale: (values, height) => ({ ...linear(values, height, 10), ticks: [0, phiLimit] }),
  },
];

function lane(name, height, kind) {
  const value = h("span", { class: "lane-value" }, format.none);
  const drawn = s("g");
  const cross = s("line", { class: "cross", y1: 0, y2: height, visibility: "hidden" });
  const svg = s("svg", { height, role: "img" }, drawn, cross);
  const node = h("div", { class: `lane ${kind}` }, h("div", { class: "lane-label" }, h("span", { class: "lane-name" }, name), value), svg);
  return { node, svg, drawn, cross, value, height };
}

export class Plot {
  constructor() {
    this.strip = lane("State", stripHeight + marksHeight, "strip");
    this.lanes = charts.map((chart) => ({ chart, ...lane(chart.name, chart.height + 8, "chart") }));
    this.axis = { svg: s("svg", { height: axisHeight, "aria-hidden": "true" }) };
    this.axis.node = h("div", { class: "lane axis" }, h("div"), this.axis.svg);
    this.node = h("div", { class: "plot" }, this.strip.node, this.lanes.map((l) => l.node), this.axis.node);
    this.node.addEventListener("pointermove", (event) => this.point(event.clientX));
    this.node.addEventListener("pointerleave", () => this.point(null));
    this.watcher = new ResizeObserver(() => this.draw());
    this.watcher.observe(this.strip.svg);
  }

  /** update draws a record as it is at now. open says whether the charts are shown. */
  update(record, status, now, range, open) {
    this.view = { record, status, now, range };
    for (const l of this.lanes) l.node.hidden = !open;
    this.axis.node.hidden = !open;
    this.left = open ? labels : 0;
    this.high = open ? stripHeight : lowStrip;
    setAttribute(this.strip.svg, "height", this.high + marksHeight);
    this.draw();
  }

  close() { this.watcher.disconnect(); }

  draw() {
    const width = Math.floor(this.strip.svg.getBoundingClientRect().width) - (this.left ?? 0);
    if (!this.view || width < 40) return;
    const { now, range } = this.view;
    const from = now - range;
    const { left } = this;
    this.scale = { from, width, x: (t) => left + ((t - from) / range) * width };
    this.drawStrip(from, width);
    for (const l of this.lanes) if (!l.node.hidden) this.drawChart(l, from, width);
    if (!this.axis.node.hidden) this.drawAxis(from, width);
    this.readout();
  }

  drawStrip(from, width) {
    const { record, now, status } = this.view;
    this.segments = record.segments(now);
    const states = columns(this.segments, from, now, width);
    const marks = [...this.marks(record.gaps, "gap", "M4 0L8 4L4 8L0 4Z"), ...this.marks(record.restarts, "restart", "M4 0L8 8H0Z")];
    this.strip.drawn.replaceChildren(...strip(states, this.left, this.high), ...marks);
    const changes = record.transitions.filter((t) => t.ms >= from).length;
    setAttribute(this.strip.svg, "aria-label", `State now: ${status.state}. Of the last ${format.age(this.view.range)}: ${shares(this.segments, from, now)}; ${format.plural(changes, "transition", "transitions")}`);
    setAttribute(this.strip.svg, "data-transitions", changes);
  }

  /** marks returns marks for items, at most one every few pixels. */
  marks(items, kind, d) {
    const { from, x } = this.scale;
    const places = new Set(items.map((item) => item.ms).filter((t) => t >= from).map((t) => Math.round(x(t) / 6) * 6));
    return [...places].map((place) => s("path", { class: `${kind} mark-${kind}`, d, transform: `translate(${place - 4} ${this.high + 2})` }));
  }

  drawChart(l, from, width) {
    const { chart } = l;
    const curve = chart.of(this.view.record).filter(([t]) => t >= from);
    const values = curve.map(([, v]) => v);
    const scale = chart.scale(values, chart.height);
    const y = (v) => scale.y(v) + 4;
    const points = curve.map(([t, v]) => [this.scale.x(t), v === null ? null : y(v)]);
    const { left } = this;
    const right = left + width;
    l.curve = curve;
    l.drawn.replaceChildren(
      ...scale.ticks.flatMap((tick) => level(y(tick), left, right, `${scale.cut && tick > 0 ? "≥ " : ""}${chart.tick(tick)}`, tick === chart.limit ? "limit" : "grid")),
      ...(chart.filled ? [s("path", { class: "area", d: area(points, chart.height + 4) })] : []),
      s("path", { class: "curve", d: path(points) }),
    );
    const there = values.filter((v) => v !== null);
    setAttribute(l.svg, "aria-label", there.length === 0 ? `${chart.spoken}: nothing is known yet`
      : `${chart.spoken}, last ${format.age(this.view.range)}: now ${values.at(-1) === null ? "none" : chart.text(values.at(-1))}, least ${chart.text(Math.min(...there))}, most ${chart.text(Math.max(...there))}`);
  }

  drawAxis(from, width) {
    const { left } = this;
    const ticks = clockTicks(from, from + this.view.range, Math.max(Math.floor(width / 80), 2));
    this.axis.svg.replaceChildren(...ticks.map((t) => {
      const x = this.scale.x(t);
      const anchor = x > left + width - 18 ? "end" : x < left + 18 ? "start" : "middle";
      return s("g", {}, s("line", { class: "grid", x1: x, x2: x, y1: 0, y2: 4 }), s("text", { x, y: 14, "text-anchor": anchor }, format.minute(t)));
    }));
  }

  /** point sets the position of the pointer; null means that it is outside. */
  point(clientX) {
    if (!this.scale) return;
    const x = clientX === null ? -1 : clientX - this.strip.svg.getBoundingClientRect().left;
    this.pointed = x >= this.left ? x : null;
    this.readout();
  }

  /** readout shows the values at the pointer, or the current values if the pointer is outside. */
  readout() {
    const { record, status, now } = this.view;
    const { from, width } = this.scale;
    const time = this.pointed === undefined || this.pointed === null ? null : from + ((this.pointed - this.left) / width) * this.view.range;
    for (const l of [this.strip, ...this.lanes]) {
      setAttribute(l.cross, "visibility", time === null ? "hidden" : "visible");
      if (time !== null) for (const end of ["x1", "x2"]) setAttribute(l.cross, end, Math.round(this.pointed));
    }
    if (time === null) {
      setText(this.strip.value, status.state);
      for (const l of this.lanes) {
        const value = l.chart.of(record).at(-1)?.[1] ?? null;
        setText(l.value, value === null ? format.none : l.chart.text(value));
      }
      return;
    }
    const state = this.segments.findLast((part) => part.from <= time && time <= Math.max(part.to, now))?.state ?? "unknown";
    setText(this.strip.value, `${state} ${format.clock(time)}`);
    for (const l of this.lanes) {
      const nearest = (l.curve ?? []).reduce((best, p) => (!best || Math.abs(p[0] - time) < Math.abs(best[0] - time) ? p : best), null);
      const near = nearest && Math.abs(nearest[0] - time) <= record.step * 1000 && nearest[1] !== null;
      setText(l.value, near ? l.chart.text(nearest[1]) : format.none);
    }
  }
}
