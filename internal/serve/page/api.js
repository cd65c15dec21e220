// The daemon's HTTP API. The token belongs to the tab: sessionStorage ends with the tab, and only
// this file sends the token.

import { difference } from "./clocks.js";

const key = "tempestd.token";
let token = "";
try { token = sessionStorage.getItem(key) ?? ""; } catch { /* storage is switched off: the token lasts as long as the page */ }

/** Away: the daemon does not answer. */
export class Away extends Error {}

/** Refused: the daemon answered with an error. Its name and message are the daemon's. */
export class Refused extends Error {
  constructor(status, body, retryAfter) {
    super(body?.message ?? `status ${status}`);
    this.status = status;
    this.name = body?.error ?? "";
    this.body = body ?? {};
    this.retryAfter = retryAfter; // seconds, 0 where the daemon did not say
  }
}

let ahead = 0; // ms, how far the daemon's clock is ahead of this one

/** now is the time by the daemon's clock, in Unix milliseconds. */
export const now = () => Date.now() + ahead;

export const clockAhead = () => ahead;

export const hasToken = () => token !== "";

export function setToken(value) {
  token = value;
  try {
    if (value) sessionStorage.setItem(key, value);
    else sessionStorage.removeItem(key);
  } catch { /* as above */ }
}

/** ask makes a request and returns its JSON. */
export async function ask(path, { method = "GET", patience = 8000, signal } = {}) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const limits = [AbortSignal.timeout(patience), ...(signal ? [signal] : [])];
  const asked = Date.now();
  let response, body;
  try {
    response = await fetch(path, { method, headers, cache: "no-store", credentials: "omit", redirect: "error", signal: AbortSignal.any(limits) });
    ahead = difference(ahead, Date.parse(response.headers.get("Date")), asked, Date.now());
    body = await response.json().catch((error) => { if (response.ok) throw error; });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Away("the daemon does not answer", { cause: error });
  }
  if (!response.ok) throw new Refused(response.status, body, Number(response.headers.get("Retry-After")) || 0);
  return body;
}

/** path joins path segments and encodes each one. */
export const path = (...segments) => segments.map((segment) => `/${encodeURIComponent(segment)}`).join("");
