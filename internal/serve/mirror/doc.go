// Package mirror is a Jetstream server in front of the daemon's streams: clients that were made for
// the real one read them without a change.
//
// The model: a subscriber's request, its filter and every refusal follow the rules of package
// subscribe, and the guard decides whether a web page may connect. The subscription begins where
// its cursor is found in the stream. It gets each entry that passes its filter as the stored bytes,
// in v2 inside a v2 envelope (jetstream.Entry), with the entry's number in the stream as sequence
// number: the upstream's numbers fall when the feed changes its host.
//
// Three goroutines serve a connection: one sends, one reads, one pings. One write carries many
// frames. A subscriber that does not take a write in time is disconnected and delays no other
// reader: the entries that it has not read are in the store. The HTTP server no longer owns these
// connections, so each joins the tails, which wait for it when the server stops.
//
//	mirror.go       Mirror: the request and its refusals
//	dictionary.go   the route of v2's zstd dictionary
//	seek.go         where a cursor points to
//	seekers.go      whose turn it is to search
//	subscription.go the life of one connection
//	send.go         what it sends: pages, entries, gaps
//	gatherer.go     its writes
//	compress.go     its compression
//	slow.go         when it is too slow
package mirror
