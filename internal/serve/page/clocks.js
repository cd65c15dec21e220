// The difference between the daemon's clock and this one.

const tolerated = 2000; // ms

/**
 * difference returns how far the daemon's clock is ahead, in milliseconds, from the Date of an
 * answer, which is cut to the second. The daemon wrote it between asked and answered, so that the
 * round trip cannot look like a clock that is wrong. before is the difference that was known; it
 * stays while an answer agrees with it.
 */
export function difference(before, date, asked, answered) {
  const least = date - answered;
  const most = date + 1000 - asked;
  if (Number.isNaN(date) || (least <= before && before <= most)) return before;
  const middle = (least + most) / 2;
  return Math.abs(middle) < tolerated || (least <= 0 && most >= 0) ? 0 : Math.round(middle / 1000) * 1000;
}
