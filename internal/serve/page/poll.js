// Asking again and again: at a steady pace while it works, ever slower while it does not, and hardly while nobody looks.

const slowest = 30_000;
const hiddenPace = 60_000; // enough for the title of a tab in the background

/**
 * poll calls work, which gives the milliseconds until the next time. When it throws, failed is told of the error and of when the next time will be, and gives
 * false where asking again is of no use before something has changed. The function that poll gives asks at once.
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
