// The meaning of a feed's states, and the shapes that distinguish them besides their colours.

import { h, s } from "./dom.js";

export const meanings = {
  connecting: "the first connection is being made",
  filling: "the feed begins with history, which is read from the upstream's archive",
  live: "connected; what comes is stored",
  backpressured: "connected, but the store does not keep up: the socket is not read",
  disconnected: "the connection ended; the next one waits for its backoff",
  reconnecting: "the next connection is being made",
  gapped: "connected past a loss, which is being recorded",
  paused: "an operator said so",
  failed: "the upstream refuses us for good; it is asked again slowly",
  stopped: "the daemon is stopping",
  standby: "another daemon owns the stream",
};

// 12 by 12 units, stroked or filled.
const shapes = {
  connecting: ["stroke", "M6 1.5a4.5 4.5 0 1 1-4.5 4.5"],
  filling: ["fill", "M5 1h2v5h3L6 11L2 6h3z"],
  live: ["fill", "M6 1a5 5 0 1 1 0 10a5 5 0 0 1 0-10z"],
  backpressured: ["fill", "M2 2h8v3H2zM2 7h8v3H2z"],
  disconnected: ["stroke", "M6 1.500a4.5 4.5 0 1 1 0 9a4.5 4.5 0 0 1 0-9z"],
  reconnecting: ["stroke", "M6 1.500a4.5 4.5 0 1 1-4.5 4.500M6 4v2.500h2"],
  gapped: ["fill", "M6 .5L11.5 6L6 11.500L.5 6z"],
  paused: ["fill", "M2.5 1.500h2.500v9H2.500zM7 1.500h2.500v9H7z"],
  failed: ["stroke", "M2 2l8 8M10 2l-8 8"],
  stopped: ["fill", "M2 2h8v8H2z"],
  standby: ["stroke", "M6 1L11 6L6 11L1 6z"],
};

export const known = (state) => (state in shapes ? state : "stopped");

/** connected says whether a feed in that state has a connection. */
export const connected = (state) => ["live", "filling", "backpressured", "gapped"].includes(state);

/** away says whether a feed in that state lacks a connection and wants one. */
export const away = (state) => ["connecting", "disconnected", "reconnecting", "failed"].includes(state);

/** shape returns the shape of a state, for use inside a drawing. */
export function shape(state) {
  const [how, d] = shapes[known(state)];
  return s("path", { class: `icon ${how}`, d });
}

/**
 * icon returns the shape of a state as a separate picture. It has no text for screen readers,
 * because the name of the state is beside it.
 */
export const icon = (state) => s("svg", { class: `icon ${known(state)}`, viewBox: "0 0 12 12", "aria-hidden": "true" }, shape(state));

/** mark returns the shape of a gap or a restart on a timeline. */
export const mark = (kind) => s("svg", { class: `icon fill ${kind}`, viewBox: "-1 -1 10 10", "aria-hidden": "true" }, s("path", { d: kind === "gap" ? "M4 0L8 4L4 8L0 4Z" : "M4 0L8 8H0Z" }));

/** badge returns the name of a state with its shape and colour. */
export const badge = (state) => h("span", { class: `badge ${known(state)}`, title: meanings[state] }, icon(state), state);

export const states = Object.keys(shapes);
