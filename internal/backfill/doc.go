// Package backfill fetches the events of gaps from where they still exist.
//
// The model: a gap is a row of the ledger (messages.GapRow). A Source has the events of some gaps:
// the replay of a websocket, a server's archive, the accounts' own servers, an account's timeline.
// A fetch hands over batches in the source's order, each with the place that the source has
// reached. The writer appends what the stream lacks and stores that place in the same step, so a
// fetch that is cut short goes on there.
//
// A source reads no stream and writes none. It knows what it cannot give and says so.
package backfill
