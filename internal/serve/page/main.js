// The page: when it asks the daemon for which data, and where the answers are shown.

import { Refused, ask, clockAhead, hasToken, now, path, setToken } from "./api.js";
import { byID, h, setAttribute, setText } from "./dom.js";
import * as format from "./format.js";
import { FeedList, many } from "./list.js";
import { poll } from "./poll.js";
import { icon, mark, states } from "./states.js";
import { showStreams } from "./streams.js";
import { Tail } from "./tail.js";
import { themeButton } from "./themes.js";
import { Board, verdict } from "./verdict.js";

const pace = 2000; // ms between statuses
const slowPace = 5000; // with many feeds
// Minutes; the page begins with the first range that covers the history.
const ranges = [15, 60, 360];

const content = byID("content");
const login = byID("login");
const board = new Board(byID("verdict"), byID("headline"), byID("facts"));
const consumers = new Map(); // by stream name
let feeds = null;
let streams = [];
let ready = null;
let gapStates = null; // how many gaps of all streams are in each state
let rangeChosen = false;
let asOf = 0; // when the daemon last answered, by its clock
let trouble = null; // { since, next, headline, what } while the daemon does not answer

// The time is frozen while the daemon is away: the page cannot know how long a state lasts then.
const present = () => (trouble ? asOf : now());

/** every returns functions that say whether ms have passed since the last time, or times as many. */
function every(ms) {
  let last = -Infinity;
  return { due: (times = 1) => Date.now() - last >= ms * times, done: () => { last = Date.now(); }, now: () => { last = -Infinity; } };
}

const dueStreams = every(5000);
const dueReady = every(10_000);
const dueConsumers = every(10_000);
const dueHistory = every(10_000);
const dueGaps = every(5000);
const dueHappenings = every(10_000); // of closed feeds

const page = {
  now: present,
  waitsFor: (stream) => views.get(stream)?.waitsFor() ?? (feeds ? "No feed fills this stream any more." : ""),
  range: () => Number(document.querySelector("#range :checked").value) * 60_000,
  wake() {
    dueHistory.now();
    dueHappenings.now();
    dueGaps.now();
    return wake();
  },
};

const list = new FeedList(page);
const { views } = list;
const tail = new Tail(page);

async function beat() {
  const answer = await ask("/v1/feeds");
  trouble = null;
  asOf = now();
  showContent();
  feeds = answer.feeds;
  if (views.size === 0) chooseRange();
  list.show(feeds, asOf);
  showVerdict();
  const jobs = [];
  if (dueReady.due()) jobs.push(askReady());
  if (dueStreams.due()) jobs.push(askStreams());
  if (dueHistory.due()) {
    dueHistory.done();
    jobs.push(...[...views.values()].filter((view) => view.open).map((view) => view.remember()));
  }
  if (dueHappenings.due(feeds.length > many ? 3 : 1)) {
    dueHappenings.done();
    jobs.push(...[...views.values()].filter((view) => !view.open).map((view) => view.remember()));
  }
  if (dueGaps.due()) {
    dueGaps.done();
    jobs.push(askGaps(), ...[...views.values()].filter((view) => view.open).map((view) => view.askGaps()));
  }
  await Promise.allSettled(jobs); // failed requests are repeated at their next time
  content.setAttribute("aria-busy", "false");
  return feeds.length > many ? slowPace : pace;
}

function chooseRange() {
  if (rangeChosen) return;
  const oldest = Math.min(asOf, ...feeds.flatMap((status) => status.history.slice(0, 1).map((t) => Date.parse(t.at))));
  const range = ranges.find((minutes) => asOf - oldest < minutes * 60_000) ?? ranges.at(-1);
  document.querySelector(`#range [value="${range}"]`).checked = true;
}

async function askReady() {
  dueReady.done();
  try {
    ready = await ask("/readyz");
  } catch (error) {
    if (error instanceof Refused) ready = error.body; // 503 with the reasons
  }
  showVerdict();
}

async function askGaps() {
  const answer = await ask("/v1/gaps?limit=200"); // those that may still be closed come first
  gapStates = answer.states;
  list.tellGaps(answer.gaps);
  showVerdict();
}

