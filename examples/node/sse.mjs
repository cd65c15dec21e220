// Follows a stream as server-sent events, at least once: the position is saved after an event was handled. (In a browser an EventSource does all of this.)
//
//   node sse.mjs [http://127.0.0.1:7077/v1/streams/bluesky [position]]
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
const [url = "http://127.0.0.1:7077/v1/streams/bluesky", file = "position"] = process.argv.slice(2);
let after = existsSync(file) ? readFileSync(file, "utf8") : "0-0"; // from the beginning

function take(block) { // one event, without the empty line that ends it
  const of = (name) => block.split("\n").filter((line) => line.startsWith(`${name}: `)).map((line) => line.slice(name.length + 2));
  const [data, [kind], [id]] = [of("data"), of("event"), of("id")];
  if (kind) { // closed, or expired: retention was faster than we were
    console.error(kind, data.join(""));
    process.exit(1);
  }
  if (data.length > 0) console.log(data.join("\n")); // your work
  if (!id) return;
  writeFileSync(`${file}.new`, (after = id)); // without data too: past what a filter left out
  renameSync(`${file}.new`, file); // all of it or nothing, whenever we are killed
}

for (;;) {
  const silence = new AbortController(), alarm = setTimeout(() => silence.abort(), 30_000); // something comes every 10 s
  try {
    const response = await fetch(`${url}/tail?live=sse&after=${after}`, { signal: silence.signal });
    if (!response.ok) throw new Error(await response.text());
    let rest = ""; // an event that the connection cuts in two comes again
    for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
      alarm.refresh();
      const blocks = (rest + text).split("\n\n");
      rest = blocks.pop();
      blocks.forEach(take);
    }
  } catch (error) {
    console.error(`going on after ${after}: ${error}`);
  }
  clearTimeout(alarm);
  await sleep(1000);
}
