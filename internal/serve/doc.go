// Package serve is the HTTP side of the daemon: it reads and tails streams, shows and controls
// feeds, and reports health and metrics.
//
// The model: a request touches two things only. It reads streams from the [persistence.Store]
// directly; reads and tails never delay an append (I8). It asks about feeds through [Control], and
// the actors answer with messages. This package holds no state of a stream: a tail waits in the
// store for as long as its block budget, and this package owns only the bounds around it.
//
// Every request that follows a stream (a tail, an event stream, a websocket) does it in the same
// two steps. [Server.admit] takes a slot for the request or refuses it. [Server.follow] returns a
// follower: it reads the stream after a cursor, through a filter (params.filter,
// [jetstream.NewMatcher]), and its next method waits for the next page. A page says where to
// continue, how far that is behind the tip, whether the stream has ended and whether the server is
// stopping. When retention has overtaken a cursor, the follower returns an error, and [Server.fail]
// answers 410 with the oldest cursor.
//
// Named consumers are positions that the store keeps (persistence.ConsumerStore). consumer_state.go
// makes all decisions about a consumer, without I/O. A request looks at the state, reads the
// entries that it needs, and then changes the state in one atomic step, provided that the state has
// not changed since the look. This makes any number of workers safe, at any number of daemons.
// Memory holds only the requests that wait for their turn, so that an ack can wake them.
//
// Every request passes these layers, in this order (server.go): a panic barrier with the access
// metrics; a refusal while the server shuts down; the guard against web pages that reach a loopback
// daemon through the browser of its user (guard.go), with the CORS answers for pages that may use
// the daemon (origins.go); the bearer token; the route, by path and then by method. Handlers return
// an error, and one place turns errors into HTTP (errors.go).
//
// Everything is bounded (I5): request headers and bodies, the time that a client may take to send
// and to read, the number of tails at one time, the entries and bytes of one response. Events are
// copied byte for byte from the store's block to the socket: they are never decoded and encoded
// again (frames.go).
//
// When the server stops, it answers every waiting tail at once with the entries that it has. The
// answer does not say that the stream has ended, so the client asks again, at this daemon or
// another.
//
// The websocket of a Jetstream client ([Server.subscribe]) follows the rules of package subscribe.
// It begins where its cursor is found in the stream (seek.go). A subscriber gets each entry that
// passes its filter as the stored bytes, in v2 inside a v2 envelope (jetstream.Entry), with the
// entry's number in the stream as sequence number: the upstream's numbers fall when the feed
// changes its host. One write carries many frames (corked.go). A subscriber that does not take a
// write in time is disconnected and delays no other reader: the entries that it has not read are in
// the store. The HTTP server no longer owns these connections, so Shutdown closes them itself.
//
//	server.go  Options, Server, its life, the layers that every request passes
//	routes.go  the table of routes and the small handlers
//	streams.go reading and tailing streams
//	close.go   closing a stream
//	care.go    verifying the store's files, and naming them for a backup
//	history.go the recorded history of a feed
//	page.go    the status page; its files are in page/, each with its job in its first line
//	follow.go  follower: a stream page after page, filtered
//	admit.go   how many requests may wait at one time
//	frames.go  the response of a read or a tail
//	sse.go     a tail as an event stream
//	consumers.go         named consumers: creating, describing, moving, removing them
//	consumer_state.go    their state machine
//	consumer_next.go     handing out a batch
//	consumer_lease.go    ack, nack, extend
//	consumer_lag.go      their status
//	consumer_metrics.go  their metrics
//	turns.go             the requests that wait for a consumer's batch
//	body.go    JSON bodies
//	params.go  query parameters, filters among them: each bound and each refusal
//	subscribe.go     websockets: the request and its refusals; v2's dictionary
//	seek.go          where a cursor points to
//	subscription.go  the life of one connection
//	corked.go, pack.go, slow.go  its writes, its compression, and when it is too slow
//	durable.go         the read side of the Durable Streams protocol: the request, and its start
//	durable_page.go    a page: catch-up and long-poll, their headers and caching
//	durable_sse.go     its event stream
//	durable_offset.go  its offsets
//	durable_cursor.go  its cursors, which are no positions in the stream
//	guard.go   token, Host, and what browsers say about a request
//	origins.go web pages of other origins: which may read, which may change something (CORS)
//	errors.go  errors into HTTP
package serve
