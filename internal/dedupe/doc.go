// Package dedupe marks the events that the stream holds already, so that each is stored once (I2).
//
// The model. An upstream that resumes from a cursor sends again what was stored: one event, or a million, with the same bytes or with new times
// and sequence numbers. The stream carries the fingerprint of every event's identity beside its entries, so nothing has to be remembered here: when an
// overlap begins, the newest fingerprints, as far as the horizon reaches, are loaded into one flat table. A miss is a new event. A hit is confirmed
// against the stored entry itself, so the answer is exact; one that is not confirmed is counted, and the event is kept. What is appended during the
// overlap goes into the table as well; what a replay brings from before the oldest loaded entry is skipped, by its time. Once the replay is past
// what was stored, and nothing was hit for long enough, the table is dropped.
//
// Outside of an overlap an upstream repeats itself only after its own upstream reconnected. With Options.Always a small set of
// recent fingerprints, a cache line an event, watches for that: a hit in it begins a short overlap of its own over the newest entries. Without Always, an
// event costs nothing outside of an overlap.
//
//	deduper.go  Deduper: Begin, Mark, Appended, and when an overlap is over
//	table.go    the table of fingerprints and the places of their entries
//	recent.go   the set of recent fingerprints
package dedupe
