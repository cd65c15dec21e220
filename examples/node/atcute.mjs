// Subscribes with @atcute/jetstream, every event once while we run: the number of the last event is saved after it was handled.
//
//   node atcute.mjs [ws://127.0.0.1:7077 [number]]
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { JetstreamSubscription } from "@atcute/jetstream";
import WebSocket from "ws";

const [url = "ws://127.0.0.1:7077", file = "number"] = process.argv.slice(2);
let last = existsSync(file) ? Number(readFileSync(file, "utf8")) : 0; // 0 is the oldest event; without a cursor this client begins now
const subscription = new JetstreamSubscription({
  url,
  ws: { WebSocket },
  cursor: last,
  validateEvents: false, // the trap: its schema wants a handle of identity events, which servers leave out, and drops them
  onConnectionError: (event) => console.error("again:", event.message),
});

for await (const event of subscription) { // it reconnects by itself
  // Cursors are inclusive, and the client reconnects by time, which a whole commit shares: some events come again. A mirror's numbers
  // only rise, so that they tell which ones; those of a real server may be given anew after a crash.
  if (event.cursor <= last) continue;
  console.log(JSON.stringify(event)); // your work
  last = event.cursor;
  writeFileSync(`${file}.new`, String(last));
  renameSync(`${file}.new`, file); // all of it or nothing, whenever we are killed
}
