// Package subscribe has the rules by which a Jetstream server answers a subscriber: what a
// subscriber may ask for, which events it then gets, and the text of every refusal. The rules are
// pure functions of a request or a message. Both servers of this project use them: the daemon
// (internal/serve/mirror), whose streams are read by clients made for the real server, and the
// simulator (internal/jetsim). They were observed on real servers, to the byte.
//
// There are two protocols. v1 answers with a line of text, treats any value that is no number as
// missing, and lets a subscriber change its filter. v2 answers with JSON and refuses a value that
// can only be a mistake. Both ignore unknown parameters, and both use the first value of a
// parameter that is given twice.
//
// The syntax of identifiers, the paths and the limits are those of package atproto. The package
// does not decide where a cursor points to: only the server knows what it holds.
//
//	request.go  Parse: a request, in the order in which a server checks it
//	filter.go   Filter: which events are wanted
//	cursor.go   Cursor
//	update.go   ParseUpdate: a v1 subscriber's message
//	refusal.go  Refusal: the answers before the upgrade
//	wire.go     the versions, close reasons, and v2's messages beside its events
package subscribe
