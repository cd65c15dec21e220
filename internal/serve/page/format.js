// Formats of numbers and times.

const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat(undefined, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const clockOf = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const minuteOf = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const dayOf = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });

export const none = "–";

export const count = (n) => whole.format(n ?? 0);

export const rate = (n) => (n < 10 && n % 1 ? tenths.format(n) : whole.format(n));

export const phi = (n) => tenths.format(n ?? 0);

export function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  for (; n >= 1024 && i < units.length - 1; i++) n /= 1024;
  return `${i > 0 && n < 100 ? tenths.format(n) : whole.format(n)} ${units[i]}`;
}

/** duration formats milliseconds with two units at most. */
export function duration(ms) {
  if (ms < 1000) return `${whole.format(Math.max(ms, 0))} ms`;
  const seconds = ms / 1000;
  if (seconds < 10) return `${tenths.format(seconds)} s`;
  if (seconds < 60) return `${whole.format(Math.floor(seconds))} s`;
  return age(ms);
}

/** round formats a round duration in its greatest unit. */
export const round = (ms) => (ms < 1000 ? `${ms} ms` : age(ms));

/** age formats a duration in whole seconds. */
export function age(ms) {
  const seconds = Math.max(Math.floor(ms / 1000), 0);
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const first = parts.findIndex(([size]) => seconds >= size);
  if (first < 0) return "0 s";
  const [size, unit] = parts[first];
  const text = `${Math.floor(seconds / size)} ${unit}`;
  const [nextSize, nextUnit] = parts[first + 1] ?? [0, ""];
  const rest = nextSize ? Math.floor((seconds % size) / nextSize) : 0;
  return rest ? `${text} ${rest} ${nextUnit}` : text;
}

const sameDay = (a, b) => a.toDateString() === b.toDateString();

/** clock formats a time of day, with the date if it is not today. */
export function clock(instant) {
  const date = new Date(instant);
  const text = clockOf.format(date);
  return sameDay(date, new Date()) ? text : `${dayOf.format(date)}, ${text}`;
}

/** minute formats a time of day to the minute; midnight is the date that begins. */
export function minute(instant) {
  const date = new Date(instant);
  return date.getHours() === 0 && date.getMinutes() === 0 ? dayOf.format(date) : minuteOf.format(date);
}

/** exactClock formats a time of day to the millisecond, or with the date if it is not today. */
export function exactClock(instant) {
  if (!sameDay(new Date(instant), new Date())) return clock(instant);
  return `${clockOf.format(new Date(instant))}.${String(Math.floor(instant % 1000)).padStart(3, "0")}`;
}

export const zone = () => Intl.DateTimeFormat().resolvedOptions().timeZone;

export const plural = (n, one, many) => `${count(n)} ${n === 1 ? one : many}`;
