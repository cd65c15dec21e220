// Follows a stream page by page, at least once: the position is saved after a page was handled.
//
//   node tail.mjs [http://127.0.0.1:7077/v1/streams/bluesky [position]]
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

const [url = "http://127.0.0.1:7077/v1/streams/bluesky", file = "position"] = process.argv.slice(2);
let after = existsSync(file) ? readFileSync(file, "utf8") : "0-0"; // from the beginning

function save(position) { // all of it or nothing, whenever we are killed
  writeFileSync(`${file}.new`, position);
  renameSync(`${file}.new`, file);
}

for (;;) {
  try {
    const response = await fetch(`${url}/tail?after=${after}&block_ms=30000&limit=1000`, { signal: AbortSignal.timeout(60_000) });
    const page = await response.json();
    if (!response.ok) {
      if (response.status < 500 && response.status !== 429) { // 410: retention was faster than we were
        console.error(page.message);
        process.exit(1);
      }
      throw new Error(page.message);
    }
    for (const { event } of page.frames) console.log(JSON.stringify(event)); // your work
    if (page.cursor !== after) save((after = page.cursor)); // it moves past what a filter leaves out, too
    if (page.closed_at && page.up_to_date) break;
  } catch (error) { // the daemon is away, or went in the middle
    console.error(`going on after ${after}: ${error}`);
    await sleep(1000);
  }
}
