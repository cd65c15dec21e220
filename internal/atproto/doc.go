// Package atproto has the syntax and the constants of the protocols that tempestd speaks: the
// identifiers of the AT Protocol, and the wire of Jetstream servers as far as both sides of it
// need the same value.
//
// The model: the daemon is a client of Jetstream servers (internal/jetstream) and a Jetstream
// server itself (internal/serve/mirror), the tests have a third one (internal/jetsim), and the
// configuration names what is asked for. All four must agree to the byte on what an identifier is,
// where a server listens, where numbers end and times begin in a cursor, and how much one may ask
// for. They take these values from here. The values are those that real servers were observed to
// use (docs/protocol.md).
//
// The syntax functions report whether a string is an identifier. They are pure, allocate nothing
// and read their argument once. This package imports the standard library alone.
//
//	nsid.go      NSIDs, and the prefixes of NSIDs that filters may name
//	tid.go       times in TIDs: keys and revs
//	did.go       DIDs, in general and of the methods that the network has
//	didset.go    sets of DIDs that take little memory
//	jetstream.go paths, subprotocol, header and type names, names of errors and info frames
//	cursor.go    the divide between sequence numbers and times
//	limits.go    how much a subscriber may ask for
package atproto
