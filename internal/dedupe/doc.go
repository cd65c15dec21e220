// Package dedupe marks the events that the stream already holds, so that each is stored once (I2).
//
// The model. An upstream that resumes from a cursor sends stored events again: one or a million,
// with the same bytes or with new times and sequence numbers. The stream stores the fingerprint of
// every event's identity beside its entries, so this package keeps no fingerprints between
// overlaps. When an overlap begins, it loads the newest fingerprints, as far as the horizon
// reaches, into a flat table. A miss is a new event. A hit is confirmed by a comparison with the
// stored entry itself, so the answer is exact; if the entry is another event, the hit is counted as
// false and the event is kept. Entries that are appended during the overlap are added to the table.
// When there was no hit for long enough, the table is dropped.
//
// If a replay must prove that it begins early enough, Marked.Start says where in the stream it
// begins: with an event that the stream holds; with events from before the stream's first entry; or
// too late. Events from before the first entry are left out until an event comes that the stream
// holds, because appended they would follow events that came after them. If the index does not
// cover the whole stream, the stored entry itself shows whether an event is older than the index.
// Behind the stream's first entries such events come as well, from an upstream that repeats itself in
// another order: the batches that follow tell them from new ones.
// No event is dropped because of its time.
//
// Outside of an overlap, an upstream repeats events after its own upstream reconnected. With
// Options.Always a set of recent fingerprints detects this. An event costs one cache line in it.
// The set holds about a million fingerprints, and a hit in it begins an overlap of its own. Without
// Always an event costs nothing outside of an overlap, and such repeats are stored twice.
//
// A repair fetches events whose place in the stream may lie far before the horizon. A Fetch compares
// them with the entries around that place, with what was recovered before, and with the newest
// entries. It runs beside the Deduper: each is told what the other one stores.
//
// A repair may store records without the rev of their commit, which have no identity in common with
// the commit itself. While such bare entries are within reach, a Bare compares what comes live with
// them.
//
//	deduper.go  Deduper: Begin, Mark, Appended
//	overlap.go  the state from Begin until the replay has passed, and when that is
//	start.go    where in the stream a replay begins
//	fetch.go    Fetch: what a repair brings, compared with the stream
//	table.go    the table of fingerprints and which entries have them
//	recent.go   the set of recent fingerprints
//	bare.go     Bare: records without a rev
package dedupe
