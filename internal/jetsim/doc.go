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
// The server ingests contents. Each ingestion is a record of 24 bytes, {content number, seq, time}, at the end of a log that
// only grows. When the server crashes, what was not durable becomes invisible and is ingested again, in another order, with
// the seqs going on from the last durable one: the same contents, in new versions (PROTOCOL.md, 2.2). The run of the log between two crashes
// is a generation. The log is the ground truth; with a path it is also a file that outlives the process.
//
// Subscribers pull from the log, each at its own pace, and frames are rendered as they go out: a replay of a million events costs
// no memory. A live subscriber is one that has reached the end and waits to be woken.
//
// Verify compares a stream with the log by the exact bytes sent, in one pass. It shares no code with those who read the frames.
//
// What a real v1 server does on the wire is in PROTOCOL.md and is done here to the byte, with three exceptions: permessage-deflate is
// never negotiated, which is the server's right; a subscriber that falls 100 000 events behind is not thrown out; and compression and
// requireHello are refused with 501, so that no test believes it has seen them.
//
// # The files
//
//	ids.go         random bits; DIDs, CIDs and TIDs made of them
//	content.go     what content n is
//	render.go      its JSON
//	text.go        the words of posts
//	log.go         the ingestion log: indexes, ranks, generations
//	file.go        its file
//	cursor.go      which rank a cursor means
//	filter.go      which events a subscriber wants
//	options.go     Options
//	sim.go         Sim: begin and end
//	produce.go     production, ingestion, what a crash does to the log
//	serve.go       the HTTP side and what subscribers pull
//	control.go     the control endpoint
//	subscriber.go  one connection
//	wire.go        websocket frames, by hand
//	fault.go       the faults' names and grammar
//	inject.go      what each fault does
//	stats.go       Stats
//	report.go      VerifyOptions, Report
//	verify.go      History, Verify
package jetsim
