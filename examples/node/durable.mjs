// Follows a stream with @durable-streams/client, at least once: the offset is saved after a batch was handled.
//
//   node durable.mjs [http://127.0.0.1:7077/streams/bluesky [offset]]
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { stream } from "@durable-streams/client";

const [url = "http://127.0.0.1:7077/streams/bluesky", file = "offset"] = process.argv.slice(2);
let offset = existsSync(file) ? readFileSync(file, "utf8") : "-1"; // from the beginning
let current, ended;

while (!ended) {
  current = undefined;
  try {
    const session = await stream({ url, offset, live: "sse", warnOnHttp: false });
    current = session;
    session.subscribeJson((batch) => {
      // The trap: a session that broke may still give a batch, which the one after it has asked for again.
      if (session !== current) return;
      for (const event of batch.items) console.log(JSON.stringify(event)); // your work
      offset = batch.offset;
      writeFileSync(`${file}.new`, offset);
      renameSync(`${file}.new`, file); // all of it or nothing, whenever we are killed
      ended = batch.streamClosed;
    });
    await session.closed;
  } catch (error) {
    if (error.status >= 400 && error.status < 500) { // 410: retention was faster than we were; the message has the offset to go on at
      console.error(error.message, error.json);
      process.exit(1);
    }
    console.error(`going on from ${offset}: ${error}`);
  }
  if (!ended) await sleep(1000);
}
