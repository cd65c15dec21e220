// Subscribes with one of the Jetstream clients and prints every commit it is given, until it is killed:
//   node jetstream.mjs skyware|atcute ws://host:port cursor [collection…]
import WebSocket from "ws";

const [client, server, cursor, ...wantedCollections] = process.argv.slice(2);
const print = ({ did, commit: c }) => console.log(did, c.rev, c.operation, c.collection, c.rkey);

if (client === "skyware") {
  const { Jetstream } = await import("@skyware/jetstream");
  const jetstream = new Jetstream({ ws: WebSocket, endpoint: `${server}/subscribe`, cursor: Number(cursor), wantedCollections });
  jetstream.on("commit", print);
  jetstream.on("error", (error) => console.error("error:", error?.message));
  jetstream.on("open", () => console.error("open"));
  jetstream.start();
} else {
  const { JetstreamSubscription } = await import("@atcute/jetstream");
  const subscription = new JetstreamSubscription({
    url: server,
    ws: { WebSocket },
    cursor: Number(cursor),
    wantedCollections: wantedCollections.length > 0 ? wantedCollections : undefined,
    onConnectionOpen: () => console.error("open"),
    onConnectionError: (event) => console.error("error:", event.message),
    // Its schema wants a handle of every identity event, which servers leave out: those are no commits, and not printed either way.
    onError: (error) => console.error("rejected:", error.message),
  });
  for await (const event of subscription) {
    if (event.kind === "commit") print(event);
  }
}