async function askStreams() {
  dueStreams.done();
  streams = (await ask("/v1/streams")).streams;
  tail.offer(streams.map((stream) => stream.name));
  if (dueConsumers.due()) {
    dueConsumers.done();
    await Promise.allSettled(streams.map(askConsumers));
    for (const name of consumers.keys()) if (!streams.some((stream) => stream.name === name)) consumers.delete(name);
  }
  drawStreams();
}

async function askConsumers({ name }) {
  consumers.set(name, (await ask(path("v1", "streams", name, "consumers"))).consumers);
}

function drawStreams() {
  if (!feeds) return;
  const tall = streams.length > many;
  for (const [name, value] of Object.entries({ class: tall ? "card tall" : "card", tabindex: tall ? 0 : null, role: tall ? "region" : null, "aria-label": tall ? "All streams" : null })) setAttribute(byID("streams"), name, value);
  showStreams(byID("streams"), streams, new Map(feeds.map((status) => [status.feed, status.retention ?? {}])), consumers, present());
}

function showVerdict() {
  if (trouble) {
    const facts = [`${trouble.what}; since ${format.clock(trouble.since)}.${feeds ? ` What is shown below is from ${format.clock(asOf)}.` : ""} Next try in ${format.age(Math.max(trouble.next - Date.now(), 0))}.`];
    board.show({ level: "bad", headline: trouble.headline, facts, lines: [] });
  } else if (feeds) {
    board.show(verdict([...views.values()].map((view) => ({ status: view.status, transitions: view.record.transitions })), ready, gapStates, present()));
  }
  byID("retry").hidden = !trouble;
  setAttribute(content, "class", trouble ? "stale" : null);
  setText(byID("footer"), `Times are in ${format.zone()}.${clockAhead() ? ` The daemon’s clock is ${format.age(Math.abs(clockAhead()))} ${clockAhead() > 0 ? "ahead of" : "behind"} this one.` : ""}${asOf ? ` Last answer ${format.clock(asOf)}.` : ""}`);
  document.title = `${trouble || board.node.classList.contains("bad") ? "⚠ " : ""}${byID("headline").textContent} · tempestd`;
}

function showContent() {
  login.hidden = true;
  content.hidden = false;
  byID("verdict").hidden = false;
  byID("forget").hidden = !hasToken();
}

function showLogin() {
  setText(byID("login-error"), hasToken() ? "The daemon does not accept this token." : "");
  setToken("");
  tail.stop("Not following.");
  login.hidden = false;
  content.hidden = true;
  byID("verdict").hidden = true;
  byID("forget").hidden = true;
  document.title = "tempestd";
  byID("token").value = "";
  byID("token").focus();
}

/** failed shows that a beat has failed. It returns false if only a token can help. */
function failed(error, next) {
  if (error instanceof Refused && error.status === 401) {
    showLogin();
    return false;
  }
  const stopping = error instanceof Refused;
  trouble ??= { since: Date.now() };
  Object.assign(trouble, { next, headline: stopping ? "The daemon answers with an error" : "The daemon does not answer", what: stopping ? error.message : "Nothing answers at this address" });
  showContent();
  showVerdict();
  return true;
}

login.addEventListener("submit", (event) => {
  event.preventDefault();
  setToken(byID("token").value.trim());
  wake();
});
byID("forget").addEventListener("click", () => {
  setToken("");
  showLogin();
  wake();
});
byID("retry").addEventListener("click", () => wake());
byID("range").addEventListener("change", () => {
  rangeChosen = true;
  for (const view of views.values()) view.draw();
  page.wake();
});
themeButton(byID("theme"));
byID("legend").append(...states.map((state) => h("li", { class: state }, icon(state), state)), h("li", { class: "gap" }, mark("gap"), "gap recorded"), h("li", { class: "restart" }, mark("restart"), "restart"));

const wake = poll(beat, failed);

setInterval(() => {
  if (document.hidden || login.hidden === false) return;
  for (const view of views.values()) view.tick(present());
  if (feeds || trouble) showVerdict();
}, 1000);
