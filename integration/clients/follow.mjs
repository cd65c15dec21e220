// Follows a Durable Stream with @durable-streams/client: follow.mjs URL OFFSET false|long-poll|sse
//
// A line of JSON for every batch: where it ends and what is in it. A session that breaks is taken up again from the last batch, as applications do. The process
// ends when the stream does, or without live mode when it is up to date.
import { setTimeout as sleep } from "node:timers/promises";
import { stream } from "@durable-streams/client";

const [url, from, mode] = process.argv.slice(2);
const live = mode === "false" ? false : mode;

let offset = from;
let ended = false;
let current;
while (!ended) {
  current = undefined;
  try {
    const session = await stream({ url, offset, live, warnOnHttp: false });
    current = session;
    const last = new Promise((resolve) => {
      session.subscribeJson((batch) => {
        if (session !== current) return; // it is read again by the session that came after
        console.log(JSON.stringify({ offset: batch.offset, upToDate: batch.upToDate, closed: batch.streamClosed, items: batch.items }));
        offset = batch.offset;
        ended = batch.streamClosed || (live === false && batch.upToDate);
        if (batch.streamClosed || live === false) resolve();
      });
    });
    await session.closed;
    // A session says so when it has asked for everything, which is before it has given everything.
    const late = new AbortController();
    await Promise.race([last, sleep(5000, null, late)]);
    late.abort();
  } catch (err) {
    if (err.status >= 400 && err.status < 500) {
      console.error(`refused with ${err.status}: ${JSON.stringify(err.json ?? err.message)}`);
      process.exit(1);
    }
    console.error(`going on from ${offset} after: ${err}`);
  }
}
