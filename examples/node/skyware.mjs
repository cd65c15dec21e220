// Subscribes with @skyware/jetstream, every event once while we run: the number of the last event is saved after it was handled.
//
//   node skyware.mjs [ws://127.0.0.1:7077/subscribe [number]]
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { Jetstream } from "@skyware/jetstream";
import WebSocket from "ws";

const [endpoint = "ws://127.0.0.1:7077/subscribe", file = "number"] = process.argv.slice(2);
// Begin with 1, the oldest event there is: without a cursor, or with 0, this client begins at the live tip.
let last = existsSync(file) ? Number(readFileSync(file, "utf8")) : 0;
const jetstream = new Jetstream({ ws: WebSocket, endpoint, cursor: last || 1 });

// Two traps. The client's own cursor moves when an event comes, before you have handled it: keep your own. And cursors are inclusive, and
// the client reconnects by time, which a whole commit shares: some events come again. A mirror's numbers only rise, so that
// they tell which ones; those of a real server may be given anew after a crash.
function handle(event) {
  if (event.cursor <= last) return;
  console.log(JSON.stringify(event)); // your work
  last = event.cursor;
  writeFileSync(`${file}.new`, String(last));
  renameSync(`${file}.new`, file); // all of it or nothing, whenever we are killed
}

for (const kind of ["commit", "identity", "account"]) jetstream.on(kind, handle);
jetstream.on("error", (error) => console.error("again:", error?.message));
jetstream.start(); // it reconnects by itself
