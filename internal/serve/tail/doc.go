// Package tail is what all requests that follow a stream have in common: tails, event streams,
// Durable Streams, consumers and websockets.
//
// The model: [Tails.Admit] takes a slot for the request or refuses it; slots are bounded per stream
// and per client. [Tails.Follow] returns a [Follower]: it reads the stream after a cursor, through
// a filter, and its Next method waits for the next page. A [Page] says where to continue, how far
// that is behind the tip, whether the stream has ended and whether the server is stopping. When
// retention has overtaken a cursor, the follower returns an error.
//
// No tail holds anything of a stream: it waits in the store, and reads never delay an append (I8).
// Events are copied byte for byte from the store's block to the socket, through a buffer of fixed
// size that is held only while there is something to write. A client that does not take a write in
// time is disconnected. Other clients are not affected.
//
// When the server stops ([Tails.Drain]), every waiting tail answers at once with the entries that
// it has. The answer does not say that the stream has ended, so the client asks again, at this
// daemon or another. A websocket is no longer the HTTP server's: it joins the tails, and the server
// waits for it or cuts it.
//
//	tails.go     Tails: the life that the tails share, and the time that a client has
//	admission.go how many requests may wait at one time
//	follower.go  Follower: a stream page after page, filtered
//	page.go      a page as JSON
//	chunks.go    writing through reused buffers
//	events.go    server-sent events
package tail
