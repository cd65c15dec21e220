// Package jetsim is a Jetstream look-alike with faults: the demo, the tests and the benchmarks run on it.
//
// # The model
//
// Three things that one server is usually taken for are kept apart here.
//
// The network produces contents, numbered 0, 1, 2 …. Content n is a pure function of the seed and n: account, rev, operation, collection, key,
// record and CID, with the shapes, sizes and entropy of the production network. No two contents have the same identity. A
// content knows nothing of the server: neither its time nor its seq.
//
// A server ingests contents. Each ingestion is a record of 24 bytes, {content number, seq, time}, at the end of a log that
// only grows. When the server crashes, what was not durable becomes invisible and is ingested again, in another order, with
// the seqs going on from the last durable one: the same contents, in new versions. The run of the log between two crashes
// is a generation. What retention drops stays in the log below the lowest rank that is served. The log is the ground truth; with a path it
// is also a file that outlives the process.
//
// Subscribers pull from the log, each at its own pace, and frames are rendered as they go out: a replay of a million events costs
// no memory. A live subscriber is one that has reached the end and waits to be woken. Both protocols read the same log, so they have the same seqs;
// sync events, which a network has when Options.Syncs asks for them, show in v2 alone.
//
// A Fleet is several servers of one network. They ingest the same contents, each in an order of its own, under its own seqs and its own
// idea of the time, some of them minutes later, and they fail by themselves.
//
// Verify compares a stream with the log, or with those of a fleet, by the exact bytes sent, in one pass: everything once, in an order that the servers sent it
// in, and a gap entry for whatever a server had dropped before it could be had. It shares no code with those who read the frames.
//
// # What is simulated
//
// What a real server does on the wire was observed and is done here to the byte; docs/upstream.md has what matters of it. These are the differences:
//
//   - The zstd dictionaries are the simulator's own, trained with its own frames. v2's has an id that no real server uses, and one id always
//     means the same bytes. v1's has the real id, which clients take for the dictionary they have embedded: give them V1Dictionary's, or give the
//     simulator the real one.
//   - A subscriber that falls 100 000 events behind is not thrown out by itself; the fault too-slow does it.
//   - Forget drops history at any event, not only at a segment's end, and a subscriber that is connected reads on.
//   - The fault rotate closes every connection: a server changes its dictionary by being deployed anew.
//   - A legacy server never agrees to permessage-deflate, which is its right.
//   - A client's message that says it is over 10 MB long is refused before it is read.
//
// There are two generations of servers. Options.Newer has a simulator do what newer ones do, each thing for itself. Where a newer server's behaviour is known from its
// documentation only, its words are ours: the message of an info frame, the answer of a reader that is behind.
//
// A blind server is one whose relay has lost the hosts of Bluesky's own accounts. It is alive, and what it sends is other applications'
// commits and the markers of accounts, which the relay makes by itself. Later, or once it has crashed and come back, it reads and sends what it has
// missed, with the time of then.
//
// # The files
//
//	ids.go         random bits; DIDs, CIDs and TIDs made of them
//	content.go     what content n is
//	render.go      its JSON, in v1 and v2
//	record.go      the JSON of records
//	text.go        the words of posts
//	log.go         the ingestion log: indexes, ranks, generations
//	file.go        its file
//	options.go     Options
//	newer.go       what newer servers do; several readers behind a name; a clock that steps
//	sim.go         Sim: begin and end
//	produce.go     production, ingestion, what a crash and retention do to the log
//	fleet.go       Fleet
//	request.go     what a subscriber asks for, and how it is packed
//	cursor.go      which rank a cursor means
//	serve.go       the HTTP side and what subscribers pull
//	control.go     the control endpoint
//	subscriber.go  one connection
//	wire.go        websocket frames, by hand
//	receive.go     a client's messages
//	codec.go       zstd and permessage-deflate
//	dictionary.go  zstd dictionaries and their endpoint
//	fault.go       the faults' names and grammar
//	inject.go      what each fault does
//	stats.go       Stats
//	report.go      VerifyOptions, Report
//	history.go     History: what Verify compares with
//	verify.go      Verify
//	match.go       which version an entry is
//	drops.go       gap entries and what they account for
package jetsim
