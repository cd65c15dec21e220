// Package jetsim simulates Jetstream servers and their faults. The demo, the tests and the
// benchmarks use it.
//
// # The model
//
// The model separates three parts: the network, a server and its subscribers.
//
// The network produces contents, numbered 0, 1, 2 …. Content n is a pure function of the seed, of n
// and of when the network made it: account, rev, operation, collection, key, record and CID, with the
// shapes, sizes and entropy of the production network. Revs, keys and the times in records are those
// at which the network made them; they are part of the history. No two contents have the same
// identity, and no two creations the same path. A content holds nothing that a server decides:
// neither a server's time nor its seq.
//
// A server ingests contents. Each ingestion is a record of 24 bytes, {content number, seq, time},
// at the end of a log that only grows. When the server crashes, the records that are not durable
// become invisible. The server then ingests their contents again, in another order, and the seqs
// continue after the last durable one: the same contents, in new versions. The run of the log
// between two crashes is a generation. Records that retention drops stay in the log, below the
// lowest rank that is served. The log is the ground truth. With a path it is also a file that
// outlives the process.
//
// Subscribers pull from the log, each at its own pace. The server renders each frame when it sends
// it, so a replay of a million events needs no memory. A live subscriber is one that has reached
// the end of the log and waits for a wake-up. Both protocols read the same log, so both show the
// same seqs. The network has sync events only with Options.Syncs, and only v2 sends them.
//
// A Fleet is several servers of one network. They ingest the same contents, but each has its own
// order, seqs and clock. Some of them ingest minutes later. Each server fails independently.
//
// An archive holds the events of full segments as files, in the form in which v2 servers archive
// them, and serves them over HTTP. Each segment is rendered from the log when it is first asked for,
// so five million events take little memory. The events of an archived network survive that form:
// what comes back from the archive has the bytes that the socket sent. Retention drops what the
// socket replays, and never what the archive has. Compact removes what is overtaken from the archive,
// and from nothing else. The answers of the archive can be wrong in every way that a client should
// survive; then the files stay whole, and only the answer is damaged.
//
// Verify compares a stream with the log of a server, or with the logs of a fleet, in one pass and
// by the exact bytes sent. It checks that every event is there once, in an order that the servers
// sent it in, and that a gap entry covers each event that a server had dropped before the consumer
// could get it. It shares no code with the consumers that read the frames.
//
// # What is simulated
//
// The simulator reproduces the observed wire behaviour of real servers, byte for byte.
// docs/upstream.md describes the parts that matter. These are the differences:
//
//   - The zstd dictionaries are the simulator's own, trained with its own frames. The ids of v2's
//     dictionaries belong to no real server, and one id always means the same bytes. v1's
//     dictionary has the real id, and clients take it for the dictionary that they embed: give them
//     the bytes from V1Dictionary, or give the simulator the real dictionary.
//   - A subscriber that is 100 000 events behind is not disconnected. The fault too-slow does that.
//   - Forget drops history at any event, not only at the end of a segment, and a connected
//     subscriber continues to read.
//   - The fault rotate closes every connection: a real server changes its dictionary when it is
//     deployed again.
//   - A legacy server never accepts permessage-deflate. The protocol permits that.
//   - The archive of a rebuilt server, the fault archive-replaced, has numbers and times of its own.
//     The socket of that server keeps the old ones.
//   - The blooms of a segment are a few bytes, and it has no index of collections. A reader that has
//     a plan needs neither.
//   - A client message that announces more than 10 MB is refused before it is read.
//
// There are two generations of servers. Options.Newer selects the newer behaviours, one by one.
// Some newer behaviour is known from documentation only; there the simulator uses its own texts:
// the message of an info frame, and the answer of a reader that lags behind.
//
// A blind server is a server whose relay has lost the hosts of Bluesky's own accounts. It is alive,
// and it sends commits of other applications and the account markers, which the relay produces
// itself. When the blindness ends, or when the server is back after a crash, it reads and sends
// what it missed, with the time of that moment.
//
// # The files
//
//	ids.go         random bits; DIDs, CIDs and TIDs made of them
//	content.go     content n: its shape, account and commit
//	made.go        when it was made
//	render.go      its JSON, in v1 and v2
//	record.go      the JSON of records
//	text.go        the words of posts
//	log.go         the ingestion log: indexes, ranks, generations
//	file.go        its file
//	options.go     Options
//	newer.go       behaviours of newer servers; several readers behind a name; a clock that steps
//	sim.go         Sim: its beginning and its end
//	produce.go     production, ingestion, the effect of a crash and of retention on the log
//	fleet.go       Fleet
//	request.go     a subscriber's request, and the encoding of its messages
//	cursor.go      from a cursor to a rank
//	serve.go       the HTTP side, and the log as subscribers pull it
//	control.go     the control endpoint
//	follow.go      what other parts of the network learn from the server
//	subscriber.go  one connection
//	wire.go        websocket frames, without a library
//	receive.go     a client's messages
//	codec.go       zstd and permessage-deflate
//	dictionary.go  zstd dictionaries and their endpoint
//	fault.go       the names and the syntax of faults
//	inject.go      the effects of faults
//	cbor.go        from the JSON of a record to the DAG-CBOR of the archive
//	archive_*.go   the archive: store (segments as files), compact, plan, serve, fault (names), spoil
//	               (damage to answers)
//	stats.go       Stats
//	report.go      VerifyOptions, Report
//	history.go     History: the ground truth of Verify
//	verify.go      Verify
//	match.go       from an entry to its version
//	repaired.go    entries that closed a gap
//	drops.go       gap entries and the dropped events that they cover
package jetsim
