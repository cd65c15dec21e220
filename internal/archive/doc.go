// Package archive reads history that a feed's socket no longer has: the archive of a Jetstream v2
// server.
//
// # The model
//
// A server archives every event, under its sequence number, in numbered segments (package jss), with
// records and messages as DAG-CBOR (package dagcbor). A Client makes the calls of one server's
// archive. A Sweep brings what the server archived between two numbers:
//
//	plan ──▶ fetch ──▶ verify, decode ──▶ filter, render ──▶ Deliver
//	page     parallel  parallel           in order           a batch at a time; the sweep waits for it
//
// The plan names segments, whole or by blocks. It may name too much, and never too little, so each
// row is filtered here. Renderer makes of a row the frame that the same server's socket sends for
// it, byte for byte, and the frame passes through the code that reads a socket. So a batch is like
// one of a socket, and its events have the same identity.
//
// A whole segment is not fetched as a whole. Its header and its footer come first, 256 bytes and some
// 100 KB. They have a checksum, and tell where each block lies, how many events it has and in which
// range. Then adjacent blocks are asked for by ranges of up to 1 MiB. So a segment of 280 MB takes
// 300 requests instead of 850 for single blocks, and the memory of a few blocks instead of 280 MB.
// The budget knows each size before. Where the plan names blocks, each is a request of its own,
// because the footers would cost more than the blocks.
//
// # What is verified
//
// The ETag of each answer is that of the plan. Each frame has a checksum of its content. Header and
// footer of a whole segment have one together. Blocks agree with their index, rows with the range of
// their segment, and numbers rise. What contradicts itself is fetched once more, because something
// on the way may have damaged it. A segment whose footer stays damaged is read in single blocks. Other
// damage ends the sweep: a *SegmentError says where. With Sweep.Leave the sweep tells of it and goes on
// behind the damaged block. A block without rows is legal, because a compaction may have removed them
// all.
//
// Some archived events cannot be delivered: records with floats, records that are no maps, foreign
// links. The Watcher is told each of them by its number. A hole in the numbers is no loss.
//
// # What is bounded
//
// Downloads in parallel, the bytes that wait for the consumer (and one job more, so that the next in
// order always gets through), a decompressed block, a page, a footer, the bytes that are downloaded
// in all. The Budget ends a sweep before it is exceeded.
//
// # Points
//
// With each batch comes a Point: everything wanted up to its number was handed over. The consumer
// stores both together. A sweep from that point neither doubles nor leaves out anything, and does not
// download blocks again that are done. It plans anew, so a compaction in between does no harm; one
// during the sweep is met by a plan from the point. A rebuilt server, whose numbers mean something
// else, is recognised by its first segment: ErrReplaced.
//
// A sweep ends where the sealed segments end. What follows is in the server's socket.
//
// # Refusals
//
// What a refusal means is decided by its status. Temporary ones are retried, six times without
// progress. A quota is waited for, however long, by all requests together, and Options.Waiting is
// told until when. An answer that is cut is continued where it was cut. The key goes to the
// archive's calls at its host alone. A redirect to another place is an error, and no error or log
// has the key.
//
// # Files
//
//	client.go    Client: one request, its key and its redirects
//	refusal.go   what a refusal means, and when to ask again
//	retry.go     what is tried again, and what all requests wait for
//	download.go  answers and their bytes, continued after a cut
//	plan.go      pages of a plan
//	json.go      lists that are bounded before they are held
//	list.go      the list of segments; from a time to a number
//	price.go     Sweep.Price: what a sweep would download
//	sweep.go     Sweep, and its passes
//	pass.go      one pass: from the plan to jobs, and their order
//	fetch.go     one job: download, unpack, verify
//	window.go    the bytes on their way
//	deliver.go   from blocks to batches
//	frame.go     Renderer
//	point.go     Point, Instance
//	conn.go      Conn: an archive as a feed reads it that begins with history
//	watcher.go   Watcher, and why an event cannot be delivered
//	errors.go    all errors
package archive
