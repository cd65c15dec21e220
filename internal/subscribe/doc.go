// Package subscribe holds the rules by which a Jetstream server answers a subscriber: what it may ask for, which events it then gets, and the words of
// every refusal. They are pure functions of a request or a message, and the same for whoever plays the server: the daemon (internal/serve), whose
// streams are read by clients made for the real one, and the simulator (internal/jetsim). They were observed of real servers, to the byte.
//
// There are two protocols. v1 answers with a line of text, takes whatever is no number for none, and lets a subscriber change its filter; v2 answers with JSON
// and refuses what can be no more than a mistake. Both ignore parameters that they do not know, and of one that is given twice the first counts.
//
// Where a cursor points to is the server's own business: it alone knows what it holds.
//
//	request.go  Parse: a request, in the order a server looks at it
//	filter.go   Filter: which events are wanted
//	cursor.go   Cursor
//	update.go   ParseUpdate: a v1 subscriber's message
//	refusal.go  Refusal: the answers before the upgrade
//	wire.go     paths, close reasons, and what a v2 server says beside its events
package subscribe
