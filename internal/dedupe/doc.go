// Package dedupe marks the events that the stream holds already, so that each is stored once (I2).
//
// The model. An upstream that resumes from a cursor sends again what was stored: one event, or a million, with the same bytes or with new times
// and sequence numbers. The stream carries the fingerprint of every event's identity beside its entries, so nothing has to be remembered here: when an
// overlap begins, the newest fingerprints, as far as the horizon reaches, are loaded into one flat table. A miss is a new event. A hit is confirmed
// against the stored entry itself, so the answer is exact; one that is not confirmed is counted, and the event is kept. What is appended during the
// overlap goes into the table as well. Once nothing was hit for long enough, the table is dropped.
//
// A replay that has to prove itself says where in the stream it begins (Marked.Lead): with an event that the stream holds; with some from before the stream's first entry,
// which are left out until one comes that it holds, for appended they would stand behind what came after them; or too late. What is older than an index that does not
// cover the stream is known by the stored entry itself. No event is dropped because of its time.
//
// Outside of an overlap an upstream repeats itself after its own upstream reconnected. With Options.Always a set of recent fingerprints, a cache line an
// event, watches for that: it holds about a million, and a hit in it begins an overlap of its own. Without Always, an event costs nothing outside of an
// overlap, and such repeats are stored twice.
//
//	deduper.go  Deduper: Begin, Mark, Appended
//	overlap.go  what lasts from Begin until the replay is past, and when that is
//	lead.go     where in the stream a replay begins
//	table.go    the table of fingerprints and the places of their entries
//	recent.go   the set of recent fingerprints
package dedupe
