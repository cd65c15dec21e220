// Package durable serves the read side of the Durable Streams protocol, version 1.0
// (github.com/durable-streams/durable-streams). The sections that its comments cite are those of
// the protocol's document.
//
// The model: a stream has the content type application/json. Its messages are the events of the
// entries, gap entries included, byte for byte. A reader remembers one offset and asks for the
// messages after it: page by page, with a wait for more (live=long-poll), or as one response that
// goes on (live=sse). The write side is not served (section 3 lets a server implement one side):
// the only writer of a stream is its feed, and PUT, POST and DELETE are answered 405.
//
//	durable.go  Handler, a request, and where it begins
//	page.go     a page: catch-up and long-poll, their headers and caching
//	sse.go      an event stream
//	offset.go   offsets
//	cursor.go   cursors, which are no positions in the stream
package durable
