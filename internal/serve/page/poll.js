// Polling: at a steady pace while it works, ever slower while it fails, and rarely while the page
// is hidden.

const slowest = 30_000;
const hiddenPace = 60_000; // enough for the title of a tab in the background

/**
 * poll calls work again and again. work returns the milliseconds until its next call. When it
 * throws, poll calls failed with the error and the time of the next call; if failed returns false,
 * poll stops, because a new try is useless until something changes. poll returns a function that
 * calls work at once.
 */
export function poll(work, failed) {
  let timer = 0;
  let failures = 0;
  let running = false;
  let again = false;
  let resting = false;

  const schedule = (delay) => {
    clearTimeout(timer);
    timer = setTimeout(run, delay);
  };

  async function run() {
    clearTimeout(timer);
    if (running) {
      again = true;
      return;
    }
    running = true;
    let delay;
    try {
      delay = await work();
      failures = 0;
    } catch (error) {
      failures++;
      delay = Math.min(1000 * 2 ** (failures - 1), slowest) * (0.8 + 0.4 * Math.random());
      if (!failed(error, Date.now() + delay)) resting = true;
    } finally {
      running = false;
    }
    if (again && !resting) delay = 0;
    again = false;
    if (!resting) schedule(document.hidden ? Math.max(delay, hiddenPace) : delay);
  }

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && !resting) run();
  });
  addEventListener("online", () => { if (!resting) run(); });
  run();
  return () => {
    resting = false;
    return run();
  };
}
