// Package valkey is the [persistence.Store] in a Valkey or Redis server or cluster, which many
// daemons can share.
//
// # Model
//
// A stream is a native stream of the server: each event is one entry under its own ID, and any
// client can read it. The other keys of a stream have the same hash tag, so one script can use them
// together. They are: the meta hash with the newest ID, the checkpoint and the fencing epoch; the
// blocks, which record the entries that were appended together and their fingerprints; the closed
// marker; the lease; the consumers; the gaps (keys.go, scripts.go). docs/valkey.md says what other
// clients may rely on.
//
// An append is sent in chunks of up to 256 entries. Each chunk is one run of one script:
// compare-and-append. The script checks the writer's epoch. It checks that the stream ends where
// the writer left it. Then it adds the entries, the block and, with the last chunk, the checkpoint,
// and trims. The chunks are sent on one connection, one after the other, without waiting for
// answers. A chunk that is lost, late, sent twice or out of order finds a different end of the
// stream and changes nothing.
//
// The end of a stream is its newest ID and a token. The token is a hash of the last appended
// content and of the token before it. When an answer does not arrive, the next append first asks
// for the token, whatever that append contains and wherever it comes from. If the token belongs to
// the content of this append, only the missing chunks are sent. If the writer does not know the
// token, the append returns a [persistence.ConflictError], and the writer resumes from the
// checkpoint. The entries of an append that was interrupted are stored after the checkpoint. A
// resume recognises them by their fingerprints.
//
// An answer that this version does not know never stops the daemon: the store returns an error with
// the server's words, and the call can be repeated. Every reply is decoded into a struct, value by
// value (decode.go). A reply that cannot be decoded is an error. It is never taken as empty.
//
// Appends, pages, short commands and blocking reads use separate connections ([Store.TailStream]).
// Tails at the tip wait in memory for the stream's hub (hub.go). The hub sends one blocking read,
// however many tails wait. It stops when no tail has asked for a while.
//
// # Promises
//
//   - A writer whose lease was taken over cannot append, however late it continues
//     ([persistence.FencedError]; I6).
//   - A [persistence.UnavailableError] is returned when the server does not answer, or answers that
//     it is loading, full, a replica, busy, down or the wrong node, or anything else that was not
//     asked for. The next append finds out which entries were stored, and stores nothing twice (I2).
//     When the server comes back with older data, the append returns a
//     [persistence.ConflictError].
//   - A call to a server ends with its context. The work that it leaves behind ends within the
//     time-outs, and there is a bounded number of such calls.
//
// # Assumptions and limits
//
// The store is as durable as its server. An AOF that is not synced, or a replica that was promoted
// too early, can lose entries. Their checkpoint is lost with them, and the entries are fetched
// again. With [Options.Durability] an append waits until the server's file is synced, or replicas
// have the append as well. Until then it is in doubt, and readers do not get its entries
// (durability.go). The server must not evict keys ([Store.Health]), and no other client may write to them. An
// entry that another client adds to a stream is shown as a foreign entry, and new entries get IDs
// after it. A script occupies the server for about a millisecond. Leases use the server's clock. A
// feed lies completely in one node of a cluster, and its entries are kept in that node's memory.
//
// # Files
//
//	store.go, keys.go         opening the store; its keys
//	link.go, dial.go          connections, also refused; calls that end in time
//	scripts.go                the scripts in the server
//	decode.go, entries.go     decoding its replies, a decoder for each shape
//	reply.go                  the values of a reply
//	stream.go                 the state of a stream
//	delete.go                 removing a stream
//	append.go, chunk.go       writing a stream
//	durability.go             what an append waits for, and readers with it
//	read.go, hub.go           reading a stream; tails
//	foreign.go                entries of other clients
//	fingerprints.go           the identity index
//	lease.go, consumer.go     owners of streams, their nodes; named consumers
//	gaps.go                   the ledger of a stream's gaps
//	failure.go, health.go     meaning of the server's errors; health
package valkey
